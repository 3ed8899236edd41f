"""Staging: where everything is written before it gets its name, and the sign that somebody is at work.

`staging/<host>-<boot>-<pid>-<random>/`, locked while its process lives. What is in it is worth nothing once that
process is gone: it was never published. A collector looks here before it deletes anything out of turn.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from helixstore.fs import kernel
from helixstore.store.host import Host

__all__ = ["Staging"]


class Staging:
    """The staging folder of one store, as one process uses it. Safe from threads."""

    def __init__(self, root: str, host: Host, may_write: Callable[[], None]) -> None:
        self._root = os.path.join(root, "staging")
        self._prefix = f"{host.id}-{host.boot.replace('-', '')}-"
        self._host = host.id
        self._may_write = may_write
        self._guard = threading.Lock()
        self._users = 0
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
                self._users, self._pid, self._lock = 0, os.getpid(), None
            if not self._users:
                self._open()
            self._users += 1
            folder = self._folder
        try:
            yield folder
        finally:
            with self._guard:
                self._users -= 1
                if not self._users:
                    self._close()

    def _open(self) -> None:
        self._may_write()
        self._folder = os.path.join(self._root, f"{self._prefix}{os.getpid()}-{secrets.token_hex(8)}")
        os.mkdir(self._folder, 0o700)
        with suppress(OSError):                         # no locks here: then the process id has to do
            self._lock = kernel.lock_folder(self._folder)

    def _close(self) -> None:
        try:
            _empty(self._folder)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def others(self) -> list[str]:
        """Names of the folders in which somebody else may be at work, on this host or another."""
        return [name for name in self._names() if not self._dead(name)]

    def leftovers(self) -> list[str]:
        """Names of the folders on this host whose process is gone."""
        return [name for name in self._names() if self._dead(name)]

    def clean(self, name: str) -> int:
        """Remove a leftover; returns the bytes that were in it."""
        return _empty(os.path.join(self._root, name)) if self._dead(name) else 0

    def _names(self) -> list[str]:
        with os.scandir(self._root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [name for name in names if name != os.path.basename(self._folder) or self._pid != os.getpid()]

    def _dead(self, name: str) -> bool:
        """Whether its process is surely gone. The lock tells for certain, also between containers of one host."""
        if not name.startswith(f"{self._host}-"):
            return False
        if not name.startswith(self._prefix):
            return True                                 # from before the last boot
        try:
            lock = kernel.lock_folder(os.path.join(self._root, name))
        except FileNotFoundError:
            return True
        except OSError:
            return not _alive(name)
        if lock is None:
            return False
        os.close(lock)
        return True


def _alive(name: str) -> bool:
    """Whether the process in a folder's name runs; True wherever that cannot be told."""
    pid = name.rpartition("-")[0].rpartition("-")[2]
    return not (os.path.isdir("/proc/self") and pid.isdecimal() and not os.path.isdir(f"/proc/{pid}"))


def _empty(folder: str) -> int:
    """Remove a staging folder and the files in it; returns the bytes that were freed by that."""
    freed = 0
    with suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                freed += status.st_size if status.st_nlink == 1 else 0
                kernel.unlink(entry.path)
        os.rmdir(folder)
    return freed
