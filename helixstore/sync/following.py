"""Folders of programs that the person has moved: what helixstore made in them stays helixstore's."""

from __future__ import annotations

from collections.abc import Iterable

from helixstore.session import PlacedRoot, Session

__all__ = ["follow_moved"]


def follow_moved(session: Session, placed: Iterable[PlacedRoot], keep: bool) -> None:
    """Look in the roots that are there now for what is ours and lay in one that is none any more, and in those that are
    new for what lay in any other.

    Args:
        session: whose ledgers.
        placed: the roots as they are now.
        keep: write it down; else it is only for the plan that is made next.
    """
    readers: dict[str, set[str]] = {}
    for place in placed:
        if place.on:
            readers.setdefault(str(place.root.path), set()).add(place.provider)
    ledgers = session.farm.ledgers
    new = {root for root in readers if not ledgers.of(root).records}
    moved = []
    for old in session.farm.roots():
        heirs = new if old in readers else readers.keys()
        programs = readers.get(old) or {c.provider for r in ledgers.of(old).records.values() for c in r.claims}
        moved += [(old, root) for root in heirs if not readers[root].isdisjoint(programs)]
    session.farm.follow(moved, keep)
