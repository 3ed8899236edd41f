"""What stat says of a file, kept to tell later whether it is still the same."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

__all__ = ["Fingerprint", "fingerprint", "fingerprint_of", "same_inode"]


class Fingerprint(NamedTuple):
    """What lstat or stat says of a file. Sizes in bytes, times in nanoseconds since 1970."""

    inode: int
    bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int
    mode: int
    uid: int
    nlink: int

    def same_content(self, other: Fingerprint, ours: bool = False) -> bool:
        """Whether nothing says that the content changed: inode, size and mtime, and ctime unless `ours`.

        Args:
            other: taken earlier or later of the same path.
            ours: we linked, unlinked or changed the mode meanwhile, which moves ctime.
        """
        return self[:3] == other[:3] and (ours or self.ctime_ns == other.ctime_ns)

    @property
    def regular(self) -> bool:
        """A regular file: no link, folder, device, pipe or socket."""
        return stat.S_ISREG(self.mode)


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """The fingerprint in a stat result."""
    return Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev,
                       status.st_mode, getattr(status, "st_uid", 0), status.st_nlink)


def same_inode(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether the file system shows that two names are one file; links are followed.

    sshfs makes hard links on its server, but gives each name a number of its own, another one after a while.
    """
    return os.path.samestat(os.stat(one), os.stat(other))


def fingerprint(path: str | os.PathLike[str] | int, follow: bool = False) -> Fingerprint:
    """The fingerprint of a path, or of an open descriptor.

    Args:
        path: absolute path or descriptor.
        follow: of what a symbolic link leads to, rather than of the link.

    Raises:
        OSError: it is not there or may not be looked at.
    """
    return fingerprint_of(os.stat(path) if follow or isinstance(path, int) else os.lstat(path))
