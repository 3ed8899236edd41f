"""What one check works with: a layout, a folder of its own, models to ask about; and how a check says what is wrong."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from helixstore.providers.layout import Copy, Entry, Facts, Layout, Root, Text, Weight
from helixstore.testing.ground import FACTS, MACHINES, materialise, sandbox
from helixstore.testing.models import Shelf
from helixstore.testing.samples import Samples, assortment, described
from helixstore.values import Format, Key, Variant

__all__ = ["CHECKS", "Case", "Check", "Finding", "Projected", "Shown", "check", "require", "said", "shown", "shuffled",
           "texts"]

#: Entries to be compared: path, body, variant, witness, order.
Shown = set[tuple[str, str, object, bool, int]]


#: a name of 300 equal letters, which need not all be shown
_RUN = re.compile(r"(.)\1{30,}")


class Finding(AssertionError):
    """What is wrong with a layout, in one sentence: which of its answers, and what it should have been."""


def require(holds: object, what: str) -> None:
    """Go on if it holds.

    Raises:
        Finding: it does not.
    """
    if not holds:
        raise Finding(_RUN.sub(r"\1\1\1...", what))


class Check(NamedTuple):
    """One check: its name, what it is about, what must hold in one sentence, and the function that tries it."""

    name: str
    group: str
    says: str
    run: Callable[[Case], None]


#: every check by name, in the order in which they are defined
CHECKS: dict[str, Check] = {}


def check(function: Callable[[Case], None]) -> Callable[[Case], None]:
    """Enter a function into `CHECKS`: its name, the last part of its module's name, and its docstring's first line."""
    says = (function.__doc__ or "").partition("\n")[0]
    CHECKS[function.__name__] = Check(
        function.__name__, function.__module__.rpartition(".")[2], says.removesuffix("."), function)
    return function


@dataclass(frozen=True, slots=True)
class Projected:
    """What a layout wants in one root of one machine."""

    facts: Facts
    root: Root
    variants: tuple[Variant, ...]
    entries: tuple[Entry, ...]

    def of(self, key: Key | None) -> list[Entry]:
        """The entries of one variant, or (None) those of the whole root."""
        return [entry for entry in self.entries if entry.key == key]

    @property
    def here(self) -> list[Variant]:
        """The variants that have entries in this root; another root of the layout may hold the rest."""
        keys = {entry.key for entry in self.entries}
        return [variant for variant in self.variants if variant.key in keys]


class Case:
    """One layout on trial.

    Args:
        layout: the layout.
        folder: an empty one of this check's own, absolute; it plays the person's home.
        samples: builds more models to ask about, where those of every format do not do.
    """

    def __init__(self, layout: Layout, folder: Path, samples: Samples | None = None) -> None:
        self.layout = layout
        self.home = Path(os.path.realpath(folder))
        self._samples = samples

    @cached_property
    def shelf(self) -> Shelf:
        """A folder of blobs, on which the samples lie that this layout adds."""
        return Shelf(self.home / "store" / "blobs")

    @cached_property
    def variants(self) -> list[Variant]:
        """Every model to ask about."""
        known, _ = assortment()
        if self._samples is None:
            return known
        return [*(described(variant, self.shelf.blobs) for variant in self._samples(self.shelf)), *known]

    def content(self, digest: str) -> bytes:
        """The bytes of a blob."""
        _, contents = assortment()
        return contents[digest] if digest in contents else self.shelf.blobs[digest].read_bytes()

    def accepted(self, facts: Facts, variants: Iterable[Variant] | None = None) -> list[Variant]:
        """Those of the variants that the layout accepts on a machine."""
        every = self.variants if variants is None else variants
        return [variant for variant in every if self.layout.accepts(variant, facts) is None]

    @cached_property
    def machines(self) -> list[Facts]:
        """The machines on which the layout accepts anything at all."""
        return [facts for facts in MACHINES if self.accepted(facts)]

    @cached_property
    def machine(self) -> Facts:
        """The machine on which it accepts the most; of equals the first."""
        return max(MACHINES, key=lambda facts: (len(self.accepted(facts)), facts is FACTS))

    def roots(self, facts: Facts) -> list[Root]:
        """The layout's roots in the sandbox home on a machine, those that may be written into."""
        roots = list(self.layout.roots(sandbox(self.home, platform=facts.platform)))
        for root in roots:
            require(root.path.is_relative_to(self.home), f"the root {root.path} does not lie in the home {self.home}")
        return [root for root in roots if not root.forbid]

    @property
    def cache(self) -> bool:
        """It only feeds a program's cache of content (`Root.cache`): it shows no model, so none is found or deleted."""
        roots = [root for facts in MACHINES for root in self.roots(facts)]
        return bool(roots) and all(root.cache for root in roots)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Projected:
        """What the layout wants in a root for these variants, all of which it accepts."""
        return Projected(facts, root, tuple(variants), tuple(self.layout.project(variants, root, facts)))

    def projections(self, variants: Iterable[Variant] | None = None) -> Iterator[Projected]:
        """What the layout wants for the variants that it accepts, in each root on each machine."""
        for facts in self.machines:
            accepted = self.accepted(facts, variants)
            for root in self.roots(facts):
                yield self.project(accepted, root, facts)

    def farm(self, variants: Iterable[Variant] | None = None) -> list[Projected]:
        """The same on one machine, for checks on the disk."""
        accepted = self.accepted(self.machine, variants)
        return [self.project(accepted, root, self.machine) for root in self.roots(self.machine)]

    def shown(self, variants: Iterable[Variant] | None = None) -> list[Projected]:
        """The same without caches, in which nothing is to be found."""
        return [each for each in self.farm(variants) if not each.root.cache]

    def blobs(self, projected: Iterable[Projected]) -> dict[str, Path]:
        """Digest -> a file with its bytes, for every blob that is wanted."""
        folder = self.shelf.folder
        wanted = {entry.body.blob for each in projected for entry in each.entries
                  if isinstance(entry.body, Weight | Copy)}
        for digest in wanted - self.shelf.blobs.keys():
            blob = folder / digest
            blob.write_bytes(self.content(digest))
            blob.chmod(0o444)
            self.shelf.blobs[digest] = blob
        return self.shelf.blobs

    def make(self, projected: Sequence[Projected], *, symbolic: bool = False) -> None:
        """Make all that is wanted really on disk."""
        blobs = self.blobs(projected)
        for each in projected:
            each.root.path.mkdir(parents=True, exist_ok=True)
            materialise(each.root.path, each.entries, blobs, symbolic=symbolic)

    def one_of_each(self, facts: Facts) -> list[Variant]:
        """One accepted variant of each format, one of several files, and one with a projector."""
        chosen: dict[object, Variant] = {}
        for variant in self.accepted(facts):
            shape = (len(variant.weights) > 1, bool(variant.projectors))
            chosen.setdefault(variant.format if shape == (False, False) else (variant.format is Format.GGUF, shape),
                              variant)
        require(chosen, f"on {facts.platform} it accepts none of the samples: give it some of its own (`samples`)")
        return list(chosen.values())


    def shapes(self, facts: Facts) -> list[Variant]:
        """Of those, one of each kind of files: for what depends on names and not on formats."""
        chosen: dict[object, Variant] = {}
        for variant in self.one_of_each(facts):
            chosen.setdefault((variant.format.family, len(variant.weights) > 1, bool(variant.projectors)), variant)
        return list(chosen.values())


def shuffled(variants: Sequence[Variant], seed: int) -> list[Variant]:
    """The variants in another order, the same one each time."""
    other = list(variants)
    random.Random(seed).shuffle(other)     # noqa: S311 - an order, no secret
    return other


def shown(entries: Iterable[Entry]) -> Shown:
    """Entries in a form that can be compared, whatever they hold."""
    return {(entry.path, repr(entry.body), entry.key, entry.witness, entry.order) for entry in entries}


def said(data: bytes) -> str:
    """The text of a sidecar for a message, shortened."""
    text = json.dumps(data[:60].decode(errors="replace"))
    return f"{text}..." if len(data) > 60 else text


def texts(entries: Iterable[Entry]) -> list[tuple[Entry, Text]]:
    """The sidecars among the entries."""
    return [(entry, entry.body) for entry in entries if isinstance(entry.body, Text)]
