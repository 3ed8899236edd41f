"""`models download`: from what a person calls a model to the same model in every program, fetched once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from helixstore.catalogue.references import HubReference
from helixstore.commands.models.came import came
from helixstore.commands.models.here import names_branch, remember
from helixstore.commands.models.kept import AWAY, kept_here, report_of
from helixstore.commands.models.lying import Lying, lying
from helixstore.commands.models.picking import Pick, pick
from helixstore.commands.models.prospects import Wish, catalogue, repositories_of
from helixstore.commands.models.unproven import unproven
from helixstore.download.audience import check_audience
from helixstore.download.getting import Held, free_bytes, getting, held
from helixstore.download.mirror import mirror_of
from helixstore.download.offered import Offered
from helixstore.download.results import DownloadReport, RemoteState
from helixstore.errors import HelixError
from helixstore.fs.names import printable
from helixstore.hub.remote import RemoteFile
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.sync.change import change
from helixstore.sync.progress import Progress
from helixstore.sync.wanted import Change

__all__ = ["download", "take"]


def download(
    session: Session, what: str, wish: Wish, *, provider: str = "", name: str | None = None, dry_run: bool = False,
    progress: Progress | None = None,
) -> DownloadReport:
    """Download a model into the store, and show it to every program.

    Args:
        session: whose store and programs.
        what: an exact reference (`helixstore.catalogue.references`), or a name of the catalogue.
        wish: format, quantisation, and what it may take when it runs.
        provider: that must be able to run it here, or nothing is fetched.
        name: what the model is to be called; None: as the catalogue calls it, or the repository's last part.
        dry_run: say what would be fetched, what is here, and whether it fits.
        progress: ("download", name, bytes there, bytes in all).

    Raises:
        Usage: `what` or the format makes no sense.
        NotFound, Passing, Failed: see `pick` and `getting`. Where nobody can be asked, and the store has what is meant
            whole, that is the answer instead.
    """
    try:
        chosen = pick(session, what, wish, provider)
    except AWAY as error:
        kept = kept_here(session, what, wish, provider, name)
        if kept is None:
            raise
        shown = None if dry_run else change(session, Change("download", scan=False), progress=progress)
        return report_of(session, kept, error.message, shown)
    return take(session, chosen, name=name, dry_run=dry_run, progress=progress)


def take(
    session: Session, picked: Pick, *, name: str | None = None, dry_run: bool = False, progress: Progress | None = None,
) -> DownloadReport:
    """Download what was chosen; arguments and errors as of `download`."""
    found = picked.offered
    check_audience(session, found)
    if isinstance(found.reference, HubReference) and names_branch(found.reference) and not dry_run:
        remember(session, found.reference, found.revision)
    files = _files(picked)
    called = name or picked.model
    had = held(session, files, progress)
    there = lying(session, [file for file in files if file.digest not in had.blobs], progress)
    first = SyncReport()
    if there.models:                                    # not all of it may be taken in: it may be another user's
        found_there = Change("download", scan=False, found=there.models)
        first = change(session, found_there, dry_run=dry_run, progress=progress)
        there = there.only({one.path for one in first.adopted})
        had = held(session, files, progress)
    why = ". ".join(filter(None, (found.note, picked.why, _stays(found, called), _there(there))))
    report = DownloadReport(found.place, found.revision, called,
                            _states(files, {**there.places, **had.blobs}, had.arrived), free_bytes(session),
                            not_fetched_bytes=_spared(session, found, files, had), why=why, others=picked.others,
                            dry_run=dry_run)
    if dry_run:
        return report
    mirror, entry = mirror_of(session, found), catalogue(session).of_repository(found.place)
    kin = repositories_of(entry) if entry is not None else ()
    with getting(session, mirror.before(files), found.sources, called, progress) as (models, issues, fetched):
        brought = [replace(model, kin=kin) for model in models]
        shown = change(session, Change("download", scan=False, brought=brought), progress=progress)
    if report.not_fetched_bytes and shown.operation is not None:
        with suppress(HelixError):                      # a figure: the download itself is done
            session.store.saved.not_fetched(session.farm.journal.name(shown.operation), report.not_fetched_bytes)
    variants = came(session, brought)
    notes = *first.notes, *shown.notes, *unproven(session, found, variants)
    return replace(report, fetched_bytes=fetched, mirrored_bytes=mirror.used, variants=variants,
                   sync=first.then(replace(shown, notes=notes, issues=(*issues, *shown.issues))))


def _there(found: Lying) -> str:
    """What need not come, since a program has it and a sync would take it in."""
    places = [printable(path) for path in found.places.values()]
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{places[0]}{more} is what is wanted, and need not come" if places else ""


def _stays(found: Offered, called: str) -> str:
    """How a version that the person named stays, since later ones come from the repository's main branch."""
    named = found.reference.revision if isinstance(found.reference, HubReference) else None
    return "" if named in (None, "main") else (
        f"helixstore update leads on to what the main branch has; to stay at {printable(str(named))}: "
        f"helixstore pin {printable(called)}")


def _spared(session: Session, found: Offered, files: Sequence[RemoteFile], had: Held) -> int:
    """Bytes that the store had before, each content once, unless this person has them from this very place already."""
    try:
        known = session.index.find(found.place) if had.blobs else []
    except HelixError:                                  # nothing is called so, or several models are
        known = []
    others = {key for key, _, _ in session.index.unclaimed()} if known else set()
    again = {file.blake3 for one in known if one.key not in others for file in one.files} | had.begun
    every = {file.digest: file.bytes for file in files}
    return sum(every[digest] for digest, blob in had.blobs.items() if blob not in again)


def _files(picked: Pick) -> list[RemoteFile]:
    """The files of all forms, each once."""
    if not picked.packages:
        return list(picked.offered.files)
    return list({file.path: file for package in picked.packages for file in package.files}.values())


def _states(files: Sequence[RemoteFile], blobs: dict[str, str], arrived: dict[str, int]) -> tuple[RemoteState, ...]:
    return tuple(RemoteState(file.path, file.bytes, file.bytes if file.digest in blobs else arrived.get(file.digest, 0))
                 for file in files)
