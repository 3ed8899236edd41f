"""A file that is being downloaded: it survives every interruption, and whoever wants the same bytes goes on with it.

    <store>/hosts/<host>/<uid>/downloads/<digest>    as long as the whole, with holes
    <state>/downloads/<digest>                       a line for each MiB that has arrived: its number, its XXH3-128

It is named by the digest that it is to have, so that a download begun from one place is finished from another. The
lines are only appended to, and nothing is flushed: what is on the disk is compared with them before it counts, so that
a power cut costs what it damaged and no more. Who holds the lock on the lines is the one who downloads.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

import xxhash

from helixstore.fs import kernel, locks

__all__ = ["PIECE", "Partial"]

#: bytes of one line in the record
PIECE = 1 << 20
_LINE = re.compile(rb"(\d{1,9}) ([0-9a-f]{32})")
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class Partial:
    """One such file, open and locked. Safe from threads that write different pieces.

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
        self._record = _locked(record)
        try:
            self._data = os.open(data, os.O_RDWR | os.O_CREAT | _NOFOLLOW | _BINARY, 0o600)
            if os.fstat(self._data).st_size != size:
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

    def write(self, offset: int, data: memoryview) -> None:
        """Put bytes where they belong."""
        while data:
            count = os.pwrite(self._data, data, offset)
            data, offset = data[count:], offset + count

    def arrived(self, piece: int, digest: str) -> None:
        """All of a piece is written; `digest`: the XXH3-128 of what came, hex."""
        self._here[piece] = digest
        os.write(self._record, b"%d %s\n" % (piece, digest.encode()))

    def read(self, piece: int) -> bytes | None:
        """What is on the disk of a piece that has arrived; None where it is not what came: then it is missing again."""
        data = _pread(self._data, self.length(piece), piece * PIECE)
        if xxhash.xxh3_128_hexdigest(data) != self._here.get(piece):
            self._here.pop(piece, None)
            return None
        return data

    def start_anew(self) -> None:
        """Nothing of what has come is worth anything."""
        self._here.clear()
        os.ftruncate(self._record, 0)

    def remove(self) -> None:
        """It is in the store, or will never be: remove it, while the lock is held."""
        for path in (self.path, self._record_path):
            with suppress(FileNotFoundError):
                kernel.unlink(path)

    def close(self) -> None:
        """Let go of it; what has arrived stays. Closing it again does nothing."""
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
    data = bytearray()
    while len(data) < length:
        part = os.pread(descriptor, length - len(data), offset + len(data))
        if not part:
            break                                       # somebody cut it: the digest tells
        data += part
    return bytes(data)
