"""Folders of programs that the person has moved: what helixstore made in them stays helixstore's."""

from __future__ import annotations

from collections.abc import Iterable

from helixstore.session import PlacedRoot, Session

__all__ = ["follow_moved"]


def follow_moved(session: Session, placed: Iterable[PlacedRoot], keep: bool) -> None:
    """Look in the roots that are there now for what is ours and lay in one that is none any more.

    Args:
        session: whose ledgers.
        placed: the roots as they are now.
        keep: write it down; else it is only for the plan that is made next.
    """
    readers: dict[str, set[str]] = {}
    for place in placed:
        if place.on:
            readers.setdefault(str(place.root.path), set()).add(place.provider)
    moved = []
    for old in session.farm.roots():
        if old not in readers:
            ours = {claim.provider for record in session.farm.ledgers.of(old).records.values()
                    for claim in record.claims}
            moved += [(old, new) for new, programs in readers.items() if ours & programs]
    session.farm.follow(moved, keep)
