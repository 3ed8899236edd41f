"""The index of one store for one person on one host: derived, local, rebuilt whenever it is in doubt.

Nothing here is the truth. Deleting the folder loses nothing but time; what a damaged or foreign file held is read from
the store again, without a word to the person but counted (`discarded`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from helixstore.errors import IndexUnusable
from helixstore.fs.kernel import Fingerprint
from helixstore.fs.names import folded
from helixstore.index import follow, missing
from helixstore.index.codec import BlobRow, FarmRow, Standing, unpack_blob, unpack_rows, unpack_sizes, unpack_variant
from helixstore.index.database import MAP_BYTES, Damaged, Database, Tables, release, share
from helixstore.index.farm_table import FarmTable
from helixstore.index.names import resolve
from helixstore.index.path_cache import PathCache, add_hashes
from helixstore.index.rows import blob_of, put_blob
from helixstore.index.shelf import IndexShelf
from helixstore.index.tables import STAMP, TABLES, raw, row_key, text_key
from helixstore.index.unpacked import Unpacked
from helixstore.values import Header, Issue, Key, Variant

if TYPE_CHECKING:
    from pathlib import Path

    from helixstore.store.hashing import Hashes
    from helixstore.store.host import Host
    from helixstore.store.manifests import Manifest
    from helixstore.store.refs import Ref, Said
    from helixstore.store.store import Store

__all__ = ["Figures", "Index", "ReindexReport"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figures:
    """How much there is: current models and variants; the blobs of all versions that refs name, and their bytes."""

    models: int
    variants: int
    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What `reindex` did: how much there is now, how long it took in seconds, and what could not be read."""

    figures: Figures
    refs: int
    seconds: float
    issues: tuple[Issue, ...]


