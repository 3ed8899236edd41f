"""Looking for changes, where nothing is heard of them: network file systems, and where the limit of watches is reached.

A look lists every folder of a tree and compares names, sizes, times and inodes with those of the look before. However
long that takes on a slow share, it takes a twentieth of the time at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from helixstore.fs.listing import scandir

__all__ = ["Eyes"]

_SHARE = 20                     # a look of one second is followed by twenty without
_Seen = dict[str, tuple[int, int, int, bool]]


class Eyes:
    """Looks at trees of folders now and then.

    Args:
        every: seconds between two looks at one tree, if they are quick.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._seen: dict[str, _Seen] = {}
        self._next: dict[str, float] = {}

    def watch(self, folder: str) -> None:
        """Look at a folder, and all in it, from now on. Absolute; it need not exist."""
        if folder not in self._seen:
            self._look(folder)

    def ignore(self, folder: str) -> None:
        """Look there no more."""
        self._seen.pop(folder, None)
        self._next.pop(folder, None)

    @property
    def due(self) -> float:
        """When the next look is due, on the monotonic clock."""
        return min(self._next.values(), default=float("inf"))

    def look(self, now: float) -> Iterator[tuple[str, bool]]:
        """What has changed in the trees whose time has come: path, and whether it is a folder."""
        for folder in [folder for folder, due in self._next.items() if due <= now]:
            before = self._seen[folder]
            after = self._look(folder)
            for path in before.keys() | after.keys():
                old, new = before.get(path), after.get(path)
                if old != new:
                    yield path, bool((new or old or (0, 0, 0, False))[3])

    def _look(self, folder: str) -> _Seen:
        began = time.monotonic()
        self._seen[folder] = found = _tree(folder)
        ended = time.monotonic()
        self._next[folder] = ended + max(self._every, _SHARE * (ended - began))
        return found


def _tree(top: str) -> _Seen:
    """Every path below a folder; links to folders are not followed. What cannot be listed holds nothing."""
    found: _Seen = {}
    pending = [top]
    while pending:
        try:
            with scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    folder = entry.is_dir(follow_symlinks=False)
                    found[entry.path] = (status.st_ino, 0, 0, True) if folder else (
                        status.st_ino, status.st_size, status.st_mtime_ns, False)
                    if folder:
                        pending.append(entry.path)
        except OSError:
            continue                    # it went away meanwhile, which the next look sees as a change
    return found
