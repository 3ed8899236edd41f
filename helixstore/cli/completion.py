"""Names for the shell's completion. A shell that waits wants names or nothing: what cannot be had is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helixstore.errors import HelixError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from helixstore.cli.session import Session

__all__ = ["models", "providers"]


def providers() -> list[str]:
    """The names of all providers: the built-in ones, other packages', and single files of the configuration."""
    import os

    from helixstore.places import Places
    from helixstore.providers.registry import load_layouts

    try:
        return list(load_layouts(Places.of(os.environ).config))
    except HelixError:
        return []


def models(session: Session) -> Iterable[str]:
    """The names of all models of the store."""
    try:
        with session.open() as store:
            return sorted({str(row["model"]) for row in store.rows()})
    except (HelixError, OSError):
        return []
