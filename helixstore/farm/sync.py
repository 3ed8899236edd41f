"""The whole way: look, take in, project, plan, ask, apply, report. `sync` and every command that changes the farm.

    gather (what lies there) -> intake (whose it is) -> projection (what must lie there) -> plan -> apply

A sync with nothing changed ends after the first look: every folder and file that the last one rested on is as it was
then, so there is nothing to plan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.errors import Unreadable
from helixstore.farm.handlers import (
    Move,
    accept_record,
    choose_record,
    decline_record,
    hide_record,
    refs_record,
    small_record,
    unhide_record,
)
from helixstore.farm.intake import Hasher, Intake, Rules, Wish, take_in
from helixstore.farm.library import Library
from helixstore.farm.look import Looked, look, roots_of
from helixstore.farm.naming import Known
from helixstore.farm.plan import Adoption, Plan
from helixstore.farm.projection import aliases_needed, project
from helixstore.farm.standing import freed, keep, quarantined
from helixstore.farm.unchanged import remember, unchanged
from helixstore.results import Adopted, SyncReport
from helixstore.session import PlacedRoot, Session
from helixstore.store.hashing import Hashes, hash_file
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.values import Issue, Key, Variant

if TYPE_CHECKING:
    from helixstore.fs.kernel import Fingerprint

__all__ = ["Ask", "Change", "Progress", "apply_file", "change", "report", "restate"]

Ask = Callable[[SyncReport], bool]
Progress = Callable[[str, str, int, int], None]


@dataclass
class Change:
    """What a command wants beside the desired state.

    Attributes:
        command: what the person typed, for the journal.
        scan: look into the programs' folders and the loose ones for models.
        paths: files or folders that the person named, with the model name they gave (or None).
        providers: only these providers' roots; None for all.
        moves: names that move.
        hide, unhide: (provider, variant) pairs; provider "" for all.
        decline, accept: absolute paths that scans leave alone from now on, or look at again.
        only: share what `paths` and `models` name with this provider only; "" shares them with all again.
        models: names of models that `only` is about, beside those that `paths` bring.
        restore: bring back what was hidden or declined.
        copy: content from another disk may be copied into the store.
    """

    command: str = "sync"
    scan: bool = True
    paths: Sequence[tuple[Path, str | None]] = ()
    providers: Collection[str] | None = None
    moves: Sequence[Move] = ()
    hide: Sequence[tuple[str, Key]] = ()
    unhide: Sequence[tuple[str, Key]] = ()
    decline: Sequence[str] = ()
    accept: Sequence[str] = ()
    only: str | None = None
    models: Collection[str] = ()
    restore: bool = False
    copy: bool = False


def change(
    session: Session, wanted: Change, *, dry_run: bool = False, ask: Ask | None = None,
    progress: Progress | None = None, save_plan: Path | None = None,
) -> SyncReport:
    """Carry out a change of the farm, or with `dry_run` say what it would be.

    Args:
        session: the person's store, index, layouts and farm.
        wanted: what the command asks for.
        dry_run: plan and report only. What was hashed on the way is remembered, nothing else is written.
        ask: shown the report of the plan when it adopts or replaces files; False stops before the first step.
        progress: (what, path, bytes done, bytes in all).
        save_plan: write the plan to this file, to be read, and run by `apply FILE`; implies `dry_run`.

    Raises:
        HelixError: nothing was changed.
    """
    began_ns = time.time_ns()
    issues = list(session.farm.recover()) if not dry_run else []
    if wanted == Change() and (known := unchanged(session, roots_of(session))):
        return SyncReport(unchanged=known[0], issues=(*issues, *known[1]), dry_run=dry_run)
    issues += [*session.issues, *session.settings.issues]
    issues += [Issue("quarantined", key.model, f"{key} has a damaged file and is withdrawn from every program",
                     f"add it again, then: helixstore verify {key.model}")
               for key in quarantined(session, session.index.variants())]
    looked = look(session, scan=wanted.scan, paths=wanted.paths, providers=wanted.providers, restore=wanted.restore)
    intake = _intake(session, wanted, looked, progress)
    looking = dry_run or save_plan is not None
    variants = with_aliases(session, _current(session, intake, wanted), progress, keep=not looking)
    chosen = _chosen(session, intake, wanted)
    withheld = _withheld(session, variants, looked.placed, wanted, chosen)
    projection = project(variants, looked.placed, session.facts, withheld)
    plan = session.farm.plan(
        projection.roots, adoptions=[_adoption(wish, looked.placed) for wish in intake.wishes if wish.how != "copy"],
        restore=wanted.restore, hide=wanted.hide, unhide=wanted.unhide,
        extra=_extras(session, intake, wanted, chosen),
    )
    issues += [*looked.reader.issues, *intake.issues, *projection.issues, *plan.issues]
    preview = report(plan, intake, issues, dry_run=True)
    if save_plan is not None:
        save_plan.write_bytes(plan.encode())
    if wanted == Change() and plan.empty and not intake.wishes:
        remember(session, looked, plan.unchanged, dict.fromkeys(issues), began_ns)
    if looking:
        return preview
    if not plan.empty and ask is not None and plan.adoptions and not ask(preview):
        return preview
    session.index.remember_headers({item.placed.manifest: item.variant.header for item in intake.new})
    with session.store.working():               # until the refs are durable, no collection lets go of a blob
        outcome = session.farm.apply(plan, command=wanted.command, progress=_linking(progress))
    issues += outcome.issues
    freed(session, outcome.number, outcome.freed)
    keep(session, session.index.variants(), projection, issues, wanted.providers)
    return report(plan, intake, issues, dry_run=False, operation=outcome.number, freed=outcome.freed)


def apply_file(
    session: Session, file: Path, *, dry_run: bool = False, progress: Progress | None = None
) -> SyncReport:
    """Carry out a plan that `sync --plan FILE` saved, if the world is still as it was.

    Raises:
        PlanOutdated: it is not, or the file is no plan; nothing was changed.
        Unreadable: the file cannot be read.
    """
    try:
        plan = Plan.decode(file.read_bytes())
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}", "", file) from error
    if dry_run:
        return report(plan, Intake(), plan.issues, dry_run=True)
    outcome = session.farm.apply(plan, command=f"apply {file.name}", progress=_linking(progress), strict=True)
    freed(session, outcome.number, outcome.freed)
    restate(session, outcome.issues)
    return report(plan, Intake(), [*plan.issues, *outcome.issues], dry_run=False, operation=outcome.number,
                  freed=outcome.freed)


def restate(session: Session, issues: Iterable[Issue] = ()) -> None:
    """Note how every variant stands, after a change that was not planned from the current state."""
    session.index.refresh()
    looked = look(session, scan=False)
    variants = session.index.variants()
    withheld = _withheld(session, variants, looked.placed, Change(), {})
    keep(session, variants, project(variants, looked.placed, session.facts, withheld), issues)


def _intake(session: Session, wanted: Change, looked: Looked, progress: Progress | None) -> Intake:
    """Hash and name the candidates."""
    if not looked.candidates:
        return Intake()
    index = session.index

    def recall(path: str, fingerprint: Fingerprint) -> Hashes | None:
        digest = index.digest_at(path, fingerprint)
        return index.hashes(digest) if digest else None

    def remember(path: str, fingerprint: Fingerprint, hashes: Hashes) -> None:
        index.remember([(path, fingerprint, hashes)])

    step = (lambda path, done, total: progress("hash", path, done, total)) if progress else None
    on = [place.layout for place in looked.placed if place.on]
    hubs = any(c.found.source.kind == "hub" for c in looked.candidates)
    hasher = Hasher(recall, remember, step, sha256="sha256" in aliases_needed(on) or hubs)
    names = [name for _, name in wanted.paths if name]
    rules = Rules(session.store.path, session.store.host.uid, "sha256" in aliases_needed(on), session.settings.share,
                  wanted.copy, names[0] if names else None)
    return take_in(looked.candidates, hasher, rules, [known_of(v) for v in index.variants()], _inodes(session),
                   session.store.blobs.exists, session.farm.adopted_as)


def known_of(variant: Variant) -> Known:
    """A current variant as the rules of names see it."""
    files = tuple(ManifestFile(f.path, f.bytes, f.blake3, f.role) for f in variant.files)
    manifest = Manifest(variant.format, variant.quantization, variant.purpose, files)
    return Known(variant.key, variant.manifest, manifest.content_key, variant.sources, variant.pinned)


def _inodes(session: Session) -> dict[tuple[int, int], str]:
    """(device, inode) -> digest of every blob."""
    found = {}
    for digest in session.store.blobs.digests():
        status = os.stat(session.store.blobs.path(digest))
        found[status.st_dev, status.st_ino] = digest
    return found


def _current(session: Session, intake: Intake, wanted: Change) -> list[Variant]:
    """The variants as they will be, by name: the current ones with the new, without those whose names are withdrawn.

    The order is the same whether they are new or known, so that the ledgers need no second look.
    """
    variants = {variant.key: variant for variant in session.index.variants()}
    for item in intake.items:
        known = None if item.placed.fresh else variants.get(item.placed.key)
        variants[item.placed.key] = replace(known, sources=item.placed.sources) if known else item.variant
    for move in wanted.moves:
        if move.manifest is None:
            variants.pop(move.key, None)
    return sorted(variants.values(), key=lambda variant: variant.key)


def _chosen(session: Session, intake: Intake, wanted: Change) -> dict[str, list[str] | None]:
    """Model -> the providers it is to be shared with from now on; only those for which that changes."""
    if wanted.only is None:
        return {}
    models = {*wanted.models, *(item.placed.key.model for item in intake.items if item.candidate.asked)}
    chosen: dict[str, list[str] | None] = {}
    for model in models:
        before = session.choices.only(model)
        after = sorted({*(before or ()), wanted.only}) if wanted.only else None
        known = any(item.placed.key.model == model and not item.placed.fresh for item in intake.items)
        if wanted.only and before is None and (model in wanted.models or known):
            continue                # it is shared with all already: naming one takes it from nobody
        if after != before:
            chosen[model] = after
    return chosen


def with_aliases(
    session: Session, variants: Sequence[Variant], progress: Progress | None = None, keep: bool = True
) -> list[Variant]:
    """The variants with the SHA-256 that layouts need; what is not known yet is computed from the blob.

    Args:
        session: whose store and index learn it.
        variants: the current ones.
        progress: told how far the hashing is.
        keep: write it down in the store too, not in the index alone.
    """
    needed = aliases_needed(p for name, p in session.layouts.items() if session.is_on(name))
    if "sha256" not in needed:
        return list(variants)
    learnt: dict[str, str] = {}
    for file in {f.blake3: f for v in variants for f in v.files if f.sha256 is None}.values():
        path = session.store.blobs.path(file.blake3)
        if os.path.exists(path):
            step = (lambda count, p=path, t=file.bytes: progress("hash", p, count, t)) if progress else None
            hashes, _ = hash_file(path, sha256=True, progress=step, lease=False)
            if hashes.sha256 and hashes.blake3 == file.blake3:
                if keep:
                    session.store.blobs.learn(file.blake3, sha256=hashes.sha256)
                session.index.learn(file.blake3, sha256=hashes.sha256)
                learnt[file.blake3] = hashes.sha256
    if not learnt:
        return list(variants)
    return [
        replace(v, files=tuple(replace(f, sha256=f.sha256 or learnt.get(f.blake3)) for f in v.files)) for v in variants
    ]


def _adoption(wish: Wish, placed: Sequence[PlacedRoot]) -> Adoption:
    hashes = wish.digest.hashes
    providers = tuple(p.provider for p in placed if p.on and str(p.root.path) == wish.root)
    return Adoption(wish.location, hashes.blake3, wish.digest.fingerprint, wish.how == "replace", wish.key, wish.root,
                    wish.digest.fresh, providers, hashes.sha256, hashes.gitsha1, copy=wish.how == "add")


def _extras(
    session: Session, intake: Intake, wanted: Change, chosen: Mapping[str, list[str] | None]
) -> list[dict[str, Any]]:
    """What the journal must carry beside links."""
    before = {variant.key: variant for variant in session.index.variants()} if intake.new else {}
    contents: dict[Key, str] = {}
    latest: dict[Key, Move] = {}
    for item in intake.new:                 # found in several places: one ref, with all of its sources
        key = item.placed.key
        if item.placed.fresh:
            contents[key] = item.manifest.encode().decode()
        latest[key] = Move(key, item.placed.manifest, contents.get(key), item.placed.sources, before=before.get(key))
    moves = list(latest.values())
    small = [(w.location, w.digest.hashes.blake3, w.digest.hashes.bytes) for w in intake.wishes if w.how == "copy"]
    records = [small_record(small)] if small else []
    if moves or wanted.moves:
        records.append(refs_record([*moves, *wanted.moves]))
    records += [choose_record(model, after, session.choices.only(model)) for model, after in chosen.items()]
    records += [hide_record(provider, key) for provider, key in wanted.hide]
    records += [unhide_record(provider, key) for provider, key in wanted.unhide]
    if wanted.decline:
        records.append(decline_record(wanted.decline))
    if wanted.accept:
        records.append(accept_record(wanted.accept))
    return records


def _withheld(
    session: Session, variants: Sequence[Variant], placed: Iterable[PlacedRoot], wanted: Change,
    chosen: Mapping[str, list[str] | None],
) -> Callable[[str, Key], bool]:
    """Whether a provider must not see a variant: hidden by the person, or shared with others by name."""
    roots: dict[str, list[str]] = {}
    for place in placed:
        if place.on:
            roots.setdefault(str(place.root.path), []).append(place.provider)
    hidden = {(provider, key) for provider, keys in session.farm.withheld(variants, roots, wanted.restore).items()
              for key in keys} | set(wanted.hide)
    for provider, key in wanted.unhide:
        hidden -= {pair for pair in hidden if pair[1] == key and provider in ("", pair[0])}

    corrupt = quarantined(session, variants)

    def withheld(provider: str, key: Key) -> bool:
        if key in corrupt or provider == Library.name:
            return key in corrupt
        only = chosen[key.model] if key.model in chosen else session.choices.only(key.model)
        return (provider, key) in hidden or ("", key) in hidden or (only is not None and provider not in only)

    return withheld


def _linking(progress: Progress | None) -> Callable[[int, int], None] | None:
    return (lambda done, total: progress("link", "", done, total)) if progress else None


def report(plan: Plan, intake: Intake, issues: Sequence[Issue], *, dry_run: bool, operation: int | None = None,
           freed: int | None = None) -> SyncReport:
    """What a plan does, as people and programs read it."""
    actions = tuple(plan.describe())
    adopted = tuple(
        Adopted(a.path, a.key.model, a.key.variant, a.expect.bytes, plan.frees(a),
                "replaced by a link" if a.replace else "taken in where it lies")
        for a in plan.adoptions
    )
    unique = tuple(dict.fromkeys(issues))
    return SyncReport(
        adopted=adopted,
        linked=tuple(a for a in actions if a["op"] in ("make", "replace")),
        removed=tuple(a for a in actions if a["op"] in ("remove", "restore")),
        unchanged=plan.unchanged, issues=unique, actions=actions, notes=tuple(intake.notes),
        saved_bytes=plan.stats().freed if freed is None else freed, dry_run=dry_run, operation=operation,
    )
