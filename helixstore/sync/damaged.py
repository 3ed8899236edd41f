"""What damaged blobs mean for the person: which models and programs are touched, and which paths still read the bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from helixstore.farm.library import Library
from helixstore.farm.scan import look_at
from helixstore.session import Session
from helixstore.values import Issue, Key, State, Variant

__all__ = ["Touched", "damage", "touched"]

_NAMED = 3              # paths that are named in one message


class Touched(NamedTuple):
    """Whom one blob concerns: variants, programs that show one of them, paths that the person gave and that are it."""

    keys: tuple[Key, ...]
    programs: tuple[str, ...]
    given: tuple[str, ...]


def touched(session: Session, digest: str) -> Touched:
    """Whom a blob concerns; once it is withdrawn, the programs are those that would show it."""
    return _touched(session, digest, [v for v in session.index.variants() if any(f.blake3 == digest for f in v.files)])


def damage(session: Session) -> Iterator[Issue]:
    """One issue for each variant with a damaged file."""
    marked = session.store.quarantine.all()
    for variant in session.index.variants() if marked else ():
        for file in variant.files:
            if file.blake3 in marked:
                found = _touched(session, file.blake3, [variant])
                message = f"{variant.key} is withdrawn: {file.path} is damaged"
                if found.programs:
                    message += f", so that {' '.join(found.programs)} cannot show it"
                if found.given:
                    more = len(found.given) - _NAMED
                    message += (f"; still with the damaged bytes: {', '.join(found.given[:_NAMED])}"
                                f"{f' and {more} more' if more > 0 else ''}")
                yield Issue("quarantined", variant.key.model, message,
                            f"helixstore verify --repair {shlex.quote(variant.key.model)}")


def _touched(session: Session, digest: str, variants: list[Variant]) -> Touched:
    standings = session.index.standings([variant.key for variant in variants])
    programs = {name for one in standings.values() for name, standing in one.items()
                if standing.state in (State.LINKED, State.QUARANTINED) and name != Library.name}
    given = []
    for path, record in session.farm.ledgers.of("").records.items():
        if record.digest == digest and record.kind in ("hard", "reference"):
            with suppress(OSError):
                look = look_at(path)
                if look is not None and (record.kind == "reference" or look.inode == record.inode):
                    given.append(path)
    return Touched(tuple(variant.key for variant in variants), tuple(sorted(programs)), tuple(given))
