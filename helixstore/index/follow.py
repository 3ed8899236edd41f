"""The index follows the store: what is new in refs and manifests is read, and headers of new content only.

    look      outside a transaction: list the refs' folders, read new refs, their manifests, headers, aliases
    take_in   inside one: put them, find the heads among all refs again, change the rows whose head changed

Two processes may look at once and take in one after the other: refs are only added to what is known, a ref is dropped
only if it was known before the listing in which it is missing, and heads are found inside the transaction, among all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from helixstore.errors import HelixError
from helixstore.fs.listing import scandir
from helixstore.fs.mounts import unsettled_ns
from helixstore.fs.names import folded
from helixstore.index import missing
from helixstore.index.codec import (
    BlobRow,
    dumps,
    loads,
    pack_header,
    pack_ref,
    pack_source,
    ref_of,
    unpack_header,
    unpack_source,
)
from helixstore.index.database import Tables
from helixstore.index.rows import blob_of, drop_variant, put_blob, put_variant
from helixstore.index.tables import TABLES, raw, row_key
from helixstore.values import File, Format, Header, Issue, Key, Purpose, Role, Source, Variant

if TYPE_CHECKING:
    from helixstore.store.refs import Claimant, Ref, Refs, Said, Seen
    from helixstore.store.store import Store

__all__ = [
    "News", "claimed", "conflicts", "files_of", "folders_of", "header_of", "look", "ref_of", "said", "take_in",
    "unclaimed", "variant_of",
]

_FOLDERS = b"refs' folders"
_CONFLICTS = b"conflicts"
_UNCLAIMED = b"unclaimed"
_SAID = b"said of the hub"
_PROOFS = b"proofs"
Progress = Callable[[int, int], None]


@dataclass
class News:
    """What a look at the store found.

    Attributes:
        folders: what to remember of the refs' folders.
        proofs: `Proofs.mark`; "" in a store of one's own.
        refs: new ones.
        gone: ids of those that are no longer there.
        manifests: digest -> (manifest as a row, content key) of those not known yet.
        headers: manifest digest -> header of those not known yet; those whose weights cannot be read now are tried
            again by the next look.
        blobs: those not known yet.
        issues: what could not be read; its refs count as not seen, so that the next look tries again.
        all_anew: the store was read as if nothing were known.
    """

    folders: dict[str, int]
    proofs: str = ""
    refs: list[Ref] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    manifests: dict[str, tuple[list[Any], str]] = field(default_factory=dict)
    headers: dict[str, Header] = field(default_factory=dict)
    blobs: list[BlobRow] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    all_anew: bool = False


def folders_of(store: Store) -> tuple[dict[str, int], set[str], list[Issue]]:
    """The refs' folders with their times, the ids of all refs in them, and what could not be listed.

    A time that is too young to be trusted is 0, so that the next look lists the folder again.
    """
    from helixstore.store.refs import named

    times: dict[str, int] = {}
    ids: set[str] = set()
    issues: list[Issue] = []
    settled = time.time_ns() - unsettled_ns(store.path)

    def enter(folder: str, depth: int, id: str) -> None:
        try:
            before = os.stat(folder).st_mtime_ns
            with scandir(folder) as entries:
                for entry in entries:
                    if depth == 2:
                        if entry.name.endswith(".json") and named(entry.name[:-5]):
                            ids.add(f"{id}{entry.name[:-5]}")
                    elif entry.is_dir(follow_symlinks=False) and (
                            named(entry.name) if depth == 0 else entry.name.isascii() and entry.name.isdecimal()):
                        enter(entry.path, depth + 1, f"{id}{entry.name}/")
        except FileNotFoundError:
            return
        except OSError as error:
            issues.append(Issue("unreadable", folder, f"refs cannot be listed: {error.strerror or error}",
                                "helixstore doctor"))
        else:
            times[folder] = before if before < settled else 0
    enter(os.path.join(store.path, "refs"), 0, "")
    return times, ids, issues


def unchanged(known: Mapping[str, int]) -> bool:
    """Whether no ref can have come or gone: a stat for each folder."""
    try:
        return bool(known) and all(time != 0 and os.stat(folder).st_mtime_ns == time for folder, time in known.items())
    except OSError:
        return False


def look(
    store: Store, read: Callable[[Callable[[Tables], Any]], Any], given: Mapping[str, Header],
    progress: Progress | None = None, all_anew: bool = False,
) -> News | None:
    """Read what the index does not know yet; None when nothing can have changed.

    Args:
        store: where to look.
        read: runs a function on the tables.
        given: headers that somebody has read already, by manifest digest.
        progress: (manifests done, manifests in all).
        all_anew: as if nothing were known.
    """
    def noted(tables: Tables) -> tuple[dict[str, int], str]:
        note, mark = tables.get("notes", _FOLDERS), tables.get("notes", _PROOFS)
        return dict(loads(note)) if note else {}, mark.decode() if mark else ""

    proofs = store.refs.proofs.mark if store.refs.proofs is not None else ""
    folders: dict[str, int] = {}
    same = False
    if not all_anew:
        folders, mark = read(noted)
        same = mark == proofs
        if same and unchanged(folders):
            return None
    known = read(lambda tables: {key.decode(errors="replace") for key, _ in tables.items("refs")})
    before = set() if all_anew else known
    times, ids, issues = folders_of(store)
    news = News(times, proofs, gone=known - ids if not issues else set(), issues=issues, all_anew=all_anew)
    if same and not issues and times == folders and ids == before:
        return None
    if ids - before:
        news.refs, unread = store.refs.scan(before)
        news.issues += unread
    _read_manifests(store, read, news, given, progress, all_anew)
    if news.issues:
        news.folders = {}                               # the next look tries again
    return news


def _read_manifests(
    store: Store, read: Callable[[Callable[[Tables], Any]], Any], news: News, given: Mapping[str, Header],
    progress: Progress | None, all_anew: bool,
) -> None:
    """Manifests, headers and other hashes of what the new refs name."""
    wanted = {ref.manifest for ref in news.refs if ref.manifest is not None}
    if not all_anew:
        wanted -= read(lambda tables: {one for one in wanted if tables.get("manifests", raw(one)) is not None})
        wanted |= read(lambda tables: {key.hex() for key, _ in tables.items("manifests")
                                       if tables.get("headers", key) is None})
    unread: set[str] = set()
    blobs: set[str] = set()
    for done, digest in enumerate(sorted(wanted)):
        if progress is not None:
            progress(done, len(wanted))
        try:
            manifest = store.manifests.read(digest)
        except (HelixError, OSError) as error:
            unread.add(digest)
            news.issues.append(Issue("unreadable", digest, f"the manifest cannot be read: {error}",
                                     "helixstore verify"))
            continue
        files = [[file.path, file.bytes, file.blake3, str(file.role)] for file in manifest.files]
        news.manifests[digest] = [str(manifest.format), manifest.quantization, str(manifest.purpose), files], \
            manifest.content_key
        header = given[digest] if digest in given else header_of(store, files, news.issues)
        if header is not None:
            news.headers[digest] = header
        blobs.update(file.blake3 for file in manifest.files)
    news.refs = [ref for ref in news.refs if ref.manifest not in unread]
    if not all_anew:
        blobs -= read(lambda tables: {one for one in blobs if tables.get("blobs", raw(one)) is not None})
    sizes = {file[2]: file[1] for row, _ in news.manifests.values() for file in row[3]}
    news.blobs = [_blob_row(store, digest, sizes[digest], news.issues) for digest in sorted(blobs)]


def header_of(store: Store, files: Iterable[list[Any]], issues: list[Issue]) -> Header | None:
    """What the header of a manifest's weights says; None, and an issue, when it cannot be read."""
    from pathlib import Path

    from helixstore.formats import Part, describe

    parts = [Part(path, Path(store.blobs.path(digest)), size, Role(role)) for path, size, digest, role in files]
    try:
        return describe(parts).header
    except (HelixError, OSError) as error:
        if isinstance(error.__cause__, PermissionError):
            return None                                 # another's, kept from us: the plan says so, and waits
        where = str(parts[0].location) if parts else ""
        issues.append(Issue("unreadable", where, f"its header cannot be read: {error}", "helixstore verify"))
        return None


