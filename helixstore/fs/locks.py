"""Who else is at it: locks among our own processes, and the kernel's leases, which tell of everybody's."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from enum import Enum

from helixstore.fs import kernel, mounts
from helixstore.fs.kernel import Name

if sys.platform != "win32":
    import fcntl

__all__ = [
    "Lease", "LeaseWatch", "in_use", "lock_file", "lock_folder", "read_lease", "remove_lock", "try_lock", "writers_of",
]

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def lock_file(path: Name) -> Iterator[None]:
    """One process at a time runs the block; the others wait. The file is made where it is missing, and stays.

    The block, or `remove_lock`, may remove it: who waited has the lock on a file without a name then, and begins anew.

    Raises:
        OSError: it can be neither made nor locked here.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o600)
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)                        # which gives the lock back


def remove_lock(path: Name, unless: Callable[[], bool] = lambda: False) -> bool:
    """Remove a file that processes lock, if nobody has it locked; whether that was so.

    Args:
        path: of the file.
        unless: asked while it is locked; it stays if so.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | _NOFOLLOW)
    except OSError:
        return False
    try:
        if not try_lock(descriptor, records=False) or not _is_at(descriptor, path) or unless():
            return False
        kernel.unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_at(descriptor: int, path: Name) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def lock_folder(path: Name) -> int | None:
    """Lock a folder for as long as the returned descriptor is open, or this process and its children live.

    Returns:
        A descriptor for the caller to close, or None when another holds the lock.

    Raises:
        OSError: ENOTSUP or another, where the system or file system cannot lock a folder.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), os.fspath(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def try_lock(descriptor: int, records: bool) -> bool:
    """Lock a whole open file against other processes, if it is free: by flock, or by record locks (fcntl).

    Held until the descriptor is closed.

    Raises:
        OSError: ENOLCK, ENOSYS or another where there are no such locks.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        (fcntl.lockf if records else fcntl.flock)(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


class Lease(Enum):
    """What the kernel says about writers of a file."""

    GRANTED = "granted"              # nobody has it open for writing, and a new writer waits for us
    BUSY = "busy"                    # somebody has it open or mapped for writing
    UNKNOWN = "unknown"              # not ours, not Linux, or the file system's leases tell of this host at most


class LeaseWatch:
    """A read lease while it is held, or the reason why there is none (`state`)."""

    def __init__(self, descriptor: int, state: Lease) -> None:
        self.state = state
        self._descriptor = descriptor

    def broken(self) -> bool:
        """Whether a writer is waiting for us: release at once and try later. Costs one system call."""
        return self.state is Lease.GRANTED and fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK


@contextlib.contextmanager
def read_lease(descriptor: int) -> Iterator[LeaseWatch]:
    """Hold a read lease on an open regular file while the block runs, if the kernel grants one.

    A writer's open then waits until the block ends (45 s at most), so poll `broken()` between chunks. The kernel's
    notice is redirected from SIGIO, which would end the process, to SIGURG, which is ignored unless somebody asked
    for it; so no signal handler is touched and any thread may call this. [fcntl(2), Leases; signal(7)]

    Args:
        descriptor: open for reading only.
    """
    state = _take_lease(descriptor)
    try:
        yield LeaseWatch(descriptor, state)
    finally:
        if state is Lease.GRANTED:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _take_lease(descriptor: int) -> Lease:
    if not sys.platform.startswith("linux"):
        return Lease.UNKNOWN
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno != errno.EAGAIN:
            return Lease.UNKNOWN
        return Lease.UNKNOWN if _leaseless(descriptor) else Lease.BUSY
    if _leaseless(descriptor):
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return Lease.UNKNOWN
    return Lease.GRANTED


def writers_of(path: Name) -> Lease:
    """Whether anybody writes a file now; UNKNOWN too when it cannot be opened. The lease is given back at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        return Lease.BUSY if error.errno == errno.EAGAIN else Lease.UNKNOWN
    try:
        with read_lease(descriptor) as lease:
            return lease.state
    finally:
        os.close(descriptor)


def in_use(path: Name) -> bool | None:
    """Whether any process has the file open or mapped, through any of its names; None: not known, as on a network.

    Asks for a write lease and gives it back at once, which needs the file to be ours. [fcntl(2), Leases]
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN and not _leaseless(descriptor) else None
    else:
        return None if _leaseless(descriptor) else False
    finally:
        os.close(descriptor)


def _leaseless(descriptor: int) -> bool:
    """Whether a lease says nothing: EAGAIN means "no leases" on NFS without a delegation, and on FUSE, where the
    kernel grants what it cannot promise, since it does not see who opens the file behind it."""
    mount = mounts.mount_of(f"/proc/self/fd/{descriptor}")
    return mount.network or mount.kind.startswith("fuse")
