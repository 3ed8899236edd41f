"""How the disks of a store stand: which are here, what is on each, and whose models that is."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from helixstore.results import VolumeView
from helixstore.session import Session
from helixstore.store.volumes import MAIN, Volume

__all__ = ["digests_on", "models_with", "view", "views"]


def views(session: Session) -> list[VolumeView]:
    """Every volume, the store's own folder first."""
    volumes = session.store.volumes
    volumes.refresh()
    return _views(session, (volumes.main, *volumes.attached))


def view(session: Session, volume: Volume) -> VolumeView:
    """One of them."""
    return _views(session, [volume])[0]


def _views(session: Session, wanted: Iterable[Volume]) -> list[VolumeView]:
    variants = session.index.variants()
    sizes = {file.blake3: file.bytes for variant in variants for file in variant.files}
    found = []
    for volume in wanted:
        digests = digests_on(session, volume)
        models = {variant.key.model for variant in variants if any(f.blake3 in digests for f in variant.files)}
        state = "detached" if volume.detached else "away" if volume.away else "here"
        free = None
        if state == "here":
            status = os.statvfs(_existing(volume.path))
            free = status.f_bavail * status.f_frsize
        found.append(VolumeView(
            volume.id, volume.name, volume.path, state, volume.away, "always" if volume.always else "careful",
            volume.refers, len(models), len(digests), sum(sizes.get(digest, 0) for digest in digests), free))
    return found


def digests_on(session: Session, volume: Volume) -> frozenset[str]:
    """What is on a volume, or was when it was last seen."""
    blobs = session.store.blobs
    if volume.id == MAIN:
        far = blobs.volumes.far
        return frozenset(d for d in blobs.digests() if d not in far or blobs.places(d)[0].volume.id == MAIN)
    if volume.away:
        return blobs.volumes.last_seen(volume)
    return frozenset(d for d, places in blobs.volumes.far.items() if any(p.volume.id == volume.id for p in places))


def _existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def models_with(session: Session, digests: Collection[str]) -> tuple[str, ...]:
    """The models that have one of these files."""
    return tuple(sorted({v.key.model for v in session.index.variants() if any(f.blake3 in digests for f in v.files)}))
