"""An operation that was taken back, once more: the same change, made from what there is now.

The journal has what it wanted: names that moved, what was hidden, with whom a model was shared. What its undo has
written down beside that (not to show again what it took away) is lifted. Files that it took in are the person's own
again, and only a sync finds out whether they are still what they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from helixstore.commands.models.versions import bring_back, versions_of
from helixstore.errors import Failed, NotFound
from helixstore.farm.handlers import Move, source_of
from helixstore.farm.journal import OperationSummary
from helixstore.farm.plan import Plan
from helixstore.session import Session
from helixstore.sync.claims import claim_of
from helixstore.sync.wanted import Change
from helixstore.values import Key

__all__ = ["done_again"]


def done_again(session: Session, operation: OperationSummary) -> Change:
    """The change that an operation made, to be made once more. Nothing is changed but that files come from the trash.

    Args:
        session: whose journal.
        operation: one that was taken back.

    Raises:
        NotFound: it is too old.
        Failed: it cannot be done again, or files that it needs are not in the store any more.
    """
    number, undone, journal = operation.number, operation.undone, session.farm.journal
    if undone is None or journal.closed(number) or journal.closed(undone):
        raise NotFound(f"operation {number} is too old to be done again", "helixstore generations list")
    plan, back = journal.plan(number), journal.plan(undone)
    if plan.adoptions:
        raise Failed(f"operation {number} took files in, which are yours again",
                     "helixstore sync --restore takes them in once more")
    if operation.command == "link":
        raise Failed(f"operation {number} made links in a folder of yours", "helixstore link makes them once more")
    records = list(plan.extra)
    lifted = [(provider, key) for provider, key in _pairs(back, "hide")]
    return Change(
        operation.command, scan=False, moves=[_move(session, row) for row in _of(records, "refs", "refs")],
        hide=[*_named(records, "hide"), *_pairs(plan, "hide")],
        unhide=[*_named(records, "unhide"), *_pairs(plan, "unhide"), *lifted],
        decline=list(_of(records, "decline", "paths")), accept=list(_of(records, "accept", "paths")),
        only=_only(records), models={record["model"] for record in records if record["kind"] == "choose"})


def _of(records: list[Mapping[str, Any]], kind: str, name: str) -> Iterator[Any]:
    """What all records of a kind list under a name."""
    for record in records:
        if record["kind"] == kind:
            yield from record[name]


def _named(records: list[Mapping[str, Any]], kind: str) -> list[tuple[str, Key]]:
    return [(record["provider"], Key(record["model"], record["variant"])) for record in records
            if record["kind"] == kind]


def _pairs(plan: Plan, op: str) -> list[tuple[str, Key]]:
    """(Provider, variant) of the steps that hide something in a folder, or show it there again."""
    return [(claim.provider, Key(*action.body)) for action in plan.actions if action.op == op
            for claim in action.claims]


def _only(records: list[Mapping[str, Any]]) -> str | None:
    """The one provider with which something was shared from then on; "" for all, None where nothing was said."""
    for record in records:
        if record["kind"] == "choose":
            return next(iter(set(record["providers"] or ()) - set(record["before"] or ())), "")
    return None


def _move(session: Session, row: Mapping[str, Any]) -> Move:
    """A name that moves once more, to content that must be here."""
    key, before = Key(row["model"], row["variant"]), claim_of(session, Key(row["model"], row["variant"]))
    if row["manifest"] is None:
        return Move(key, None, before=before)
    ref = next((ref for ref in versions_of(session, key) if ref.manifest == row["manifest"]), None)
    if ref is None:
        raise Failed(f"that version of {key} is not known any more", "get it again from where it came from")
    bring_back(session, key, ref)
    sources = tuple(map(source_of, row["sources"]))
    return Move(key, ref.manifest, None, sources, row["pinned"], before, row["follows"],
                variant=replace(session.index.variant_at(ref), sources=sources, pinned=row["pinned"]))
