"""`models download`: from what a person calls a model to the same model in every program, fetched once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from helixstore.catalogue.references import HubReference, OciReference, OllamaReference, Reference, parse_reference
from helixstore.download.choosing import Package, choose, packages
from helixstore.download.getting import free_bytes, getting, held
from helixstore.download.mirror import mirror_of
from helixstore.download.offered import Offered
from helixstore.download.registries import registry_offer
from helixstore.download.results import DownloadReport, RemoteState
from helixstore.errors import Failed, Usage
from helixstore.fs.names import printable
from helixstore.hub.remote import RemoteFile
from helixstore.hub.repository import repository_at
from helixstore.session import Machine, Session
from helixstore.sync.change import change
from helixstore.sync.wanted import Change, Progress
from helixstore.values import Family, Format, Source

__all__ = ["download", "offered"]


def download(
    session: Session, what: str, *, format: str | None = None, quantization: str = "", name: str | None = None,
    dry_run: bool = False, progress: Progress | None = None,
) -> DownloadReport:
    """Download a model into the store, and show it to every program.

    Args:
        session: whose store and programs.
        what: an exact reference, see `helixstore.catalogue.references`.
        format: only in the container of this one: "gguf", "hf", "safetensors"; None: whatever there is.
        quantization: only this one.
        name: what the model is to be called; None: the repository's last part.
        dry_run: say what would be fetched, what is here, and whether it fits.
        progress: ("download", name, bytes there, bytes in all).

    Raises:
        Usage: `what` or `format` makes no sense.
        NotFound, Passing, Failed: see `repository_at`, `choose` and `getting`.
    """
    reference = parse_reference(what)
    if reference is None:
        raise Usage(f"{printable(what)} is no repository of the hub", "hf:ORG/NAME")
    found = offered(session, reference)
    _check_audience(session, found)
    files = list(found.files) if found.single else _files(choose(
        found.place, packages(found.files), family=_family(format), wanted=quantization or _part(reference)))
    called = name or found.model
    had = held(session, files, progress)
    report = DownloadReport(found.place, found.revision, called, _states(files, had.blobs, had.arrived),
                            free_bytes(session), dry_run=dry_run)
    if dry_run:
        return report
    mirror = mirror_of(session, found)
    with getting(session, mirror.before(files), found.sources, called, progress) as (models, issues, fetched):
        shown = change(session, Change("download", scan=False, brought=models), progress=progress)
    return replace(report, fetched_bytes=fetched, mirrored_bytes=mirror.used,
                   sync=replace(shown, issues=(*issues, *shown.issues)))


def offered(machine: Machine, reference: Reference) -> Offered:
    """Ask the place that a reference names what it has now.

    Args:
        machine: its environment says which mirror of the hub, and whose tokens.
        reference: an exact one.

    Raises:
        Usage: nothing can be downloaded from there.
        NotFound, Passing, Failed: see `repository_at` and `registry_offer`.
    """
    match reference:
        case HubReference():
            found = repository_at(reference.repository, reference.revision, machine.environ.get("HF_ENDPOINT") or None)
            source = Source("hub", repository=found.name, revision=found.commit, name=found.name)
            return Offered(reference, found.name, found.commit, found.files, source, found.name.rpartition("/")[2],
                           not (found.private or found.gated))
        case OciReference() | OllamaReference():
            return registry_offer(machine, reference)
        case _:
            raise Usage(f"nothing can be downloaded from {printable(str(reference))}", "hf:ORG/NAME")


def _part(reference: Reference) -> str:
    """The file or quantisation that a reference names, or ""."""
    return (reference.file or reference.quantization) if isinstance(reference, HubReference) else ""


def _family(format: str | None) -> Family | None:
    """The container of the weights of a format that the person named."""
    if format is None:
        return None
    try:
        return Format(format.lower()).family
    except ValueError:
        raise Usage(f"{printable(format)} is no format of models", "gguf, or hf for safetensors") from None


def _check_audience(session: Session, found: Offered) -> None:
    if session.store.sharing.shared and not found.public:
        raise Failed(f"not everybody may read {found.place}, and everybody in the group may read this store",
                     "download it into a store of your own: helixstore --store DIR models download ...",
                     session.store.path)


def _files(chosen: Sequence[Package]) -> list[RemoteFile]:
    """The files of all packages, each once."""
    return list({file.path: file for package in chosen for file in package.files}.values())


def _states(files: Sequence[RemoteFile], blobs: dict[str, str], arrived: dict[str, int]) -> tuple[RemoteState, ...]:
    return tuple(RemoteState(file.path, file.bytes, file.bytes if file.digest in blobs else arrived.get(file.digest, 0))
                 for file in files)
