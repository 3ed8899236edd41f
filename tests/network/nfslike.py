"""A file system that behaves to its programs as NFS or SMB does: one process for each host's mount of one folder.

    python nfslike.py BACKING MOUNTPOINT CONTROL

What holds in the control file (JSON; read again whenever it is replaced, so a test changes it while it runs):

    age            seconds for which this host believes names, absences, listings and attributes that it has seen
    listings       seconds for listings, where another than `age`: sshfs keeps them apart, NFS asks with the attributes
    skew           seconds by which the server's clock, that gives all times, is ahead
    server         "up"; "eio": every call fails; "hang": none is answered for `patience` seconds, then each fails
    locks          "everybody": each is granted; "host": among this host's processes only (fixed at the mount); or the
                   errno that is answered, "ENOLCK", "ENOSYS"
    squash         "root": root acts as nobody; "all": everybody does; "": nobody is changed
    hard_links     false: none, as on many SMB shares
    modes          "kept"; "ignored" (chmod does nothing) or "refused", and all are 0755, as the mount says
    free           bytes that can still be written, null for no limit; `full` is the errno then (ENOSPC, EDQUOT)
    faults         [{"op", "error", "done", "times", "skip", "name"}]: the next `times` calls of this kind, after `skip`
                   of them, whose name has the pattern `name`, answer `error`; `done`: although it was done

As NFS: a folder or file is a handle, so what another host removed is ESTALE and what it renamed still opens; opening
asks the server; an open file that is unlinked here stays as `.nfs...` until it is closed, for the others it is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fnmatch
import json
import os
import secrets
import signal
import stat
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import fuse_wire as wire
from fuse_wire import Request

NOBODY = 65534
DEFAULTS: dict[str, Any] = {
    "age": 0.0, "listings": None, "skew": 0, "server": "up", "patience": 1.0, "locks": "everybody", "squash": "",
    "hard_links": True, "modes": "kept", "free": None, "full": "ENOSPC", "faults": [],
}
_SETGROUPS = 116                                        # x86-64; for this thread alone, unlike the C library's
_NEEDS_SPACE = frozenset({"write", "create", "mkdir", "symlink", "link", "mknod"})
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Node:
    """A file or folder by its handle. `opened`: how many descriptors of this host; `hidden`: its `.nfs` name."""

    descriptor: int
    lookups: int = 0
    opened: int = 0
    hidden: tuple[int, str] | None = None

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self.descriptor}"

    def status(self) -> os.stat_result:
        status = os.fstat(self.descriptor)
        if status.st_nlink == 0:
            raise OSError(errno.ESTALE, "removed on the server")
        return status


@dataclass
class Cache:
    """What this host believes. Each value with the moment until which it is believed; a listing with that when it was
    made."""

    names: dict[tuple[int, str], tuple[float, int]] = field(default_factory=dict)
    attributes: dict[int, tuple[float, os.stat_result]] = field(default_factory=dict)
    listings: dict[int, tuple[float, list[tuple[str, int, int]]]] = field(default_factory=dict)

    def changed(self, folder: int, name: str, *nodes: int) -> None:
        """By this host: it asks again."""
        self.names.pop((folder, name), None)
        self.listings.pop(folder, None)
        for node in (folder, *nodes):
            self.attributes.pop(node, None)


class NfsLike:
    def __init__(self, backing: str, point: str, control: str) -> None:
        self.control, self.read_at, self.rules = control, 0, dict(DEFAULTS)
        self.reread()
        root = os.open(backing, os.O_PATH | os.O_DIRECTORY)
        self.nodes = {1: Node(root, 1)}
        self.by_inode = {self._key(os.fstat(root)): 1}
        self.next_node, self.handles, self.cache = 2, {}, Cache()
        self.rows: dict[int, list[tuple[str, int, int]]] = {}
        self.next_handle = 1
        self.wire = wire.Wire("server:/export", point, "fuse.nfs", self.rules["locks"] != "host")

    # ---- what holds now --------------------------------------------------------------------------------------------

    def reread(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            changed = os.stat(self.control).st_mtime_ns
            if changed != self.read_at:
                with open(self.control, encoding="utf-8") as file:
                    self.rules = DEFAULTS | json.load(file)
                self.read_at = changed

    def fault(self, request: Request) -> tuple[int, bool]:
        """(errno, although it is done); (0, _) for none."""
        for rule in self.rules["faults"]:
            if rule["op"] != request.op or rule.get("times", 1) <= 0 or not fnmatch.fnmatch(
                    self._last_name(request), rule.get("name", "*")):
                continue
            if rule.get("skip", 0) > 0:
                rule["skip"] -= 1
                continue
            rule["times"] = rule.get("times", 1) - 1
            return getattr(errno, rule["error"]), bool(rule.get("done"))
        free = self.rules["free"]
        if free is not None and request.op in _NEEDS_SPACE:
            self.rules["free"] = free = free - (len(request.body) - 40 if request.op == "write" else 0)
            if free < 0 or (free == 0 and request.op != "write"):
                return getattr(errno, self.rules["full"]), False
        return 0, False

    def _last_name(self, request: Request) -> str:
        forms = {"rename": "Q", "link": "Q", "mkdir": "II", "mknod": "4I", "create": "4I", "lookup": "", "unlink": "",
                 "rmdir": "", "symlink": ""}
        if request.op not in forms:
            return ""
        names = request.names(forms[request.op])[1]
        return names[0 if request.op == "symlink" else -1]

    def serve(self) -> None:
        for request in self.wire.requests():
            self.reread()
            self._while_stopped()
            code, done = self.fault(request) if self.rules["server"] == "up" else (errno.EIO, False)
            if code and not done and request.op not in wire.SILENT and request.op not in ("release", "releasedir"):
                self.wire.fail(request, code)
                continue
            try:
                with self._as(request):
                    answer = getattr(self, request.op)(request)
            except OSError as error:
                if request.op in _NEEDS_SPACE:          # a name that could not be made is looked up anew
                    self.cache.names.pop((request.node, self._last_name(request)), None)
                self.wire.fail(request, error.errno or errno.EIO)
            else:
                (self.wire.fail(request, code) if code else self.wire.answer(request, answer or b""))

    def _while_stopped(self) -> None:
        end = time.monotonic() + self.rules["patience"]
        while self.rules["server"] == "hang" and time.monotonic() < end:
            time.sleep(0.02)
            self.reread()

    @contextlib.contextmanager
    def _as(self, request: Request) -> Any:
        """The server acts with the rights of whoever asked, as it knows them."""
        uid, gid = request.uid, request.gid
        if self.rules["squash"] == "all" or (self.rules["squash"] == "root" and uid == 0):
            uid = gid = NOBODY
        if uid:
            groups = self._groups(request.pid) if uid == request.uid else []
            _libc.syscall(_SETGROUPS, len(groups), (ctypes.c_uint32 * len(groups))(*groups))
            _libc.setfsgid(gid)
            _libc.setfsuid(uid)
        try:
            yield
        finally:
            if uid:
                _libc.setfsuid(0)
                _libc.setfsgid(0)
                _libc.syscall(_SETGROUPS, 0, None)

    @staticmethod
    def _groups(pid: int) -> list[int]:
        try:
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                line = next(line for line in file if line.startswith("Groups:"))
        except (OSError, StopIteration):
            return []
        return [int(word) for word in line.split()[1:]]

    # ---- handles and what is believed of them ----------------------------------------------------------------------

    @staticmethod
    def _key(status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino

    def _until(self) -> float:
        return time.monotonic() + float(self.rules["age"])

    def _status(self, number: int, ask: bool = False) -> os.stat_result:
        until, status = self.cache.attributes.get(number, (0.0, None))
        if ask or status is None or time.monotonic() > until:
            status = self.nodes[number].status()
            self.cache.attributes[number] = self._until(), status
        return status

    def _attr(self, number: int, ask: bool = False) -> bytes:
        status = self._status(number, ask)
        mode = status.st_mode if self.rules["modes"] == "kept" else stat.S_IFMT(status.st_mode) | 0o755
        return wire.attributes(status, mode, int(self.rules["skew"]) * 10**9)

    def _enter(self, number: int) -> bytes:
        attr = self._attr(number)
        self.nodes[number].lookups += 1
        return wire.entry_answer(number, attr, self._believed(number))

    def _believed(self, number: int) -> float:
        """Seconds for which the kernel may believe the attributes too: of folders only, to walk paths faster."""
        until, status = self.cache.attributes[number]
        return max(0.0, until - time.monotonic()) if stat.S_ISDIR(status.st_mode) else 0.0

    def _ask(self, folder: int, name: str) -> int:
        """The handle of a name, from the server; 0: there is none."""
        try:
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.nodes[folder].descriptor)
        except FileNotFoundError:
            self.nodes[folder].status()
            number = 0
        else:
            key = self._key(os.fstat(descriptor))
            number = self.by_inode.get(key, 0)
            if number:
                os.close(descriptor)
            else:
                number, self.next_node = self.next_node, self.next_node + 1
                self.nodes[number], self.by_inode[key] = Node(descriptor), number
        self.cache.names[folder, name] = self._until(), number
        return number

    def _made(self, folder: int, name: str) -> bytes:
        self.cache.changed(folder, name)
        number = self._ask(folder, name)
        self.cache.attributes.pop(number, None)
        return self._enter(number)

    # ---- names -----------------------------------------------------------------------------------------------------

    def lookup(self, request: Request) -> bytes:
        [name] = request.names()[1]
        until, number = self.cache.names.get((request.node, name), (0.0, 0))
        if time.monotonic() > until or (number and number not in self.nodes):
            number = self._ask(request.node, name)
        try:
            return self._absent() if not number else self._enter(number)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            number = self._ask(request.node, name)
            return self._absent() if not number else self._enter(number)

    @staticmethod
    def _absent() -> bytes:
        raise FileNotFoundError(errno.ENOENT, "absent")

    def forget(self, request: Request) -> None:
        self._forget(request.node, *request.take("Q")[0])

    def batch_forget(self, request: Request) -> None:
        _, rest = request.take("II")
        for number, count in struct.iter_unpack("QQ", rest):
            self._forget(number, count)

    def interrupt(self, request: Request) -> None:
        pass

    def _forget(self, number: int, count: int) -> None:
        node = self.nodes.get(number)
        if node is None or number == 1:
            return
        node.lookups -= count
        if node.lookups <= 0:
            self.by_inode.pop(self._key(os.fstat(node.descriptor)), None)
            os.close(node.descriptor)
            del self.nodes[number]
            self.cache.attributes.pop(number, None)
            self.cache.listings.pop(number, None)

    def mkdir(self, request: Request) -> bytes:
        (mode, _), [name] = request.names("II")
        os.mkdir(name, mode, dir_fd=self.nodes[request.node].descriptor)
        return self._made(request.node, name)

    def mknod(self, request: Request) -> bytes:
        (mode, device, *_), [name] = request.names("4I")
        os.mknod(name, mode, device, dir_fd=self.nodes[request.node].descriptor)
        return self._made(request.node, name)

    def symlink(self, request: Request) -> bytes:
        name, target = request.names()[1]
        os.symlink(target, name, dir_fd=self.nodes[request.node].descriptor)
        return self._made(request.node, name)

    def link(self, request: Request) -> bytes:
        (old,), [name] = request.names("Q")
        if not self.rules["hard_links"]:
            raise OSError(errno.EOPNOTSUPP, "no hard links")
        self.cache.changed(request.node, name, old)
        os.link(self.nodes[old].path, name, dst_dir_fd=self.nodes[request.node].descriptor, follow_symlinks=True)
        return self._made(request.node, name)

    def unlink(self, request: Request) -> None:
        [name] = request.names()[1]
        if not self._hide(request.node, name):
            os.unlink(name, dir_fd=self.nodes[request.node].descriptor)
        self.cache.changed(request.node, name)

    def _hide(self, parent: int, name: str) -> bool:
        """Give a file that is open here another name instead of losing it; False when it is not open."""
        folder, number = self.nodes[parent], self._ask(parent, name)
        self.cache.changed(parent, name, number)
        node = self.nodes.get(number)
        if node is None or not node.opened or node.hidden or node.status().st_nlink > 1:
            return False
        node.hidden = parent, f".nfs{secrets.token_hex(8)}"
        os.rename(name, node.hidden[1], src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
        folder.lookups += 1                             # kept until the hidden name goes
        return True

    def rmdir(self, request: Request) -> None:
        [name] = request.names()[1]
        self.cache.changed(request.node, name)
        os.rmdir(name, dir_fd=self.nodes[request.node].descriptor)

    def rename(self, request: Request) -> None:
        (new,), [old_name, new_name] = request.names("Q")
        self.cache.changed(request.node, old_name)
        self.cache.changed(new, new_name)
        self._hide(new, new_name)
        os.rename(old_name, new_name, src_dir_fd=self.nodes[request.node].descriptor,
                  dst_dir_fd=self.nodes[new].descriptor)
        self.cache.attributes.pop(self._ask(new, new_name), None)

    def readlink(self, request: Request) -> bytes:
        return os.fsencode(os.readlink("", dir_fd=self.nodes[request.node].descriptor))

    # ---- attributes ------------------------------------------------------------------------------------------------

    def getattr(self, request: Request) -> bytes:
        return wire.attr_answer(self._attr(request.node), self._believed(request.node))

    def setattr(self, request: Request) -> bytes:
        (valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _), _ = request.take("II6Q8I")
        node = self.nodes[request.node]
        self.cache.attributes.pop(request.node, None)
        node.status()
        if valid & 1 and self.rules["modes"] == "refused":
            raise PermissionError(errno.EPERM, "modes cannot be set")
        if valid & 6:
            os.chown(node.path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 1 and self.rules["modes"] == "kept":
            os.chmod(node.path, stat.S_IMODE(mode))
        if valid & 8:
            os.truncate(node.path, size)
        if valid & (16 | 32 | 128 | 256):
            now, was, skew = time.time_ns(), node.status(), int(self.rules["skew"]) * 10**9
            times = [now if valid & at_once else seconds * 10**9 + part - skew if valid & given else kept
                     for at_once, given, seconds, part, kept in (
                         (128, 16, atime, atime_ns, was.st_atime_ns), (256, 32, mtime, mtime_ns, was.st_mtime_ns))]
            os.utime(node.path, ns=(times[0], times[1]))
        return wire.attr_answer(self._attr(request.node, ask=True), 0.0)

    def statfs(self, request: Request) -> bytes:
        found = os.statvfs(self.nodes[1].path)
        free = self.rules["free"]
        blocks = found.f_bavail if free is None else max(0, free) // found.f_frsize
        return struct.pack("5Q4I6I", found.f_blocks, blocks, blocks, found.f_files, found.f_ffree, found.f_bsize, 255,
                           found.f_frsize, 0, *([0] * 6))

    # ---- open files ------------------------------------------------------------------------------------------------

    def _handle(self, number: int, descriptor: int) -> bytes:
        self.handles[self.next_handle] = (number, descriptor)
        self.nodes[number].opened += 1
        self.next_handle += 1
        return wire.open_answer(self.next_handle - 1)

    def open(self, request: Request) -> bytes:
        (flags, _), _ = request.take("II")
        self._attr(request.node, ask=True)              # close to open: the server is asked
        descriptor = os.open(self.nodes[request.node].path, flags & ~(os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL))
        return self._handle(request.node, descriptor)

    def create(self, request: Request) -> bytes:
        (flags, mode, *_), [name] = request.names("4I")
        descriptor = os.open(name, flags | os.O_CREAT | os.O_NOFOLLOW, mode, dir_fd=self.nodes[request.node].descriptor)
        entry = self._made(request.node, name)
        return entry + self._handle(self.cache.names[request.node, name][1], descriptor)

    def _opened(self, handle: int) -> int:
        descriptor = self.handles[handle][1]
        if os.fstat(descriptor).st_nlink == 0:
            raise OSError(errno.ESTALE, "removed on the server")
        return descriptor

    def read(self, request: Request) -> bytes:
        (handle, offset, size, *_), _ = request.take("QQIIQII")
        return os.pread(self._opened(handle), size, offset)

    def write(self, request: Request) -> bytes:
        (handle, offset, size, *_), data = request.take("QQIIQII")
        written = os.pwrite(self._opened(handle), data[:size], offset)
        self.cache.attributes.pop(request.node, None)
        return struct.pack("II", written, 0)

    def release(self, request: Request) -> None:
        (handle, *_), _ = request.take("QIIQ")
        number, descriptor = self.handles.pop(handle)
        os.close(descriptor)
        node = self.nodes[number]
        node.opened -= 1
        if node.hidden and not node.opened:
            (folder, name), node.hidden = node.hidden, None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.nodes[folder].descriptor)
            self.cache.changed(folder, name, number)
            self._forget(folder, 1)

    def flush(self, request: Request) -> None:
        pass

    def fsync(self, request: Request) -> None:
        self._opened(request.take("QII")[0][0])

    def fsyncdir(self, request: Request) -> None:
        self.nodes[request.node].status()

    # ---- folders ---------------------------------------------------------------------------------------------------

    def opendir(self, request: Request) -> bytes:
        node = self.nodes[request.node]
        since, rows = self.cache.listings.get(request.node, (-1e9, []))
        age = self.rules["age"] if self.rules["listings"] is None else self.rules["listings"]
        if time.monotonic() - since >= float(age):
            node.status()
            descriptor = os.open(node.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(descriptor) as entries:
                    rows = [(entry.name, entry.inode(), 4 if entry.is_dir(follow_symlinks=False) else
                             10 if entry.is_symlink() else 8) for entry in entries]
            finally:
                os.close(descriptor)
            self.cache.listings[request.node] = time.monotonic(), rows
        self.rows[self.next_handle] = [(".", 1, 4), ("..", 1, 4), *rows]
        self.next_handle += 1
        return wire.open_answer(self.next_handle - 1)

    def readdir(self, request: Request) -> bytes:
        (handle, offset, size, *_), _ = request.take("QQIIQII")
        return wire.listing(self.rows[handle], offset, size)

    def releasedir(self, request: Request) -> None:
        self.rows.pop(request.take("QIIQ")[0][0], None)

    # ---- locks -----------------------------------------------------------------------------------------------------

    def setlk(self, request: Request) -> None:
        if self.rules["locks"] != "everybody":
            raise OSError(getattr(errno, self.rules["locks"]), "no locks")

    setlkw = setlk

    def getlk(self, request: Request) -> bytes:
        self.setlk(request)
        return struct.pack("QQII", 0, 0, 2, 0)          # F_UNLCK: nobody holds it

    def destroy(self, request: Request) -> None:
        pass


def main() -> None:
    backing, point, control = sys.argv[1:4]
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)          # PR_SET_PDEATHSIG: no mount outlives the tests
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.umask(0)
    served = NfsLike(backing, point, control)

    def stop(*_: object) -> None:
        served.wire.unmount()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    print("mounted", flush=True)
    served.serve()


if __name__ == "__main__":
    main()
