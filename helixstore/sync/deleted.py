"""What the person deleted or replaced inside a program, in words: who still holds the bytes, and what frees them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from helixstore.farm.plan import Plan
from helixstore.session import Session
from helixstore.sync.intake import Candidate, Intake
from helixstore.values import Key, State

__all__ = ["deletions", "replacements"]


def deletions(session: Session, plan: Plan) -> Iterator[str]:
    """One sentence for each variant that a plan takes for deleted by the person.

    Args:
        session: whose standings, as they were before the plan, and whose adopted paths say who else has it.
        plan: of this sync.
    """
    gone: dict[Key, set[str]] = {}
    for action in plan.actions:
        if action.op == "hide" and action.root:
            for claim in action.claims:
                if claim.key is not None:
                    gone.setdefault(claim.key, set()).add(claim.provider)
    standings = session.index.standings(gone)
    for key, programs in gone.items():
        held = standings[key]
        deleted = [name for name in session.layouts if name in programs and name in held
                   and held[name].state is State.LINKED]
        others = [name for name, one in held.items()
                  if name in session.layouts and name not in programs and one.state is State.LINKED]
        paths = [path for path, record in session.farm.ledgers.of("").records.items()
                 if key in record.keys and os.path.lexists(path)]
        holders = " ".join([*others, *paths])
        kept = f"held by {holders}" if holders else "held by the store only"
        more = f", and delete {' '.join(paths)}" if paths else ""
        yield (f"{key} was deleted in {' '.join(deleted) or 'a program'} and stays deleted there. Its bytes are still "
               f"{kept}; to free them: helixstore remove '{key.model}'{more}")


def replacements(intake: Intake) -> Iterator[str]:
    """One sentence for each variant of which a program now has other content under its name."""
    for item in intake.items:
        if item.placed.replaces:
            yield (f"{item.placed.key} has new content, {_origin(item.candidate)}; every program gets it, and the "
                   f"earlier version leaves the store when undo needs it no more")
    for lost in intake.lost:
        if not lost.sources:
            yield (f"{lost.key} was replaced in the program that had it, and nothing else holds it: it leaves the "
                   f"programs now, and the store when undo needs it no more")


def _origin(candidate: Candidate) -> str:
    """Where it lies, or what it was downloaded from."""
    source = candidate.found.source
    if candidate.root is not None or source.kind == "file":
        return f"found in {candidate.found.inspection.location}"
    at = f" at {source.revision[:8]}" if source.revision else ""
    return f"from {source.repository or source.name}{at}"
