"""Which file system a path lies on, and whether it is a network's.

`st_dev` is not used for that: it differs between runs on network and removable file systems and between the
subvolumes of one btrfs. On Linux the answer comes from /proc/self/mountinfo [proc(5)].
"""

from __future__ import annotations

import errno
import os
import sys
import uuid
from dataclasses import dataclass

from helixstore.fs.listing import listdir

if sys.platform.startswith("linux"):
    import fcntl

__all__ = ["FLEETING", "Mount", "mount_of", "unsettled_ns"]

#: File systems in memory: all that is on them is gone at the next restart.
FLEETING = frozenset({"tmpfs", "ramfs"})
#: File systems whose bytes lie on another machine, as the type field of mountinfo spells them.
_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "coda", "ncpfs", "lustre", "gpfs", "beegfs",
    "beegfs_nodev", "glusterfs", "ocfs2", "gfs2", "pvfs2", "orangefs", "davfs", "afpfs", "webdav", "virtiofs",
    "vboxsf", "vmhgfs", "prl_fs", "drvfs",
})
#: What FUSE serves from this machine's own disks. Of any other that names itself the worst is taken for true: a share
#: taken for a disk costs an index, a disk taken for a share only its place.
_LOCAL_FUSE = frozenset({
    "ntfs", "ntfs-3g", "lowntfs-3g", "exfat", "ext2", "fuseext2", "zfs", "apfs", "hfsfuse", "bindfs", "mergerfs",
    "mhddfs", "unionfs", "unionfs-fuse", "fuse-overlayfs", "encfs", "gocryptfs", "cryfs", "ecryptfs", "veracrypt",
    "dislocker", "squashfuse", "squashfuse_ll", "archivemount", "portal", "lxcfs", "gvfs-local",
})
#: nanoseconds for which a folder's time may stand for two states of it: clocks tick coarsely, and the clients of a
#: network keep listings (sshfs 20 s, nfs 60 s) apart from times [sshfs(1), nfs(5)]
_TICK_NS, _LISTINGS_NS = 2 * 10**9, 120 * 10**9
#: where a folder's time tells nothing: exfat-fuse leaves it as it is when a file is moved in (seen with 1.3.0)
_SILENT = frozenset({"fuseblk", "fuse.exfat", "fuse.exfat-fuse"})
_NEVER_NS = 1 << 62
#: what a kernel, a file system or a container says that does not tell names of disks, each time it is asked
_UNTOLD = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EACCES})
_GETFSUUID = 0x80111500             # FS_IOC_GETFSUUID of linux/fs.h, since Linux 6.9: a length, then 16 bytes
_ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\", "\\043": "#"}


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system.

    Attributes:
        point: where it is mounted, absolute.
        kind: its type as the system names it ("ext4", "nfs4", "fuse.sshfs"); "" where the system does not say.
        source: device or export.
        network: its bytes lie on another machine.
        id: the same after a reboot or another mount of the same file system; differs between the parts (bind
            mounts, subvolumes) that hard links do not cross.
    """

    point: str
    kind: str
    source: str
    network: bool
    id: str


def mount_of(path: str | os.PathLike[str]) -> Mount:
    """The mount that a path lies on; of the nearest existing folder above it when it does not exist yet.

    Raises:
        OSError: the mount table or the folder cannot be read.
    """
    place = os.path.realpath(path)
    if sys.platform.startswith("linux"):
        best: tuple[str, list[str]] | None = None
        for point, fields in _table():
            inside = place == point or place.startswith(point.rstrip("/") + "/")
            if inside and (best is None or len(point) >= len(best[0])):     # a later one hides an earlier
                best = point, fields
        if best is not None:
            return _from_mountinfo(best[1])
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return Mount(place, "", "", place.startswith("\\\\"), f"fs:{_file_system_id(place):x}")


def _table() -> list[tuple[str, list[str]]]:
    """Every mount point with its line, split; taken apart anew only when a line has changed."""
    global _last
    with open("/proc/self/mountinfo", "rb", buffering=0) as file:
        text = file.readall()
    known, table = _last
    if text != known:
        lines = [line.split(" ") for line in text.decode("utf-8", "surrogateescape").splitlines()]
        table = [(_unescape(fields[4]), fields) for fields in lines]
        _last = text, table
    return table


_last: tuple[bytes, list[tuple[str, list[str]]]] = b"", []


def _from_mountinfo(fields: list[str]) -> Mount:
    """One line: id parent major:minor root point options [optional ...] - type source superoptions."""
    dash = fields.index("-", 6)
    kind, source = fields[dash + 1], _unescape(fields[dash + 2])
    point, root = _unescape(fields[4]), _unescape(fields[3])
    network = _is_network(kind, source)
    if network:
        name = f"{kind.rstrip('4')}:{source}"
    elif known := _uuid_of(point) or _udev_uuid_of(source):
        name = f"uuid:{known}"
    else:
        name = f"{kind}:{_file_system_id(point):x}"
    return Mount(point, kind, source, network, f"{name}:{root}")


def _is_network(kind: str, source: str) -> bool:
    """Of FUSE file systems, `fuse.NAME` tells which program serves them, and `fuse` alone nothing but the source."""
    family, _, program = kind.partition(".")
    if family != "fuse":
        return kind in _NETWORK
    if program:
        return program not in _LOCAL_FUSE
    return source.startswith("//") or ":" in source


def unsettled_ns(path: str | os.PathLike[str]) -> int:
    """How old a folder's time must be, in nanoseconds, before it may stand for one state of what is in it; more than
    any age where it never does."""
    mount = mount_of(path)
    if mount.kind in _SILENT:
        return _NEVER_NS
    return _LISTINGS_NS if mount.network else _TICK_NS


def _unescape(text: str) -> str:
    if "\\" in text:
        for code, character in _ESCAPES.items():
            text = text.replace(code, character)
    return text


def _uuid_of(point: str) -> str | None:
    """The UUID of a file system as it has it itself; None where it does not tell. Asking opens its top folder.

    Raises:
        OSError: it could not tell just now, as on a failing disk; another answer would be taken for another disk.
    """
    try:
        descriptor = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return None
    try:
        told = _uninterrupted(descriptor)
    except OSError as error:
        if error.errno in _UNTOLD:
            return None
        raise
    finally:
        os.close(descriptor)
    return str(uuid.UUID(bytes=told[1:])) if told[0] == 16 and any(told[1:]) else None


def _uninterrupted(descriptor: int) -> bytes:
    """The call, again when a signal came in between: Python does that for most calls, but not for this one."""
    while True:
        try:
            return fcntl.ioctl(descriptor, _GETFSUUID, bytes(17))
        except InterruptedError:
            continue


def _udev_uuid_of(source: str) -> str | None:
    """The UUID of the file system on a block device, as udev names it; None without udev (containers)."""
    if not source.startswith("/dev/"):
        return None
    device, folder = os.path.realpath(source), "/dev/disk/by-uuid"
    try:
        names = listdir(folder)
    except OSError:
        return None
    return next((name for name in names if os.path.realpath(os.path.join(folder, name)) == device), None)


def _file_system_id(point: str) -> int:
    """`f_fsid` of statvfs(3), which ext4 and btrfs derive from their UUID; the device number where there is none."""
    try:
        return os.statvfs(point).f_fsid if hasattr(os, "statvfs") else os.stat(point).st_dev
    except OSError:
        return 0
