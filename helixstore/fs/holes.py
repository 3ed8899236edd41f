"""Whether a file has a hole: a part that was never written, or that its file system was told to take as zeros."""

from __future__ import annotations

import os

from helixstore.fs.kernel import Name

__all__ = ["has_hole"]

_SEEK_HOLE = getattr(os, "SEEK_HOLE", None)             # Windows has none
_LARGE = 1 << 16                # bytes: what is smaller is not downloaded in parts


def has_hole(path: Name, size: int) -> bool:
    """Whether a part of a file is not there, as far as its file system tells: one lseek. [lseek(2), SEEK_HOLE]

    What was reserved and not written yet (fallocate) counts as a hole too on ext4, XFS and btrfs. A file system that
    knows of no holes says that the first one is at the end.

    Args:
        path: a regular file; no symbolic link.
        size: in bytes.

    Raises:
        OSError: it cannot be opened.
    """
    if _SEEK_HOLE is None or size < _LARGE:
        return False
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        return os.lseek(descriptor, 0, _SEEK_HOLE) < size
    except OSError:
        return False                                    # not told here, or it was cut meanwhile
    finally:
        os.close(descriptor)
