"""Listing folders that belong to others: nothing raises, nothing is entered twice, links to folders are not entered."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from helixstore.fs.kernel import Fingerprint, fingerprint_of
from helixstore.values import Issue

__all__ = ["Folder", "Item", "list_folder", "walk"]

#: Names that the system itself keeps for open files that were deleted (NFS, FUSE).
_REMNANTS = (".nfs", ".fuse_hidden")


class Item(NamedTuple):
    """One name in a folder.

    `kind` is "file", "folder", "link" (dangling, a cycle, or leading where we may not look) or "other" (device,
    socket, pipe); of what the name leads to. `linked`: the name is a symbolic link. `fingerprint` is that of what it
    leads to, and of the link itself for kind "link".
    """

    name: str
    path: str
    kind: str
    linked: bool
    fingerprint: Fingerprint


class Folder(NamedTuple):
    """One folder with what lies in it, sorted by name. `fingerprint` was taken before the listing."""

    path: str
    fingerprint: Fingerprint
    items: list[Item]


def list_folder(path: str | os.PathLike[str], issue: Callable[[Issue], None]) -> Folder | None:
    """What lies in one folder; None when it vanished, is no folder, or cannot be read (then an issue is recorded).

    Args:
        path: absolute; followed when it is a link itself.
        issue: called with what cannot be read. What vanishes meanwhile is left out silently: it is not there.
    """
    folder = os.fspath(path)
    try:
        before = fingerprint_of(os.stat(folder))
        with os.scandir(folder) as entries:
            items = [item for entry in entries if not entry.name.startswith(_REMNANTS)
                     and (item := _item(entry, issue)) is not None]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        issue(_unreadable(folder, error))
        return None
    items.sort()
    return Folder(folder, before, items)


def walk(folder: str | os.PathLike[str], depth: int = -1, issue: Callable[[Issue], None] = lambda issue: None,
         enter: Callable[[Item], bool] = lambda item: True) -> Iterator[Folder]:
    """Every folder from `folder` down, a parent before its children, children in the order of their names.

    Args:
        folder: absolute; the one place where a link to a folder is followed.
        depth: how many levels below it are entered; -1 all of them.
        issue: called with what cannot be read.
        enter: asked for each real folder; False leaves it and all below it out.

    A folder that comes up again below itself (a bind mount) is not entered again.
    """
    pending: list[tuple[str, int, frozenset[tuple[int, int]]]] = [(os.fspath(folder), depth, frozenset())]
    while pending:
        path, levels, above = pending.pop()
        listed = list_folder(path, issue)
        if listed is None:
            continue
        identity = (listed.fingerprint.device, listed.fingerprint.inode)
        if identity in above:
            continue
        yield listed
        if levels:
            inside = above | {identity}
            pending.extend((item.path, levels - 1, inside) for item in reversed(listed.items)
                           if item.kind == "folder" and not item.linked and enter(item))


def _item(entry: os.DirEntry[str], issue: Callable[[Issue], None]) -> Item | None:
    try:
        linked = entry.is_symlink()
        try:
            status = entry.stat()
        except OSError:
            if not linked:
                raise
            return Item(entry.name, entry.path, "link", True, fingerprint_of(entry.stat(follow_symlinks=False)))
    except FileNotFoundError:
        return None
    except OSError as error:
        issue(_unreadable(entry.path, error))
        return None
    kind = "file" if stat.S_ISREG(status.st_mode) else "folder" if stat.S_ISDIR(status.st_mode) else "other"
    return Item(entry.name, entry.path, kind, linked, fingerprint_of(status))


def _unreadable(path: str, error: OSError) -> Issue:
    return Issue("unreadable", path, f"cannot be read: {error.strerror or error}",
                 "allow reading it, or exclude it in the configuration")
