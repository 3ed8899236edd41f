"""The smallest set of forms that serves as many providers as can be served. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

__all__ = ["Candidate", "cover"]

_EXACT = 14                     # so many are tried in all combinations


class Candidate(NamedTuple):
    """One form: its bytes, as far as they are still to come, and the providers that can run it."""

    bytes: int
    served: frozenset[str]


def cover(candidates: Sequence[Candidate]) -> list[int]:
    """Which of them to take: together they serve everybody whom any of them serves, with the fewest bytes; of equal
    ones the fewest, the first.

    Args:
        candidates: at most some dozen are tried in all combinations; of more, one after the other is taken that serves
            the most for its bytes.

    Returns:
        Their places in `candidates`, ascending.
    """
    wanted = frozenset().union(*(one.served for one in candidates))
    useful = [number for number, one in enumerate(candidates) if one.served and not any(
        _better(other, one) or (other == one and place < number) for place, other in enumerate(candidates))]
    if len(useful) > _EXACT:
        return _greedy(candidates, useful, wanted)
    best: tuple[int, int, tuple[int, ...]] | None = None
    for count in range(len(useful) + 1):
        for chosen in combinations(useful, count):
            if wanted <= frozenset().union(*(candidates[number].served for number in chosen)):
                size = sum(candidates[number].bytes for number in chosen)
                best = min(best or (size, count, chosen), (size, count, chosen))
    return list(best[2]) if best is not None else []


def _better(one: Candidate, other: Candidate) -> bool:
    """Whether `one` makes `other` useless."""
    return one.served >= other.served and one.bytes <= other.bytes and one != other


def _greedy(candidates: Sequence[Candidate], useful: Sequence[int], wanted: frozenset[str]) -> list[int]:
    taken: list[int] = []
    left = set(wanted)
    while left:
        best = max((number for number in useful if candidates[number].served & left),
                   key=lambda number: len(candidates[number].served & left) / max(1, candidates[number].bytes))
        taken.append(best)
        left -= candidates[best].served
    return sorted(taken)
