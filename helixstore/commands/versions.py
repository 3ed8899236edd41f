"""`history` and `rollback`: a version is a manifest that a name once led to, and going back moves the name only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from helixstore.download.results import Version
from helixstore.errors import Failed, HelixError, NotFound
from helixstore.farm.handlers import Move
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.store.refs import Ref, claimant_of
from helixstore.sync.change import change
from helixstore.sync.claims import claim_of
from helixstore.sync.progress import Progress
from helixstore.sync.wanted import Change
from helixstore.values import Key, Source

__all__ = ["bring_back", "history", "rollback", "versions_of"]


def history(session: Session, model: str) -> list[Version]:
    """Every version that the variants meant by `model` have had for this person, by variant, the latest first.

    Raises:
        NotFound, Ambiguous: see `Index.find`.
    """
    found = []
    for variant in session.index.find(model):
        for number, ref in enumerate(versions_of(session, variant.key)):
            here, size = _state(session, ref)
            found.append(Version(
                variant.key.model, variant.key.variant, ref.manifest or "", _revision(ref), size,
                datetime.fromtimestamp(ref.mtime_ns / 1e9, UTC).isoformat(timespec="seconds"),
                ref.manifest == variant.manifest and number == _first(session, variant.key, variant.manifest), here))
    return found


def rollback(session: Session, model: str, to: str = "", *, dry_run: bool = False,
             progress: Progress | None = None) -> SyncReport:
    """Let the variants meant by `model` be what they were before, or at a version.

    Args:
        session: whose names.
        model: as everywhere; NAME:QUANT for one variant.
        to: the beginning of a version's manifest or revision, as `history` shows it; "": the one that was there before
            the current one came, so that twice leads two versions back, and never to what was just gone back from.
        dry_run: say what would change.
        progress: see `change`.

    Raises:
        NotFound: there is no such version.
        Failed: its files are not in the store any more.
    """
    moves, told, there = [], [], False
    for variant in session.index.find(model):
        versions = versions_of(session, variant.key)
        if to:
            meant = [ref for ref in versions if (ref.manifest or "").startswith(to) or _revision(ref).startswith(to)]
            there = there or any(ref.manifest == variant.manifest for ref in meant)
        else:
            meant = versions[_came(versions, variant.manifest) + 1:]
        others = [ref for ref in meant if ref.manifest != variant.manifest]
        if others:
            bring_back(session, variant.key, others[0])
            back = replace(session.index.variant_at(others[0]), pinned=variant.pinned)
            moves.append(Move(variant.key, back.manifest, None, back.sources, back.pinned,
                              claim_of(session, variant.key), variant=back))
            at = (_revision(others[0]) or back.manifest)[:8]
            told.append(f"{variant.key} {'would be' if dry_run else 'is'} at {at} again" + (
                "" if variant.pinned else f"; for update to leave it there: helixstore pin {variant.key.model}"))
    if not moves:
        raise NotFound(f"{model} is at {to} already" if there else f"{model} has no version {to}" if to else
                       f"{model} has no version before this one", f"helixstore history {model}")
    report = change(session, Change("rollback", scan=False, moves=moves), dry_run=dry_run, progress=progress)
    return replace(report, notes=(*told, *report.notes))


def versions_of(session: Session, key: Key) -> list[Ref]:
    """This person's refs that gave a key a manifest, the latest first.

    Of several in a row with the same one it is the latest, which knows all sources.

    Args:
        session: whose refs.
        key: the variant.
    """
    mine = [ref for ref in session.index.claims() if ref.claimant == claimant_of(session.store.host)
            and (ref.name, ref.variant) == key and ref.manifest is not None and ref.believed]
    mine.sort(key=lambda ref: (ref.mtime_ns, ref.uuid), reverse=True)
    return [ref for number, ref in enumerate(mine) if not number or mine[number - 1].manifest != ref.manifest]


def _came(versions: list[Ref], manifest: str) -> int:
    """Where the current version stands among them when it first came; before all where another's ref is followed."""
    return max((n for n, ref in enumerate(versions) if ref.manifest == manifest), default=-1)


def _first(session: Session, key: Key, manifest: str) -> int:
    """Where the current version stands among them; before all where another's ref is followed."""
    return next((n for n, ref in enumerate(versions_of(session, key)) if ref.manifest == manifest), -1)


def _revision(ref: Ref) -> str:
    return next((source.revision for source in ref.sources
                 if source.kind in ("hub", "registry") and source.revision), "")


def _state(session: Session, ref: Ref) -> tuple[bool, int]:
    """Whether all files of a version are in the store, and their size; -1 where its manifest is gone."""
    try:
        files = session.store.manifests.read(ref.manifest or "").files
        return all(session.store.blobs.exists(file.blake3) for file in files), sum(file.bytes for file in files)
    except HelixError:
        return False, -1


def bring_back(session: Session, key: Key, ref: Ref) -> None:
    """See that all files of a version are there, or back from the trash.

    Args:
        session: whose store.
        key: the variant, for the message.
        ref: the version.

    Raises:
        Failed: they are not.
    """
    manifest = session.store.manifests.read(ref.manifest or "")
    lacking = [file.path for file in manifest.files if not session.store.blobs.ensure(file.blake3)]
    if lacking:
        again = next((command for source in ref.sources if (command := _again(source))),
                     "add it again from where it came from")
        raise Failed(f"{len(lacking)} files of that version of {key} are not in the store any more, such as "
                     f"{lacking[0]}", again)


def _again(source: Source) -> str:
    """The command that downloads that very version once more, or ""."""
    if not source.repository or not source.revision or source.kind not in ("hub", "registry"):
        return ""
    if source.kind == "hub":
        return f"helixstore models download hf:{source.repository}@{source.revision}"
    return f"helixstore pull oci://{source.repository}@sha256:{source.revision}"
