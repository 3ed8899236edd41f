"""One folder, listed once: what each name leads to, without opening anything."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple, Protocol

from helixstore.errors import Unreadable, UnsafeName
from helixstore.formats.opened import show
from helixstore.fs.listing import scandir
from helixstore.fs.names import check_relative

__all__ = ["SKIPPED_FOLDERS", "Item", "Listing", "Tree", "list_folder", "safe_name"]

#: Folders that hold no models of their own: version control, caches of partial downloads, waste bins.
SKIPPED_FOLDERS = frozenset({
    ".git", ".hg", ".svn", ".cache", ".locks", ".no_exist", ".venv", ".Trash", ".Trashes", ".ipynb_checkpoints",
    "__pycache__", "node_modules", "$RECYCLE.BIN", "System Volume Information", "lost+found",
})


class Item(NamedTuple):
    """One name in a folder.

    Attributes:
        name: as the file system gives it; bytes that are no UTF-8 as surrogates.
        path: absolute, if the folder was.
        kind: "file", "folder", "link" (dangling or a loop), "other" (device, socket, pipe).
        bytes: size in bytes of what it leads to.
        linked: it is a symbolic link.
        status: of the name itself (lstat).
        target: of what it leads to; the same object where it is no link; None when dangling.
    """

    name: str
    path: str
    kind: str
    bytes: int
    linked: bool
    status: os.stat_result
    target: os.stat_result | None


class Listing(NamedTuple):
    """A folder with its entries by name, sorted, and its own identity."""

    path: str
    items: dict[str, Item]
    identity: tuple[int, int]

    @property
    def files(self) -> list[Item]:
        """The regular files, also through links."""
        return [item for item in self.items.values() if item.kind == "file"]

    @property
    def folders(self) -> list[Item]:
        """The real folders; links to folders are left out."""
        return [item for item in self.items.values() if item.kind == "folder" and not item.linked]


class Tree(Protocol):
    """Is told what was looked at, so that a later run can ask by stat alone whether anything changed."""

    def folder(self, path: str, mtime_ns: int) -> None:
        """A folder was listed; its modification time before that, in nanoseconds."""
        ...

    def file(self, path: str, status: os.stat_result) -> None:
        """A file counted for something: its own status (lstat), or that of a link's target under the real path."""
        ...


def list_folder(path: str, tree: Tree | None = None) -> Listing:
    """List a folder.

    Args:
        path: absolute.
        tree: is told that the folder was listed.

    Raises:
        Unreadable: it is missing, no folder, or may not be listed.
    """
    items: dict[str, Item] = {}
    try:
        own = os.stat(path)
        with scandir(path) as entries:
            for entry in entries:
                if (item := _item(entry)) is not None:
                    items[item.name] = item
    except ValueError as error:
        raise Unreadable(f"{show(path)} is not a folder's name", path=path) from error
    except OSError as error:
        denied = isinstance(error, PermissionError)
        why = "may not be listed by this user" if denied else f"cannot be listed: {error.strerror}"
        raise Unreadable(f"the folder {show(path)} {why}", path=path) from error
    if tree is not None:
        tree.folder(path, own.st_mtime_ns)
    return Listing(path, dict(sorted(items.items())), (own.st_dev, own.st_ino))


def _item(entry: os.DirEntry[str]) -> Item | None:
    """What one entry is; None when it vanished between listing and looking."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    linked = stat.S_ISLNK(status.st_mode)
    target: os.stat_result | None = status
    if linked:
        try:
            target = os.stat(entry.path)
        except OSError:
            target = None
    return Item(entry.name, entry.path, _kind(target), target.st_size if target else 0, linked, status, target)


def _kind(target: os.stat_result | None) -> str:
    if target is None:
        return "link"
    if stat.S_ISREG(target.st_mode):
        return "file"
    return "folder" if stat.S_ISDIR(target.st_mode) else "other"


def safe_name(name: str, path: str) -> str:
    """`name` if it may become the name of a file elsewhere.

    Args:
        name: POSIX, relative.
        path: where it lies, for the error.

    Raises:
        UnsafeName: with `path`.
    """
    try:
        return check_relative(name)
    except UnsafeName as error:
        raise UnsafeName(error.message, error.remedy, path) from error
