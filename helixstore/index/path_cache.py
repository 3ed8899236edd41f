"""Path -> digest, as long as the file's stat is what it was when it was hashed.

Trusted only if inode, size, mtime and ctime are equal, and if the file was two seconds old when its hashing began:
a younger one could have been changed again within the same tick of the clock ("racily clean").
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from helixstore.fs.kernel import Fingerprint
from helixstore.index.codec import dumps, loads
from helixstore.index.database import Tables
from helixstore.index.tables import path_key, raw

if TYPE_CHECKING:
    from helixstore.store.hashing import Hashes

__all__ = ["PathCache", "add_hashes"]

_ROW = struct.Struct("<QQqqI32s")               # inode, bytes, mtime, ctime, names, digest
_INODES = 0xFFFF_FFFF_FFFF_FFFF                 # ReFS has 128 bits
_NAMES = 0xFFFF_FFFF
_RACY_NS = 2_000_000_000
_WAITING_ROWS = 256
_WAITING_BYTES = 1 << 30                        # about a second's hashing: what an interruption may cost
_WAITING_SECONDS = 2.0

Run = Callable[[Callable[[Tables], Any]], Any]


class PathCache:
    """What was hashed. Small files wait to be written together; large ones are written at once.

    Args:
        read, write: run a function on the tables.
    """

    def __init__(self, read: Run, write: Run) -> None:
        self._read = read
        self._write = write
        self._lock = threading.Lock()
        self._waiting: dict[bytes, tuple[bytes, Hashes]] = {}
        self._waiting_bytes = 0
        self._since = 0.0

    def digest_at(self, path: str, mark: Fingerprint) -> str | None:
        """The digest of what lies at `path`, if nothing says that it changed since it was hashed."""
        if (row := self._row(path)) is None:
            return None
        *numbers, _, digest = row
        return digest.hex() if numbers == _numbers(mark) else None

    def names_at(self, path: str, mark: Fingerprint) -> int | None:
        """How many names what lies at `path` had when it was hashed, if inode, size and mtime are as they were then."""
        row = self._row(path)
        return None if row is None or list(row[:3]) != _numbers(mark)[:3] else int(row[4])

    def _row(self, path: str) -> tuple[Any, ...] | None:
        key = path_key(path)
        waiting = self._waiting.get(key)
        row = waiting[0] if waiting else self._read(lambda tables: tables.get("paths", key))
        return _ROW.unpack(row) if row is not None and len(row) == _ROW.size else None

    def hashes(self, digest: str) -> Hashes | None:
        """What was learnt of content when it was hashed, blocks apart; in the store or not."""
        from helixstore.store.hashing import Hashes

        for _, known in list(self._waiting.values()):
            if known.blake3 == digest:
                return known

        def find(tables: Tables) -> Hashes | None:
            data = tables.get("hashed", raw(digest))
            if data is None:
                return None
            size, sha256, gitsha1, xet = loads(data)
            return Hashes(digest, size, sha256, gitsha1, xet=xet)
        found: Hashes | None = self._read(find)
        return found

    def remember(self, items: Iterable[tuple[str, Fingerprint, Hashes]], began_ns: int | None = None) -> None:
        """Note what was hashed.

        Args:
            items: path, its fingerprint from before the hashing, and the result.
            began_ns: when the first of them began to be hashed, nanoseconds since 1970; now, when they took no time.
        """
        limit = (time.time_ns() if began_ns is None else began_ns) - _RACY_NS
        with self._lock:
            if not self._waiting:
                self._since = time.monotonic()
            for path, mark, hashes in items:
                row = _ROW.pack(*_numbers(mark), min(mark.nlink, _NAMES), raw(hashes.blake3))
                row = row if mark.mtime_ns < limit else b""
                self._waiting[path_key(path)] = row, hashes
                self._waiting_bytes += hashes.bytes
            full = (len(self._waiting) >= _WAITING_ROWS or self._waiting_bytes >= _WAITING_BYTES
                    or time.monotonic() - self._since > _WAITING_SECONDS)
        if full:
            self.flush()

    def forget(self, paths: Iterable[str]) -> None:
        """Trust nothing about these paths."""
        keys = [path_key(path) for path in paths]
        with self._lock:
            for key in keys:
                self._waiting.pop(key, None)
        self._write(lambda tables: [tables.delete("paths", key) for key in keys])

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if not waiting:
            return

        def put(tables: Tables) -> None:
            for key, (row, hashes) in waiting.items():
                if row:
                    tables.put("paths", key, row)
                else:
                    tables.delete("paths", key)
                _put_hashes(tables, hashes)
        self._write(put)


def _put_hashes(tables: Tables, hashes: Hashes) -> None:
    """Add to what is known of the content."""
    key = raw(hashes.blake3)
    if tables.get("hashed", key) is None:
        tables.put("hashed", key, dumps([hashes.bytes, hashes.sha256, hashes.gitsha1, hashes.xet]))
    else:
        add_hashes(tables, hashes.blake3, hashes.sha256, hashes.gitsha1, hashes.xet)


def add_hashes(tables: Tables, digest: str, sha256: str | None = None, gitsha1: str | None = None,
               xet: str | None = None) -> None:
    """Add other hashes of content that was hashed before; within a transaction."""
    old = tables.get("hashed", raw(digest))
    if old is not None:
        size, known_sha256, known_gitsha1, known_xet = loads(old)
        row = [size, sha256 or known_sha256, gitsha1 or known_gitsha1, xet or known_xet]
        tables.put("hashed", raw(digest), dumps(row))


def _numbers(mark: Fingerprint) -> list[int]:
    return [mark.inode & _INODES, mark.bytes, mark.mtime_ns, mark.ctime_ns]