def _blob_row(store: Store, digest: str, size: int, issues: list[Issue]) -> BlobRow:
    """What the store's meta says of the blob."""
    try:
        meta = store.blobs.meta(digest)
    except (HelixError, OSError) as error:
        issues.append(Issue("unreadable", digest, f"what is known of the blob cannot be read: {error}",
                            "helixstore verify"))
        return BlobRow(digest, size)
    if meta.uid not in (None, store.host.uid, store.sharing.steward):
        return BlobRow(digest, size)                    # another's word: computed when it is first needed
    return BlobRow(digest, size, meta.sha256, meta.gitsha1, xet=meta.xet)


def take_in(tables: Tables, news: News, me: Claimant, seen_by: Refs) -> bool:
    """Put what a look found, as `me` sees it; whether any variant changed. `seen_by`: says what counts for `me`."""
    missed = missing.found(tables, news.refs, news.gone, me)
    if news.all_anew:
        for table in TABLES:
            tables.clear(table)
    missing.note(tables, missed)
    for digest, (row, content) in news.manifests.items():
        tables.put("manifests", raw(digest), dumps([*row, content]))
        tables.put("contents", raw(content) + raw(digest), b"")
    for digest, header in news.headers.items():
        tables.put("headers", raw(digest), dumps(pack_header(header)))
    for blob in news.blobs:
        put_blob(tables, blob)
    for ref in news.refs:
        tables.put("refs", ref.id.encode(), pack_ref(ref))
    for id in news.gone:
        tables.delete("refs", id.encode())
    tables.put("notes", _FOLDERS, dumps(news.folders))
    if not (news.refs or news.gone or news.headers) and (tables.get("notes", _PROOFS) or b"").decode() == news.proofs:
        return False
    refs = [ref_of(key.decode(), value) for key, value in tables.items("refs")]
    changed = _set_heads(tables, refs, news.headers.keys(), me, seen_by)
    tables.put("notes", _PROOFS, news.proofs.encode())
    if news.gone:
        _drop_unnamed(tables, {ref.manifest for ref in refs if ref.manifest is not None})
    return changed


