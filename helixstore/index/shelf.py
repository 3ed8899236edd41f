"""The index as a shelf of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helixstore.fs.names import folded
from helixstore.index.codec import unpack_rows, unpack_variant
from helixstore.index.database import Tables
from helixstore.index.follow import ref_of
from helixstore.index.names import Candidate, names_of
from helixstore.index.rows import names_of_variant
from helixstore.index.tables import text_key
from helixstore.values import Key, Variant

if TYPE_CHECKING:
    from helixstore.store.refs import Refs

__all__ = ["IndexShelf"]


class IndexShelf:
    """Names as they stand in the tables, within one transaction. A token is a variant, or the uuid of an older ref.

    Args:
        tables: of the index.
        refs: of its store, to say what of the older ones counts.
    """

    def __init__(self, tables: Tables, refs: Refs) -> None:
        self._tables, self._refs = tables, refs

    def named(self, names: Sequence[str]) -> list[Candidate]:
        """See `names.Shelf`."""
        rows = {key[16:] for name in names for key, _ in self._tables.items("names", text_key(name))}
        return self._candidates(rows)

    def beginning(self, prefixes: Sequence[str]) -> list[Candidate]:
        """See `names.Shelf`. Reads all names, which takes some 20 ms for 10,000 models."""
        wanted = tuple(prefix.encode(errors="surrogatepass") for prefix in prefixes)
        return self._candidates({key[16:] for key, name in self._tables.items("names") if name.startswith(wanted)})

    def digest(self, prefix: str) -> list[Candidate]:
        """See `names.Shelf`."""
        whole = bytes.fromhex(prefix[: len(prefix) // 2 * 2])
        digests = {value for key, value in self._tables.items("aliases", whole) if key.hex().startswith(prefix)}
        rows = {key[32:] for key, _ in self._tables.items("uses", whole) if key[:32].hex().startswith(prefix)}
        rows |= {key[32:] for digest in digests for key, _ in self._tables.items("uses", digest)}
        return self._candidates(rows)

    def older(self, model: str) -> list[Candidate]:
        """See `names.Shelf`."""
        refs = [ref_of(key.decode(), value) for key, value in self._tables.items("refs")]
        mine = [ref for ref in refs if ref.manifest is not None and ref.believed and folded(ref.name) == model]
        mine.sort(key=lambda ref: (ref.mtime_ns, ref.uuid), reverse=True)
        return [Candidate(Key(ref.name, ref.variant), ref.manifest or "", "", "", frozenset(names_of(sources)),
                          tuple(source.revision for source in sources if source.revision), ref.id)
                for ref, sources in [(ref, self._refs.counted(ref)) for ref in mine]]

    def models(self) -> list[str]:
        """See `names.Shelf`."""
        rows = unpack_rows((data, b"{}") for _, data in self._tables.items("rows"))
        return list({row["model"]: None for row in rows})

    def _candidates(self, rows: set[bytes]) -> list[Candidate]:
        found = (self._tables.get("variants", row) for row in rows)
        return [_candidate(unpack_variant(data)) for data in found if data is not None]


def _candidate(variant: Variant) -> Candidate:
    return Candidate(variant.key, variant.manifest, variant.format, variant.quantization,
                     frozenset(names_of_variant(variant)),
                     tuple(source.revision for source in variant.sources if source.revision), variant)
