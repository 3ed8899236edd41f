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
from helixstore.values import State, Variant

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
    held = _held_by_people(session)
    rows: dict[str, list[Variant]] = {}
    for label, variant in ways[by]():
        rows.setdefault(label, []).append(variant)
    linked = _linked(session, variants)
    found = [_row(label, group, users, held, linked) for label, group in rows.items()]
    return sorted(found, key=lambda row: (-row.bytes, row.label))


def _row(label: str, group: list[Variant], users: Mapping[str, set[str]], held: set[str],
         linked: Mapping[tuple[str, str], int]) -> UsageRow:
    sizes = {file.blake3: file.bytes for variant in group for file in variant.files}
    models = {variant.key.model for variant in group}
    alone = sum(size for digest, size in sizes.items() if users[digest] <= models and digest not in held)
    saved = sum(linked.get((v.key.model, v.key.variant), 0) for v in group)
    return UsageRow(label, len(models), sum(sizes.values()), alone, saved)


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


def _linked(session: Session, variants: list[Variant]) -> dict[tuple[str, str], int]:
    """(model, variant) -> bytes that its links in programs' folders would cost as copies."""
    found: dict[tuple[str, str], int] = {}
    standings = session.index.standings(variant.key for variant in variants)
    for variant in variants:
        weights = sum(file.bytes for file in variant.weights) + sum(file.bytes for file in variant.projectors)
        times = sum(one.state is State.LINKED and one.link in ("hard", "symlink")
                    for name, one in standings[variant.key].items() if name in session.layouts)
        found[variant.key] = weights * times
    return found


def _held_by_people(session: Session) -> set[str]:
    """Digests of blobs that a path of the person's keeps, by hard link."""
    return {record.digest for path, record in session.farm.ledgers.of("").records.items() if os.path.lexists(path)}
