"""Folders that no longer look as their layout expects, since a program changed them: nothing is guessed there.

What is ours there stays, nothing new is taken in, made or removed, and the person is told, until the layout is mended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from helixstore.values import Issue

if TYPE_CHECKING:
    from helixstore.providers.layout import Reader
    from helixstore.session import PlacedRoot
    from helixstore.sync.projection import Projection

__all__ = ["close_drifted", "drifts", "remedy"]


def drifts(placed: Iterable[PlacedRoot], reader: Reader) -> dict[str, str]:
    """The roots of providers that are on and that have drifted -> why, one clause.

    Args:
        placed: all roots; one that several providers share has drifted if one of their layouts says so.
        reader: the layouts' eyes.
    """
    found: dict[str, str] = {}
    for place in placed:
        path = str(place.root.path)
        if place.on and not place.root.forbid and path not in found and (why := _why(place, reader)):
            found[path] = why
    return found


def _why(place: PlacedRoot, reader: Reader) -> str:
    try:
        return place.layout.drifted(place.root, reader)
    except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
        return f"the layout {place.provider} failed to look at it: {type(error).__name__}: {error}"


def close_drifted(projection: Projection, drifted: Mapping[str, str]) -> None:
    """Want nothing in the roots that have drifted, neither made nor removed, and say so once for each."""
    for root in [root for root in projection.roots if root.path in drifted]:
        why = drifted[root.path]
        projection.stop(root, why, Issue("drifted", root.path, f"{why}; nothing is done there",
                                         remedy(root.providers[0])))


def remedy(provider: str) -> str:
    """What the person can do about a folder that has drifted."""
    return (f"name the right folder: helixstore providers set {provider} --root DIR; as long as this one is unknown: "
            f"helixstore providers off {provider}")
