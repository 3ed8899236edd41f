"""What an operation does beside links: small files into the store, names to manifests, providers chosen by name.

They stand in the plan, so that the journal carries them, recovery repeats them and `undo` takes them back. They run
after the files of weights are in the store and before the first link, which is the order that gc relies on: blob
durable, then ref durable, then link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from helixstore.errors import HelixError
from helixstore.farm.choice import Choices
from helixstore.farm.intent import Intent
from helixstore.store.manifests import Manifest
from helixstore.store.refs import Claim
from helixstore.values import Issue, Key, Source, Variant

if TYPE_CHECKING:
    from helixstore.farm.outcome import Handler
    from helixstore.index import Index
    from helixstore.store.refs import Ref
    from helixstore.store.store import Store

__all__ = [
    "Move", "accept_record", "choose_record", "decline_record", "handlers", "hide_record", "refs_record",
    "small_record", "source_json", "source_of", "unhide_record",
]

_BATCH = 64 << 20               # bytes of small files that are held in memory at once


class Move:
    """One name that moves: to a manifest with these sources, or (manifest None) away.

    Args:
        key: model and variant.
        manifest: digest, or None to withdraw the name.
        content: the manifest's own text when it is new, else None.
        sources: in the order in which they are kept.
        pinned: stays at this version.
        before: this person's current claim on that name, for `undo`; None when there is none.
        follows: `<host>/<uid>` of the claimant whose model it is, when this person only shows it.
        others: uuids of other people's claims that the store's owner withdraws with it.
        variant: what the name leads to then, where it is one that the store had before; not in the journal.
    """

    def __init__(self, key: Key, manifest: str | None, content: str | None = None, sources: Iterable[Source] = (),
                 pinned: bool = False, before: Ref | None = None, follows: str | None = None,
                 others: Iterable[str] = (), variant: Variant | None = None) -> None:
        self.variant = variant
        self.key, self.manifest, self.content = key, manifest, content
        self.sources, self.pinned, self.before, self.follows = tuple(sources), pinned, before, follows
        self.others = tuple(others)

    def record(self) -> dict[str, Any]:
        """As the journal holds it."""
        before = self.before
        return {
            "model": self.key.model, "variant": self.key.variant, "manifest": self.manifest, "content": self.content,
            "sources": [source_json(source) for source in self.sources], "pinned": self.pinned, "follows": self.follows,
            "others": list(self.others),
            "before": None if before is None or (before.manifest is None and not before.sources) else {
                "manifest": before.manifest, "sources": [source_json(source) for source in before.sources],
                "pinned": before.pinned, "follows": before.follows},
        }


def refs_record(moves: Sequence[Move]) -> dict[str, Any]:
    """The record of kind "refs" for these moves."""
    return {"kind": "refs", "refs": [move.record() for move in moves]}


def small_record(files: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    """The record of kind "small": (absolute path, digest, bytes) of files whose bytes are copied into the store."""
    rows = [list(file) for file in files]
    return {"kind": "small", "files": rows, "digests": [digest for _, digest, _ in rows]}


def choose_record(model: str, providers: Sequence[str] | None, before: Sequence[str] | None) -> dict[str, Any]:
    """The record of kind "choose": share `model` with these providers only, or (None) with all."""
    return {"kind": "choose", "model": model, "providers": providers, "before": before}


def hide_record(provider: str, key: Key) -> dict[str, Any]:
    """The record of kind "hide": the person took a variant out of one provider."""
    return {"kind": "hide", "provider": provider, "model": key.model, "variant": key.variant}


def unhide_record(provider: str, key: Key) -> dict[str, Any]:
    """The record of kind "unhide": in one provider, or ("") in all."""
    return {"kind": "unhide", "provider": provider, "model": key.model, "variant": key.variant}


def decline_record(paths: Sequence[str]) -> dict[str, Any]:
    """The record of kind "decline": scans leave these absolute paths alone from now on."""
    return {"kind": "decline", "paths": list(paths)}


def accept_record(paths: Sequence[str]) -> dict[str, Any]:
    """The record of kind "accept": scans look at these absolute paths again."""
    return {"kind": "accept", "paths": list(paths)}


def handlers(store: Store, index: Index, choices: Choices, intent: Intent) -> dict[str, Handler]:
    """Who carries out which record."""
    return {
        "small": _Small(store), "refs": _Refs(store, index), "choose": _Choose(choices),
        "hide": _Hide(intent, True), "unhide": _Hide(intent, False),
        "decline": _Decline(intent, True), "accept": _Decline(intent, False),
    }


def source_json(source: Source) -> dict[str, Any]:
    """A source as the journal has it: what is not known is left out."""
    return {**source.described(), **({"sidecars": dict(source.sidecars)} if source.sidecars else {})}


def source_of(row: Mapping[str, Any]) -> Source:
    """The source that `source_json` wrote."""
    return Source(row["kind"], row.get("repository"), row.get("revision"), row.get("program"), row.get("name"),
                  tuple(row.get("sidecars", {}).items()))


class _Small:
    """Copies small files into the store. What changed since the plan is left out; the models with it get no ref."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def apply(self, record: Mapping[str, Any], failed: frozenset[str]) -> Mapping[str, Any] | None:
        """Add the files in batches; bytes that are not those of the plan become blobs that nobody claims."""
        batch: list[bytes] = []
        held = 0
        for path, _, size in record["files"]:
            try:
                with open(path, "rb") as file:
                    data = file.read(size + 1)
            except OSError:
                continue            # its digest is missing then, and the refs handler says so
            batch.append(data)
            held += len(data)
            if held > _BATCH:
                self._store.blobs.add_many(batch, sha256=True)
                batch, held = [], 0
        self._store.blobs.add_many(batch, sha256=True)
        return None

    def revert(self, record: Mapping[str, Any]) -> list[Issue]:
        """Nothing: gc takes blobs that nobody claims."""
        return []


