"""What is left of hosts whose claims have been over for longer than the undo window: refs, keeps, half downloads; and
in their farms the names of blobs and the links, which would keep bytes that nobody claims. Other files there are a
person's, and stay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from helixstore.fs import kernel
from helixstore.fs.listing import scandir, walk
from helixstore.store.hosts import Expiry
from helixstore.store.store import Store

__all__ = ["sweep_hosts"]


def sweep_hosts(store: Store, expiry: Expiry, clock_ns: int, undo_ns: int) -> int:
    """Remove it, as far as this person may; another's is left to them, and decides nothing.

    Args:
        store: may be written to.
        expiry: which claims count no more.
        clock_ns: the store's clock.
        undo_ns: for so long everything stays as it was, for a host that comes back.

    Returns:
        How many refs and keeps were removed.
    """
    then = clock_ns - undo_ns
    past = replace(expiry, forgotten=tuple(one for one in expiry.forgotten if one.since_ns < then), clock_ns=then)
    if not past.forgotten and not past.seen:
        return 0
    removed = 0
    for host, uid in list(store.hosts.people()):
        if (host, uid) == (store.host.id, store.host.uid):
            continue
        folders = [f"{store.path}/refs/{host}/{uid}", f"{store.path}/hosts/{host}/{uid}/keeps"]
        half = f"{store.path}/hosts/{host}/{uid}/downloads"
        with suppress(PermissionError):
            for path, since_ns in list(_files(half, "")):
                if past.over(host, uid, since_ns):
                    kernel.unlink(path)
            for path, since_ns in [one for folder in folders for one in _files(folder)]:
                if past.over(host, uid, since_ns):
                    kernel.unlink(path)
                    removed += 1
        if past.over(host, uid, _last_ns(store, host, uid)):
            for volume in store.volumes.here:
                _farm(f"{volume.path}/farms/{host}/{uid}")
            with suppress(OSError):                     # something of theirs is left, or it is another's
                for folder in filter(os.path.isdir, [*folders, half]):
                    os.rmdir(folder)
                kernel.unlink(f"{store.path}/hosts/{host}/{uid}/seen.json")
    return removed


def _last_ns(store: Store, host: str, uid: int) -> int:
    """The last sign of life: of a claim, or of themselves."""
    folders = (f"{store.path}/refs/{host}/{uid}", f"{store.path}/hosts/{host}/{uid}",
               f"{store.path}/hosts/{host}/{uid}/keeps")
    return max((since_ns for folder in folders for _, since_ns in _files(folder)), default=0)


def _files(folder: str, end: str = ".json") -> Iterator[tuple[str, int]]:
    with suppress(FileNotFoundError, NotADirectoryError), scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(end):
                yield entry.path, entry.stat(follow_symlinks=False).st_mtime_ns


def _farm(folder: str) -> None:
    """Symbolic links, further names of blobs, and the folders that are empty then."""
    with suppress(OSError):                             # another's, which only they or the steward may remove
        for above, _, names in walk(folder, topdown=False, lenient=True):
            for name in names:
                path = f"{above}/{name}"
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode) or (status.st_nlink > 1 and not status.st_mode & 0o222):
                    kernel.unlink(path)
            with suppress(OSError):
                os.rmdir(above)
