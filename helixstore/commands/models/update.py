"""`update`: whether the repositories and registries that models came from have later revisions, and what changed there.

A registry's tag is one model: where it leads to another manifest, that is the later version. On the hub a later commit
mostly changes a README; there what counts is the digests of the files that programs read: where they are the same in
the later commit, there is nothing to do. Only files that are others are downloaded; the name moves to the new version
then, and the programs show it. The version before stays as `history` says. What is of another quantisation now takes
the place of the old, which has another name: that is withdrawn, with the sources of the new one written down, so that
`rollback` finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from helixstore.catalogue.references import HubReference, OciReference, Reference
from helixstore.commands.models.offering import offered
from helixstore.download.audience import check_audience
from helixstore.download.choosing import packages, tells_people
from helixstore.download.getting import getting, held
from helixstore.download.mirror import mirror_of
from helixstore.download.offered import Offered
from helixstore.download.results import Update, UpdateReport
from helixstore.errors import HelixError
from helixstore.farm.handlers import Move
from helixstore.hub.remote import RemoteFile
from helixstore.oci.reference import noted_reference
from helixstore.providers.layout import Found
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.sync.change import change
from helixstore.sync.claims import claim_of
from helixstore.sync.naming import variant_id
from helixstore.sync.progress import Progress
from helixstore.sync.wanted import Change
from helixstore.values import Format, Source, Variant

__all__ = ["update"]


@dataclass(frozen=True, slots=True)
class _Later:
    """What a variant would become: the files of its package in the later commit, or all that a tag leads to."""

    sources: tuple[Source, ...]
    files: tuple[RemoteFile, ...]
    changed: tuple[str, ...]


def update(session: Session, model: str = "", *, check: bool = False,
           progress: Progress | None = None) -> UpdateReport:
    """Bring models to the latest revision of where they came from: the hub, or a registry's tag.

    Args:
        session: whose models.
        model: only these variants; "": all.
        check: only say what there is.
        progress: as of a download.

    Raises:
        NotFound, Ambiguous: no model is called that.
    """
    variants = session.index.find(model) if model else session.index.variants()
    asked: dict[str, Offered | HelixError] = {}
    found: list[Update] = []
    syncs: list[SyncReport] = []
    for variant in variants:
        source = variant.hub or variant.registry
        reference = _followed(source) if source is not None else None
        if source is None or reference is None:
            continue
        here = Update(variant.key.model, variant.key.variant, str(source.repository), source.revision or "", "",
                      "current")
        offer = _asked(session, reference, asked)
        if isinstance(offer, HelixError):
            found.append(replace(here, state="failed", why=offer.message, remedy=offer.remedy))
            continue
        here = replace(here, latest=offer.revision)
        later = None if offer.revision == source.revision else _later(session, variant, source, offer)
        if later is None:
            found.append(here)
        elif not later.files:
            why = ("the tag leads to another variant now, which is here too" if offer.single
                   else "the later revision has no such file")
            see = f"see what it has: helixstore models download {reference} --dry-run"
            gone = f"if you need it no more: helixstore remove '{here.model}:{variant.quantization}'"
            found.append(replace(here, state="gone", why=why, remedy=gone if offer.single else see))
        else:
            here = replace(here, changed=later.changed,
                           fetch_bytes=held(session, later.files, progress).missing(later.files))
            if variant.pinned or check:
                found.append(replace(here, state="pinned" if variant.pinned else "new"))
            else:
                found.append(_updated(session, variant, here, later, offer, syncs, progress))
    return UpdateReport(tuple(found), tuple(syncs), dry_run=check)


def _followed(source: Source) -> Reference | None:
    """Where a later version would be; None for what was named by its digest alone."""
    if source.kind == "hub":
        return HubReference(str(source.repository))
    place = noted_reference(str(source.repository))
    return OciReference(place.host, place.repository, place.tag) if place is not None and place.tag else None


def _asked(session: Session, reference: Reference, asked: dict[str, Offered | HelixError]) -> Offered | HelixError:
    """What is there now, or why nobody says; each is asked about once."""
    name = str(reference)
    if name not in asked:
        try:
            asked[name] = offered(session, reference)
        except HelixError as error:
            asked[name] = error
    return asked[name]


def _later(session: Session, variant: Variant, source: Source, offer: Offered) -> _Later | None:
    """The variant in a later revision; without files where that has none; None where nothing changed."""
    if offer.single:
        return _moved(session, variant, source, offer)
    have = {file.path: (file.sha256, file.gitsha1) for file in variant.files}
    listed = {file.path: file for file in offer.files}
    changed = [path for path, known in have.items() if path not in listed or listed[path].digest not in known]
    weights = [file.path for file in variant.weights]
    package = next((one for one in packages(offer.files)
                    if {file.path for file in one.weights} == set(weights)
                    or (variant.format is not Format.GGUF and one.family is variant.format.family)), None)
    files = package.files if package is not None else ()
    new = [file.path for file in files if file.path not in have]
    if all(tells_people(path) for path in (*changed, *(() if variant.format is Format.GGUF else new))):
        return None
    return _Later((replace(source, revision=offer.revision, name=offer.place),), files,
                  tuple(sorted({*changed, *new})))


def _moved(session: Session, variant: Variant, source: Source, offer: Offered) -> _Later:
    """The same of a tag that leads to another manifest; without files where that is another variant here."""
    key = variant.key
    taken = any(one.kind == "registry" and (one.repository, one.revision) == (source.repository, offer.revision)
                for other in session.index.variants() if other.key != key for one in other.sources)
    have = {file.sha256 for file in variant.files}
    changed = sorted(file.path for file in offer.files if file.sha256 not in have)
    return _Later(offer.sources, () if taken else offer.files, tuple(changed))


def _updated(session: Session, variant: Variant, here: Update, later: _Later, offer: Offered, syncs: list[SyncReport],
             progress: Progress | None) -> Update:
    """Download what changed, and let the name lead there."""
    mirror = mirror_of(session, offer)
    try:
        check_audience(session, offer)
        with getting(session, mirror.before(later.files), later.sources, here.model, progress) as (
                models, issues, fetched):
            moves = _given_up(session, variant, offer, later, models)
            shown = change(session, Change("update", scan=False, brought=models, moves=moves), progress=progress)
    except HelixError as error:
        return replace(here, state="failed", why=error.message, remedy=error.remedy)
    syncs.append(replace(shown, issues=(*issues, *shown.issues)))
    return replace(here, state="updated", fetch_bytes=fetched)


def _given_up(session: Session, variant: Variant, offer: Offered, later: _Later,
              models: Sequence[Found]) -> list[Move]:
    """The name of a variant in whose place there is another quantisation now; none where it also is somewhere else."""
    new = {variant_id(model.inspection.format, model.inspection.quantization) for model in models}
    taken = {source.origin for source in offer.own}
    place = offer.source.kind, offer.source.repository
    elsewhere = [source for source in variant.sources
                 if (source.kind, source.repository) != place and source.origin not in taken]
    before = claim_of(session, variant.key)
    if elsewhere or before is None or before.follows or variant.key.variant.partition("@")[0] in new:
        return []
    return [Move(variant.key, None, sources=later.sources, before=before)]
