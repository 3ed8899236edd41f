"""A person's home folder made for one test, and the real command line run in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Sandbox", "Shared", "environment", "sha256"]


def environment(home: Path) -> dict[str, str]:
    """The variables that programs see: nothing of the person's who runs the tests, and no way to the hub."""
    passed = ("PATH", "LANG", "TMPDIR", "OPENBLAS_CORETYPE", "HELIXSTORE_DEBUG")
    kept = {name: os.environ[name] for name in passed if name in os.environ}
    return kept | {"HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
                   "OMP_NUM_THREADS": "2"}


def sha256(path: Path) -> str:
    """Hex digest of the file that the path leads to."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Shared:
    """How one variant stands with one provider, from `list --json`."""

    model: str
    variant: str
    state: str
    link: str | None
    reason: str
    paths: tuple[Path, ...]


@dataclass(slots=True)
class Sandbox:
    """One home folder.

    Attributes:
        home: absolute.
        environ: what every program started in it sees.
        put: each file of the person's own -> its SHA-256, filled by `place` and checked by `whole`.
    """

    home: Path
    environ: dict[str, str]
    put: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def make(cls, home: Path) -> Sandbox:
        """A sandbox with an empty home."""
        home.mkdir(parents=True)
        return cls(home, environment(home))

    def place(self, source: Path, where: str) -> Path:
        """Copy a model, a file or a folder, to where a person would have it, relative to the home."""
        target = self.home / where
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        files = [path for path in target.rglob("*") if path.is_file()] if source.is_dir() else [target]
        self.put |= {path: sha256(path) for path in files}
        return target

    def whole(self) -> None:
        """Every file that the person had is still there with its bytes."""
        for path, digest in self.put.items():
            assert path.exists(), f"{path} is gone"
            assert sha256(path) == digest, f"{path} has other bytes now"

    def helix(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> str:
        """Run `helixstore` and return what it prints; any exit status outside `expect` fails the test."""
        done = self.run(*arguments)
        assert done.returncode in expect, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `helixstore`, as it is installed."""
        command = [str(Path(sys.executable).with_name("helixstore")), *arguments]
        return subprocess.run(command, env=self.environ, cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120, check=False)

    def document(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """Run `helixstore ... --json` and return its document."""
        document: dict[str, Any] = json.loads(self.helix(*arguments, "--json", expect=expect))
        assert document["schema"] == 1
        return document

    def init(self, *scan: str, links: str = "") -> None:
        """Make the store, turn on every provider, and share what lies in their folders and in `scan`.

        Args:
            scan: folders below the home.
            links: the one kind of link for every provider; "": as their layouts say.
        """
        folders = [word for folder in scan for word in ("--scan", str(self.home / folder))]
        self.helix("init", "--all", *folders)
        if links:
            names = [provider["name"].upper() for provider in self.document("providers")["providers"]]
            self.environ |= {f"HELIXSTORE_PROVIDERS_{name}_LINKS": links for name in names}
        self.sync()

    def sync(self) -> dict[str, Any]:
        """Bring every provider's folder to what should be there."""
        return self.document("sync", "--yes")

    def seen(self, provider: str, model: str) -> Shared:
        """How a model of one variant stands with a provider; `model` begins its name."""
        standing = list(_standing(self.document("list"), provider))
        here = [shared for shared in standing if shared.model.casefold().startswith(model.casefold())]
        assert len(here) == 1, f"{provider}, {model}: {standing}"
        return here[0]

    def linked(self, provider: str, model: str) -> Shared:
        """The same, of a model that the provider must see now, under paths that open."""
        shared = self.seen(provider, model)
        assert shared.state == "linked", shared
        assert shared.paths, shared
        assert all(path.exists() for path in shared.paths), shared
        return shared

    def root(self, provider: str) -> Path:
        """The folder that the provider reads."""
        return next(Path(p["root"]) for p in self.document("status")["providers"] if p["name"] == provider)


def _standing(document: Mapping[str, Any], provider: str) -> Iterator[Shared]:
    for model in document["models"]:
        for variant in model["variants"]:
            if provider in variant["providers"]:
                here = variant["providers"][provider]
                paths = tuple(Path(path) for path in here["paths"])
                yield Shared(model["name"], variant["id"], here["state"], here["link"], here["reason"], paths)
