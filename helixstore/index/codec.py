"""Values as the index holds them: JSON arrays, whose fields are known by their place.

What cannot be read back raises `Damaged`: the index was written by something else, and is thrown away.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from helixstore.fs.kernel import Fingerprint
from helixstore.index.database import Damaged
from helixstore.values import File, Format, Header, Key, LinkKind, Purpose, Role, Source, State, Variant

if TYPE_CHECKING:
    from helixstore.store.refs import Ref

__all__ = [
    "BlobRow", "FarmRow", "Standing", "dumps", "loads", "pack_blob", "pack_farm", "pack_header", "pack_ref",
    "pack_row", "pack_source", "pack_standings", "pack_states", "pack_variant", "ref_of", "unpack_blob", "unpack_farm",
    "unpack_header", "unpack_rows", "unpack_sizes", "unpack_source", "unpack_standings", "unpack_variant",
]

P = ParamSpec("P")
T = TypeVar("T")


class BlobRow(NamedTuple):
    """What is known of one blob.

    Attributes:
        digest: its BLAKE3, hex.
        bytes: its size.
        sha256, gitsha1, xet: its other names, hex, once learnt.
        inode: of the file in the store, when `checked`; 0 when never.
        mtime_ns, ctime_ns: of that file at our own last full hash of it, which found it right.
    """

    digest: str
    bytes: int
    sha256: str | None = None
    gitsha1: str | None = None
    inode: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    xet: str | None = None

    def checked(self, now: Fingerprint) -> bool:
        """Whether we hashed the whole file since it last changed, so that it need not be read again."""
        return self.inode != 0 and (self.inode, self.bytes, self.mtime_ns, self.ctime_ns) == now[:4]


class FarmRow(NamedTuple):
    """One path that helixstore made or adopted, as `explain` tells of it; a copy of a ledger's line.

    Attributes:
        path: POSIX, relative to the root.
        kind: "hard", "symlink", "reflink", "copy", "text", "inner", "adopted", ...
        why: why this kind and not a better one; may be empty.
        manifest: digest of the manifest it came from; "" when it covers the whole root.
        keys: the variants that it belongs to.
        providers: who sees it there.
        root: the root's absolute path; filled in by the index.
    """

    path: str
    kind: str
    why: str = ""
    manifest: str = ""
    keys: tuple[Key, ...] = ()
    providers: tuple[str, ...] = ()
    root: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one variant stands with one provider since the last sync.

    Attributes:
        state: linked, hidden, ...
        link: kind of the links to its weights, if there are any.
        paths: absolute.
        reason: why this state or kind; may be empty.
    """

    state: State
    link: LinkKind | None = None
    paths: tuple[str, ...] = ()
    reason: str = ""


def _checked(decode: Callable[P, T]) -> Callable[P, T]:
    """Turn every way in which bytes can be wrong into `Damaged`."""
    @functools.wraps(decode)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return decode(*args, **kwargs)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise Damaged(f"a row cannot be read: {error}") from error
    return wrapped


#: Compact JSON. Names that are not Unicode (lone surrogates) survive, since everything beyond ASCII is escaped.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def dumps(value: Any) -> bytes:
    """JSON without spaces."""
    return _encode(value).encode()


@_checked
def loads(data: bytes) -> Any:
    """JSON of our own; `Damaged` when it is none."""
    return json.loads(data)


@_checked
def loads_all(items: Iterable[bytes]) -> list[Any]:
    """Many at once, which takes a third of the time of one after the other."""
    found: list[Any] = json.loads(b"[" + b",".join(items) + b"]")
    return found


