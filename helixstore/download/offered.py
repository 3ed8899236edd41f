"""One version of what somebody publishes, wherever that is: all that a download needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from helixstore.catalogue.references import Reference
from helixstore.hub.remote import RemoteFile
from helixstore.values import Source

__all__ = ["Offered"]


@dataclass(frozen=True, slots=True)
class Offered:
    """What a reference leads to now.

    Attributes:
        reference: as it was asked for.
        place: as people read it: `org/name`, `host/namespace/name:tag`.
        revision: what tells this version from all others: a commit, or the digest of a manifest.
        files: all that lies there, of a registry's tag what stays with the model (`choosing.whole`). Names are the
            place's own, not checked yet.
        source: what the store keeps of where it came from.
        model: what the model is called unless the person says otherwise.
        public: everybody may read it, so that it may enter a store that a group reads.
        single: the files are one model, of which all are taken; else there may be several forms to choose from.
        own: what the program whose form the model is in would say of it, had it fetched it itself.
        note: what a person should know of how it was found; without a full stop.
    """

    reference: Reference
    place: str
    revision: str
    files: tuple[RemoteFile, ...]
    source: Source
    model: str
    public: bool = True
    single: bool = False
    own: tuple[Source, ...] = ()
    note: str = ""

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that the store keeps of where it came from, first what names the model."""
        return *self.own, self.source
