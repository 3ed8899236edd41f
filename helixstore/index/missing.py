"""Claims of this person that the index knew and that are in the store no more.

helixstore supersedes its refs and never removes those of who uses it. So one that counted and vanished, with nothing in
its place, means that somebody put an older `refs/` back. It is noted, with its manifest, until the claim is made anew
or the person has been told that it cannot be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from helixstore.errors import HelixError
from helixstore.fs.names import folded
from helixstore.index.codec import dumps, loads, pack_ref, ref_of
from helixstore.index.database import Tables
from helixstore.index.tables import raw
from helixstore.values import Format, Purpose, Role

if TYPE_CHECKING:
    from helixstore.store.manifests import Manifest
    from helixstore.store.refs import Claimant, Ref

__all__ = ["found", "note", "noted"]

_MISSING = b"missing claims"

#: a ref, and the row of its manifest
Missed = tuple["Ref", list[Any] | None]


def found(tables: Tables, refs: Iterable[Ref], gone: Collection[str], me: Claimant) -> list[Missed]:
    """What is missing once `refs` have come and those with the ids `gone` have left; before either is entered."""
    missed = _noted(tables)
    for _, row in tables.items("claimed") if gone else ():
        for id in loads(row):
            if id in gone and (data := tables.get("refs", id.encode())) is not None:
                ref = ref_of(id, data)
                if ref.claimant == me and ref.manifest is not None:
                    manifest = tables.get("manifests", raw(ref.manifest))
                    missed.append((ref, loads(manifest) if manifest is not None else None))
    if not missed:
        return []
    fresh = [ref for ref in refs if ref.believed and tables.get("refs", ref.id.encode()) is None]
    return [(ref, row) for ref, row in missed if not any(_replaces(new, ref, me) for new in fresh)]


def _replaces(new: Ref, old: Ref, me: Claimant) -> bool:
    """Whether a ref that was not known before stands in the place of one that has vanished, or is that one."""
    if new.claimant != me:
        return new.everyone and old.id in new.supersedes
    return new.uuid == old.uuid or old.uuid in new.supersedes or (
        (folded(new.name), new.variant) == (folded(old.name), old.variant) and new.mtime_ns >= old.mtime_ns)


def note(tables: Tables, missed: Iterable[Missed]) -> None:
    """Keep these, and no others."""
    rows = [[ref.id, pack_ref(ref).decode(), row] for ref, row in missed]
    if rows or tables.get("notes", _MISSING) is not None:
        tables.put("notes", _MISSING, dumps(rows))


def noted(tables: Tables) -> list[tuple[Ref, Manifest | None]]:
    """The refs that are missing, and what each named, as far as the index can tell."""
    return [(ref, _manifest(ref, row)) for ref, row in _noted(tables)]


def _noted(tables: Tables) -> list[Missed]:
    data = tables.get("notes", _MISSING)
    return [(ref_of(id, packed.encode()), row) for id, packed, row in loads(data)] if data is not None else []


def _manifest(ref: Ref, row: list[Any] | None) -> Manifest | None:
    from helixstore.store.manifests import Manifest, ManifestFile

    if row is None:
        return None
    try:
        manifest = Manifest(Format(row[0]), row[1], Purpose(row[2]), tuple(
            ManifestFile(path, size, digest, Role(role)) for path, size, digest, role in row[3]))
    except (HelixError, ValueError):
        return None
    return manifest if manifest.digest == ref.manifest else None