@_checked
def unpack_rows(items: Iterable[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    """The rows that `pack_row` packed with their states from `pack_states`, by name of the model and id.

    Most models stand alike: each set of states is decoded once.
    """
    pairs = list(items)
    found: list[dict[str, Any]] = loads_all(row for row, _ in pairs)
    known = {states: loads(states) for states in {states for _, states in pairs}}
    for row, (_, states) in zip(found, pairs, strict=True):
        row["providers"] = known[states]
    return sorted(found, key=lambda row: f"{row['model'].casefold()}\0{row['id']}")


@_checked
def unpack_sizes(items: Iterable[bytes]) -> list[int]:
    """The sizes in bytes from what `pack_blob` packed."""
    return [int(row[0]) for row in loads_all(items)]


#: The fields of Header, in its own order.
_MEMBERS = ("architecture", "parameters", "context_length", "chat_template", "file_type", "tensors", "byte_order",
            "tokenizer", "shards", "name", "embedded_projector", "classes", "vocabulary", "embedding_length", "blocks",
            "tensor_types")


def pack_header(header: Header) -> list[Any]:
    """As JSON holds it."""
    return [getattr(header, name) for name in _MEMBERS]


@_checked
def unpack_header(row: list[Any]) -> Header:
    """The header that `pack_header` packed."""
    *first, classes, vocabulary, embedding_length, blocks, types = row
    make: Callable[..., Header] = Header                # by place, since this is half the time of reading a variant
    return make(*first, tuple(classes), vocabulary, embedding_length, blocks,
                tuple([(name, count) for name, count in types]))


def pack_source(source: Source) -> list[Any]:
    """As JSON holds it; `sidecars` only where there are some."""
    row: list[Any] = [source.kind, source.repository, source.revision, source.program, source.name]
    return [*row, source.sidecars] if source.sidecars else row


def unpack_source(row: list[Any]) -> Source:
    """What `pack_source` made."""
    if len(row) > 5:
        row = [*row[:5], tuple([(path, text) for path, text in row[5]])]
    return Source(*row)


def pack_variant(variant: Variant) -> bytes:
    """All of a variant."""
    return dumps([
        *variant.key, variant.manifest, variant.format, variant.quantization, variant.purpose,
        pack_header(variant.header), [list(_file(file)) for file in variant.files],
        [pack_source(source) for source in variant.sources], variant.pinned])


def _file(file: File) -> tuple[Any, ...]:
    return file.path, file.bytes, file.blake3, file.role, file.sha256, file.gitsha1, file.xet


_FORMATS = {item.value: item for item in Format}
_PURPOSES = {item.value: item for item in Purpose}
_ROLES = {item.value: item for item in Role}


@_checked
def unpack_variant(data: bytes) -> Variant:
    """The variant that `pack_variant` packed."""
    name, variant, manifest, format_, quantization, purpose, header, files, sources, pinned = json.loads(data)
    return Variant(
        Key(name, variant), manifest, _FORMATS[format_], quantization, _PURPOSES[purpose], unpack_header(header),
        tuple([File(path, size, digest, _ROLES[role], sha256, gitsha1, xet)
               for path, size, digest, role, sha256, gitsha1, xet in files]),
        tuple([unpack_source(source) for source in sources]), pinned)


def pack_row(variant: Variant) -> bytes:
    """What a line of `list` prints, as a JSON object; the states of its providers are added when it is read."""
    return dumps({
        "model": variant.key.model, "id": variant.key.variant, "format": variant.format,
        "quantization": variant.quantization, "architecture": variant.header.architecture,
        "parameters": variant.header.parameters, "bytes": variant.bytes, "pinned": variant.pinned})


def pack_blob(row: BlobRow) -> bytes:
    """All but the digest, which is the key."""
    return dumps(list(row[1:]))


@_checked
def unpack_blob(digest: str, data: bytes) -> BlobRow:
    """The row that `pack_blob` packed."""
    return BlobRow(digest, *json.loads(data))


def pack_farm(root: str, row: FarmRow) -> bytes:
    """All of a row, with its root."""
    return dumps([row.path, row.kind, row.why, row.manifest, row.keys, row.providers, root])


@_checked
def unpack_farm(data: bytes) -> FarmRow:
    """The row that `pack_farm` packed."""
    path, kind, why, manifest, keys, providers, root = json.loads(data)
    return FarmRow(path, kind, why, manifest, tuple([Key(*key) for key in keys]), tuple(providers), root)


def pack_standings(standings: Mapping[str, Standing]) -> bytes:
    """By provider: all."""
    return dumps({name: [one.state, one.link, one.paths, one.reason] for name, one in sorted(standings.items())})


def pack_states(standings: Mapping[str, Standing]) -> bytes:
    """By provider: the state's word alone, for `list`."""
    return dumps({name: one.state for name, one in sorted(standings.items())})


@_checked
def unpack_standings(data: bytes) -> dict[str, Standing]:
    """What `pack_standings` packed."""
    return {name: Standing(State(state), LinkKind(link) if link else None, tuple(paths), reason)
            for name, (state, link, paths, reason) in json.loads(data).items()}


def pack_ref(ref: Ref) -> bytes:
    """A ref without its uuid, which is its key."""
    return dumps([ref.host, ref.uid, ref.name, ref.variant, ref.manifest, [pack_source(one) for one in ref.sources],
                  ref.pinned, list(ref.supersedes), ref.mtime_ns, ref.follows, ref.everyone, ref.believed,
                  ref.by_steward])


def ref_of(id: str, data: bytes) -> Ref:
    """The ref in a row."""
    from helixstore.store.refs import Ref

    (host, uid, name, variant, manifest, sources, pinned, supersedes, mtime_ns, follows, everyone, believed,
     by_steward) = loads(data)
    return Ref(uuid=id.rpartition("/")[2], host=host, uid=uid, name=name, variant=variant, manifest=manifest,
               sources=tuple([unpack_source(one) for one in sources]), pinned=pinned, supersedes=tuple(supersedes),
               mtime_ns=mtime_ns, follows=follows, everyone=everyone, believed=believed, by_steward=by_steward)
