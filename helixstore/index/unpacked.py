"""Variants as values, unpacked once as long as their rows are the same: one change asks for all several times."""

from __future__ import annotations

from collections.abc import Iterable

from helixstore.fs.names import folded
from helixstore.index.codec import unpack_variant
from helixstore.values import Variant

__all__ = ["Unpacked"]


class Unpacked:
    """What the rows last read stand for. A row that is the same gives the same object. Safe with threads."""

    def __init__(self) -> None:
        self._last: tuple[dict[bytes, tuple[bytes, Variant]], list[Variant]] = {}, []

    def of(self, rows: Iterable[tuple[bytes, bytes]]) -> list[Variant]:
        """The variants of all rows (key, data), by name."""
        before, ordered = self._last
        now: dict[bytes, tuple[bytes, Variant]] = {}
        same = True
        for key, data in rows:
            known = before.get(key)
            if known is None or known[0] != data:
                known, same = (data, unpack_variant(data)), False
            now[key] = known
        if not same or len(now) != len(before):
            ordered = sorted((variant for _, variant in now.values()),
                             key=lambda variant: (folded(variant.key.model), variant.key))
            self._last = now, ordered
        return list(ordered)
