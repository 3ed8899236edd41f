"""A regular file, opened so that nothing it is or does can hurt: no device, no pipe, no mapping, no unbounded read."""

from __future__ import annotations

import os
import stat
from types import TracebackType

from helixstore.errors import Incomplete, Unreadable
from helixstore.fs.names import printable

__all__ = ["Opened", "Window", "show", "why_unreadable"]

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def show(path: str) -> str:
    """The file's own name, for messages; characters that a terminal would obey are escaped."""
    return printable(os.path.basename(path) or path)


class Opened:
    """A regular file open for reading. Use as a context manager.

    Args:
        path: absolute or relative; links are followed.

    Attributes:
        path: as given.
        size: bytes, when it was opened.

    Raises:
        Unreadable: missing, a dangling link or a loop, no permission, or anything but a regular file. A pipe or
            device is never opened: its kind is looked at first, and again on the descriptor.
    """

    __slots__ = ("_fd", "path", "size")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._fd = -1
        try:
            self._refuse(os.stat(self.path).st_mode)
            self._fd = os.open(self.path, _FLAGS)
            status = os.fstat(self._fd)
            self._refuse(status.st_mode)
        except ValueError as error:                     # a NUL in the name
            raise Unreadable(f"{show(self.path)} is not a file name", path=self.path) from error
        except OSError as error:
            self.close()
            if isinstance(error, Unreadable):
                raise
            raise Unreadable(why_unreadable(self.path, error), path=self.path) from error
        self.size = status.st_size

    def _refuse(self, mode: int) -> None:
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
            raise Unreadable(f"{show(self.path)} is {kind}", path=self.path)

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset` (both in bytes); fewer only at the end of the file.

        Raises:
            Unreadable: the file system reported an error.
        """
        parts = []
        try:
            os.lseek(self._fd, offset, os.SEEK_SET)
            while count > 0:
                part = os.read(self._fd, count)
                if not part:
                    break
                parts.append(part)
                count -= len(part)
        except OSError as error:
            raise Unreadable(why_unreadable(self.path, error), path=self.path) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def check_unchanged(self) -> None:
        """Raise `Incomplete` when the file has another size now: somebody is still writing it."""
        now = os.fstat(self._fd).st_size
        if now != self.size:
            raise Incomplete(
                f"{show(self.path)} went from {self.size:,} to {now:,} bytes while it was read",
                "try again when the program that writes it has finished", self.path,
            )

    def close(self) -> None:
        """Close the file; again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def why_unreadable(path: str, error: OSError) -> str:
    """Why a file cannot be opened, in one clause that names it."""
    if isinstance(error, FileNotFoundError):
        return f"{show(path)} {'is a link to nothing' if os.path.islink(path) else 'is not there any more'}"
    if isinstance(error, PermissionError):
        return f"{show(path)} may not be read by this user"
    return f"{show(path)} cannot be read: {error.strerror or error}"


class Window:
    """A piece of a file that slides forward: at most a MiB, or what one `need` asks for, are in memory.

    Args:
        file: the open file.
        start: offset of the first byte, in bytes.
        end: offset behind the last byte that may be read; at most the file's size.
        what: what ends too early if more is needed, for the message ("its header").

    Attributes:
        buffer: the bytes now in memory; `buffer[pos]` is the next one.
        pos: index of the next byte in `buffer`; a caller may move it forward within `buffer`.
    """

    __slots__ = ("_base", "_end", "_file", "_next", "_what", "buffer", "pos")

    FIRST, MORE = 1 << 16, 1 << 20          # bytes read at once

    def __init__(self, file: Opened, start: int, end: int, what: str = "its header") -> None:
        self._file = file
        self._base = start
        self._end = min(end, file.size)
        self._what = what
        self._next = self.FIRST
        self.buffer = b""
        self.pos = 0

    @property
    def offset(self) -> int:
        """Of the next byte in the file."""
        return self._base + self.pos

    @property
    def left(self) -> int:
        """Bytes between the next one and the end."""
        return self._end - self.offset

    @property
    def at_file_end(self) -> bool:
        """The end that may be read is the end of the file."""
        return self._end == self._file.size

    def need(self, count: int) -> None:
        """Make `count` bytes available at `pos`.

        Raises:
            Incomplete: the file, or the part that may be read, ends before.
        """
        if len(self.buffer) - self.pos >= count:
            return
        if count > self.left:
            raise self.too_short()
        start = self.offset
        kept = self.buffer[self.pos :]
        ask = min(max(count, self._next) - len(kept), self._end - start - len(kept))
        self._next = self.MORE
        self.buffer = kept + self._file.read_at(start + len(kept), ask)
        self._base, self.pos = start, 0
        if len(self.buffer) < count:                    # it was cut while we read
            raise self.too_short()

    def more(self) -> bool:
        """Read at least one further byte behind `buffer` if there is one, keeping what lies from `pos` on."""
        available = len(self.buffer) - self.pos
        if available >= self.left:
            return False
        self.need(min(available + self.MORE, self.left))
        return True

    def skip(self, count: int) -> None:
        """Move `count` bytes forward without reading them.

        Raises:
            Incomplete: the end comes before.
        """
        if count > self.left:
            raise self.too_short()
        inside = len(self.buffer) - self.pos
        if count <= inside:
            self.pos += count
        else:
            self._base, self.buffer, self.pos = self.offset + count, b"", 0

    def too_short(self) -> Incomplete:
        """The error that says that the file ends within what was being read."""
        return Incomplete(
            f"{show(self._file.path)} ends too early, with {self._file.size:,} bytes, within {self._what}",
            "download it again", self._file.path,
        )
