"""What was tried and what follows from it, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["MountReport", "Trial", "Trials", "Verdict"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried.

    Attributes:
        name: stable, in snake case.
        works: None when it could not be found out.
        detail: a clause for people.
        figure: a measurement in the unit that the name or detail says; None where there is none.
    """

    name: str
    works: bool | None
    detail: str = ""
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something of helixstore's can be there: "yes", "care" or "no", and why or how."""

    what: str
    answer: str
    why: str


@dataclass(frozen=True, slots=True)
class MountReport:
    """All of it.

    Attributes:
        path: the folder that was tried.
        point, kind, source, network: its mount, see `fs.mounts.Mount`.
        other: the second process's host, if it was another host's; "" for two processes of this one.
        trials: in the order in which they are shown.
        verdicts: for the store, program folders, the index and watch.
    """

    path: str
    point: str
    kind: str
    source: str
    network: bool
    other: str
    trials: tuple[Trial, ...]
    verdicts: tuple[Verdict, ...]


class Trials(Mapping[str, Trial]):
    """Trials by name; one that was not made counts as not known."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._trials = {trial.name: trial for trial in trials}

    def __getitem__(self, name: str) -> Trial:
        return self._trials.get(name, Trial(name, None))

    def __iter__(self) -> Iterator[str]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)
