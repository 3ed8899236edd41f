"""The ground on which a layout is tried: a sandbox home, what may be seen of it, and entries made really on disk."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from helixstore.formats import Inspection
from helixstore.fs import kernel
from helixstore.providers.layout import Copy, Entry, Env, Facts, Inner, Reader, Seen, Text, Weight
from helixstore.providers.reader import DiskReader

__all__ = ["FACTS", "GARBAGE", "MACHINES", "ConfinedReader", "EmptyReader", "GarbageReader", "Looked", "blind", "make",
           "materialise", "once", "sandbox"]

#: one machine of each kind
MACHINES = (
    Facts(platform="linux", machine="x86_64", namespace="local-x7"),
    Facts(platform="darwin", machine="arm64", namespace="local-x7"),
    Facts(platform="win32", machine="AMD64", namespace="local-x7"),
)
FACTS = MACHINES[0]

#: what may stand in a file that somebody else writes
GARBAGE = ("", "\0", "{", "[]", "null", "[General]\nmodelPath=\n", '{"a": {"b": [1, 2', "a: b: c: [", "\ufffd" * 50)


class ConfinedReader(DiskReader):
    """`DiskReader`, to which nothing exists outside of one folder: what lies on the real machine is not seen.

    Args:
        folder: absolute.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def exists(self, path: Path) -> bool:
        """Whether the path leads to something readable in the folder."""
        return self._inside(path) and super().exists(path)

    def entries(self, folder: Path) -> list[Seen]:
        """What lies in the folder, sorted by name."""
        return super().entries(folder) if self._inside(folder) else []

    def link(self, path: Path) -> str | None:
        """The text of the symbolic link at `path`."""
        return super().link(path) if self._inside(path) else None

    def text(self, path: Path, limit: int = 1 << 20) -> str | None:
        """The file as UTF-8 text."""
        return super().text(path, limit) if self._inside(path) else None

    def models(
        self, folder: Path, depth: int = 0, again: bool = False, told: Collection[str] = ()
    ) -> list[Inspection]:
        """Every whole model in the folder and below it."""
        return super().models(folder, depth, again, told) if self._inside(folder) else []

    def model(self, path: Path) -> Inspection | None:
        """What one file is."""
        return super().model(path) if self._inside(path) else None

    def _inside(self, path: Path) -> bool:
        return Path(os.path.abspath(self._folder / path)).is_relative_to(self._folder)


class EmptyReader:
    """A `Reader` to which nothing exists. It asks the disk nothing, so it serves where nothing may be asked."""

    def exists(self, path: Path) -> bool:
        """No."""
        return False

    def entries(self, folder: Path) -> list[Seen]:
        """None."""
        return []

    def link(self, path: Path) -> str | None:
        """None."""
        return None

    def text(self, path: Path, limit: int = 1 << 20) -> str | None:
        """None."""
        return None

    def models(
        self, folder: Path, depth: int = 0, again: bool = False, told: Collection[str] = ()
    ) -> list[Inspection]:
        """None."""
        return []

    def model(self, path: Path) -> Inspection | None:
        """None."""
        return None

    def settled(self, path: Path) -> bool:
        """No."""
        return False

    def issue(self, kind: str, path: Path, message: str, remedy: str = "") -> None:
        """Not kept."""

    def note(self, path: Path, message: str) -> None:
        """Not kept."""


class GarbageReader(EmptyReader):
    """A `Reader` to which everything exists and every text is `said`."""

    def __init__(self, said: str) -> None:
        self._said = said

    def exists(self, path: Path) -> bool:
        """Yes."""
        return True

    def text(self, path: Path, limit: int = 1 << 20) -> str | None:
        """Garbage."""
        return self._said


def sandbox(
    home: Path, environ: Mapping[str, str] | None = None, platform: str = "linux", reader: Reader | None = None,
    setting: Path | None = None,
) -> Env:
    """The `Env` of a sandbox home; farms lie in `<home>/store/farms/h/1000`.

    Args:
        home: absolute.
        environ: environment variables; none by default.
        platform: "linux", "darwin" or "win32".
        reader: by default one that sees the home and nothing else.
        setting: the folder that the person named.
    """
    farms = home / "store" / "farms" / "h" / "1000"
    return Env(home, {} if environ is None else environ, platform, farms, reader or ConfinedReader(home), setting)


def once(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entries by path; one that several variants claim counts once.

    Raises:
        FileExistsError: two different entries on one path.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        if found.setdefault(entry.path, entry).body != entry.body:
            raise FileExistsError(entry.path)
    return found


def materialise(
    root: Path, entries: Iterable[Entry], blobs: Mapping[str, Path], *, symbolic: bool = False
) -> list[Path]:
    """Make the entries really on disk, in their order, without the engine.

    Args:
        root: made when it is missing.
        entries: several variants may claim one.
        blobs: digest -> file.
        symbolic: weights by symbolic link instead of by hard link.

    Raises:
        FileExistsError: two different entries on one path.
    """
    return [make(root, entry, blobs, symbolic=symbolic)
            for entry in sorted(once(entries).values(), key=lambda entry: entry.order)]


def make(root: Path, entry: Entry, blobs: Mapping[str, Path], *, symbolic: bool = False) -> Path:
    """Make one entry on disk; arguments and errors as of `materialise`."""
    path = root / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    match entry.body:
        case Weight(blob, _, _) if symbolic:
            kernel.symlink(str(blobs[blob]), path)
        case Weight(blob, _, _):
            kernel.hard_link(blobs[blob], path)
        case Copy(blob, _):
            kernel.write_new(path, blobs[blob].read_bytes(), durable=False)
        case Text(data):
            kernel.write_new(path, data, durable=False)
        case Inner(target):
            kernel.symlink(target, path)
    return path


class Looked(AssertionError):
    """Somebody looked at the disk where nobody may."""


#: the calls of `os` by which Python code reaches the disk
_CALLS = ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access", "mkdir", "rename", "replace", "unlink",
          "remove", "rmdir", "link", "symlink", "chmod", "utime")


@contextmanager
def blind(what: str) -> Iterator[None]:
    """While it is held, whoever looks at the disk or changes it by Python's own means fails.

    Modules may still be imported: that goes another way.

    Args:
        what: who is blind, for the message: "project".

    Raises:
        Looked: by the call that looks.
    """
    def refuse(call: str) -> Any:
        def refused(*arguments: Any, **_: Any) -> Any:
            raise Looked(f"{what} goes to the disk itself: {call}({', '.join(map(repr, arguments[:1]))})")
        return refused

    with mock.patch("builtins.open", refuse("open")), mock.patch("io.open", refuse("open")), \
            mock.patch.multiple("os", **{name: refuse(f"os.{name}") for name in _CALLS}):
        yield
