"""The kernel's FUSE protocol, as much of it as `nfslike` speaks: requests in, answers out. [linux/fuse.h, 7.31]

No library: a file system of our own decides what every node is, so that a name, a file and its handle can be made to
disagree as they do on a network.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

OPS = {
    1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 8: "mknod", 9: "mkdir",
    10: "unlink", 11: "rmdir", 12: "rename", 13: "link", 14: "open", 15: "read", 16: "write", 17: "statfs",
    18: "release", 20: "fsync", 25: "flush", 26: "init", 27: "opendir", 28: "readdir", 29: "releasedir",
    30: "fsyncdir", 31: "getlk", 32: "setlk", 33: "setlkw", 35: "create", 36: "interrupt", 38: "destroy",
    42: "batch_forget",
}
SILENT = frozenset({"forget", "batch_forget", "interrupt"})     # the kernel waits for no answer
MAX_WRITE = 1 << 20

_HEAD, _OUT = struct.Struct("IIQQIIIHH"), struct.Struct("IiQ")
_ATTR = struct.Struct("6Q10I")
_FLAGS = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 22             # ASYNC_READ, ATOMIC_O_TRUNC, BIG_WRITES, MAX_PAGES
LOCK_FLAGS = 1 << 1 | 1 << 10                           # POSIX_LOCKS, FLOCK_LOCKS: the server is asked


class Request(NamedTuple):
    op: str
    unique: int
    node: int
    uid: int
    gid: int
    pid: int
    body: bytes

    def take(self, form: str) -> tuple[tuple[int, ...], bytes]:
        """The fixed numbers, and what follows them."""
        size = struct.calcsize(form)
        return struct.unpack_from(form, self.body), self.body[size:]

    def names(self, form: str = "") -> tuple[tuple[int, ...], list[str]]:
        """The fixed numbers, and the texts that follow, each with a NUL at its end."""
        numbers, rest = self.take(form)
        return numbers, [os.fsdecode(part) for part in rest.split(b"\0")[:-1]]


class Wire:
    """The connection to the kernel of one mount."""

    def __init__(self, source: str, point: str, kind: str, ask_for_locks: bool) -> None:
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._buffer = bytearray(MAX_WRITE + 65536)
        self._locks = LOCK_FLAGS if ask_for_locks else 0
        self._point = os.fsencode(point)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(source.encode(), self._point, kind.encode(), 2 | 4, options.encode()):    # NOSUID, NODEV
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), point)

    def requests(self) -> Iterator[Request]:
        """What the kernel asks, until it is unmounted."""
        while True:
            try:
                size = os.readv(self._device, [self._buffer])
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            _, op, unique, node, uid, gid, pid, *_ = _HEAD.unpack_from(self._buffer)
            request = Request(OPS.get(op, ""), unique, node, uid, gid, pid, bytes(self._buffer[_HEAD.size:size]))
            if request.op == "init":
                self.answer(request, struct.pack("4I2H2I2H8I", 7, 31, MAX_WRITE, _FLAGS | self._locks, 16, 12,
                                                 MAX_WRITE, 1, 256, 0, *([0] * 8)))
            elif not request.op:
                self.fail(request, errno.ENOSYS)
            else:
                yield request

    def answer(self, request: Request, data: bytes = b"") -> None:
        self._send(request, 0, data)

    def fail(self, request: Request, code: int) -> None:
        self._send(request, -code, b"")

    def _send(self, request: Request, code: int, data: bytes) -> None:
        if request.op not in SILENT:
            with contextlib.suppress(FileNotFoundError):        # whoever asked is gone
                os.writev(self._device, [_OUT.pack(_OUT.size + len(data), code, request.unique), data])

    def unmount(self) -> None:
        ctypes.CDLL(None).umount2(self._point, 2)       # MNT_DETACH


def attributes(status: os.stat_result, mode: int, skew_ns: int) -> bytes:
    times = [divmod(time + skew_ns, 10**9) for time in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)]
    return _ATTR.pack(status.st_ino, status.st_size, status.st_blocks, *(whole for whole, _ in times),
                      *(part for _, part in times), mode, status.st_nlink, status.st_uid, status.st_gid, status.st_rdev,
                      4096, 0)


def _parts(seconds: float) -> tuple[int, int]:
    return int(seconds), int(seconds % 1 * 1e9)


def attr_answer(attr: bytes, seconds: float) -> bytes:
    """`seconds`: for which the kernel need not ask again."""
    whole, part = _parts(seconds)
    return struct.pack("QII", whole, part, 0) + attr


def entry_answer(node: int, attr: bytes, seconds: float) -> bytes:
    """A name; `seconds`: for which the kernel need not ask for it or its attributes again."""
    whole, part = _parts(seconds)
    return struct.pack("4Q2I", node, 0, whole, whole, part, part) + attr


def open_answer(handle: int) -> bytes:
    return struct.pack("QII", handle, 0, 0)


def listing(names: list[tuple[str, int, int]], start: int, size: int) -> bytes:
    """(name, inode, type) from a position on, as many as fit."""
    found = b""
    for number, (name, inode, kind) in enumerate(names[start:], start + 1):
        spelt = os.fsencode(name)
        row = struct.pack("2Q2I", inode, number, len(spelt), kind) + spelt
        row += b"\0" * (-len(row) % 8)
        if len(found) + len(row) > size:
            break
        found += row
    return found