class _Refs:
    """Publishes refs; a model of which a blob is missing gets none."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store, self._index = store, index

    def apply(self, record: Mapping[str, Any], failed: frozenset[str]) -> Mapping[str, Any] | None:
        """One manifest and one ref for each move, all durable when it returns."""
        done = []
        contents = []
        for move in record["refs"]:
            if move["content"] is not None:
                manifest = Manifest.decode(move["content"].encode())
                if not self._held(manifest, failed):
                    continue
                contents.append(manifest)
            done.append(move)
        self._store.manifests.write_many(contents)
        self._store.blobs.settle({file.blake3 for manifest in contents for file in manifest.files})
        self._publish(done)
        return {"refs": [{key: m[key] for key in ("model", "variant", "manifest", "before")} for m in done]}

    def _held(self, manifest: Manifest, failed: frozenset[str]) -> bool:
        """Whether every blob is in the store, brought back from the trash if need be."""
        return all(f.blake3 not in failed and self._store.blobs.ensure(f.blake3) for f in manifest.files)

    def revert(self, record: Mapping[str, Any]) -> list[Issue]:
        """This person's claim on each name as it was before, unless it has moved on since."""
        issues: list[Issue] = []
        back: list[Mapping[str, Any]] = []
        for move in record["refs"]:
            key, before = Key(move["model"], move["variant"]), move["before"]
            claims = self._index.claimed(key)
            now = claims[-1].manifest if claims else None
            if now != move["manifest"]:
                if now == (before["manifest"] if before else None):
                    continue                    # taken back already, by a run that was cut short
                issues.append(Issue("conflict", key.model, f"{key} has changed since; its name stays as it is"))
            else:
                back.append({**(before or {"manifest": None, "sources": [], "pinned": False}),
                             "model": key.model, "variant": key.variant})
        self._publish(back)
        return issues

    def _publish(self, moves: Iterable[Mapping[str, Any]]) -> None:
        """Make the claims, each in the place of this person's current ones. The index follows when all is done."""
        claims = []
        for move in moves:
            key, manifest = Key(move["model"], move["variant"]), move["manifest"]
            now = self._index.claimed(key)
            if manifest is None and not now and self._index.variant(key) is None:
                continue                    # nobody claims it, so there is nothing to withdraw
            others = move.get("others", ())
            claims.append(Claim(key.model, key.variant, manifest, tuple(map(source_of, move["sources"])),
                                move["pinned"], (*(ref.uuid for ref in now), *others), move.get("follows"),
                                everyone=bool(others)))
        self._store.refs.publish_many(claims)
        for digest in {claim.manifest for claim in claims if claim.manifest is not None}:
            self._bring_back(digest)

    def _bring_back(self, manifest: str) -> None:
        """A collection that began before the claim was durable may have moved a blob meanwhile, or long before. What is
        nowhere, or another's to bring back, is told by the links that cannot be made."""
        with suppress(HelixError, FileNotFoundError):
            for digest in self._store.manifests.blobs(manifest):
                self._store.blobs.ensure(digest)


class _Choose:
    """Remembers with which providers a model was shared by name."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices

    def apply(self, record: Mapping[str, Any], failed: frozenset[str]) -> Mapping[str, Any] | None:
        """Write it down."""
        self._choices.set(record["model"], record["providers"])
        return {"model": record["model"], "before": record["before"]}

    def revert(self, record: Mapping[str, Any]) -> list[Issue]:
        """As it was before."""
        self._choices.set(record["model"], record["before"])
        return []



class _Hide:
    """Takes a variant out of a provider by the person's word, or lets it in again."""

    def __init__(self, intent: Intent, hide: bool) -> None:
        self._intent, self._hides = intent, hide

    def apply(self, record: Mapping[str, Any], failed: frozenset[str]) -> Mapping[str, Any] | None:
        """Write it down."""
        return record if self._do(record, self._hides) else None

    def revert(self, record: Mapping[str, Any]) -> list[Issue]:
        """The opposite."""
        self._do(record, not self._hides)
        return []

    def _do(self, record: Mapping[str, Any], hide: bool) -> bool:
        key, provider = Key(record["model"], record["variant"]), record["provider"]
        if not hide:
            return self._intent.unhide(key, provider=provider)
        self._intent.hide(key, provider=provider, why="hidden by you")
        return True


class _Decline:
    """Leaves paths alone from now on, or looks at them again."""

    def __init__(self, intent: Intent, decline: bool) -> None:
        self._intent, self._declines = intent, decline

    def apply(self, record: Mapping[str, Any], failed: frozenset[str]) -> Mapping[str, Any] | None:
        """Write down those that are not so already."""
        paths = [path for path in record["paths"] if self._intent.is_declined(path) != self._declines]
        self._do(paths, self._declines)
        return {"paths": paths}

    def revert(self, record: Mapping[str, Any]) -> list[Issue]:
        """The opposite."""
        self._do(record["paths"], not self._declines)
        return []

    def _do(self, paths: Sequence[str], decline: bool) -> None:
        if decline:
            self._intent.decline(paths, "by you")
        else:
            self._intent.accept(paths)
