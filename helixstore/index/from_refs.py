"""`path` with no index at all: a name is looked up in the refs and manifests themselves.

Every ref must be seen, since any may supersede any other; but only those that hold the words of the query, or the uuid
of such a one, are decoded. Of 10,000 refs in the page cache that takes about 0.1 s, most of it opening files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from helixstore.errors import NotFound
from helixstore.fs.listing import listdir
from helixstore.fs.names import folded
from helixstore.index.names import Candidate, names_of, resolve
from helixstore.store.refs import Seen, claimant_of, heads
from helixstore.values import File, Format, Header, Key, Variant

if TYPE_CHECKING:
    from helixstore.store.manifests import Manifest
    from helixstore.store.refs import Claimant, Ref
    from helixstore.store.store import Store

__all__ = ["offered", "path_from_refs"]

_READ = 1 << 16     # bytes
_FEW = 50           # so many refs are looked for in all others one after the other; of more, all are decoded


def path_from_refs(store: Store, query: str) -> list[Variant]:
    """What `Index.find` would give, from the refs and manifests alone; headers and other hashes are left empty.

    Digests are looked for among BLAKE3 digests only. File names are looked for when no name fits. What cannot be read
    counts as not there, as it does for the index, which reports it.

    Args:
        store: the store.
        query: as `Index.find`.

    Raises:
        Ambiguous, NotFound: as `Index.find`.
        NotFound, Unreadable, Corrupt, StoreTooNew: its manifest cannot be read.
    """
    return [_variant(store, token) for token in _resolved(query, _RefShelf(store))]


def offered(store: Store, query: str) -> list[Ref]:
    """What others claim under a name, whatever this person withdrew: the refs that they could follow.

    Raises:
        Ambiguous, NotFound: as `Index.find`.
    """
    shelf = _RefShelf(store)
    shelf.without = claimant_of(store.host)
    return [token.seen.ref for token in _resolved(query, shelf)]


def _resolved(query: str, shelf: _RefShelf) -> list[_RefToken]:
    try:
        found = resolve(query, shelf)
    except NotFound:
        shelf.with_files = True                         # slower: every manifest is read
        found = resolve(query, shelf)
    return [candidate.token for candidate in found if isinstance(candidate.token, _RefToken)]


class _RefToken:
    """What is seen under the name of a candidate."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen


