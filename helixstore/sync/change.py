"""The whole way: look, take in, project, plan, ask, apply, report. `sync` and every command that changes the farm.

    look (what lies there) -> intake (whose it is) -> projection (what must lie there) -> plan -> apply

A sync with nothing changed ends after the first look: every folder and file that the last one rested on is as it was
then, so there is nothing to plan.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from helixstore.errors import Unreadable
from helixstore.farm.farm import Overtaken
from helixstore.farm.handlers import (
    accept_record,
    choose_record,
    decline_record,
    hide_record,
    refs_record,
    small_record,
    unhide_record,
)
from helixstore.farm.ledger import without_collector
from helixstore.farm.plan import Adoption, Plan
from helixstore.farm.seal import seal, unseal
from helixstore.fs import kernel
from helixstore.results import Adopted, SyncReport
from helixstore.session import PlacedRoot, Session
from helixstore.sync import deferred, hub_names
from helixstore.sync.audience import chosen_for, given_up, withheld_from
from helixstore.sync.claimed_roots import claim_roots
from helixstore.sync.claims import claims, without_mine
from helixstore.sync.damaged import damage
from helixstore.sync.deleted import deletions, replacements
from helixstore.sync.disks import away_issues, leading_away, limit, mend_stand_ins, not_of
from helixstore.sync.drift import close_drifted
from helixstore.sync.following import follow_moved
from helixstore.sync.forgotten import forgotten
from helixstore.sync.hashing import hash_and_name, with_aliases
from helixstore.sync.healing import heal
from helixstore.sync.hub_names import prove_names
from helixstore.sync.intake import Intake, Wish
from helixstore.sync.joining import join
from helixstore.sync.look import Looked, look, roots_of
from helixstore.sync.others import by_their_owners, prove
from helixstore.sync.private import note_waiting
from helixstore.sync.projection import Projection, project
from helixstore.sync.standing import keep, last_issues
from helixstore.sync.suspects import read_suspects
from helixstore.sync.unchanged import remember, unchanged
from helixstore.sync.wanted import Ask, Change, Progress
from helixstore.sync.xet import note_new
from helixstore.values import Issue, Key, Source, Variant

__all__ = ["apply_file", "change", "report", "restate", "state_anew"]

_EFFECTIVE = os.access in os.supports_effective_ids


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
                return _change(session, wanted, recovered, dry_run, ask, progress, save_plan)
        except Overtaken:
            session.forget_settings()
            session.store.volumes.refresh()
        finally:
            session.farm.ledgers.reread()


def _change(
    session: Session, wanted: Change, recovered: list[Issue], dry_run: bool, ask: Ask | None,
    progress: Progress | None, save_plan: Path | None,
) -> SyncReport:
    """One try at `change`; `recovered` gathers what mending what came before it told."""
    began_ns = time.time_ns()
    if not dry_run:
        recovered += session.farm.recover()
    still, within = wanted.still, wanted.within
    if still is not None and not still.holds(session.farm.journal.latest()):
        within = None
    first = still is not None and not still.wanted
    if wanted == Change() and not first and (known := unchanged(session, roots_of(session))):
        return SyncReport(unchanged=known[0], issues=(*recovered, *known[1]), dry_run=dry_run)
    if not dry_run and save_plan is None and within is None:
        recovered += heal(session, read_suspects(session, progress))
    since = session.farm.journal.latest()
    if still is not None and within is None:
        still.forget()
    session.index.refresh()                     # `since` must not be later than what the plan rests on
    issues = [*recovered, *session.issues, *session.settings.issues]
    issues += damage(session)
    unproven = prove_names(session, progress) if wanted.scan and within is None else []
    looking = dry_run or save_plan is not None
    if not looking and within is None:
        mend_stand_ins(session)
    follow_moved(session, roots_of(session), keep=not looking)
    looked = look(session, scan=wanted.scan, paths=wanted.paths, brought=wanted.brought, providers=wanted.providers,
                  restore=wanted.restore, within=within, drifted=still.drifted if still is not None else {})
    waiting = _waiting(session, looked) if ask is None and not looking else []
    intake = hash_and_name(session, wanted, looked, progress)
    intake.notes += [*waiting, *unproven, *(f"{path}: {why}" for path, why in looked.reader.notes.items())]
    variants = _current(session, intake, wanted)
    renamed = forgotten(session, looked.placed, intake.present, variants, looked.untouched) if wanted.scan else {}
    variants = [replace(v, sources=renamed.get(v.key, v.sources)) for v in variants] if renamed else variants
    variants, lacking = with_aliases(session, variants, looked, intake, progress, keep=not looking,
                                     hasher=still.hasher if still is not None else None)
    chosen = chosen_for(session, intake, wanted)
    withheld = withheld_from(session, variants, looked.placed, wanted, chosen, intake.present, looked.untouched)
    projection = project(variants, looked.placed, session.facts, withheld, still.shown if still is not None else None)
    projection.far.update(lacking)
    close_drifted(projection, looked.drifted)
    projection.close(_unwritable(projection))
    limit(session, projection, variants, intake.coming)
    by_their_owners(session, projection)
    roots, part = (projection.roots, {}) if still is None or within is None else still.planning(
        projection.roots, within)
    plan = session.farm.plan(
        [*roots, *(given_up(session, looked.placed, wanted.providers) if within is None else ())], part=part,
        adoptions=[*(_adoption(wish, looked.placed) for wish in intake.wishes if wish.how != "copy"), *wanted.swaps],
        restore=wanted.restore, hide=wanted.hide, unhide=wanted.unhide,
        extra=_extras(session, intake, wanted, chosen, renamed), present=intake.present,
    )
    issues += away_issues(session, projection)
    issues += [*not_of(leading_away(session), looked.reader.issues), *intake.issues, *projection.issues, *plan.issues]
    intake.notes += [*deletions(session, plan), *replacements(intake)]
    preview = report(plan, intake, issues, dry_run=True, blind=projection.refusals)
    if save_plan is not None:
        _save(save_plan, seal(plan.encode(), session.farm.state))
    if wanted == Change() and plan.empty and not (intake.wishes or waiting or projection.closed or intake.unsure):
        remember(session, looked, plan.unchanged, dict.fromkeys(issues), began_ns,
                 min(hub_names.due(session), deferred.due(session)))
    if looking:
        return preview
    note_waiting(session, intake, complete=wanted.scan and wanted.providers is None and within is None)
    if not plan.empty and ask is not None and plan.adoptions and not ask(preview):
        return preview
    prove(session, plan, progress)
    concerned = None if still is None or within is None or intake.lost else still.concerned(
        plan, session.farm.exceptions.load())
    session.index.remember_headers({item.placed.manifest: item.variant.header for item in intake.new})
    with session.store.working() as staging:    # until the refs are durable, no collection lets go of a blob
        outcome = session.farm.apply(plan, command=wanted.command, progress=_linking(progress), since=since)
        session.store.volumes.note(staging)
    issues += outcome.issues
    note_new(session, intake, variants)
    if still is not None:
        still.done(projection.roots, plan, outcome, session.farm.journal.latest(), looked.drifted)
    left = [] if still is None or within is None else still.issues_left(last_issues(session), roots, part, within)
    keep(session, session.index.variants(), projection, [*issues, *left], wanted.providers,
         scanned=wanted.scan and wanted.providers is None, concerned=concerned)
    return report(plan, intake, issues, dry_run=False, operation=outcome.number, freed=outcome.freed,
                  failed=[issue.path for issue in outcome.issues], blind=projection.refusals)


def _save(file: Path, data: bytes) -> None:
    """Write a plan; what the person named may be a device or a pipe, but no file is written through a link."""
    if file.exists() and not file.is_file():
        file.write_bytes(data)
    else:
        kernel.replace_file(os.path.abspath(file), data, 0o600, durable=False)


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
        outcome = session.farm.apply(plan, command=f"apply {file.name}", progress=_linking(progress), strict=True)
        session.store.volumes.note(staging)
    projection = restate(session, outcome.issues)
    return report(plan, Intake(), [*plan.issues, *outcome.issues], dry_run=False, operation=outcome.number,
                  freed=outcome.freed, failed=[issue.path for issue in outcome.issues], blind=projection.refusals)


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


def state_anew(session: Session) -> None:
    """Note how every variant stands, in an index that is new: it was deleted, or is another version's."""
    if session.farm.roots():
        session.farm.publish()
        restate(session)


