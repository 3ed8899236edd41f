"""One person's home on the ground, what can be done in it, and what can be seen of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armed import Armed, Fault, Ran
from ground import Ground

__all__ = ["Seen", "World"]

_PRIVATE = (".local/state/helixstore", ".cache/helixstore")
_FARM = re.compile(r"/farms/[0-9a-f]{16}/")
_RANDOM = re.compile(r"\b[0-9a-f]{16,40}\b|\blocal-[0-9a-z]+\b|\bhelix[a-z]*-[0-9a-z]+\b")


@dataclass(frozen=True)
class Seen:
    """What lies there.

    Attributes:
        content: path -> SHA-256 of what it opens to; "dangling", or "unreadable".
        how: path -> "file" or "link", with its mode.
        bytes: SHA-256 of all that can be read anywhere, the store's blobs and trash with it.
        blobs: digests of the store's blobs.
    """

    content: dict[str, str]
    how: dict[str, str]
    bytes: frozenset[str]
    blobs: frozenset[str]

    def differences(self, other: Seen, *, kinds: bool = True) -> list[str]:
        """Where two views are not the same; `kinds`: links and modes count too."""
        found = [f"{path}: {self.content.get(path)} / {other.content.get(path)}"
                 for path in sorted(self.content.keys() | other.content.keys())
                 if self.content.get(path) != other.content.get(path)]
        if kinds and not found:
            found = [f"{path}: {self.how.get(path)} / {other.how.get(path)}" for path in sorted(self.how)
                     if self.how.get(path) != other.how.get(path)]
        return found


@dataclass
class World:
    """See the module. `environ` is all that helixstore sees."""

    ground: Ground
    armed: Armed
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environ = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "COLUMNS": "200",
                        "HELIXSTORE_PLUGINS": "none", "HELIXSTORE_LOCAL_NAMESPACE": "local-name"}

    @property
    def home(self) -> Path:
        return self.ground.home

    @property
    def store(self) -> Path:
        return self.home / ".local/share/helixstore/store"

    @property
    def state(self) -> Path:
        return next((self.home / ".local/state/helixstore").glob("*/ops")).parent

    def run(self, *argv: str, fault: Fault | None = None, watched: bool = False, log: bool = False) -> Ran:
        """A command line; `~` is the home and `@` the other disk, where a word begins with it."""
        words = [re.sub("^~", str(self.home), re.sub("^@", str(self.ground.other), word)) for word in argv]
        inside = [disk.point for disk in self.ground.disks] if watched or fault or log else []
        return self.armed.run(words, self.environ, self.home, inside=inside, fault=fault, log=log)

    def must(self, *argv: str, codes: tuple[int, ...] = (0,)) -> Ran:
        """A command line that succeeds."""
        ran = self.run(*argv)
        assert ran.code in codes, f"{argv}: {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def document(self, *argv: str) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self.must(*argv, "--json", codes=(0, 3)).out)

    def put(self, path: str, data: bytes, mode: int = 0o644) -> Path:
        """A file of the person's, old enough for its hash to be kept."""
        file = self.ground.other / path[1:].lstrip("/") if path.startswith("@") else self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
        os.utime(file, (1_700_000_000, 1_700_000_000))
        return file

    def files(self) -> dict[str, tuple[str, os.stat_result]]:
        """Every regular file on both disks: absolute path -> SHA-256 and what stat says."""
        hashed: dict[tuple[int, int], str] = {}
        return {path: (_content(path, hashed), os.lstat(path)) for disk in self.ground.disks
                for folder, _, names in os.walk(disk.point) for path in (f"{folder}/{name}" for name in names)
                if not os.path.islink(path)}

    def real(self, shown: str) -> str:
        """The absolute path of what `look` calls so."""
        hosts = os.listdir(self.store / "hosts") if (self.store / "hosts").is_dir() else []
        return str(self.ground.base) + shown.replace("/farms/HOST/", f"/farms/{hosts[0]}/" if hosts else "/farms/")

    def look(self) -> Seen:
        """All that can be seen."""
        content: dict[str, str] = {}
        how: dict[str, str] = {}
        everything: set[str] = set()
        hashed: dict[tuple[int, int], str] = {}
        for disk in self.ground.disks:
            for folder, folders, names in os.walk(disk.point):
                inner = folder[len(str(self.ground.base)):]
                if any(inner.startswith(f"/first/home/{one}") for one in _PRIVATE):
                    folders.clear()
                    continue
                for name in names:
                    path = f"{folder}/{name}"
                    digest = _content(path, hashed)
                    if name != "seen.json":             # when somebody was last here: written anew as it comes
                        everything.add(digest)
                    if _is_stores(inner):
                        continue
                    shown = _FARM.sub("/farms/HOST/", f"{inner}/{name}")
                    content[shown] = digest
                    status = os.lstat(path)
                    how[shown] = "link" if os.path.islink(path) else f"file {status.st_mode & 0o7777:o}"
        tops = [self.store, *(found.parent for found in self.ground.other.glob("**/volume.json"))]
        blobs = frozenset(path.name for top in tops for path in top.glob("blobs/*/*"))
        return Seen(content, how, frozenset(everything), blobs)


def _is_stores(folder: str) -> bool:
    """Whether a folder is of the store's own, and no root in it."""
    inside = folder.partition("/helixstore/store/")[2] or (
        folder.partition("/helixstore/")[2] if folder.startswith("/second/") else "")
    own = folder.endswith(("/helixstore/store", "/second/helixstore"))
    return own or (bool(inside) and not inside.startswith("farms/"))


def _content(path: str, hashed: dict[tuple[int, int], str]) -> str:
    try:
        status = os.stat(path)
        key = status.st_dev, status.st_ino
        if key not in hashed:
            with open(path, "rb") as file:
                data = file.read()
            if path.endswith("/config.toml"):
                data = _RANDOM.sub("RANDOM", data.decode()).encode()
            if path.endswith("/plan.json") and data.rstrip().endswith(b"}"):
                data = b"a plan"                        # with times and inodes in it
            hashed[key] = hashlib.sha256(data).hexdigest()
        return hashed[key]
    except FileNotFoundError:
        return "dangling"
    except OSError as error:
        return f"unreadable {error.errno}"
