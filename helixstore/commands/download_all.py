"""`download-all`: the smallest set of forms of a model that serves all providers that are on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helixstore.commands.download import take
from helixstore.commands.picking import picked
from helixstore.commands.prospects import Missed, Prospect, Wish, closed_to, places, prospects
from helixstore.download.covering import Candidate, cover
from helixstore.download.getting import held
from helixstore.download.results import DownloadReport
from helixstore.errors import Failed, NotFound, Usage
from helixstore.hub.remote import RemoteFile
from helixstore.session import Session
from helixstore.sync.progress import Progress
from helixstore.values import Issue

__all__ = ["AllReport", "LeftOut", "Served", "download_all"]


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
        NotFound, Passing: there is no such model, or nobody can be asked.
    """
    on = [name for name in session.layouts if session.is_on(name)]
    if not on:
        raise Usage("no program is on", "helixstore providers on NAME, or helixstore models download")
    missed: list[Missed] = []
    where = places(session, what, wish, on)

    def missing(files: Sequence[RemoteFile]) -> int:
        return held(session, files, progress).missing(files)

    found = list(prospects(session, where, wish, on, missed, every=True, here=lambda form: not missing(form.weights)))
    if not found:
        raise missed[0].error
    chosen = [found[number] for number in cover([Candidate(missing(one.package.files), one.served) for one in found])]
    left = [name for name in on if all(name not in one.served for one in chosen)]
    if not chosen:
        verdict = found[0].verdicts[on[0]]
        raise Failed(f"no program that is on can run {found[0].model}: {on[0]}: {verdict.reason}",
                     f"helixstore compat {what}")
    serves = tuple(Served(name, one.peek.variant.key.variant) for name in on
                   for one in [next((one for one in chosen if name in one.served), None)] if one is not None)
    downloads = tuple(take(session, picked(one, _why(one)), dry_run=dry_run, progress=progress) for one in chosen)
    return AllReport(chosen[0].model, downloads, serves, tuple(_left_out(name, found) for name in left),
                     _unasked(session, what, left, found, missed), dry_run)


def _unasked(session: Session, what: str, left: Sequence[str], found: Sequence[Prospect],
             missed: Sequence[Missed]) -> tuple[Issue, ...]:
    """The places that could not be asked, and whether that may be why somebody is left out; not those that are gone."""
    seen = [one.peek.variant.key.variant for one in found]
    return tuple(dict.fromkeys(
        Issue("failed" if any(closed_to(session, name, seen, [one]) for name in left) else "passed over", what,
              one.error.message, one.error.remedy)
        for one in missed if not isinstance(one.error, NotFound)))


def _why(one: Prospect) -> str:
    count = len(one.served)
    return f"{one.package.label} serves {count} program{'s' if count > 1 else ''}: {', '.join(sorted(one.served))}"


def _left_out(provider: str, found: Sequence[Prospect]) -> LeftOut:
    verdicts = [one.verdicts[provider] for one in found]
    best = next((one for one in verdicts if one.convert_to), verdicts[0])
    return LeftOut(provider, best.reason, best.convert_to)
