"""Collectors' notes, `condemned/*.json`: what was seen without a claim, claimed again, or in the trash, and when.

    {digests: [...], absolved: [...], trashed: [[epoch, digest], ...], settles: [epoch, ...]}

Never edited; what they mean is in `verdicts`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from helixstore.errors import HelixError
from helixstore.fs import kernel
from helixstore.store import records
from helixstore.store.store import Store
from helixstore.store.verdicts import Note

__all__ = ["forget_notes", "read_notes", "write_note"]


def read_notes(store: Store) -> list[Note]:
    """All of them. One that cannot be read says nothing, which only makes things later."""
    found = []
    folder = f"{store.path}/condemned"
    for name in os.listdir(folder):
        if name.endswith(".json"):
            with suppress(HelixError, OSError, TypeError, ValueError):
                record, status = records.read_record(f"{folder}/{name}")
                trashed = frozenset((str(epoch), str(digest)) for epoch, digest in record.get("trashed", ()))
                found.append(Note(name, status.st_mtime_ns, _texts(record, "digests"), _texts(record, "absolved"),
                                  trashed, _texts(record, "settles")))
    return found


def write_note(store: Store, *, condemned: Collection[str] = (), absolved: Collection[str] = (),
               trashed: Collection[tuple[str, str]] = (), settles: Collection[str] = ()) -> None:
    """Publish a note; durable when it returns. See `verdicts.Note`."""
    record = {"schema": records.SCHEMA, "digests": sorted(condemned), "absolved": sorted(absolved),
              "trashed": sorted(list(one) for one in trashed), "settles": sorted(settles)}
    with store.working() as staging:
        records.publish_all(staging, [(f"{store.path}/condemned/{secrets.token_hex(8)}.json",
                                       records.canonical({key: value for key, value in record.items() if value}))])


def forget_notes(store: Store, names: Collection[str]) -> None:
    """Remove notes, in this order; another person's stay until their own next collection."""
    for name in names:
        with suppress(FileNotFoundError, PermissionError):
            kernel.unlink(f"{store.path}/condemned/{name}")


def _texts(record: dict[str, Any], key: str) -> frozenset[str]:
    return frozenset(text for text in record.get(key, ()) if isinstance(text, str))
