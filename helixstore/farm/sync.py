"""The whole way: look, take in, project, plan, ask, apply, report. `sync` and every command that changes the farm.

    gather (what lies there) -> intake (whose it is) -> projection (what must lie there) -> plan -> apply

A sync with nothing changed ends after the first look: every folder and file that the last one rested on is as it was
then, so there is nothing to plan.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.farm.intake import Candidate, Hasher, Intake, Rules, Wish, candidate_of, take_in
from helixstore.farm.library import Library
from helixstore.farm.naming import Known
from helixstore.farm.plan import Adoption, Plan
from helixstore.farm.projection import aliases_needed, project
from helixstore.fs.names import printable
from helixstore.providers.layout import Found
from helixstore.providers.reader import DiskReader
from helixstore.results import Adopted, SyncReport
from helixstore.session import PlacedRoot, Session
from helixstore.store.hashing import Hashes, hash_file
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.values import Issue, Key, Source, Variant

if TYPE_CHECKING:
    from helixstore.formats import Inspection
    from helixstore.fs.kernel import Fingerprint

__all__ = ["Ask", "Change", "Progress", "change"]

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
        without: variants that are to be dropped.
        hide, unhide: (provider, variant) pairs.
        restore: bring back what was hidden or declined.
        copy: content from another disk may be copied into the store.
        extra: records for the journal that the engine's handlers carry out.
    """

    command: str = "sync"
    scan: bool = True
    paths: Sequence[tuple[Path, str | None]] = ()
    providers: Collection[str] | None = None
    without: Collection[Key] = ()
    hide: Sequence[tuple[str, Key]] = ()
    unhide: Sequence[tuple[str, Key]] = ()
    restore: bool = False
    copy: bool = False
    extra: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


@dataclass
class Looked:
    """What was found before anything is decided."""

    reader: DiskReader
    placed: list[PlacedRoot]
    candidates: list[Candidate]


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
    issues = list(session.farm.recover()) if not dry_run else []
    issues += [*session.issues, *session.settings.issues]
    looked = look(session, wanted)
    intake = _intake(session, wanted, looked, progress)
    variants = _current(session, intake, wanted)
    variants = with_aliases(session, variants, progress)
    projection = project(variants, looked.placed, session.facts, _withheld(session))
    plan = session.farm.plan(
        projection.roots, adoptions=[_adoption(wish, looked.placed) for wish in intake.wishes if wish.how != "copy"],
        restore=wanted.restore, hide=wanted.hide, unhide=wanted.unhide, extra=[*_extras(intake), *wanted.extra],
    )
    issues += [*looked.reader.issues, *intake.issues, *projection.issues, *plan.issues]
    preview = report(plan, intake, issues, dry_run=True)
    if save_plan is not None:
        save_plan.write_bytes(plan.encode())
    if dry_run or save_plan is not None:
        return preview
    if not plan.empty and ask is not None and _worth_asking(plan) and not ask(preview):
        return preview
    outcome = session.farm.apply(plan, command=wanted.command, progress=_linking(progress))
    return report(outcome.plan, intake, [*issues, *outcome.issues], dry_run=False, operation=outcome.number,
                  freed=outcome.freed)


def look(session: Session, wanted: Change) -> Looked:
    """What lies in the roots and folders that the change is about, without what is known to be ours."""
    reader = DiskReader(session.places.home)
    placed = [p for p in session.roots(reader, session.farms)
              if wanted.providers is None or p.provider in wanted.providers]
    library = Library()
    placed += [PlacedRoot(library.name, library, root, True)
               for root in library.roots(session.env(library.name, reader, session.farms))]
    candidates: list[Candidate] = []
    for path, name in wanted.paths:
        candidates += [candidate_of(_loose(one, name), None, asked=True) for one in reader.given(path)]
    if wanted.scan and session.settings.adopt != "off":
        candidates += _gather(session, reader, placed)
    return Looked(reader, placed, candidates)


def _gather(session: Session, reader: DiskReader, placed: Iterable[PlacedRoot]) -> Iterator[Candidate]:
    """Every model in the roots of providers that are on and in the loose folders, each place once."""
    seen: set[str] = set()
    folders = set()
    for place in placed:
        if place.on and not place.root.owned and (str(place.root.path), place.root.label) not in folders:
            folders.add((str(place.root.path), place.root.label))
            for found in place.layout.discover(place.root, reader):
                yield from _fresh(session, candidate_of(found, str(place.root.path)), seen)
    for folder in session.settings.scan:
        for inspection in reader.models(folder, -1):
            yield from _fresh(session, candidate_of(_loose(inspection, None), None), seen)


def _fresh(session: Session, candidate: Candidate, seen: set[str]) -> Iterator[Candidate]:
    """The candidate, unless another program's look gave it already, it is ours, excluded, or declined."""
    first = candidate.pieces[0].location if candidate.pieces else str(candidate.found.inspection.location)
    if first in seen:
        return
    seen.add(first)
    if any(fnmatch.fnmatch(first, pattern) for pattern in session.settings.exclude):
        return
    if any(first.startswith(f"{folder}{os.sep}") for folder in (session.store.path, session.farms)):
        return
    if session.farm.owns(piece.location for piece in candidate.pieces):
        return
    if any(session.farm.intent.is_declined(piece.location) for piece in candidate.pieces):
        return
    yield candidate


def _loose(inspection: Inspection, name: str | None) -> Found:
    return Found(inspection, Source("file", name=inspection.location.name), name or inspection.name)


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
    """The variants as they will be: the current ones with the new, without those that are dropped."""
    variants = {variant.key: variant for variant in session.index.variants()}
    for item in intake.items:
        if item.placed.fresh or item.placed.key not in variants:
            variants[item.placed.key] = item.variant
    return [variant for key, variant in variants.items() if key not in wanted.without]


def with_aliases(session: Session, variants: Sequence[Variant], progress: Progress | None = None) -> list[Variant]:
    """The variants with the SHA-256 that layouts need; what is not known yet is computed from the blob, and kept."""
    from dataclasses import replace

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


def _extras(intake: Intake) -> list[dict[str, Any]]:
    """What the journal must carry beside links: small files to copy in, then manifests and refs to publish."""
    copies = [{"kind": "copy-in", "path": w.location, "digest": w.digest.hashes.blake3,
               "expect": list(w.digest.fingerprint)} for w in intake.wishes if w.how == "copy"]
    refs = [{"kind": "publish", "model": item.placed.key.model, "variant": item.placed.key.variant,
             "manifest": item.placed.manifest,
             "content": item.manifest.encode().decode() if item.placed.fresh else None,
             "sources": [source_json(s) for s in item.placed.sources]} for item in intake.new]
    return copies + refs


def source_json(source: Source) -> dict[str, str]:
    """A source as it is written: what is not known is left out."""
    pairs = {"kind": source.kind, "repository": source.repository, "revision": source.revision,
             "program": source.program, "name": source.name}
    return {key: value for key, value in pairs.items() if value is not None}


def _withheld(session: Session) -> Callable[[str], Collection[str]]:
    """Provider -> models that the person shared with others by name; the library sees all."""
    return lambda provider: () if provider == Library.name else session.choices.withheld(provider)


def _worth_asking(plan: Plan) -> bool:
    """Whether a person should see the plan first: it takes in or replaces files of theirs."""
    return bool(plan.adoptions)


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
        unchanged=plan.unchanged, issues=unique, actions=actions, notes=tuple(map(printable, intake.notes)),
        saved_bytes=plan.stats().freed if freed is None else freed, dry_run=dry_run, operation=operation,
    )
