"""Staging: where everything is written before it gets its name, and the sign that somebody is at work.

`staging/<host>-<boot>-<pid>-<random>/`, locked while its process lives. What is in it is worth nothing once that
process is gone: it was never published. A collector looks here before it deletes anything out of turn.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from helixstore.fs import kernel, locks
from helixstore.fs.listing import scandir
from helixstore.fs.mounts import mount_of
from helixstore.store import records
from helixstore.store.host import Host
from helixstore.store.trust import real_folder

__all__ = ["Over", "Staging", "never"]

#: host, uid, nanoseconds on the store's clock -> whether what they did then counts no more
Over = Callable[[str, int, int], bool]
_QUIET_NS = 86_400 * 10**9


def never(host: str, uid: int, since_ns: int) -> bool:
    """Nobody has been forgotten."""
    return False



class Staging:
    """The staging folder of one store, as one process uses it. Safe from threads."""

    def __init__(self, root: str, host: Host, may_write: Callable[[], None]) -> None:
        self._root = os.path.join(root, "staging")
        self._prefix = f"{host.id}-{host.boot.replace('-', '')}-"
        self._host, self._uid = host.id, host.uid
        self._may_write = may_write
        self._guard = threading.Lock()
        self._users = 0
        self._mine = threading.local()                  # .depth: how many of the users are this thread
        self._folder = ""
        self._lock: int | None = None
        self._pid = 0

    @contextmanager
    def working(self) -> Iterator[str]:
        """A folder of this process, absolute; inner uses share the outer one's, and the last removes it.

        Hold it over a whole operation, from before the first blob is looked at until the refs are durable: while it
        is there no collector empties the trash out of turn.

        Raises:
            StoreError: the store is read only.
        """
        with self._guard:
            if self._pid != os.getpid():                # the first use, or a child after fork
                self._users, self._pid, self._lock, self._mine = 0, os.getpid(), None, threading.local()
            if not self._users:
                self._open()
            self._users += 1
            folder = self._folder
            self._mine.depth = getattr(self._mine, "depth", 0) + 1
        try:
            yield folder
        finally:
            with self._guard:
                self._users -= 1
                self._mine.depth -= 1
                if not self._users:
                    self._close()

    def _open(self) -> None:
        self._may_write()
        while True:
            folder = os.path.join(self._root, f"{self._prefix}{os.getpid()}-{secrets.token_hex(8)}")
            try:
                os.mkdir(folder, 0o700)
            except OSError as error:
                raise records.failed(folder, error) from error
            try:
                self._lock = locks.lock_folder(folder)
                taken = self._lock is None              # a collector was faster than our lock: it removes this one
            except FileNotFoundError:
                continue
            except OSError:
                taken = False                           # no locks here: then the process id has to do
            if not taken and os.path.isdir(folder):
                self._folder = folder
                return
            if self._lock is not None:
                os.close(self._lock)

    def _close(self) -> None:
        try:
            kernel.remove_tree(self._folder)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def others(self, over: Over = never) -> list[str]:
        """Names of the folders in which somebody else may be at work: another thread, process or host.

        Args:
            over: as of `clean`.
        """
        with self._guard:
            threads = [os.path.basename(self._folder)] if self._users > getattr(self._mine, "depth", 0) else []
        return threads + [name for name in self._names() if not self._gone(name, over)]

    def clean(self, over: Over = never) -> int:
        """Remove what processes of this host left that are gone now, and hosts that are over.

        A folder of another person on this host stays: what is in it is not ours to judge.

        Args:
            over: host, uid, nanoseconds on the store's clock -> whether what they did then counts no more.

        Returns:
            The bytes that were freed by that.
        """
        freed = 0
        steward = os.stat(self._root).st_uid
        for name in self._names():
            folder = os.path.join(self._root, name)
            ours = name.startswith(f"{self._host}-")
            release = self._claim(name, over) if not ours or real_folder(folder, steward, self._uid) else None
            if release is not None:
                try:
                    freed += kernel.remove_tree(folder)
                except PermissionError:                 # of a host that is gone: for its person or the steward
                    if ours:
                        raise
                finally:
                    release()
        return freed

    def _names(self) -> list[str]:
        with scandir(self._root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [name for name in names if name != os.path.basename(self._folder) or self._pid != os.getpid()]

    def _gone(self, name: str, over: Over) -> bool:
        release = self._claim(name, over)
        if release is not None:
            release()
        return release is not None

    def _claim(self, name: str, over: Over) -> Callable[[], None] | None:
        """What gives the folder free again if its process is surely gone, else None.

        On this host's own disks the lock tells for certain, also between containers. Over a network it may be granted
        to everybody, and two machines may share an id with a home folder: there the process must not be running here
        either, and one from another start must have written nothing for a day.
        """
        folder = os.path.join(self._root, name)
        try:
            if not name.startswith(f"{self._host}-"):
                host = name.partition("-")[0]
                return (lambda: None) if over(host, os.lstat(folder).st_uid, _latest_ns(folder)) else None
            network = mount_of(self._root).network
            if not name.startswith(self._prefix):       # from another start of this machine
                return None if network and time.time_ns() - _latest_ns(folder) < _QUIET_NS else lambda: None
            lock = locks.lock_folder(folder)
        except FileNotFoundError:                       # the folder, or a file in it, which tells that it is in use
            return None if os.path.lexists(folder) else lambda: None
        except OSError:
            return None if _alive(name) else lambda: None
        if lock is not None and network and _alive(name):
            os.close(lock)
            return None
        return None if lock is None else lambda: os.close(lock)


def _latest_ns(folder: str) -> int:
    """When something was last made or written in a folder, as far as that can be seen.

    Raises:
        OSError: it cannot be looked into, so that nothing is known.
    """
    latest = os.lstat(folder).st_mtime_ns
    with scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            inside = _latest_ns(entry.path) if entry.is_dir(follow_symlinks=False) else status.st_mtime_ns
            latest = max(latest, inside)
    return latest


def _alive(name: str) -> bool:
    """Whether the process in a folder's name runs; True wherever that cannot be told."""
    pid = name.rpartition("-")[0].rpartition("-")[2]
    return not (os.path.isdir("/proc/self") and pid.isdecimal() and not os.path.isdir(f"/proc/{pid}"))
