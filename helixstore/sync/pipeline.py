"""One try at a change, as the list of its stages.

    mend (what came before) -> look (what lies there) -> take in (whose it is) -> project (what must lie there)
    -> plan -> ask -> apply -> keep (how things stand)

A sync with nothing changed ends after the first: every folder and file that the last one rested on is as it was then,
so there is nothing to plan. A process that stays (`Still`) goes the same way, and looks only where something happened.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from helixstore.farm.handlers import (
    accept_record,
    choose_record,
    decline_record,
    hide_record,
    refs_record,
    small_record,
    unhide_record,
)
from helixstore.farm.plan import Adoption
from helixstore.farm.seal import seal
from helixstore.fs import kernel
from helixstore.fs.locks import Lease, writers_of
from helixstore.results import SyncReport
from helixstore.session import PlacedRoot, Session
from helixstore.sync import deferred, hub_names
from helixstore.sync.audience import chosen_for, given_up, withheld_from
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
from helixstore.sync.look import Looked, look, roots_of
from helixstore.sync.others import by_their_owners, prove
from helixstore.sync.private import note_waiting
from helixstore.sync.progress import Progress, linking
from helixstore.sync.projection import Projection, project
from helixstore.sync.put_back import claim_missing
from helixstore.sync.reporting import report
from helixstore.sync.standing import keep, last_issues
from helixstore.sync.suspects import read_suspects
from helixstore.sync.unchanged import remember, unchanged
from helixstore.sync.wanted import Ask, Change
from helixstore.sync.xet import note_new
from helixstore.values import Issue, Key, Source, Variant

__all__ = ["Pipeline"]

_EFFECTIVE = os.access in os.supports_effective_ids


class Pipeline:
    """See the module; arguments as of `change`.

    Args:
        recovered: gathers what mending what came before it told.
    """

    def __init__(
        self, session: Session, wanted: Change, recovered: list[Issue], dry_run: bool, ask: Ask | None,
        progress: Progress | None, save_plan: Path | None,
    ) -> None:
        self.session, self.wanted, self.recovered = session, wanted, recovered
        self.dry_run, self.ask, self.progress, self.save_plan = dry_run, ask, progress, save_plan
        self.looking = dry_run or save_plan is not None
        self.still, self.within = wanted.still, wanted.within
        self.began_ns = time.time_ns()

    def run(self) -> SyncReport:
        """All stages.

        Raises:
            Overtaken: another process has changed the farm meanwhile; nothing was changed here.
            HelixError: nothing was changed.
        """
        if not self.dry_run:
            self.recovered += self.session.farm.recover()
        if (known := self.known()) is not None:
            return known
        self.mend()
        self.look()
        self.take_in()
        self.project()
        self.make_plan()
        preview = report(self.plan, self.intake, self.issues, dry_run=True, blind=self.projection.refusals)
        self.note()
        if self.looking or not self.agreed(preview):
            return preview
        self.apply()
        self.keep()
        return report(self.plan, self.intake, self.issues, dry_run=False, operation=self.outcome.number,
                      freed=self.outcome.freed, done=self.outcome,
                      blind=self.projection.refusals)

    def known(self) -> SyncReport | None:
        """What the last sync told, if nothing that it rested on has changed."""
        if self.still is not None and not self.still.holds(self.session.farm.journal.latest()):
            self.within = None
        first = self.still is not None and not self.still.wanted
        if self.wanted != Change() or first:
            return None
        known = unchanged(self.session, roots_of(self.session))
        return known and SyncReport(unchanged=known[0], issues=(*self.recovered, *known[1]), dry_run=self.dry_run)

    def mend(self) -> None:
        """Bring what is there up to date: damaged files, new refs, names of the hub, folders that were moved."""
        session, everywhere = self.session, self.within is None
        if not self.looking and everywhere:
            self.recovered += heal(session, read_suspects(session, self.progress))
        self.since = session.farm.journal.latest()
        if self.still is not None and everywhere:
            self.still.forget()
        session.index.refresh()                 # `since` must not be later than what the plan rests on
        self.recovered += claim_missing(session, keep=not self.looking)
        self.issues = [*self.recovered, *session.issues, *session.settings.issues]
        self.unproven = prove_names(session, self.progress) if self.wanted.scan and everywhere else []
        if not self.looking and everywhere:
            mend_stand_ins(session)
        follow_moved(session, roots_of(session), keep=not self.looking)

    def look(self) -> None:
        """What lies in the folders and is not known yet."""
        wanted = self.wanted
        self.looked = look(
            self.session, scan=wanted.scan, paths=wanted.paths, found=wanted.found, brought=wanted.brought,
            providers=wanted.providers, restore=wanted.restore, within=self.within,
            drifted=self.still.drifted if self.still is not None else {})
        self.waiting = _waiting(self.session, self.looked) if self.ask is None and not self.looking else []

    def take_in(self) -> None:
        """Hash and name it; the variants as they will be, with the hashes that layouts need."""
        session, looked, wanted = self.session, self.looked, self.wanted
        self.intake = intake = hash_and_name(session, wanted, looked, self.progress)
        intake.notes += [*self.waiting, *self.unproven,
                         *(f"{path}: {why}" for path, why in looked.reader.notes.items())]
        variants = _current(session, intake, wanted)
        self.renamed = renamed = forgotten(
            session, looked.placed, intake.present, variants, looked.untouched) if wanted.scan else {}
        variants = [replace(v, sources=renamed.get(v.key, v.sources)) for v in variants] if renamed else variants
        self.variants, self.lacking = with_aliases(
            session, variants, looked, intake, self.progress, keep=not self.looking,
            hasher=self.still.hasher if self.still is not None else None)
        self.issues += damage(session)          # what was read on the way may be damaged, too

    def project(self) -> None:
        """What every provider must see, where that can be."""
        session, looked, intake = self.session, self.looked, self.intake
        self.chosen = chosen_for(session, intake, self.wanted)
        withheld = withheld_from(
            session, self.variants, looked.placed, self.wanted, self.chosen, intake.present, looked.untouched)
        self.projection = projection = project(
            self.variants, looked.placed, session.facts, withheld, self.still.shown if self.still is not None else None)
        projection.far.update(self.lacking)
        close_drifted(projection, looked.drifted)
        projection.close(_unwritable(projection))
        limit(session, projection, self.variants, intake.coming)
        by_their_owners(session, projection)

    def make_plan(self) -> None:
        """The steps there, and what a person should know."""
        session, wanted, looked, intake, projection = (
            self.session, self.wanted, self.looked, self.intake, self.projection)
        self.roots, self.part = projection.roots, dict[str, frozenset[str]]()
        if self.still is not None and self.within is not None:
            self.roots, self.part = self.still.planning(projection.roots, self.within)
        left = given_up(session, looked.placed, wanted.providers) if self.within is None else ()
        self.plan = session.farm.plan(
            [*self.roots, *left], part=self.part,
            adoptions=[*(_adoption(wish, looked.placed) for wish in intake.wishes if wish.how != "copy"),
                       *wanted.swaps],
            restore=wanted.restore, hide=wanted.hide, unhide=wanted.unhide,
            extra=_extras(session, intake, wanted, self.chosen, self.renamed), present=intake.present,
        )
        intake.notes += _being_written(looked)
        self.issues += [*away_issues(session, projection), *not_of(leading_away(session), looked.reader.issues),
                        *intake.issues, *projection.issues, *self.plan.issues]
        intake.notes += [*deletions(session, self.plan), *replacements(intake)]

    def note(self) -> None:
        """Write the plan where it was asked for; when there is nothing to do, what that rests on."""
        session, intake = self.session, self.intake
        if self.save_plan is not None:
            _save(self.save_plan, seal(self.plan.encode(), session.farm.state))
        if self.wanted == Change() and self.plan.empty and not (
                intake.wishes or self.waiting or self.projection.closed or intake.unsure):
            remember(session, self.looked, self.plan.unchanged, dict.fromkeys(self.issues), self.began_ns,
                     min(hub_names.due(session), deferred.due(session)))

    def agreed(self, preview: SyncReport) -> bool:
        """Whether the person, if there is one to be asked, wants this."""
        wanted = self.wanted
        note_waiting(self.session, self.intake,
                     complete=wanted.scan and wanted.providers is None and self.within is None)
        return self.plan.empty or self.ask is None or not self.plan.adoptions or self.ask(preview)

    def apply(self) -> None:
        """Do it."""
        session, still = self.session, self.still
        prove(session, self.plan, self.progress)
        self.concerned = None if still is None or self.within is None or self.intake.lost else still.concerned(
            self.plan, session.farm.exceptions.load())
        session.index.remember_headers({item.placed.manifest: item.variant.header for item in self.intake.new})
        with session.store.working() as staging:    # until the refs are durable, no collection lets go of a blob
            self.outcome = session.farm.apply(self.plan, command=self.wanted.command, progress=linking(self.progress),
                                              since=self.since)
            session.store.volumes.note(staging)
        self.issues += self.outcome.issues
        note_new(session, self.intake, self.variants)

    def keep(self) -> None:
        """Note how things stand now."""
        session, still, left = self.session, self.still, list[Issue]()
        if still is not None:
            still.done(self.projection.roots, self.plan, self.outcome, session.farm.journal.latest(),
                       self.looked.drifted)
            if self.within is not None:
                left = still.issues_left(last_issues(session), self.roots, self.part, self.within)
        keep(session, session.index.variants(), self.projection, [*self.issues, *left], self.wanted.providers,
             scanned=self.wanted.scan and self.wanted.providers is None, concerned=self.concerned)


def _save(file: Path, data: bytes) -> None:
    """Write a plan; what the person named may be a device or a pipe, but no file is written through a link."""
    if file.exists() and not file.is_file():
        file.write_bytes(data)
    else:
        kernel.replace_file(os.path.abspath(file), data, 0o600, durable=False)


def _being_written(looked: Looked) -> list[str]:
    """Files that are not whole because somebody writes them at this moment: nothing is wrong with them."""
    reader, notes = looked.reader, list[str]()
    for issue in list(reader.issues):
        if issue.kind in ("incomplete", "unreadable") and os.path.isfile(issue.path) and (
                writers_of(os.path.realpath(issue.path)) is Lease.BUSY):
            reader.issues.remove(issue)
            notes.append(f"{issue.path}: is being written, and is taken in when it is whole")
    return notes


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
        elif move.variant is not None:
            variants[move.key] = move.variant
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
