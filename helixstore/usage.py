"""Who uses what, and what each would free. Bytes of a blob count once in each row, and are freed only by its last user.

A blob is freed by removing a model when no other model has it and nothing but helixstore's own names leads to it: a
path that the person gave keeps the bytes whatever the store does.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Mapping

from helixstore.errors import Usage
from helixstore.results import UsageRow
from helixstore.session import Session
from helixstore.sync.standing import avoided_links
from helixstore.values import Key, State, Variant

__all__ = ["usage"]


def usage(session: Session, by: str) -> list[UsageRow]:
    """Rows by "model", "provider", "user" or "month", the largest first.

    Raises:
        Usage: there is no such way.
    """
    variants = session.index.variants()
    ways: Mapping[str, Callable[[], Iterable[tuple[str, Variant]]]] = {
        "model": lambda: ((v.key.model, v) for v in variants),
        "provider": lambda: _providers(session, variants),
        "user": lambda: _claims(session, variants, lambda uid, mtime: _user(uid)),
        "month": lambda: _claims(session, variants, lambda uid, mtime: _month(mtime)),
    }
    if by not in ways:
        raise Usage(f"du cannot count by {by}", f"one of: {' '.join(ways)}")
    users: dict[str, set[str]] = {}
    for variant in variants:
        for file in variant.files:
            users.setdefault(file.blake3, set()).add(variant.key.model)
    adopted = _adopted(session)
    rows: dict[str, list[Variant]] = {}
    for label, variant in ways[by]():
        rows.setdefault(label, []).append(variant)
    avoided = _avoided(session, rows, by)
    found = [_row(label, group, users, adopted, avoided.get(label, 0)) for label, group in rows.items()]
    return sorted(found, key=lambda row: (-row.bytes, row.label))


def _row(label: str, group: list[Variant], users: Mapping[str, set[str]], adopted: Mapping[str, int],
         avoided: int) -> UsageRow:
    sizes = {file.blake3: file.bytes for variant in group for file in variant.files}
    models = {variant.key.model for variant in group}
    alone = sum(size for digest, size in sizes.items() if users[digest] <= models and digest not in adopted)
    saved = sum(size * (adopted[digest] - 1) for digest, size in sizes.items() if digest in adopted)
    return UsageRow(label, len(models), sum(sizes.values()), alone, saved, avoided)


def _providers(session: Session, variants: list[Variant]) -> Iterable[tuple[str, Variant]]:
    standings = session.index.standings(variant.key for variant in variants)
    for variant in variants:
        for name, one in standings[variant.key].items():
            if one.state is State.LINKED and name in session.layouts:
                yield name, variant


def _claims(
    session: Session, variants: list[Variant], label: Callable[[int, int], str]
) -> Iterable[tuple[str, Variant]]:
    """Each variant under whoever claims it, or when."""
    from helixstore.store.refs import current

    by_manifest = {variant.manifest: variant for variant in variants}
    for ref in current(session.index.claims()):
        if ref.manifest in by_manifest:
            yield label(ref.uid, ref.mtime_ns), by_manifest[ref.manifest]


def _user(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)


def _month(mtime_ns: int) -> str:
    return datetime.datetime.fromtimestamp(mtime_ns / 1e9, datetime.UTC).strftime("%Y-%m")


def _avoided(session: Session, rows: Mapping[str, list[Variant]], by: str) -> dict[str, int]:
    """Label -> bytes that the links which we made in programs' folders would cost as copies, each link once."""
    labels: dict[Key, list[str]] = {}
    for label, group in rows.items():
        for variant in group:
            labels.setdefault(variant.key, []).append(label)
    found: dict[str, int] = {}
    for record in avoided_links(session):
        if by == "provider":
            touched = {claim.provider for claim in record.claims}
        else:
            touched = {label for key in record.keys for label in labels.get(key, ())}
        for label in touched:
            found[label] = found.get(label, 0) + record.bytes
    return found


def _adopted(session: Session) -> dict[str, int]:
    """Digests of blobs that paths of the person's keep, by hard link -> how many paths, each a copy of its own once."""
    found: dict[str, int] = {}
    for path, record in session.farm.ledgers.of("").records.items():
        if os.path.lexists(path):
            found[record.digest] = found.get(record.digest, 0) + 1
    return found
