"""From an exact reference to what lies there now: the one place where the hub and registries come together."""

from __future__ import annotations

from helixstore.catalogue.references import HubReference, OciReference, OllamaReference, Reference
from helixstore.download.mirrored import mirrored
from helixstore.download.offered import Offered
from helixstore.download.registries import registry_offer
from helixstore.errors import Passing, Usage
from helixstore.fs.names import printable
from helixstore.hub.repository import repository_at
from helixstore.session import Machine
from helixstore.values import Source

__all__ = ["offered", "offered_here", "part_of"]


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


def offered_here(machine: Machine, reference: Reference, part: str = "") -> Offered:
    """The same; of a repository of the hub that cannot be asked now, what this site's mirror has of it.

    Args:
        machine, reference: as of `offered`.
        part: the file or quantisation that is wanted; "": any.

    Raises:
        As `offered`; of the mirror see `mirrored`.
    """
    try:
        return offered(machine, reference)
    except Passing as error:
        if not isinstance(reference, HubReference):
            raise
        return mirrored(machine, reference, part, error)


def part_of(reference: Reference) -> str:
    """The file or quantisation that a reference names, or ""."""
    return (reference.file or reference.quantization) if isinstance(reference, HubReference) else ""
