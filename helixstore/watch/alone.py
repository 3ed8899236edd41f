"""One watch for a person and a store: a second says which process it is."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator

from filelock import FileLock, Timeout

from helixstore.errors import Busy
from helixstore.fs import kernel

__all__ = ["alone"]


@contextlib.contextmanager
def alone(folder: str) -> Iterator[None]:
    """Be the only one while the block runs.

    Args:
        folder: the person's state folder for the store, absolute.

    Raises:
        Busy: another process is.
    """
    lock, holder = FileLock(os.path.join(folder, "watch.lock"), timeout=0), os.path.join(folder, "watch.lock.holder")
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(f"helixstore watch runs already{_who(holder)}", "stop it first, or let it work", folder) from error
    try:
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        kernel.replace_file(holder, json.dumps(who).encode(), 0o600, durable=False)
        yield
    finally:
        lock.release()


def _who(holder: str) -> str:
    try:
        with open(holder, "rb") as file:
            who = json.load(file)
        return f": process {who['pid']} on {who['host']}"
    except (OSError, ValueError, KeyError):
        return ""
