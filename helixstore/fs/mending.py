"""What mending a file asks of the kernel: a range of another file, and two names that change places."""

from __future__ import annotations

import errno
import os

from helixstore.fs.kernel import Name, cannot_here, rename_by

__all__ = ["copy_range", "exchange"]

_CHUNK = 1 << 30                     # copy_file_range takes at most 2 GiB at once
_RENAME_EXCHANGE = 2


def copy_range(reading: int, writing: int, offset: int, length: int) -> None:
    """Copy a range of one file to the same place in another; shared rather than copied where the file system can.

    Args:
        reading, writing: descriptors.
        offset, length: in bytes.

    Raises:
        OSError: ENODATA when the first file ends before the range does.
    """
    end = offset + length
    while offset < end and hasattr(os, "copy_file_range"):
        try:
            count = os.copy_file_range(reading, writing, min(end - offset, _CHUNK), offset, offset)
        except OSError as error:
            if not cannot_here(error) and error.errno != errno.EBADF:
                raise
            break
        if not count:
            break
        offset += count
    os.lseek(reading, offset, os.SEEK_SET)
    os.lseek(writing, offset, os.SEEK_SET)
    while offset < end:
        data = os.read(reading, min(end - offset, 1 << 20))
        if not data:
            raise OSError(errno.ENODATA, "the file ends before the range does")
        offset += len(data)
        part = memoryview(data)
        while part:
            part = part[os.write(writing, part):]


def exchange(one: Name, other: Name) -> None:
    """Let two names change places in one step, each leading to something at every instant.

    Raises:
        OSError: ask `cannot_here` about it: only Linux has this, and not for every file system [rename(2)].
    """
    rename_by(_RENAME_EXCHANGE, one, other)