def conflicts(tables: Tables) -> list[Issue]:
    """Names that were changed twice at once."""
    note = tables.get("notes", _CONFLICTS)
    return [Issue(*one) for one in loads(note)] if note is not None else []


def unclaimed(tables: Tables) -> list[tuple[Key, str, str]]:
    """What this person sees by another's claim only: its key, its manifest, and `<host>/<uid>` whose claim it is."""
    note = tables.get("notes", _UNCLAIMED)
    return [(Key(*key), manifest, leader) for *key, manifest, leader in loads(note)] if note is not None else []


def said(tables: Tables) -> list[tuple[Key, str, Said]]:
    """The hub's names that others give to what this person sees and that do not count: key, manifest, and whose word.
    """
    from helixstore.store.refs import Said

    note = tables.get("notes", _SAID)
    return [(Key(*key), manifest, Said(unpack_source(source), by))
            for *key, manifest, source, by in loads(note)] if note is not None else []


def claimed(tables: Tables, key: Key) -> list[Ref]:
    """This person's current refs for a key, however it is spelt, the latest last; tombstones too."""
    note = tables.get("claimed", _folded_key(key.model, key.variant))
    return [ref_of(id, tables.get("refs", id.encode()) or b"") for id in loads(note)] if note is not None else []


def _set_heads(tables: Tables, refs: list[Ref], read: Collection[str], me: Claimant, seen_by: Refs) -> bool:
    """Bring the rows to the heads among all refs; also those of manifests whose headers were `read` only now."""
    from helixstore.store.refs import heads as heads_of

    heads, issues = heads_of(refs, me, seen_by.counts)
    tables.put("notes", _CONFLICTS, dumps([[one.kind, one.path, one.message, one.remedy] for one in issues]))
    tables.put("notes", _UNCLAIMED, dumps([[*key, seen.ref.manifest, f"{seen.ref.host}/{seen.ref.uid}"]
                                           for key, seen in heads.items() if not seen.claimed]))
    tables.put("notes", _SAID, dumps([[*key, seen.ref.manifest, pack_source(one.source), one.by]
                                      for key, seen in heads.items() for one in seen.said]))
    _set_claimed(tables, refs, me)
    wanted = {row_key(Key(*key)): seen for key, seen in heads.items()}
    there = dict(tables.items("heads"))
    changed = False
    for row in there.keys() - wanted.keys():
        drop_variant(tables, row)
        tables.delete("heads", row)
        changed = True
    for row, seen in wanted.items():
        token = _token(seen)
        if there.get(row) != token or seen.ref.manifest in read:
            pinned = seen.ref.pinned and seen.ref.claimant == me
            put_variant(tables, variant_of(tables, seen.ref, seen.sources, pinned))
            tables.put("heads", row, token)
            changed = True
    return changed


