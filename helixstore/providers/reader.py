"""The eyes that layouts get: the real disk, read only, with nothing raised and everything noticed."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from helixstore.errors import HelixError, Unreadable
from helixstore.formats import Inspection, inspect_file, survey
from helixstore.formats.listing import Item, list_folder
from helixstore.formats.opened import Opened
from helixstore.formats.survey import Known
from helixstore.fs.kernel import Fingerprint, fingerprint_of
from helixstore.providers.layout import Seen
from helixstore.values import Issue

__all__ = ["DiskReader"]


class DiskReader:
    """`layout.Reader` on the disk. For one scan: what it has listed once is not looked at again.

    Args:
        home: relative paths are counted from it, absolute.

    Attributes:
        known: whether a file is one that nothing new can be learnt of: `models` leaves such models out, unread.
        near: absolute paths: below a folder, `models` looks on the way to these alone. None: everywhere.
        issues: what a person should know, in the order in which it was found, each once.
        notes: path -> why what lies there is left alone, though nothing is wrong with it.
        folders: every folder that was listed -> its modification time in nanoseconds before that.
        files: every file that counted for something -> its fingerprint; of a link its own, and its target's under the
            real path. Together with `folders` this is what must be unchanged for another scan to see the same.
    """

    def __init__(self, home: Path) -> None:
        self._home = os.fspath(home)
        self._models: dict[tuple[str, int, Known | None], list[Inspection]] = {}
        self._single: dict[str, Inspection | None] = {}
        self._noted: set[Issue] = set()
        self.known: Known | None = None
        self.near: Sequence[str] | None = None
        self.issues: list[Issue] = []
        self.notes: dict[str, str] = {}
        self.folders: dict[str, int] = {}
        self.files: dict[str, Fingerprint] = {}

    def exists(self, path: Path) -> bool:
        """Whether the path leads to something readable."""
        try:
            return os.access(os.path.join(self._home, path), os.R_OK)
        except ValueError:                              # a NUL in the name
            return False

    def entries(self, folder: Path) -> list[Seen]:
        """What lies in the folder, sorted by name; [] when it is missing or unreadable."""
        where = os.path.join(self._home, folder)
        if not os.path.lexists(where):
            return []
        try:
            items = list_folder(where, self).items
        except Unreadable as error:
            self._note(error, where)
            return []
        return [Seen(item.name, Path(item.path), item.kind, item.bytes, item.linked) for item in items.values()]

    def link(self, path: Path) -> str | None:
        """The text of the symbolic link at `path`, one hop; None when it is none."""
        try:
            return os.readlink(os.path.join(self._home, path))
        except (OSError, ValueError):
            return None

    def text(self, path: Path, limit: int = 1 << 20) -> str | None:
        """The file as UTF-8 text; None when missing, unreadable, or longer than `limit` bytes."""
        where = os.path.join(self._home, path)
        if not os.path.lexists(where):
            return None
        try:
            with Opened(where) as file:
                data = file.read_at(0, limit + 1) if file.size <= limit else None
                self.file(where, os.lstat(where))
        except OSError as error:
            self._note(error if isinstance(error, HelixError) else Unreadable(str(error), path=where), where)
            return None
        if data is None or len(data) > limit:
            self.issue("unreadable", Path(where), f"it is longer than the {limit:,} bytes that it may have")
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.issue("unreadable", Path(where), "it is not UTF-8 text")
            return None

    def models(
        self, folder: Path, depth: int = 0, again: bool = False, told: Collection[str] = ()
    ) -> list[Inspection]:
        """Every whole model in the folder and `depth` levels of folders below it (-1: all of them).

        Those that are `known` are left out unless they are asked for `again`; of the paths in `told`, no issue is made.
        """
        where = os.path.join(self._home, folder)
        known = None if again else self.known
        key = (where, depth, known)
        if key not in self._models:
            self._models[key] = survey(where, depth, tree=self, known=known, near=self.near,
                                       issue=lambda issue: None if issue.path in told else self._once(issue))
        return list(self._models[key])

    def model(self, path: Path) -> Inspection | None:
        """What one file is by its content alone, whatever it is called; None when it is no whole file of a model."""
        where = os.path.join(self._home, path)
        if where not in self._single:
            self._single[where] = self._inspected(where) if os.path.lexists(where) else None
        return self._single[where]

    def settled(self, path: Path) -> bool:
        """Whether nothing new can be learnt of a file."""
        where = os.path.join(self._home, path)
        if self.known is None:
            return False
        try:
            status = os.lstat(where)
        except (OSError, ValueError):                  # a NUL in the name
            return False
        self.file(where, status)
        return self.known(Item(os.path.basename(where), where, "file", status.st_size, False, status, status))

    def _inspected(self, where: str) -> Inspection | None:
        try:
            for path in dict.fromkeys((where, os.path.realpath(where))):
                self.file(path, os.lstat(path))
            return inspect_file(where)
        except (HelixError, OSError) as error:
            self._note(error if isinstance(error, HelixError) else Unreadable(str(error), path=where), where)
            return None

    def issue(self, kind: str, path: Path, message: str, remedy: str = "") -> None:
        """Record something that a person should know."""
        self._once(Issue(kind, os.fspath(path), message, remedy))

    def note(self, path: Path, message: str) -> None:
        """Record what is left where it is, and why."""
        self.notes[os.fspath(path)] = message

    def folder(self, path: str, mtime_ns: int) -> None:
        """A folder was listed (the `Tree` that `survey` tells)."""
        self.folders.setdefault(path, mtime_ns)

    def file(self, path: str, status: os.stat_result) -> None:
        """A file counted for something (the `Tree` that `survey` tells)."""
        self.files.setdefault(path, fingerprint_of(status))

    def _note(self, error: HelixError, path: str) -> None:
        self._once(Issue(error.kind, error.path or path, error.message, error.remedy))

    def _once(self, issue: Issue) -> None:
        if issue not in self._noted:
            self._noted.add(issue)
            self.issues.append(issue)
