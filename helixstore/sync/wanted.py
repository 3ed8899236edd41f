"""What a command wants of the farm beside the desired state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helixstore.farm.handlers import Move
from helixstore.farm.plan import Adoption
from helixstore.providers.layout import Found
from helixstore.results import SyncReport
from helixstore.sync.intake import Candidate
from helixstore.sync.still import Still, Within
from helixstore.values import Key

__all__ = ["Ask", "Change"]

#: Shown the report of a plan; False stops before the first step.
Ask = Callable[[SyncReport], bool]


@dataclass
class Change:
    """What a command wants beside the desired state.

    Attributes:
        command: what the person typed, for the journal; two that want the same are equal whatever was typed.
        scan: look into the programs' folders and the loose ones for models.
        paths: files or folders that the person named, with the model name they gave (or None).
        found: of what an earlier look has found, what is taken in though nothing else is looked for.
        brought: models whose files are blobs already (a download's), by the names that they are to have.
        providers: only these providers' roots; None for all.
        moves: names that move.
        hide, unhide: (provider, variant) pairs; provider "" for all.
        decline, accept: absolute paths that scans leave alone from now on, or look at again.
        only: share what `paths` and `models` name with this provider only; "" shares them with all again.
        models: names of models that `only` is about, beside those that `paths` bring.
        restore: bring back what was hidden or declined.
        copy: content from another disk may be copied into the store.
        swaps: adopted files that give way to links to another disk.
        still: what a process that stays knows of the last pass.
        within: the roots and loose folders in which something happened since, and the paths there at which something
            new has come to lie, where that is all; None: it may be anything. None of them: it may be all. Only with
            `still`.
    """

    command: str = field(default="sync", compare=False)
    scan: bool = True
    paths: Sequence[tuple[Path, str | None]] = ()
    found: Sequence[Candidate] = ()
    brought: Sequence[Found] = ()
    providers: Collection[str] | None = None
    moves: Sequence[Move] = ()
    hide: Sequence[tuple[str, Key]] = ()
    unhide: Sequence[tuple[str, Key]] = ()
    decline: Sequence[str] = ()
    accept: Sequence[str] = ()
    only: str | None = None
    models: Collection[str] = ()
    restore: bool = False
    copy: bool = False
    swaps: Sequence[Adoption] = ()
    still: Still | None = field(default=None, compare=False)
    within: Within | None = None