def _waiting(session: Session, looked: Looked) -> list[str]:
    """With `adopt = ask` and nobody to ask: leave what nobody named where it is, and say so."""
    if session.settings.adopt != "ask":
        return []
    left = [candidate.found.inspection.location for candidate in looked.candidates if not candidate.asked]
    looked.candidates = [candidate for candidate in looked.candidates if candidate.asked]
    return [f"{where}: not taken in without being asked (adopt = ask): helixstore sync --yes, or "
            f"helixstore share {shlex.quote(str(where))}" for where in left]


def _unwritable(projection: Projection) -> list[str]:
    """The roots that are there and that this person may not write into."""
    return [root.path for root in projection.roots
            if os.path.isdir(root.path) and not os.access(root.path, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE)]


def _current(session: Session, intake: Intake, wanted: Change) -> list[Variant]:
    """The variants as they will be, by name: the current ones with the new, without those whose names are withdrawn.

    The order is the same whether they are new or known, so that the ledgers need no second look.
    """
    variants = {variant.key: variant for variant in session.index.variants()}
    for item in intake.items:
        known = None if item.placed.fresh else variants.get(item.placed.key)
        variants[item.placed.key] = replace(known, sources=item.placed.sources) if known else item.variant
    for lost in intake.lost:
        if lost.sources and lost.key in variants:
            variants[lost.key] = replace(variants[lost.key], sources=lost.sources)
        elif (variant := variants.pop(lost.key, None)) and without_mine(session, lost.key, variant.manifest):
            variants[lost.key] = replace(variant, sources=())
    for move in wanted.moves:
        if move.manifest is None:
            variants.pop(move.key, None)
    return sorted(variants.values(), key=lambda variant: variant.key)


