"""From an exact reference to what lies there now: the one place where hub, registries and addresses come together."""

from __future__ import annotations

import os
import threading

from helixstore.catalogue.references import (
    HubReference,
    OciReference,
    OllamaReference,
    PathReference,
    Reference,
    UrlReference,
)
from helixstore.download.mirrored import Unanswered, mirrored
from helixstore.download.offered import Offered
from helixstore.download.registries import registry_offer
from helixstore.download.stream import patiently, stream
from helixstore.download.web import web_offer
from helixstore.errors import Passing, Usage
from helixstore.fs.names import printable
from helixstore.hub.repository import repository_at
from helixstore.session import Machine
from helixstore.values import Source

__all__ = ["Asking", "check_access", "offered", "part_of"]


def offered(machine: Machine, reference: Reference) -> Offered:
    """Ask the place that a reference names what it has now.

    Args:
        machine: its environment says which mirror of the hub, and whose tokens.
        reference: an exact one.

    Raises:
        Usage: it names something here.
        NotFound, Passing, Failed: see `repository_at`, `registry_offer` and `web_offer`.
    """
    match reference:
        case HubReference():
            endpoint = machine.environ.get("HF_ENDPOINT") or None
            found = patiently(lambda: repository_at(reference.repository, reference.revision, endpoint))
            source = Source("hub", repository=found.name, revision=found.commit, name=found.name)
            return Offered(reference, found.name, found.commit, found.files, source, found.name.rpartition("/")[2],
                           not (found.private or found.gated))
        case OciReference() | OllamaReference():
            return registry_offer(machine, reference)
        case UrlReference():
            return patiently(lambda: web_offer(reference))
        case PathReference():
            path = printable(reference.path)
            if os.path.lexists(os.path.expanduser(reference.path)):
                raise Usage(f"{path} is here already", f"helixstore add {path}")
            raise Usage(f"{path} is a path, and there is nothing",
                        "of a repository of the hub: hf:org/name, or hf:org/name:file.gguf")


def check_access(found: Offered) -> None:
    """Of a repository that is not for everybody: whether this person gets its files, by asking for one byte.

    Raises:
        Passing, Failed: they do not.
    """
    weights = max(found.files, key=lambda file: file.bytes, default=None)
    if isinstance(found.reference, HubReference) and not found.public and weights is not None and weights.bytes:
        for _ in stream(weights.address, 0, 1, threading.Event()):
            return


class Asking:
    """Asks one place after another. Where the hub cannot be asked and this site has a mirror, only that is asked then.

    Args:
        machine: as of `offered`.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._away: Passing | None = None

    def offered(self, reference: Reference, part: str = "") -> Offered:
        """As the function; of a repository of the hub that cannot be asked what the mirror has of it.

        Args:
            reference: an exact one.
            part: the file or quantisation that is wanted; "": any.

        Raises:
            As the function; of the mirror see `mirrored`.
        """
        if self._away is None:
            try:
                return offered(self._machine, reference)
            except Passing as error:
                if not isinstance(reference, HubReference) or not self._machine.settings.mirror:
                    raise
                self._away = error
        if not isinstance(reference, HubReference):
            raise Unanswered(f"{reference} is not asked: {self._away.message}",
                             f"helixstore models download {reference}")
        return mirrored(self._machine, reference, part, self._away)


def part_of(reference: Reference) -> str:
    """The file or quantisation that a reference names, or ""."""
    return (reference.file or reference.quantization) if isinstance(reference, HubReference) else ""
