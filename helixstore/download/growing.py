"""The digests of a file that arrives out of order: each piece is read back, compared with what came, and hashed in its
turn, so that nothing is left to hash when the last one is there.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable

import xxhash
from blake3 import blake3

from helixstore.download.partial import PIECE, Partial
from helixstore.store.hashing import BLOCK, GIT_LIMIT, Hashes

__all__ = ["Growing"]

_AT_ONCE = 32                   # pieces that are told as lost together: what one request asks for


class Growing:
    """Hashes what has arrived of a file, from its start as far as it is whole. Safe from threads; one works at a time.

    Args:
        partial: the file.
        git: compute git's SHA-1 too, whatever the size.
        lost: called with the first and last of pieces that are on the disk otherwise than they came: they are missing
            again.
    """

    def __init__(self, partial: Partial, git: bool, lost: Callable[[int, int], None]) -> None:
        self._partial, self._lost = partial, lost
        self._guard = threading.Lock()
        self._git_wanted = git or partial.size < GIT_LIMIT
        self._begin()

    def _begin(self) -> None:
        self._next = 0
        self._blake3 = blake3(max_threads=min(os.cpu_count() or 1, 8))
        self._sha256 = hashlib.sha256(usedforsecurity=False)
        self._git = hashlib.sha1(b"blob %d\0" % self._partial.size, usedforsecurity=False)
        self._hashers = (self._blake3, self._sha256, *([self._git] if self._git_wanted else ()))
        self._block = xxhash.xxh3_128()
        self._blocks: list[str] = []

    def advance(self) -> Hashes | None:
        """Hash as far as it goes; all hashes once that was the last piece, to one caller only.

        Another thread that is at it already goes on with what has arrived meanwhile.
        """
        while self._can_go_on() and self._guard.acquire(blocking=False):
            try:
                while self._can_go_on():
                    self._step()
                if self._next == self._partial.pieces:
                    self._next += 1                     # told once
                    return self._finish()
            finally:
                self._guard.release()
        return None

    def start_anew(self) -> None:
        """Forget what was hashed."""
        with self._guard:
            self._begin()

    def _can_go_on(self) -> bool:
        return self._next < self._partial.pieces and self._partial.has(self._next)

    def _step(self) -> None:
        """The next piece."""
        piece = self._partial.read(self._next)
        if piece is None:
            self._lost(self._next, self._last_lost())
            return
        self._next += 1
        for hasher in self._hashers:
            hasher.update(piece)
        self._block.update(piece)
        if self._next % (BLOCK // PIECE) == 0:
            self._blocks.append(self._block.hexdigest())
            self._block = xxhash.xxh3_128()

    def _last_lost(self) -> int:
        """The last of the pieces that were lost together with the next one, as a power cut loses them."""
        last = self._next
        while last + 1 < self._next + _AT_ONCE and self._partial.has(last + 1) and self._partial.read(last + 1) is None:
            last += 1
        return last

    def _finish(self) -> Hashes:
        size = self._partial.size
        if self._partial.pieces % (BLOCK // PIECE):
            self._blocks.append(self._block.hexdigest())
        return Hashes(self._blake3.hexdigest(), size, self._sha256.hexdigest(),
                      self._git.hexdigest() if self._git_wanted else None, tuple(self._blocks))
