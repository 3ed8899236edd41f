"""The whole way of `sync` and of every command that changes the farm: mend, look, take in, project, plan, ask, apply.

The stages are in `pipeline`. Here is what is around them: disks that are away, another process that was quicker, a plan
that was saved, and how things stand after a change that was made without them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.errors import Unreadable
from helixstore.farm.farm import Overtaken
from helixstore.farm.ledger import without_collector
from helixstore.farm.plan import Plan
from helixstore.farm.seal import unseal
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.sync.audience import withheld_from
from helixstore.sync.claimed_roots import claim_roots
from helixstore.sync.damaged import damage
from helixstore.sync.disks import away_issues, leading_away, limit
from helixstore.sync.intake import Intake
from helixstore.sync.joining import join
from helixstore.sync.look import look, roots_of
from helixstore.sync.others import by_their_owners, prove
from helixstore.sync.pipeline import Pipeline
from helixstore.sync.progress import Progress, linking
from helixstore.sync.projection import Projection, project
from helixstore.sync.reporting import report
from helixstore.sync.standing import keep
from helixstore.sync.unchanged import unchanged
from helixstore.sync.wanted import Ask, Change
from helixstore.values import Issue

if TYPE_CHECKING:
    from helixstore.index import ReindexReport

__all__ = ["apply_file", "change", "reindex", "restate", "state_anew"]


def change(
    session: Session, wanted: Change, *, dry_run: bool = False, ask: Ask | None = None,
    progress: Progress | None = None, save_plan: Path | None = None,
) -> SyncReport:
    """Carry out a change of the farm, or with `dry_run` say what it would be.

    Args:
        session: the person's store, index, layouts and farm.
        wanted: what the command asks for.
        dry_run: plan and report only. What was hashed on the way is remembered, nothing else is written.
        ask: shown the report of the plan when it adopts or replaces files; False stops before the first step. None:
            nobody can be asked, and with `adopt = ask` nothing that was not named is adopted.
        progress: (what, path, bytes done, bytes in all).
        save_plan: write the plan to this file, to be read, and run by `apply FILE`; implies `dry_run`.

    Raises:
        HelixError: nothing was changed.
    """
    if not dry_run and save_plan is None:
        session.tend()
    join(session, keep=not dry_run and save_plan is None)
    if not dry_run and save_plan is None:
        claim_roots(session)
    session.store.volumes.refresh()
    first = SyncReport()
    if (session.store.volumes.away and wanted.scan and not dry_run and save_plan is None
            and (wanted != Change() or unchanged(session, roots_of(session)) is None)
            and any(root for root, _ in leading_away(session))):
        # links to a disk that has gone are taken down before anybody takes them for broken models
        first = _until_alone(session, Change(wanted.command, scan=False), False, None, progress, None)
    return first.then(_until_alone(session, wanted, dry_run, ask, progress, save_plan))


def _until_alone(
    session: Session, wanted: Change, dry_run: bool, ask: Ask | None, progress: Progress | None,
    save_plan: Path | None,
) -> SyncReport:
    """Carry out a change from what there is; when another process was quicker, once more from what it has left."""
    recovered: list[Issue] = []
    while True:
        try:
            with without_collector():
                return Pipeline(session, wanted, recovered, dry_run, ask, progress, save_plan).run()
        except Overtaken:
            session.forget_settings()
            session.store.volumes.refresh()
        finally:
            session.farm.ledgers.reread()


def apply_file(
    session: Session, file: Path, *, dry_run: bool = False, progress: Progress | None = None
) -> SyncReport:
    """Carry out a plan that `sync --plan FILE` saved, if the world is still as it was.

    Raises:
        PlanOutdated: it is not, or the file is no plan that this person saved; nothing was changed.
        Unreadable: the file cannot be read.
    """
    try:
        plan = Plan.decode(unseal(file.read_bytes(), session.farm.state))
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}", "", file) from error
    if dry_run:
        return report(plan, Intake(), plan.issues, dry_run=True)
    prove(session, plan, progress)
    with session.store.working() as staging:
        outcome = session.farm.apply(plan, command=f"apply {file.name}", progress=linking(progress), strict=True)
        session.store.volumes.note(staging)
    projection = restate(session, outcome.issues)
    return report(plan, Intake(), [*plan.issues, *outcome.issues], dry_run=False, operation=outcome.number,
                  freed=outcome.freed, done=outcome, blind=projection.refusals)


def restate(session: Session, issues: Iterable[Issue] = ()) -> Projection:
    """Note how every variant stands, after a change that was not planned from the current state.

    Returns:
        What every provider must see now.
    """
    session.index.refresh()
    looked = look(session, scan=False)
    variants = session.index.variants()
    withheld = withheld_from(session, variants, looked.placed, Change(), {})
    projection = project(variants, looked.placed, session.facts, withheld)
    limit(session, projection, variants)
    by_their_owners(session, projection)
    keep(session, variants, projection, [*issues, *damage(session), *away_issues(session, projection)])
    return projection


def reindex(session: Session, progress: Progress | None) -> ReindexReport:
    """Make the index anew from the store, and the copy of the ledgers in it from the ledgers."""
    step = (lambda done, total: progress("read", "manifests", done, total)) if progress else None
    report = session.index.rebuild(step)
    session.farm.publish()
    restate(session)
    return report


def state_anew(session: Session) -> None:
    """Note how every variant stands, in an index that is new: it was deleted, or is another version's."""
    if session.farm.roots():
        session.farm.publish()
        restate(session)
