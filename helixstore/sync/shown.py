"""What layouts answered: they are pure, so the same question has the same answer as long as a process lasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from helixstore.farm.desired import WantedRoot
    from helixstore.providers.layout import Entry, Facts, Layout, Refusal
    from helixstore.session import PlacedRoot
    from helixstore.values import Issue, Key, Variant

__all__ = ["Shown"]

T = TypeVar("T")


class Shown:
    """Remembers the last answer to each question; variants and lists are the same only if they are the same objects."""

    def __init__(self) -> None:
        self._facts: Facts | None = None
        self._accepted: dict[tuple[str, Key], tuple[Layout, Variant, Refusal | None]] = {}
        self._entries: dict[PlacedRoot, tuple[list[Variant], list[Entry]]] = {}
        self._roots: dict[str, tuple[list[list[Entry]], tuple[WantedRoot, list[Issue]]]] = {}

    def begin(self, facts: Facts) -> None:
        """Before a projection."""
        if facts != self._facts:
            self.forget()
            self._facts = facts

    def forget(self) -> None:
        """Ask everything again."""
        self._facts = None
        self._accepted, self._entries, self._roots = {}, {}, {}

    def accepts(self, place: PlacedRoot, variant: Variant, ask: Callable[[], Refusal | None]) -> Refusal | None:
        """Why a provider cannot load a variant, or None."""
        question = place.provider, variant.key
        known = self._accepted.get(question)
        if known is None or known[0] is not place.layout or known[1] is not variant:
            known = self._accepted[question] = place.layout, variant, ask()
        return known[2]

    def entries(self, place: PlacedRoot, variants: list[Variant], ask: Callable[[], list[Entry]]) -> list[Entry]:
        """What a provider must see of these variants in a root."""
        known = self._entries.get(place)
        if known is None or not _same(known[0], variants):
            known = self._entries[place] = list(variants), ask()
        return known[1]

    def joined(self, path: str, parts: Sequence[list[Entry]], ask: Callable[[], tuple[WantedRoot, list[Issue]]],
               ) -> tuple[WantedRoot, list[Issue]]:
        """What all providers of a root must see in it."""
        known = self._roots.get(path)
        if known is None or not _same(known[0], parts):
            known = self._roots[path] = list(parts), ask()
        return known[1]


def _same(one: Sequence[T], other: Sequence[T]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
