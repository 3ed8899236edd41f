"""Answers about a variant that are kept, for layouts that are asked about thousands again and again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from helixstore.values import Variant

__all__ = ["remembered"]

T = TypeVar("T")
A = TypeVar("A", bound=Hashable)
_MOST = 65536                   # answers


def remembered(function: Callable[[Variant, A], T]) -> Callable[[Variant, A], T]:
    """The function with its answers kept, each for one variant, by identity, and one more argument, by value."""
    kept: dict[tuple[int, A], tuple[Variant, T]] = {}

    def ask(variant: Variant, more: A) -> T:
        known = kept.get((id(variant), more))
        if known is None or known[0] is not variant:
            if len(kept) >= _MOST:
                kept.clear()
            known = kept[id(variant), more] = variant, function(variant, more)
        return known[1]

    return ask
