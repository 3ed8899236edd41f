"""What is told of a change when it is planned or done."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from helixstore.farm.journal import DONE
from helixstore.farm.outcome import Outcome
from helixstore.farm.plan import Plan
from helixstore.results import Adopted, SyncReport
from helixstore.sync.intake import Intake
from helixstore.values import Issue, Key

__all__ = ["report"]

_FOLDERS = ("folder", "unfolder")


def report(plan: Plan, intake: Intake, issues: Sequence[Issue], *, dry_run: bool, operation: int | None = None,
           freed: int | None = None, done: Outcome | None = None,
           blind: Container[tuple[str, Key | None]] = ()) -> SyncReport:
    """What a plan does, as people and programs read it.

    Args:
        plan: the plan.
        intake: whose notes are told.
        issues: of all stages.
        dry_run: nothing was done.
        operation: its number in the journal.
        freed: bytes; those of the plan by default.
        done: what became of the plan: only what was done is told.
        blind: as of `Plan.describe`.
    """
    failed = False
    if done is not None and len(done.letters) == len(plan.actions):
        wanted, taken = [action for action in plan.actions if action.op not in _FOLDERS], set(done.adopted)
        plan = replace(plan, actions=tuple(a for a, letter in zip(plan.actions, done.letters, strict=True)
                                           if letter == DONE),
                       adoptions=tuple(a for a in plan.adoptions if a.path in taken))
        failed = bool(wanted) and bool(done.issues) and not any(a.op not in _FOLDERS for a in plan.actions)
    left = {issue.path for issue in done.issues} if done is not None else set[str]()
    actions = tuple(action for action in plan.describe(blind) if action["path"] not in left)
    adopted = tuple(
        Adopted(a.path, a.key.model, a.key.variant, a.expect.bytes, plan.frees(a),
                "replaced by a link" if a.replace else "taken in where it lies")
        for a in plan.adoptions if a.path not in left
    )
    unique = tuple(dict.fromkeys(issues))
    return SyncReport(
        adopted=adopted,
        linked=tuple(a for a in actions if a["op"] in ("make", "replace")),
        removed=tuple(a for a in actions if a["op"] in ("remove", "restore")),
        unchanged=plan.unchanged, issues=unique, actions=actions, notes=tuple(intake.notes),
        saved_bytes=plan.stats().freed if freed is None else freed, dry_run=dry_run, operation=operation,
        failed=failed,
    )
