"""What the tests of single layouts work with: the models and the ground of `helixstore.testing`, and their own checks.

    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("tiny", "Q4_K_M")
    materialise(root, layout.project([variant], Root(root, "test"), FACTS), shelf.blobs)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from helixstore.providers.layout import Copy, Entry, Env, Reader, Seen, Weight
from helixstore.testing import ground
from helixstore.testing.ground import FACTS, materialise, once
from helixstore.testing.models import (
    COMMIT,
    Shelf,
    gguf_bytes,
    hub,
    json_bytes,
    role_of,
    safetensors_bytes,
)
from helixstore.testing.projecting import safe_paths
from helixstore.values import Variant

__all__ = ["COMMIT", "FACTS", "INTEL", "MAC", "WINDOWS", "PlainReader", "Shelf", "check_entries", "gguf_bytes", "hub",
           "json_bytes", "materialise", "role_of", "safetensors_bytes", "sandbox"]

MAC, INTEL, WINDOWS = (replace(FACTS, platform=platform, machine=machine) for platform, machine in (
    ("darwin", "arm64"), ("darwin", "x86_64"), ("win32", "AMD64")))


def check_entries(entries: Sequence[Entry], variants: Sequence[Variant]) -> None:
    """What holds for every projection: unique safe paths, a file is no other's folder, one witness per variant."""
    paths = list(once(entries))
    safe_paths(entries)
    folded = [path.casefold() for path in paths]
    assert len(set(folded)) == len(folded), sorted(p for p in paths if folded.count(p.casefold()) > 1)
    folders = {str(parent) for path in folded for parent in PurePosixPath(path).parents}
    assert not folders & set(folded)
    witnesses = [entry.key for entry in entries if entry.witness]
    assert len(set(witnesses)) == len(witnesses)
    assert set(witnesses) == {variant.key for variant in variants}
    blobs = {file.blake3: file.bytes for variant in variants for file in variant.files}
    for entry in entries:
        if isinstance(entry.body, Weight | Copy):
            assert blobs[entry.body.blob] == entry.body.bytes


class PlainReader:
    """A `Reader` for settings files and listings where no model is looked for; issues are kept in `issues`."""

    def __init__(self) -> None:
        self.issues: list[tuple[str, Path, str]] = []
        self.notes: list[tuple[Path, str]] = []

    def exists(self, path: Path) -> bool:
        return path.exists()

    def entries(self, folder: Path) -> list[Seen]:
        if not folder.is_dir():
            return []
        seen = []
        for path in sorted(folder.iterdir()):
            kind = "folder" if path.is_dir() else "file" if path.is_file() else "link" if path.is_symlink() else "other"
            seen.append(Seen(path.name, path, kind, path.stat().st_size if path.exists() else 0, path.is_symlink()))
        return seen

    def link(self, path: Path) -> str | None:
        return os.readlink(path) if path.is_symlink() else None

    def text(self, path: Path, limit: int = 1 << 20) -> str | None:
        try:
            data = path.read_bytes()
            return data.decode() if len(data) <= limit else None
        except (OSError, UnicodeDecodeError):
            return None

    def models(
        self, folder: Path, depth: int = 0, again: bool = False, told: Collection[str] = ()
    ) -> list[object]:
        raise LookupError("use helixstore.providers.reader.DiskReader")

    def model(self, path: Path) -> object:
        raise LookupError("use helixstore.providers.reader.DiskReader")

    def settled(self, path: Path) -> bool:
        return False

    def issue(self, kind: str, path: Path, message: str, remedy: str = "") -> None:
        self.issues.append((kind, path, message))

    def note(self, path: Path, message: str) -> None:
        self.notes.append((path, message))


def sandbox(
    home: Path, environ: Mapping[str, str] | None = None, platform: str = "linux", reader: Reader | None = None,
    setting: Path | None = None,
) -> Env:
    """The `Env` of a sandbox home; farms lie in `<home>/store/farms/h/1000`."""
    return ground.sandbox(home, environ, platform, reader or PlainReader(), setting)  # type: ignore[arg-type]
