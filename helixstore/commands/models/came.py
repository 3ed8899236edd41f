"""What a download brought, by the names and paths under which the store has it now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from helixstore.commands.queries import placed
from helixstore.download.results import Downloaded
from helixstore.errors import HelixError
from helixstore.providers.layout import Found
from helixstore.session import Session
from helixstore.values import Key, Variant

__all__ = ["came", "downloaded"]


def came(session: Session, models: Sequence[Found]) -> tuple[Downloaded, ...]:
    """The variants that these models are, after they were taken in: those of the same files, whatever they are called.

    Args:
        session: whose store.
        models: as a download brought them, with the digest in the listing of every file.
    """
    found: dict[Key, Variant] = {}
    for model in models:
        blobs = {path: session.index.aliased(digest) for path, digest in model.claims.items()}
        largest = blobs[max(model.inspection.parts, key=lambda part: part.bytes).path]
        with suppress(HelixError):                      # several models have that file: none of them is meant more
            found |= {one.key: one for one in session.index.find(largest or "")
                      if {file.blake3 for file in one.files} == set(blobs.values())}
    return downloaded(session, found.values())


def downloaded(session: Session, variants: Iterable[Variant]) -> tuple[Downloaded, ...]:
    """These variants, each with its path in the library."""
    return tuple(Downloaded(one.key.model, one.key.variant, _path(session, one)) for one in variants)


def _path(session: Session, variant: Variant) -> str | None:
    try:
        return str(placed(session, variant))
    except HelixError:
        return None
