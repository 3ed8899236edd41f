"""A file that is being downloaded: it survives every interruption, and whoever wants the same bytes goes on with it.

    <store>/hosts/<host>/<uid>/downloads/<digest>-<bytes>    as long as the whole, with holes
    <state>/downloads/<host>/<digest>-<bytes>        a line for each MiB that has arrived: its number, its XXH3-128

It is named by the digest that it is to have, so that a download begun from one place is finished from another. The
lines are only appended to, and nothing is flushed: what is on the disk is compared with them before it counts, so that
a power cut costs what it damaged and no more. Who holds the lock on the lines is the one who downloads.

What is noted is not written again, by whatever comes late: so what was hashed is what becomes the blob.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import xxhash

from helixstore.fs import kernel, locks

__all__ = ["PIECE", "Partial"]

#: bytes of one line in the record
PIECE = 1 << 20
_LINE = re.compile(rb"(\d{1,9}) ([0-9a-f]{32})")
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class Partial:
    """One such file, open and locked. Safe from threads.

    Args:
        data, record: absolute; their folders exist.
        size: of the whole, in bytes.

    Raises:
        BlockingIOError: another process downloads it now.
        OSError: it cannot be made or opened.
    """

    def __init__(self, data: str, record: str, size: int) -> None:
        self.path, self.size = data, size
        self._record_path = record
        self._guard = threading.Lock()                  # of what is noted, and of the descriptors
        self._becoming = self._left = False
        self._record = _locked(record)
        try:
            self._data = _opened(data)
            if os.fstat(self._data).st_size != size:
                os.ftruncate(self._record, 0)           # first: its lines tell of a file that is not here any more
                os.ftruncate(self._data, size)
        except OSError:
            os.close(self._record)
            raise
        self._here = self._read_record()

    @property
    def pieces(self) -> int:
        """How many pieces the whole has."""
        return -(-self.size // PIECE)

    @property
    def arrived_bytes(self) -> int:
        """How much has arrived, as far as the record says."""
        return sum(self.length(piece) for piece in self._here)

    def length(self, piece: int) -> int:
        """Bytes of a piece; the last one is shorter."""
        return min(PIECE, self.size - piece * PIECE)

    def has(self, piece: int) -> bool:
        """Whether a piece has arrived."""
        return piece in self._here

    def missing(self) -> list[int]:
        """The pieces that have not arrived, in order."""
        return [piece for piece in range(self.pieces) if piece not in self._here]

    def put(self, piece: int, data: memoryview) -> bool:
        """A whole piece has come; False, and nothing is written, where one has before.

        Args:
            piece: its number.
            data: all of it.
        """
        digest, rest, offset = xxhash.xxh3_128_hexdigest(data), data, piece * PIECE
        with self._guard:
            if piece in self._here:
                return False
            while rest:
                count = os.pwrite(self._data, rest, offset)
                rest, offset = rest[count:], offset + count
            self._here[piece] = digest
            os.write(self._record, b"%d %s\n" % (piece, digest.encode()))
        return True

    def read(self, piece: int) -> bytes | None:
        """What is on the disk of a piece that has arrived; None where it is not what came: then it is missing again."""
        data = _pread(self._data, self.length(piece), piece * PIECE)
        if xxhash.xxh3_128_hexdigest(data) != self._here.get(piece):
            self._here.pop(piece, None)
            return None
        return data

    def start_anew(self) -> None:
        """Nothing of what has come is worth anything."""
        with self._guard:
            self._here.clear()
            os.ftruncate(self._record, 0)

    def remove(self) -> None:
        """It is in the store, or will never be: remove it, while the lock is held."""
        for path in (self.path, self._record_path):
            with suppress(FileNotFoundError):
                kernel.unlink(path)

    @contextmanager
    def becoming(self) -> Iterator[None]:
        """While the block runs the file is made the blob: nobody else goes on with it, also when its own process is
        interrupted meanwhile, and stays."""
        with self._guard:
            self._becoming = True
        try:
            yield
        finally:
            with self._guard:
                self._becoming, left = False, self._left
            if left:
                self.close()

    def close(self) -> None:
        """Let go of it; what has arrived stays. Closing it again does nothing; while it becomes the blob, it is closed
        when that is over."""
        with self._guard:                               # nobody writes to what gets these numbers next
            self._left = self._becoming
            if self._left:
                return
            data, record = self._data, self._record
            self._data = self._record = -1
            for descriptor in (data, record):
                if descriptor != -1:
                    os.close(descriptor)

    def _read_record(self) -> dict[int, str]:
        """Piece -> digest; a last line that was cut short is removed, so that the next one begins on its own."""
        with open(self._record_path, "rb") as file:
            text = file.read()
        whole, _, cut = text.rpartition(b"\n")
        if cut:
            os.ftruncate(self._record, len(text) - len(cut))
        found: dict[int, str] = {}
        for line in whole.splitlines():
            if (match := _LINE.fullmatch(line)) and int(match[1]) < self.pieces:
                found[int(match[1])] = match[2].decode()
        return found


def _opened(data: str) -> int:
    """The file itself, to be written to; made where it is missing.

    A process that died while it made a blob of it has left it read-only, or with the blob's name besides its own: what
    is the blob already is not touched.
    """
    with suppress(FileNotFoundError):
        status = os.lstat(data)
        if status.st_nlink > 1 or not stat.S_ISREG(status.st_mode):
            kernel.unlink(data)
        elif not status.st_mode & stat.S_IWUSR:
            kernel.try_mode(data, 0o600)
    return os.open(data, os.O_RDWR | os.O_CREAT | _NOFOLLOW | _BINARY, 0o600)


def _locked(record: str) -> int:
    """The record, open for appending and locked; made where it is missing.

    A process that has finished removes it while it has the lock: then the lock is on a file without a name.
    """
    while True:
        descriptor = os.open(record, os.O_RDWR | os.O_APPEND | os.O_CREAT | _NOFOLLOW | _BINARY, 0o600)
        try:
            free = locks.try_lock(descriptor, records=False)
            named = free and os.path.lexists(record) and os.path.samestat(os.lstat(record), os.fstat(descriptor))
        except OSError:
            os.close(descriptor)
            raise
        if named:
            return descriptor
        os.close(descriptor)
        if not free:
            raise BlockingIOError(f"another process downloads {os.path.basename(record)}")


def _pread(descriptor: int, length: int, offset: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length and (part := os.pread(descriptor, length - len(data), offset + len(data))):
        data += part
    return data                                         # shorter where somebody cut it: the digest tells