class Index:
    """Answers at once what the store's files would answer slowly. Safe with threads, processes and forks.

    Args:
        path: its folder, absolute, on a local file system; made when needed.
        store: the store that it follows.
        map_bytes: size of a new map; it grows by itself.
    """

    def __init__(self, path: str | os.PathLike[str], store: Store, map_bytes: int = MAP_BYTES) -> None:
        self.path = os.fspath(path)
        self._store = store
        self._me = (store.host.id, store.host.uid)
        self._map_bytes = map_bytes
        self._database: Database | None = None
        self._given: dict[str, Header] = {}
        self._unread: tuple[Issue, ...] = ()
        self._paths = PathCache(self._read, self._write)
        self._farm = FarmTable(self._read, self._write)
        self._variants = Unpacked()

    @classmethod
    def open(cls, path: str | os.PathLike[str], store: Store, map_bytes: int = MAP_BYTES) -> Index:
        """Open it, and see that it can be used; `refresh` brings it up to date.

        Raises:
            IndexUnusable: the folder is on a network file system, or cannot be used at all; with the remedy.
        """
        index = cls(path, store, map_bytes)
        index._read(lambda tables: tables.count("refs"))
        return index

    def close(self) -> None:
        """Write what waits to be written, and let go of the files; using it again opens it again."""
        self._paths.flush()
        database, self._database = self._database, None
        if database is not None:
            release(database)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Index], tuple[str, Path, Host, int]]:
        return _handed, (self.path, self._store.path, self._store.host, self._map_bytes)

    # ---- following the store

    def refresh(self) -> bool:
        """Take in what is new in the store; whether any variant changed. A few stats when nothing is.

        What could not be read is in `issues`; the next refresh tries it again.
        """
        if self._database is not None and self._database.moved():
            self._database.close()
        return self._follow(all_anew=False) is True

    def rebuild(self, progress: follow.Progress | None = None) -> ReindexReport:
        """Forget all, the copies of the ledgers and the hashes too, and read the store again.

        Args:
            progress: (manifests read, manifests in all).
        """
        began = time.monotonic()
        self._follow(all_anew=True, progress=progress)
        refs = self._read(lambda tables: tables.count("refs"))
        return ReindexReport(self.figures(), refs, time.monotonic() - began, tuple(self.issues))

    @property
    def issues(self) -> list[Issue]:
        """Names that were changed twice at once, and what the last refresh could not read."""
        return [*self._read(follow.conflicts), *self._unread]

    @property
    def discarded(self) -> tuple[int, str]:
        """How often the files were thrown away as damaged or foreign, and why the last time."""
        return self._open().discarded

    def remember_headers(self, headers: Mapping[str, Header]) -> None:
        """Headers that were read already, by manifest digest: the next refresh does not read those blobs again."""
        self._given.update(headers)

    def _follow(self, all_anew: bool, progress: follow.Progress | None = None) -> bool:
        news = follow.look(self._store, self._read, self._given, progress, all_anew)
        if news is None:
            self._unread = ()
            return False

        def take_in(tables: Tables) -> bool:
            return follow.take_in(tables, news, self._me, self._store.refs)
        changed: bool = self._write(take_in)
        self._unread = tuple(news.issues)
        self._given.clear()
        return changed

    # ---- variants

    def variants(self) -> list[Variant]:
        """Every current variant, by name. 10,000 take about 0.3 s: ask `rows` when a line of each will do."""
        return self._read(lambda tables: self._variants.of(tables.items("variants")))

    def variant(self, key: Key) -> Variant | None:
        """The current variant of that key, as spelt."""
        def find(tables: Tables) -> Variant | None:
            data = tables.get("variants", row_key(key))
            return unpack_variant(data) if data is not None else None
        return self._read(find)

    def claimed(self, key: Key) -> list[Ref]:
        """This person's current refs on this host for a key, the latest last, tombstones too: the next supersedes them.
        """
        return self._read(lambda tables: follow.claimed(tables, key))

    def variant_at(self, ref: Ref) -> Variant:
        """What a ref of the index, which names a manifest, made of its name."""
        return self._read(lambda tables: follow.variant_of(tables, ref, self._store.refs.counted(ref), ref.pinned))

    def unclaimed(self) -> list[tuple[Key, str, str]]:
        """What this person sees by another's claim only: key, manifest, and `<host>/<uid>` of whose claim it is."""
        return self._read(follow.unclaimed)

    def said(self) -> list[tuple[Key, str, Said]]:
        """The hub's names that others give to content and that do not count: key, manifest, and whose word it is."""
        return self._read(follow.said)

    def claims(self) -> list[Ref]:
        """Every ref, of all people and hosts, superseded ones too."""
        return self._read(lambda tables: [follow.ref_of(id.decode(), data) for id, data in tables.items("refs")])

    def missing(self) -> list[tuple[Ref, Manifest | None]]:
        """This person's claims that vanished from the store, which helixstore never does, and what they named."""
        return self._read(missing.noted)

    def forget_missing(self) -> None:
        """The person knows of those that are missing now."""
        if self.missing():
            self._write(lambda tables: missing.note(tables, []))

    def holdings(self) -> dict[str, list[tuple[str, int]]]:
        """The digest of every manifest that a ref names -> digest and size in bytes of each of its files."""
        def read(tables: Tables) -> dict[str, list[tuple[str, int]]]:
            return {key.hex(): follow.files_of(data) for key, data in tables.items("manifests")}
        return self._read(read)

    def contents(self) -> dict[str, str]:
        """The digest of every manifest that a ref names -> its content key."""
        return self._read(lambda tables: {key[32:].hex(): key[:32].hex() for key, _ in tables.items("contents")})

    def rows(self) -> Iterator[dict[str, Any]]:
        """What a line of `list` prints, for each current variant, by name; cheap.

        Each has model, id, format, quantization, architecture, parameters, bytes, pinned, and providers: name -> the
        word of its state, as the last sync left it. Rows with the same states share one mapping: it is not to be
        changed.
        """
        def join(tables: Tables) -> list[dict[str, Any]]:
            states = dict(tables.items("states"))
            return unpack_rows((data, states.get(key, b"{}")) for key, data in tables.items("rows"))
        return iter(self._read(join))

    def find(self, query: str) -> list[Variant]:
        """The variants that a person means (format.md, "Names"): of one model, at least one.

        Args:
            query: any name a program uses, a unique prefix, a digest; `NAME:QUANT`; `NAME@REV`.

        Raises:
            Ambiguous: several models fit; the message lists them.
            NotFound: none; the remedy names what is near.
        """
        def look_up(tables: Tables) -> list[Variant]:
            found = []
            for candidate in resolve(query, IndexShelf(tables, self._store.refs)):
                if isinstance(candidate.token, Variant):
                    found.append(candidate.token)
                else:
                    id = str(candidate.token)
                    ref = follow.ref_of(id, tables.get("refs", id.encode()) or b"")
                    found.append(follow.variant_of(tables, ref, self._store.refs.counted(ref), ref.pinned))
            return found
        return self._read(look_up)

    def content(self, content_key: str) -> str | None:
        """The digest of a manifest with this content (`Manifest.content_key`), if a ref names one; the lowest."""
        def find(tables: Tables) -> str | None:
            return next((key[32:].hex() for key, _ in tables.items("contents", raw(content_key))), None)
        return self._read(find)

    def figures(self) -> Figures:
        """How much there is, without a look at the store."""
        def count(tables: Tables) -> Figures:
            models = {folded(row["model"]) for row in unpack_rows((data, b"{}") for _, data in tables.items("rows"))}
            sizes = unpack_sizes(data for _, data in tables.items("blobs"))
            return Figures(len(models), tables.count("variants"), len(sizes), sum(sizes))
        return self._read(count)

    # ---- blobs and hashes

    def blob(self, digest: str) -> BlobRow | None:
        """What is known of a blob in the store."""
        return self._read(lambda tables: blob_of(tables, digest))

    def aliased(self, alias: str) -> str | None:
        """The blob that has this SHA-256, git-SHA-1 or Xet hash (hex), as far as is known; it need not be there."""
        def find(tables: Tables) -> str | None:
            digest = tables.get("aliases", raw(alias))
            return digest.hex() if digest is not None else None
        return self._read(find)

    def of_sizes(self, sizes: Container[int]) -> list[BlobRow]:
        """What is known of all blobs of some sizes in bytes."""
        def find(tables: Tables) -> list[BlobRow]:
            rows = (unpack_blob(key.hex(), data) for key, data in tables.items("blobs"))
            return [row for row in rows if row.bytes in sizes]
        return self._read(find)

    def put_blobs(self, rows: Iterable[BlobRow]) -> None:
        """Add to what is known of blobs; what a row does not say stays. Variants learn the other hashes."""
        wanted = list(rows)

        def put(tables: Tables) -> None:
            for row in wanted:
                put_blob(tables, row)
        self._write(put)

    def learn(self, digest: str, *, sha256: str | None = None, gitsha1: str | None = None) -> None:
        """Note another hash of a blob that is known."""
        def put(tables: Tables) -> None:
            row = blob_of(tables, digest)
            if row is not None:
                put_blob(tables, row._replace(sha256=sha256 or row.sha256, gitsha1=gitsha1 or row.gitsha1))
        self._write(put)

    def learn_xet(self, hashes: Mapping[str, str]) -> None:
        """Note Xet hashes, by digest, of blobs that are known and of what was hashed and is not in the store yet."""
        self._paths.flush()

        def put(tables: Tables) -> None:
            for digest, xet in hashes.items():
                row = blob_of(tables, digest)
                if row is not None:
                    put_blob(tables, row._replace(xet=xet))
                add_hashes(tables, digest, xet=xet)
        self._write(put)

    def digest_at(self, path: str, mark: Fingerprint) -> str | None:
        """The digest of what lies at an absolute path, if nothing says that it changed since it was hashed."""
        return self._paths.digest_at(path, mark)

    def names_at(self, path: str, mark: Fingerprint) -> int | None:
        """How many hard links a file had when it was hashed; None unless only these and its ctime may have changed."""
        return self._paths.names_at(path, mark)

    def hashes(self, digest: str) -> Hashes | None:
        """What was learnt of content when it was hashed, blocks apart; in the store or not."""
        return self._paths.hashes(digest)

    def remember(self, items: Iterable[tuple[str, Fingerprint, Hashes]], began_ns: int | None = None) -> None:
        """Note what was hashed: see `PathCache.remember`. Small files wait a moment and are written together."""
        self._paths.remember(items, began_ns)

    def flush(self) -> None:
        """Write what waits, so that other processes know it."""
        self._paths.flush()

    def forget(self, paths: Iterable[str]) -> None:
        """Trust nothing about these absolute paths."""
        self._paths.forget(paths)

    # ---- the farm

    def put_farm(self, root: str, rows: Iterable[FarmRow], gone: Iterable[str] | None = None) -> None:
        """Bring the copy of one root's ledger up to date: see `FarmTable.put`."""
        self._farm.put(root, rows, gone)

    def farm_at(self, path: str) -> FarmRow | None:
        """What helixstore knows of one absolute path."""
        return self._farm.at(path)

    def put_standings(self, standings: Mapping[Key, Mapping[str, Standing]],
                      only: Collection[str] | None = None) -> None:
        """Note after a sync how variants stand with providers: see `FarmTable.put_standings`."""
        self._farm.put_standings(standings, only)

    def standings(self, keys: Iterable[Key]) -> dict[Key, dict[str, Standing]]:
        """How these variants stand with each provider."""
        return self._farm.standings(keys)

    # ---- small derived things

    def state(self, name: str) -> bytes | None:
        """What `put_state` put."""
        return self._read(lambda tables: tables.get("notes", text_key(name)))

    def put_state(self, name: str, data: bytes | None) -> None:
        """Keep bytes that can be made again, a snapshot for example; None takes them out."""
        key = text_key(name)
        self._write(lambda tables: tables.put("notes", key, data) if data is not None else tables.delete("notes", key))

    # ---- the file

    def _open(self) -> Database:
        if self._database is None:
            names = tuple(TABLES)
            self._database = share(self.path, names, f"{STAMP} {self._store.id}".encode(), self._map_bytes)
        return self._database

    def _read(self, work: Callable[[Tables], T]) -> T:
        try:
            return self._open().read(work)
        except Damaged as error:
            self._start_again(error)
            return self._again(self._open().read, work)

    def _write(self, work: Callable[[Tables], T]) -> T:
        try:
            return self._open().write(work)
        except Damaged as error:
            self._start_again(error)
            return self._again(self._open().write, work)

    def _again(self, run: Callable[[Callable[[Tables], T]], T], work: Callable[[Tables], T]) -> T:
        try:
            return run(work)
        except Damaged as error:
            raise IndexUnusable(f"the index in {self.path} is damaged again and again: {error}",
                                "check that disk, or set HELIXSTORE_INDEX to a folder on another", self.path) from error

    def _start_again(self, error: Damaged) -> None:
        """Throw the file away and fill a new one from the store."""
        database = self._open()
        database.discard(str(error))
        news = follow.look(self._store, database.read, self._given)
        if news is not None:
            database.write(lambda tables: follow.take_in(tables, news, self._me, self._store.refs))


def _handed(path: str, store: Path, host: Host, map_bytes: int) -> Index:
    """The index in another process, which opens the store and the files for itself."""
    from helixstore.store.store import Store

    return Index(path, Store.open(store, host), map_bytes)
