"""`download-all`: the smallest set of forms of a model that serves all providers that are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from helixstore.commands.models.download import take
from helixstore.commands.models.kept import AWAY, all_kept, report_of, verdict_here
from helixstore.commands.models.picking import picked
from helixstore.commands.models.prospects import Missed, Prospect, Wish, closed_to, places, prospects
from helixstore.download.covering import Candidate, cover
from helixstore.download.getting import held
from helixstore.download.results import DownloadReport
from helixstore.errors import Failed, NotFound, Usage
from helixstore.hub.remote import RemoteFile
from helixstore.results import Verdict
from helixstore.session import Session
from helixstore.sync.change import change
from helixstore.sync.progress import Progress
from helixstore.sync.wanted import Change
from helixstore.values import Issue

__all__ = ["AllReport", "LeftOut", "Served", "download_all"]

Verdicts: TypeAlias = Mapping[str, Verdict]
"""Of one form: provider -> whether it can run it."""


@dataclass(frozen=True, slots=True)
class Served:
    """A provider, and the form that it can run."""

    provider: str
    variant: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A provider that none of it serves, and why. `convert_to`: the format into which a conversion would help."""

    provider: str
    reason: str
    convert_to: str | None = None


@dataclass(frozen=True, slots=True)
class AllReport:
    """What `download-all` did, or with `dry_run` would do.

    Attributes:
        model: its name.
        downloads: one for each form.
        serves: who can run which.
        left_out: who can run none.
        unasked: places that could not be asked: "failed" where somebody is left out whom they may have served, else
            "passed over".
    """

    model: str
    downloads: tuple[DownloadReport, ...]
    serves: tuple[Served, ...]
    left_out: tuple[LeftOut, ...]
    unasked: tuple[Issue, ...] = ()
    dry_run: bool = False

    @property
    def issues(self) -> tuple[Issue, ...]:
        """What could not be done."""
        failed = (one for one in self.unasked if one.kind == "failed")
        return (*failed, *(issue for one in self.downloads if one.sync is not None for issue in one.sync.issues))


def download_all(
    session: Session, what: str, wish: Wish, *, dry_run: bool = False, progress: Progress | None = None,
) -> AllReport:
    """Download what serves all providers that are on, with the fewest bytes; what the store has costs none.

    Args:
        session: whose store and programs.
        what: a name of the catalogue, or an exact reference.
        wish: format, and what it may take when it runs; what does not fit this computer serves nobody.
        dry_run: say what would be done.
        progress: as of a download.

    Raises:
        Usage: no provider is on.
        Failed: none of them can run any of it.
        NotFound, Passing: there is no such model, or nobody can be asked. Where the store has what some of them can
            run, that is the answer instead.
    """
    on = [name for name in session.layouts if session.is_on(name)]
    if not on:
        raise Usage("no program is on", "helixstore providers on NAME, or helixstore models download")
    missed: list[Missed] = []
    where = places(session, what, wish, on)

    def missing(files: Sequence[RemoteFile]) -> int:
        return held(session, files, progress).missing(files)

    try:
        found = list(prospects(session, where, wish, on, missed, every=True,
                               here=lambda form: not missing(form.weights)))
        if not found:
            raise missed[0].error
    except AWAY as error:
        missed = [Missed(place, error) for place in where]
        if answer := _from_here(session, what, wish, on, missed, dry_run, progress):
            return answer
        raise
    chosen = [found[number] for number in cover([Candidate(missing(one.package.files), one.served) for one in found])]
    if not chosen:
        verdict = found[0].verdicts[on[0]]
        raise Failed(f"no program that is on can run {found[0].model}: {on[0]}: {verdict.reason}",
                     f"helixstore compat {what}")
    downloads = tuple(take(session, picked(one, _why(one)), dry_run=dry_run, progress=progress) for one in chosen)
    return _report(session, what, [one.verdicts for one in chosen], [one.verdicts for one in found], downloads, missed,
                   dry_run)


def _from_here(session: Session, what: str, wish: Wish, on: Sequence[str], missed: Sequence[Missed], dry_run: bool,
               progress: Progress | None) -> AllReport | None:
    """The answer of the store where nobody can be asked; None where it has nothing of it that any of them can run."""
    kept = all_kept(session, what, wish)
    found = [{name: verdict_here(session, one, wish, name) for name in on} for one in kept]
    chosen = cover([Candidate(0, frozenset(_served(verdicts))) for verdicts in found])
    downloads = tuple(
        report_of(session, kept[number], missed[0].error.message,
                  None if dry_run else change(session, Change("download", scan=False), progress=progress))
        for number in chosen)
    return _report(session, what, [found[number] for number in chosen], found, downloads, missed,
                   dry_run) if chosen else None


def _report(session: Session, what: str, chosen: Sequence[Verdicts], found: Sequence[Verdicts],
            downloads: tuple[DownloadReport, ...], missed: Sequence[Missed], dry_run: bool) -> AllReport:
    """Who can run which of what was chosen, and who is left out of all that was found."""
    on = list(found[0])
    first = {name: one[name].variant for one in reversed(chosen) for name in _served(one)}
    serves = tuple(Served(name, first[name]) for name in on if name in first)
    left = [name for name in on if name not in first]
    return AllReport(downloads[0].name, downloads, serves, tuple(_left_out(name, found) for name in left),
                     _unasked(session, what, left, found, missed), dry_run)


def _served(verdicts: Verdicts) -> list[str]:
    return [name for name, verdict in verdicts.items() if verdict.answer == "yes"]


def _unasked(session: Session, what: str, left: Sequence[str], found: Sequence[Verdicts],
             missed: Sequence[Missed]) -> tuple[Issue, ...]:
    """The places that could not be asked, and whether that may be why somebody is left out; not those that are gone."""
    seen = [verdict.variant for one in found for verdict in one.values()]
    issues = [Issue("failed" if any(closed_to(session, name, seen, [one]) for name in left) else "passed over", what,
                    one.error.message, one.error.remedy)
              for one in missed if not isinstance(one.error, NotFound)]
    failed = {one.message for one in issues if one.kind == "failed"}
    return tuple(dict.fromkeys(one for one in issues if one.kind == "failed" or one.message not in failed))


def _why(one: Prospect) -> str:
    count = len(one.served)
    return f"{one.package.label} serves {count} program{'s' if count > 1 else ''}: {', '.join(sorted(one.served))}"


def _left_out(provider: str, found: Sequence[Verdicts]) -> LeftOut:
    verdicts = [one[provider] for one in found]
    best = next((one for one in verdicts if one.convert_to), verdicts[0])
    return LeftOut(provider, best.reason, best.convert_to)
