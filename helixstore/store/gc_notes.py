"""Collectors' notes, `condemned/*.json`: what was seen without a claim, claimed again, or in the trash, and when.

    {digests: [...], absolved: [...], trashed: [[epoch, digest], ...], settled: [[epoch, digest], ...]}

Never edited; what they mean is in `gc_rules`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from helixstore.errors import HelixError
from helixstore.fs import kernel
from helixstore.fs.listing import listdir
from helixstore.store import records
from helixstore.store.gc_rules import Note
from helixstore.store.store import Store
from helixstore.store.trust import believed, steward_of

__all__ = ["forget_notes", "read_notes", "write_note"]


def read_notes(store: Store) -> list[Note]:
    """All of them. One that cannot be read says nothing, which only makes things later.

    What condemns and lets go is believed of this person and of the store's owner: anybody can give a file of theirs an
    early time. Of others it counts that something is claimed again.
    """
    found = []
    folder, steward = f"{store.path}/condemned", steward_of(store.path)
    for name in listdir(folder):
        if name.endswith(".json"):
            with suppress(HelixError, OSError, TypeError, ValueError):
                record, status = records.read_record(f"{folder}/{name}")
                note = Note(name, status.st_mtime_ns, absolved=_texts(record, "absolved"))
                if believed(status, steward, store.host.uid):
                    note = note._replace(condemned=_texts(record, "digests"), trashed=_pairs(record, "trashed"),
                                         settled=_pairs(record, "settled"))
                found.append(note)
    return found


def write_note(store: Store, *, condemned: Collection[str] = (), absolved: Collection[str] = (),
               trashed: Collection[tuple[str, str]] = (), settled: Collection[tuple[str, str]] = ()) -> None:
    """Publish a note; durable when it returns. See `gc_rules.Note`."""
    record = {"schema": records.SCHEMA, "digests": sorted(condemned), "absolved": sorted(absolved),
              "trashed": sorted(list(one) for one in trashed), "settled": sorted(list(one) for one in settled)}
    with store.working() as staging:
        records.publish_all(staging, [(f"{store.path}/condemned/{secrets.token_hex(8)}.json",
                                       records.canonical({key: value for key, value in record.items() if value}))])


def forget_notes(store: Store, names: Collection[str]) -> None:
    """Remove notes, in this order; another person's stay until their own next collection."""
    for name in names:
        with suppress(FileNotFoundError, PermissionError):
            kernel.unlink(f"{store.path}/condemned/{name}")


def _pairs(record: dict[str, Any], key: str) -> frozenset[tuple[str, str]]:
    return frozenset((str(epoch), str(digest)) for epoch, digest in record.get(key, ()))


def _texts(record: dict[str, Any], key: str) -> frozenset[str]:
    return frozenset(text for text in record.get(key, ()) if isinstance(text, str))
