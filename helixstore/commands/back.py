"""The ways back: `undo` takes the latest operations back, `leave` makes every file an ordinary one again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from helixstore.errors import Failed
from helixstore.fs.listing import walk
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.settings import set_values
from helixstore.sync.change import change, restate
from helixstore.sync.intake import Intake
from helixstore.sync.reporting import report
from helixstore.sync.wanted import Ask, Change

__all__ = ["leave", "undo"]


def undo(session: Session, n: int, *, dry_run: bool = False, ask: Ask | None = None,
         meant: Sequence[int] = ()) -> SyncReport:
    """Walk back the latest `n` operations; what has changed since is left alone and reported.

    `meant`: their numbers, the latest first, where they were chosen before: no others are taken back instead.

    An undo that was cut short is finished, and nothing else is taken back: who types it again means that one.
    """
    if not dry_run:
        begun = session.farm.journal.cut_short("undo")
        issues = session.farm.recover()
        if begun:
            restate(session, issues)
            said = "finished what an interrupted undo had begun; to take back more, type it again"
            return report(session.farm.journal.plan(begun[-1]), Intake(notes=[said]), issues, dry_run=False,
                          operation=begun[-1])
    preview = session.farm.undo(n, dry_run=True, shown=meant or None)
    _reachable(session, [action.absolute for action in preview.plan.actions if action.op == "own"])
    shown = report(preview.plan, Intake(), preview.issues, dry_run=True)
    if dry_run or (ask is not None and not ask(shown)):
        return shown
    outcome = session.farm.undo(n, shown=preview.plan.undoes if ask is not None else meant or None)
    restate(session, outcome.issues)
    return report(outcome.plan, Intake(), outcome.issues, dry_run=False, operation=outcome.number)


def leave(session: Session, provider: str | None, *, dry_run: bool = False, ask: Ask | None = None) -> SyncReport:
    """Make the files ordinary ones, of one provider's roots or of all, and share nothing with it any more.

    Without that, the next sync would find its own folders full of files that it did not make.
    """
    if provider is not None:
        session.layout(provider)
    given = [path for path, record in session.farm.ledgers.of("").records.items()
             if record.kind == "symlink" and provider in (None, *(claim.provider for claim in record.claims))]
    _reachable(session, given)
    if not dry_run and not all(map(os.path.lexists, given)):
        change(session, Change("leave", scan=False))        # what was withdrawn with its disk is back with it
    plan = session.farm.leave_plan(provider)
    shown = report(plan, Intake(), plan.issues, dry_run=True)
    if dry_run or (ask is not None and not ask(shown)):
        return shown
    with session.farm.locked():                 # no sync may share again what is being given up
        session.farm.recover()
        plan = session.farm.leave_plan(provider)        # as it is now, not as it was when the person was asked
        given_back = [action.path for action in plan.actions if action.op == "own" and not action.root]
        session.farm.intent.decline(given_back, "given back by leave")      # first: nothing may be taken in again
        outcome = session.farm.apply(plan, command="leave")
        names = [provider] if provider else list(session.layouts)
        set_values(session.places, {f"providers.{name}.on": False for name in names if session.is_on(name)})
    session.forget_settings()
    restate(session, outcome.issues)
    return report(plan, Intake(notes=_inside(session, provider)), [*plan.issues, *outcome.issues], dry_run=False,
                  operation=outcome.number)


def _inside(session: Session, provider: str | None) -> list[str]:
    """A note on the programs' folders that lie in the store and have files: these are the person's now, and would go
    with the store when that is deleted."""
    names = [name for name in ([provider] if provider is not None else session.layouts)
             if any(files for _, _, files in walk(str(session.farms / name)))]
    return [f"in the store's folder {session.farms} are files that are yours now, of {' '.join(names)}: move them "
            "elsewhere before you delete the store"] if names else []


def _reachable(session: Session, paths: Iterable[str]) -> None:
    """Nothing, if no link among these, which are in the place of the person's own files, waits for a disk.

    Raises:
        Failed: the bytes that belong there are on a disk that is not here, and not detached; nothing was changed.
    """
    session.store.volumes.refresh()
    for volume in session.store.volumes.away:
        if volume.path and not volume.detached:
            records = session.farm.ledgers.of("").records
            for path in paths:
                if path in records and records[path].target.startswith(f"{volume.path}/"):
                    raise Failed(f"the bytes of {path} are on {volume.name}, which is not here: {volume.away}",
                                 f"plug it in; if it is gone for good: helixstore volume detach {volume.name}", path)
