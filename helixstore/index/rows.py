"""The rows of one variant and of one blob, over the tables that they are spread on. Within a transaction."""

from __future__ import annotations

from dataclasses import replace

from helixstore.fs.names import folded
from helixstore.index.codec import BlobRow, pack_blob, pack_row, pack_variant, unpack_blob, unpack_variant
from helixstore.index.database import Tables
from helixstore.index.names import names_of
from helixstore.index.tables import raw, row_key, text_key
from helixstore.values import Family, Variant

__all__ = ["blob_of", "drop_variant", "names_of_variant", "put_blob", "put_variant"]


def names_of_variant(variant: Variant) -> list[str]:
    """What programs and hubs call it, folded, without the model's own name.

    Of its files, those of GGUF and of models that are one file count: the rest are called the same in every model.
    """
    weights = variant.weights
    telling = variant.format.family is Family.GGUF or len(variant.files) == 1
    return names_of(variant.sources, [file.path for file in weights] if telling else ())


def put_variant(tables: Tables, variant: Variant) -> None:
    """Put a variant in the place of what had its key."""
    row = row_key(variant.key)
    _unlink(tables, row)
    tables.put("variants", row, pack_variant(variant))
    tables.put("rows", row, pack_row(variant))
    for name in {folded(variant.key.model), *names_of_variant(variant)}:
        tables.put("names", text_key(name) + row, name.encode(errors="surrogatepass"))
    for digest in {variant.manifest, *(file.blake3 for file in variant.files)}:
        tables.put("uses", raw(digest) + row, b"")


def drop_variant(tables: Tables, row: bytes) -> None:
    """Take a variant out, with what is known of how it stands with providers."""
    _unlink(tables, row)
    for table in ("variants", "rows", "standings", "states"):
        tables.delete(table, row)


def _unlink(tables: Tables, row: bytes) -> None:
    """Take out the ways that lead to a variant."""
    data = tables.get("variants", row)
    if data is None:
        return
    variant = unpack_variant(data)
    for name in {folded(variant.key.model), *names_of_variant(variant)}:
        tables.delete("names", text_key(name) + row)
    for digest in {variant.manifest, *(file.blake3 for file in variant.files)}:
        tables.delete("uses", raw(digest) + row)


def blob_of(tables: Tables, digest: str) -> BlobRow | None:
    """What is known of a blob."""
    data = tables.get("blobs", raw(digest))
    return unpack_blob(digest, data) if data is not None else None


def put_blob(tables: Tables, row: BlobRow) -> None:
    """Put what is known of a blob; what the new row does not say stays as it was. Variants learn its other hashes."""
    old = blob_of(tables, row.digest)
    if old is not None:
        row = row._replace(sha256=row.sha256 or old.sha256, gitsha1=row.gitsha1 or old.gitsha1,
                           xet=row.xet or old.xet)
        if not row.inode:
            row = row._replace(inode=old.inode, mtime_ns=old.mtime_ns, ctime_ns=old.ctime_ns)
        if row == old:
            return
        for alias in {*_aliases(old)} - {*_aliases(row), None}:
            tables.delete("aliases", raw(alias or ""))
    tables.put("blobs", raw(row.digest), pack_blob(row))
    for alias in _aliases(row):
        if alias:
            tables.put("aliases", raw(alias), raw(row.digest))
    if old is not None and _aliases(row) != _aliases(old):
        _spread(tables, row)


def _aliases(row: BlobRow) -> tuple[str | None, ...]:
    return row.sha256, row.gitsha1, row.xet


def _spread(tables: Tables, blob: BlobRow) -> None:
    """Write a blob's other hashes into the variants that it is part of."""
    for key, _ in list(tables.items("uses", raw(blob.digest))):
        data = tables.get("variants", key[32:])
        if data is None:
            continue
        variant = unpack_variant(data)
        files = tuple(
            replace(file, sha256=blob.sha256, gitsha1=blob.gitsha1, xet=blob.xet) if file.blake3 == blob.digest
            else file
            for file in variant.files)
        tables.put("variants", key[32:], pack_variant(replace(variant, files=files)))
