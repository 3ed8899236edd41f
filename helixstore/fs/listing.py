"""What lies in folders, asked again where a signal came in between.

Python tries every other call again that a signal interrupts, but not the one that opens a folder [PEP 475 leaves out
os.listdir and os.scandir]. No local file system answers so, but a server behind FUSE or a share may, when a terminal
is resized or a process goes on after Ctrl-Z. What would be an error then would count as a folder that cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

__all__ = ["check_listable", "listdir", "scandir", "walk"]

_Answer = TypeVar("_Answer")
_Path = str | os.PathLike[str]


def listdir(path: _Path) -> list[str]:
    """As os.listdir.

    Raises:
        OSError: what the system says, but never InterruptedError.
    """
    return _uninterrupted(lambda: os.listdir(path))


def scandir(path: _Path) -> AbstractContextManager[list[os.DirEntry[str]]]:
    """As os.scandir, for `with`; the folder has been read to its end.

    Raises:
        OSError: what the system says, but never InterruptedError.
    """
    return nullcontext(_uninterrupted(lambda: _entries(path)))


def check_listable(path: _Path) -> None:
    """Open a folder for listing, without reading it.

    Raises:
        OSError: it cannot be listed.
    """
    _uninterrupted(lambda: os.scandir(path)).close()


def walk(top: str, *, topdown: bool = True, lenient: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, but a symbolic link to a folder is among the files, and what cannot be listed is an error.

    Args:
        top: may be missing.
        topdown: each folder before those in it.
        lenient: what cannot be listed is passed over.

    Raises:
        OSError: a folder cannot be listed; one that goes away meanwhile is none.
    """
    try:
        entries = _uninterrupted(lambda: _entries(top))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        if lenient:
            return
        raise
    folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    inner = set(folders)
    files = [entry.name for entry in entries if entry.name not in inner]
    if topdown:
        yield top, folders, files
    for name in folders:
        yield from walk(os.path.join(top, name), topdown=topdown, lenient=lenient)
    if not topdown:
        yield top, folders, files


def _entries(path: _Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)


def _uninterrupted(call: Callable[[], _Answer]) -> _Answer:
    while True:
        try:
            return call()
        except InterruptedError:
            continue
