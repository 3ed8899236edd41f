"""The farm lock: one change at a time, for one person on one host; it tells who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator

from filelock import FileLock, Timeout

from helixstore.errors import Busy
from helixstore.fs import kernel

__all__ = ["FarmLock"]


class FarmLock:
    """See the module.

    Args:
        folder: the person's state folder, absolute.
        patience: seconds to wait for it.
    """

    def __init__(self, folder: str, patience: float) -> None:
        self._folder = folder
        self._lock = FileLock(os.path.join(folder, "farm.lock"), timeout=patience)
        self._holder = os.path.join(folder, "farm.lock.holder")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it; may be nested.

        Raises:
            Busy: another process holds it for longer than `patience`.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise Busy(f"helixstore is at work already{self._who()}", "wait until it has finished",
                       self._folder) from error
        try:
            if self._lock.lock_counter == 1:
                who = {"pid": os.getpid(), "host": socket.gethostname()}
                kernel.replace_file(self._holder, json.dumps(who).encode(), 0o600, durable=False)
            yield
        finally:
            self._lock.release()

    def _who(self) -> str:
        """For the message; "" when it is not known."""
        try:
            with open(self._holder, "rb") as file:
                who = json.load(file)
            return f": process {who['pid']} on {who['host']}"
        except (OSError, ValueError, KeyError):
            return ""
