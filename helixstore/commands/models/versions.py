"""`history` and `rollback`: a version is a manifest that a name once led to, and going back moves the name only.

Where an update put another quantisation in the place of one, that one's name was withdrawn with the sources of the new
one written down (`update`): its versions are those before the new one's.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from helixstore.download.results import Version
from helixstore.errors import Failed, HelixError, NotFound
from helixstore.farm.handlers import Move
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.store.refs import Ref, claimant_of, current
from helixstore.sync.change import change
from helixstore.sync.claims import claim_of
from helixstore.sync.progress import Progress
from helixstore.sync.wanted import Change
from helixstore.values import Key, Source, Variant

__all__ = ["bring_back", "history", "rollback", "versions_of"]


def history(session: Session, model: str) -> list[Version]:
    """Every version that the variants meant by `model` have had for this person, by variant, the latest first; after
    them those of another quantisation whose place one has taken.

    Raises:
        NotFound, Ambiguous: see `Index.find`.
    """
    found = []
    for variant in session.index.find(model):
        versions = versions_of(session, variant.key)
        now = next((ref for ref in versions if ref.manifest == variant.manifest), None)
        for ref in (*versions, *_before(session, variant.key)):
            here, size = _state(session, ref)
            found.append(Version(
                ref.name, ref.variant, ref.manifest or "", _revision(ref), size,
                datetime.fromtimestamp(ref.mtime_ns / 1e9, UTC).isoformat(timespec="seconds"), ref is now, here))
    return found


def rollback(session: Session, model: str, to: str = "", *, dry_run: bool = False,
             progress: Progress | None = None) -> SyncReport:
    """Let the variants meant by `model` be what they were before, or at a version.

    Args:
        session: whose names.
        model: as everywhere; NAME:QUANT for one variant.
        to: the beginning of a version's manifest or revision, as `history` shows it; "": the one that was there before
            the current one came, so that twice leads two versions back, and never to what was just gone back from. What
            is published once more, at a later revision, has come with that.
        dry_run: say what would change.
        progress: see `change`.

    Raises:
        NotFound: there is no such version.
        Failed: its files are not in the store any more.
    """
    moves, told, there, named = [], [], False, ""
    for variant in session.index.find(model):
        versions = versions_of(session, variant.key)
        came, versions = _came(versions, variant.manifest), [*versions, *_before(session, variant.key)]
        if to:
            meant = [ref for ref in versions if (ref.manifest or "").startswith(to) or _revision(ref).startswith(to)]
            there = there or any(ref.manifest == variant.manifest for ref in meant)
        else:
            meant = versions[came + 1:]
            named = named or next((_named(ref) for ref in versions if ref.manifest != variant.manifest), "")
        others = [ref for ref in meant if ref.manifest != variant.manifest]
        if others:
            key = Key(others[0].name, others[0].variant)
            bring_back(session, key, others[0])
            back = replace(session.index.variant_at(others[0]), pinned=variant.pinned)
            moves.append(Move(key, back.manifest, None, back.sources, back.pinned, claim_of(session, key),
                              variant=back))
            moves += _given_up(session, variant, key)
            told.append(f"{key} {'would be' if dry_run else 'is'} at {_named(others[0])} again" + (
                "" if variant.pinned else f"; for update to leave it there: helixstore pin {variant.key.model}"))
    if not moves:
        raise NotFound(f"{model} is at {to} already" if there else f"{model} has no version {to}" if to else
                       f"{model} has no version before this one" + (", which it had first" if named else ""),
                       f"for what came after it: helixstore rollback '{model}' --to {named}" if named
                       else f"helixstore history {model}")
    report = change(session, Change("rollback", scan=False, moves=moves), dry_run=dry_run, progress=progress)
    return replace(report, notes=(*told, *report.notes))


def versions_of(session: Session, key: Key) -> list[Ref]:
    """This person's refs that gave a key a manifest, the latest first.

    Of several in a row with the same one it is the latest, which knows all sources.

    Args:
        session: whose refs.
        key: the variant.
    """
    mine = [ref for ref in _mine(session, key.model) if ref.variant == key.variant and ref.manifest is not None]
    mine.sort(key=lambda ref: (ref.mtime_ns, ref.uuid), reverse=True)
    return [ref for number, ref in enumerate(mine) if not number or mine[number - 1].manifest != ref.manifest]


def _came(versions: list[Ref], manifest: str) -> int:
    """Where the current version stands among them when it first came; before all where another's ref is followed.

    Going back writes down the revision of old again. The same content at another one was published once more.
    """
    there = [(n, _revision(ref)) for n, ref in enumerate(versions) if ref.manifest == manifest]
    return max((n for n, revision in there if revision == there[0][1]), default=-1)


def _mine(session: Session, model: str) -> list[Ref]:
    """This person's refs under a name."""
    me = claimant_of(session.store.host)
    return [ref for ref in session.index.claims() if ref.claimant == me and ref.name == model and ref.believed]


def _replaced(session: Session, key: Key) -> Ref | None:
    """The word by which an update withdrew another quantisation, since this one took its place."""
    mine = _mine(session, key.model)
    came_from = {place for ref in mine if ref.variant == key.variant for place in _places(ref)}
    return next((ref for ref in reversed(current(mine)) if ref.manifest is None and ref.variant != key.variant
                 and not came_from.isdisjoint(_places(ref))), None)


def _before(session: Session, key: Key) -> list[Ref]:
    """The versions of the other quantisation whose place this one has taken."""
    gone = _replaced(session, key)
    return versions_of(session, Key(gone.name, gone.variant)) if gone is not None else []


def _given_up(session: Session, variant: Variant, back: Key) -> list[Move]:
    """The name of a variant in whose place another quantisation is back; none where it also is somewhere else."""
    gone = _replaced(session, variant.key) if back != variant.key else None
    if gone is None or {_place(one) for one in variant.sources} - {_place(one) for one in gone.sources}:
        return []
    return [Move(variant.key, None, before=claim_of(session, variant.key))]


def _place(source: Source) -> tuple[str | None, ...]:
    """Where it came from, whatever is there now."""
    return source.origin if source.kind == "program" else (source.kind, source.repository)


def _places(ref: Ref) -> set[tuple[str | None, ...]]:
    return {(one.kind, one.repository, one.revision) for one in ref.sources if one.repository and one.revision}


def _revision(ref: Ref) -> str:
    return next((source.revision for source in ref.sources
                 if source.kind in ("hub", "registry") and source.revision), "")


def _named(ref: Ref) -> str:
    """What tells a version from the others, as `--to` takes it."""
    return (_revision(ref) or ref.manifest or "")[:8]


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