class _RefShelf:
    """See `names.Shelf`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._texts = dict(_texts(os.path.join(store.path, "refs"), 2, ".json"))
        self._manifests: dict[str, bytes] | None = None
        self.with_files = False
        self.without: Claimant | None = None

    def named(self, names: Sequence[str]) -> list[Candidate]:
        ends = ('"', ':latest"', '.gguf"') if self.with_files else ('"', ':latest"')
        return self._candidates(self._bearers(names, ends))

    def beginning(self, prefixes: Sequence[str]) -> list[Candidate]:
        return self._candidates(self._bearers(prefixes, ("",)))

    def _bearers(self, names: Sequence[str], ends: Sequence[str]) -> set[str]:
        """The refs in which a text, or its part after a slash, is one of the names with one of the ends."""
        words = [start + _written(name) + end for name in names for start in ('"', "/") for end in ends]
        found = set(_holding(self._texts, words))
        if self.with_files:
            found |= set(_holding(self._texts, _holding(self._all_manifests(), words)))
        return found

    def digest(self, prefix: str) -> list[Candidate]:
        named = set(_holding(self._texts, [f'"manifest":"{prefix}']))
        if not named:
            manifests = _holding(self._all_manifests(), [f'"blake3":"{prefix}'])
            named = set(_holding(self._texts, [f'"manifest":"{one}"' for one in manifests]))
        models = {folded(ref.name) for ref in self._refs(named)} if named else set()
        return [c for c in self.named(sorted(models)) if c.manifest.startswith(prefix) or any(
            file.blake3.startswith(prefix) for file in _read(self._store, c.manifest).files)]

    def older(self, model: str) -> list[Candidate]:
        refs = [ref for ref in self._refs(set(_holding(self._texts, [model]))) if folded(ref.name) == model]
        refs.sort(key=lambda ref: (ref.mtime_ns, ref.uuid), reverse=True)
        counted = self._store.refs.counted
        return [self._candidate(Seen(ref, counted(ref), True)) for ref in refs if ref.manifest is not None]

    def models(self) -> list[str]:
        return sorted({ref.name for ref in self._refs(self._texts)})

    def _all_manifests(self) -> dict[str, bytes]:
        if self._manifests is None:
            self._manifests = {path[3:]: data for path, data in _texts(
                os.path.join(self._store.path, "manifests"), 1, "")}
        return self._manifests

    def _refs(self, ids: Collection[str]) -> list[Ref]:
        """These refs, decoded by the store."""
        refs, _ = self._store.refs.scan(self._texts.keys() - set(ids))
        return [ref for ref in refs if ref.claimant != self.without and ref.believed]

    def _candidates(self, ids: set[str]) -> list[Candidate]:
        """The heads among these refs."""
        uuids = [id.rpartition("/")[2] for id in ids]
        ids = set(self._texts) if len(ids) > _FEW else ids | set(_holding(self._texts, uuids))
        winners, _ = heads(self._refs(ids) if ids else [], claimant_of(self._store.host), self._store.refs.counts)
        return [self._candidate(seen) for seen in winners.values()]

    def _candidate(self, seen: Seen) -> Candidate:
        ref = seen.ref
        manifest = ref.manifest or ""
        quantization, format_ = "", ref.variant.partition(":")[0]
        files: list[str] = []
        if self.with_files and (data := self._all_manifests().get(manifest)) is not None:
            record = json.loads(data)
            quantization, format_ = record["quantization"], record["format"]
            if format_ == Format.GGUF or len(record["files"]) == 1:
                files = [file["path"] for file in record["files"] if file["role"] == "weights"]
        return Candidate(Key(ref.name, ref.variant), manifest, format_, quantization,
                         frozenset(names_of(seen.sources, files)),
                         tuple(source.revision for source in seen.sources if source.revision), _RefToken(seen))


def _texts(root: str, depth: int, ending: str, below: str = "") -> Iterator[tuple[str, bytes]]:
    """Path below `root` without ending -> bytes, of every file `depth` folders below it that can be read."""
    try:
        names = listdir(root)
    except OSError:
        return                                          # not a folder, or not for us
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    for name in names:
        if depth:
            yield from _texts(f"{root}/{name}", depth - 1, ending, f"{below}{name}/")
        elif name.endswith(ending) and not name.startswith("."):
            try:
                file = os.open(f"{root}/{name}", flags)
                try:
                    data = os.read(file, _READ)
                    while len(data) % _READ == 0 and (more := os.read(file, _READ)):
                        data += more
                finally:
                    os.close(file)
            except OSError:
                continue                                # the index reports it; here it counts as not there
            yield below + name[:len(name) - len(ending)], data


def _holding(texts: dict[str, bytes], words: Iterable[str]) -> list[str]:
    """The names of the texts in which one of the folded words stands."""
    wanted = list(words)
    data = [word.encode(errors="surrogatepass") for word in wanted]
    found = []
    for name, text in texts.items():
        if text.isascii():
            lower = text.lower()
            if any(word in lower for word in data):
                found.append(name)
        else:
            lowered = folded(text.decode(errors="replace"))
            if any(word in lowered for word in wanted):
                found.append(name)
    return found


def _written(name: str) -> str:
    """As it stands between the quotes of JSON."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def _read(store: Store, manifest: str) -> Manifest:
    return store.manifests.read(manifest)


def _variant(store: Store, token: _RefToken) -> Variant:
    ref = token.seen.ref
    assert ref.manifest is not None
    manifest = _read(store, ref.manifest)
    files = tuple(File(file.path, file.bytes, file.blake3, file.role) for file in manifest.files)
    return Variant(Key(ref.name, ref.variant), ref.manifest, manifest.format, manifest.quantization, manifest.purpose,
                   Header(), files, token.seen.sources, ref.pinned)
