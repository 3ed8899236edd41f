"""A part of a root: what is planned when the rest of it is known to be as it should be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from helixstore.farm.desired import WantedRoot
from helixstore.farm.ledger import FOLDER, Ledger, Record
from helixstore.farm.plan import Deviation

__all__ = ["Excerpt", "narrowed", "others"]


class Excerpt(NamedTuple):
    """Some records of a ledger, with the identity of its root."""

    records: Mapping[str, Record]
    identity: tuple[str, int] | None


def narrowed(wanted: WantedRoot, ledger: Ledger, paths: Collection[str]) -> tuple[WantedRoot, Ledger | Excerpt]:
    """What is wanted and what there is at these paths alone; all of it where that would tell too little.

    One more entry of ours is left in, since a root of which nothing is ours would count as new.
    """
    anchor = next((name for name, record in ledger.records.items() if record.kind != FOLDER and name in wanted.entries),
                  None)
    if anchor is None:
        return wanted, ledger
    names = {*paths, anchor}
    return (replace(wanted, entries={name: wanted.entries[name] for name in names if name in wanted.entries}),
            Excerpt({name: ledger.records[name] for name in names if name in ledger.records}, ledger.identity))


def others(earlier: Iterable[Deviation], wanted: WantedRoot) -> list[Deviation]:
    """How variants stood in a root that a part of it says nothing of."""
    told = {claim[:2] for joined in wanted.entries.values() for claim in joined.claims}
    return [one for one in earlier if (one.provider, one.key) not in told]