def _token(seen: Seen) -> bytes:
    """The ref's uuid, and what else a variant's row depends on: others' sources come and go, and count, without it."""
    more = [pack_source(source) for source in seen.sources] if seen.sources != seen.ref.sources else None
    return seen.ref.id.encode() + (dumps(more) if more is not None else b"")


def _set_claimed(tables: Tables, refs: list[Ref], me: Claimant) -> None:
    """Note for each name which refs the next one of this person supersedes."""
    from helixstore.store.refs import current

    mine: dict[bytes, list[str]] = {}
    for ref in current([ref for ref in refs if ref.claimant == me or ref.everyone]):
        if ref.claimant == me:
            mine.setdefault(_folded_key(ref.name, ref.variant), []).append(ref.id)
    there = dict(tables.items("claimed"))
    for row in there.keys() - mine.keys():
        tables.delete("claimed", row)
    for row, uuids in mine.items():
        if (data := dumps(uuids)) != there.get(row):
            tables.put("claimed", row, data)


def _folded_key(model: str, variant: str) -> bytes:
    return row_key(Key(folded(model), variant))


def variant_of(tables: Tables, ref: Ref, sources: Iterable[Source], pinned: bool) -> Variant:
    """The variant that a ref names, put together from its manifest, header and the other hashes of its blobs."""
    assert ref.manifest is not None
    format_, quantization, purpose, files, _ = loads(tables.get("manifests", raw(ref.manifest)) or b"")
    header = tables.get("headers", raw(ref.manifest))
    found = []
    for path, size, digest, role in files:
        blob = blob_of(tables, digest) or BlobRow(digest, size)
        found.append(File(path, size, digest, Role(role), blob.sha256, blob.gitsha1, blob.xet))
    return Variant(
        Key(ref.name, ref.variant), ref.manifest, Format(format_), quantization, Purpose(purpose),
        unpack_header(loads(header)) if header is not None else Header(),
        tuple(sorted(found, key=lambda file: file.path)), tuple(sources), pinned)


def files_of(data: bytes) -> list[tuple[str, int]]:
    """Digest and size of each file of a manifest's row."""
    return [(digest, size) for _, size, digest, _ in loads(data)[3]]


def _drop_unnamed(tables: Tables, manifests: set[str]) -> None:
    """Take out the manifests that no ref names any more, and the blobs that no manifest names."""
    blobs: set[bytes] = set()
    for key, value in list(tables.items("manifests")):
        *_, files, content = loads(value)
        if key.hex() in manifests:
            blobs.update(raw(file[2]) for file in files)
            continue
        tables.delete("manifests", key)
        tables.delete("headers", key)
        tables.delete("contents", raw(content) + key)
    for key, _ in list(tables.items("blobs")):
        if key not in blobs:
            tables.delete("blobs", key)
    for key, value in list(tables.items("aliases")):
        if value not in blobs:
            tables.delete("aliases", key)
