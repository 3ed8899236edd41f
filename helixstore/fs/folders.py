"""Folders with the mode that is wanted, whatever the umask and the primary group of whoever makes them.

A folder that a group fills is set-gid, so that what is made in it is the group's, and sticky, so that only the owner
of a file, and the folder's own, may rename or remove it [inode(7), unlink(2)]. Where the administrator has put a
default ACL on a folder, it decides who may read and write, and only these two bits are added [acl(5)].
"""

from __future__ import annotations

import contextlib
import os
import stat

from helixstore.fs import kernel

__all__ = ["COMMON", "OWN", "has_acl", "make_folder", "mode_of", "set_mode"]

#: of a folder that every member of a group fills
COMMON = 0o3770
#: of a person's own folder, which the group reads
OWN = 0o2750
_SPECIAL = 0o7000
_ACL = "system.posix_acl_access"


def make_folder(path: str, mode: int, gid: int = -1) -> bool:
    """Make one folder with exactly this mode; the folder above it exists.

    Args:
        path: absolute.
        mode: permission, set-gid and sticky bits.
        gid: the group it belongs to; -1: as the system gives it, which below a set-gid folder is that folder's group.

    Returns:
        False when there is one already, whose mode is then set if it is ours.

    Raises:
        OSError: FileExistsError when something else lies there, and what the system says.
    """
    try:
        os.mkdir(path, mode & 0o777)            # no more than is wanted, not even for an instant
    except FileExistsError:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise
        if hasattr(os, "getuid") and status.st_uid == os.geteuid():
            set_mode(path, mode, gid)
        return False
    set_mode(path, mode, gid)
    return True


def set_mode(path: str, mode: int, gid: int = -1) -> bool:
    """Give a folder of ours its group and mode; True when both hold then. With an ACL, the permissions are the ACL's.

    Raises:
        PermissionError: we may not give it to that group.
    """
    status = os.stat(path)
    if gid not in (-1, status.st_gid):
        os.chown(path, -1, gid)
    wanted = (stat.S_IMODE(status.st_mode) & 0o777) | (mode & _SPECIAL) if has_acl(path) else mode
    if stat.S_IMODE(status.st_mode) != wanted or gid not in (-1, status.st_gid):    # chown may clear the set-gid bit
        kernel.try_mode(path, wanted)
    return mode_of(path) == wanted


def mode_of(path: str) -> int:
    """The permission, set-gid and sticky bits."""
    return stat.S_IMODE(os.stat(path).st_mode)


def has_acl(path: str) -> bool:
    """Whether more than owner, group and others have rights there."""
    if hasattr(os, "getxattr"):
        with contextlib.suppress(OSError):
            return bool(os.getxattr(path, _ACL))
    return False