def _adoption(wish: Wish, placed: Sequence[PlacedRoot]) -> Adoption:
    hashes = wish.digest.hashes
    providers = tuple(p.provider for p in placed if p.on and str(p.root.path) == wish.root)
    return Adoption(wish.location, hashes.blake3, wish.digest.fingerprint, wish.how == "replace", wish.key, wish.root,
                    wish.digest.fresh, providers, hashes.sha256, hashes.gitsha1, copy=wish.how == "add")


def _extras(
    session: Session, intake: Intake, wanted: Change, chosen: Mapping[str, list[str] | None],
    renamed: Mapping[Key, tuple[Source, ...]],
) -> list[dict[str, Any]]:
    """What the journal must carry beside links."""
    moves = claims(session, intake, renamed, wanted.moves)
    small = [(w.location, w.digest.hashes.blake3, w.digest.hashes.bytes) for w in intake.wishes if w.how == "copy"]
    records = [small_record(small)] if small else []
    if moves:
        records.append(refs_record(moves))
    records += [choose_record(model, after, session.choices.only(model)) for model, after in chosen.items()]
    records += [hide_record(provider, key) for provider, key in wanted.hide]
    records += [unhide_record(provider, key) for provider, key in wanted.unhide]
    if wanted.decline:
        records.append(decline_record(wanted.decline))
    if wanted.accept:
        records.append(accept_record(wanted.accept))
    return records


def _linking(progress: Progress | None) -> Callable[[int, int], None] | None:
    return (lambda done, total: progress("link", "", done, total)) if progress else None


def report(plan: Plan, intake: Intake, issues: Sequence[Issue], *, dry_run: bool, operation: int | None = None,
           freed: int | None = None, failed: Iterable[str] = (),
           blind: Container[tuple[str, Key | None]] = ()) -> SyncReport:
    """What a plan does, as people and programs read it; without the paths where it `failed`. `blind`: as of
    `Plan.describe`."""
    left = set(failed)
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
    )
