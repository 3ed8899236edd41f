"""This site's mirror: a registry that is asked for files before the internet. Nothing of it is believed.

A model of the hub lies in it under the repository's name in small letters, below what the setting says:
`mirror = "oci://nas:5000/models"` and `hf:Org/Name` make `nas:5000/models/org/name`. So does one of another registry.
What the mirror has not, or gives wrongly, comes from where it is published; a mirror that is away is asked once. What
it answers where the hub cannot be reached at all: `mirrored`.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from helixstore.download.offered import Offered
from helixstore.download.registries import BlobAddress, registry_access
from helixstore.errors import HelixError, NotFound, Passing
from helixstore.hub.remote import Address, RemoteFile
from helixstore.oci.access import Patience
from helixstore.oci.reference import Reference, noted_reference
from helixstore.oci.registry import Registry
from helixstore.session import Machine
from helixstore.values import Variant

__all__ = ["Mirror", "mirror_of", "mirror_place", "published_name", "tag_of"]

_BREAKS = 3                     # connections to the mirror that may be cut before it is left alone
_QUICK = Patience(tries=1, silence=20.0)
_OUTSIDE = re.compile(r"[^a-z0-9._-]+")
_SEPARATORS = re.compile(r"[._-]{2,}")


class Mirror:
    """The mirror, for the files of one model. Used from several threads.

    Args:
        registry: the repository in it; None: there is no mirror, or the model is asked of it anyway.

    Attributes:
        used: bytes that came from it.
        off: it is left alone from now on.
    """

    def __init__(self, registry: Registry | None) -> None:
        self._registry = registry
        self._guard = threading.Lock()
        self._breaks = 0
        self.used = 0
        self.off = registry is None

    def before(self, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """The same files, each with the mirror before its own place, as far as its SHA-256 is known."""
        registry = self._registry
        if registry is None:
            return list(files)
        return [replace(file, address=_Mirrored(self, BlobAddress(registry, file.sha256, file.bytes, file.path),
                                                file.address)) if file.sha256 else file for file in files]

    def came(self, count: int) -> None:
        """So many bytes came from it."""
        with self._guard:
            self.used += count

    def broke(self) -> None:
        """A connection was cut."""
        with self._guard:
            self._breaks += 1
            self.off = self.off or self._breaks >= _BREAKS


class _Mirrored:
    """A file that the mirror may have (`remote.Address`)."""

    def __init__(self, mirror: Mirror, first: BlobAddress, then: Address) -> None:
        self._mirror, self._first, self._then = mirror, first, then
        self._here = True

    @property
    def name(self) -> str:
        """As people read it."""
        return self._then.name

    @property
    def host(self) -> str:
        """That of its own place: a mirror that fails is left alone at once."""
        return self._then.host

    @contextlib.contextmanager
    def open(self, offset: int, length: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """See `remote.Address.open`."""
        with contextlib.ExitStack() as stack:
            opened = None
            if self._here and not self._mirror.off:
                try:
                    opened = stack.enter_context(self._first.open(offset, length))
                except NotFound:
                    self._here = False
                except Passing:
                    self._mirror.off = True
                except HelixError:
                    self._here = False
            if opened is not None:
                yield opened[0], self._counted(opened[1])
            else:
                yield stack.enter_context(self._then.open(offset, length))

    def wrong(self) -> None:
        """What the mirror gave was something else: from now on the file comes from its own place."""
        self._here = False
        self._then.wrong()

    def _counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for block in blocks:
                self._mirror.came(len(block))
                yield block
        except HelixError:
            self._mirror.broke()
            raise


def mirror_of(machine: Machine, wanted: Offered) -> Mirror:
    """The mirror for what somebody publishes; one that is never asked where none is configured.

    Args:
        machine: its settings.
        wanted: what is to be downloaded.
    """
    published = noted_reference(wanted.place) if wanted.source.kind == "registry" else None
    place = mirror_place(machine, published.repository if published is not None else wanted.place)
    if place is None or (published is not None and published.host == place.host):
        return Mirror(None)
    return Mirror(Registry(place, registry_access(machine, _QUICK)))


def mirror_place(machine: Machine, name: str, tag: str = "latest") -> Reference | None:
    """Where a model lies in the mirror; None where there is none.

    Args:
        machine: its settings.
        name: `org/name`, as the hub or another registry spells it.
        tag: of the artifact.
    """
    host, _, prefix = machine.settings.mirror.removeprefix("oci://").partition("/")
    parts = [_SEPARATORS.sub("-", _OUTSIDE.sub("-", part.casefold())).strip("._-") for part in name.split("/")]
    below = "/".join(filter(None, (prefix, *parts)))
    return Reference(host, below, tag) if host and below != prefix else None


def published_name(variant: Variant) -> str:
    """The name under which the mirror has a model: that of the place that published it.

    Args:
        variant: of the store.
    """
    if variant.hub is not None:
        return str(variant.hub.repository)
    published = noted_reference(str(variant.registry.repository)) if variant.registry is not None else None
    return published.repository if published is not None else variant.key.model


def tag_of(quantization: str) -> str:
    """The tag under which `push` puts a variant where none is given.

    Args:
        quantization: of the variant; where it has none, its format.
    """
    return quantization.lower().replace("@", "-")
