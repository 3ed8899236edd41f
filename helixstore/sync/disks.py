"""What disks mean for a plan: which links can lead to a blob, which may, and what is away with its disk.

A link within one disk is a hard one. Across disks it is a symbolic one, and if the other disk may be taken away, only
in the folders of programs whose list bears a link that leads nowhere, unless the person allowed it for that volume.
What is away with its disk is withdrawn from every folder, with everything that the person wanted of it kept, so that it
returns with it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from helixstore.errors import NotFound
from helixstore.farm.desired import Joined, WantedRoot, without
from helixstore.farm.library import Library
from helixstore.fs.mounts import Mount, mount_of
from helixstore.providers.layout import Weight
from helixstore.session import Session
from helixstore.store.volumes import Volume
from helixstore.sync.projection import Projection
from helixstore.values import Issue, Key, LinkKind, Variant

__all__ = ["away_issues", "away_of", "leading_away", "limit", "mend_stand_ins", "must_be_here", "not_of"]

_ACROSS = frozenset({LinkKind.SYMBOLIC, LinkKind.STAND_IN, LinkKind.COPY})
_TO_BLOB = frozenset({LinkKind.SYMBOLIC, LinkKind.COPY})


def limit(
    session: Session, projection: Projection, variants: Iterable[Variant],
    coming: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Want nothing where no allowed kind of link can lead, and nothing that a missing disk would spoil.

    Args:
        session: whose store and volumes.
        projection: what the layouts want; changed in place.
        variants: the current ones.
        coming: digest -> where the files lie that this plan takes into the store as that blob.
    """
    projection.away = away_of(session, variants, coming or {})
    mount = cache(mount_of)             # asked about a few disks for each root
    for index, root in enumerate(projection.roots):
        withdrawn = {claim[:2] for joined in root.entries.values() for claim in joined.claims
                     if claim.key in projection.away} if projection.away else frozenset()
        kept = replace(root, entries=without(root.entries, withdrawn), withdrawn=frozenset(withdrawn)) if (
            withdrawn) else root
        far = _Reach(session, kept, coming or {}, mount).far()
        if far:
            kept = replace(kept, entries=without(kept.entries, far))
            projection.far.update(far)
        projection.roots[index] = kept


def away_of(
    session: Session, variants: Iterable[Variant], coming: Container[str] = (),
) -> dict[Key, tuple[str, frozenset[str]]]:
    """Variants of which a file is on a disk that is not here -> why, and the ids of the volumes that it may be on.

    Args:
        session: whose store and volumes.
        variants: those asked about.
        coming: digests that a plan takes into the store, and that are here after it.
    """
    blobs = session.store.blobs
    if not blobs.volumes.attached:
        return {}
    here = frozenset(blobs.digests())
    found: dict[Key, tuple[str, frozenset[str]]] = {}
    for variant in variants:
        for file in variant.files:
            if file.blake3 not in here and file.blake3 not in coming and (why := blobs.absent(file.blake3)):
                found[variant.key] = why, frozenset(volume.id for volume in blobs.volumes.missing(file.blake3))
                break
    return found


def must_be_here(session: Session, variants: Iterable[Variant]) -> None:
    """Nothing, if every file of these variants is on a disk that is here.

    Raises:
        NotFound: the first one of which a file is not.
    """
    for key, (why, _) in away_of(session, variants).items():
        raise NotFound(f"{key} is {why}", "plug the disk in or mount it, then: helixstore sync")


def away_issues(session: Session, projection: Projection) -> Iterator[Issue]:
    """One for each volume that should be here and is not."""
    for volume in session.store.volumes.away:
        if volume.detached or not volume.path:
            continue                    # the person knows, or it never was on this computer
        models = sorted({key.model for key, (_, ids) in projection.away.items() if volume.id in ids})
        told = f"; away with it: {', '.join(models[:5])}{' and more' if len(models) > 5 else ''}" if models else ""
        yield Issue("away", volume.path, f"the volume {volume.name} is not here: {volume.away}{told}",
                    "plug it in; where it is in another place now: helixstore volume add DIR; if it stays away: "
                    f"helixstore volume detach {volume.name}")


def leading_away(session: Session) -> frozenset[tuple[str, str]]:
    """Our symbolic links that lead to a disk that is not here: (root, or "" for a person's own folder; path there)."""
    volumes = session.store.volumes
    gone = tuple(f"{volume.path}/" for volume in volumes.away if volume.path)
    if not gone:
        return frozenset()
    referred = frozenset[str]().union(*(volumes.last_seen(volume) for volume in volumes.away if volume.refers))
    ledgers = session.farm.ledgers
    return frozenset(
        (root, path) for root in ledgers.roots() for path, record in ledgers.of(root).records.items()
        if record.kind == "symlink" and (record.target.startswith(gone) or (
            record.digest in referred and not os.path.exists(record.target))))


def mend_stand_ins(session: Session) -> None:
    """Make the stand-ins anew that a program deleted through a link of ours, where the link itself is still there."""
    blobs, ledgers = session.store.blobs, session.farm.ledgers
    for root in ledgers.roots():
        for path, record in ledgers.of(root).records.items():
            if record.kind != "symlink" or os.path.exists(record.target):
                continue
            link = os.path.join(root, path)
            for place in blobs.places(record.digest):
                plain, lent = blobs.stand_ins.paths(place.volume.path, record.digest)
                if record.target in (plain, lent) and os.path.islink(link) and os.path.exists(place.path):
                    with contextlib.suppress(OSError):          # the plan says what is wrong
                        blobs.stand_ins.make(place.volume.path, record.digest, place.path, record.target == lent)


def not_of(leading: Iterable[tuple[str, str]], issues: Iterable[Issue]) -> list[Issue]:
    """The issues that are about none of these links, nor about a folder that holds one."""
    links = {os.path.join(root, path) for root, path in leading}
    folders = links | {os.path.dirname(link) for link in links}
    return [issue for issue in issues if issue.path not in folders and not any(
        word in links for word in issue.message.split())]


def _bears(session: Session, root: WantedRoot) -> bool:
    """Whether every program that reads the root bears a link that leads nowhere."""
    return all(name == Library.name or session.layouts[name].bears_dangling for name in root.providers
               if name == Library.name or name in session.layouts)


class _Reach:
    """Which kinds of link can lead from blobs into one root, and which may."""

    def __init__(self, session: Session, root: WantedRoot, coming: Mapping[str, Sequence[str]],
                 mount: Callable[[str], Mount]) -> None:
        self.blobs, self.coming = session.store.blobs, coming
        self.root, self.bears = root, _bears(session, root)
        self.here, self.mount = mount(root.path), mount
        volumes = self.blobs.volumes
        self.alone = not volumes.attached and mount(volumes.main.path).id == self.here.id
        self.home = volumes.near(f"{root.path}/.") if volumes.attached else None
        self.linkless = self.home is not None and self.home.refers
        self.nearest = self.blobs.near(root.path)
        self.uid = os.getuid() if hasattr(os, "getuid") else -1

    def far(self) -> Mapping[tuple[str, Key | None], str]:
        """The claims that must wait -> why."""
        if self.alone:
            return {}
        found: dict[tuple[str, Key | None], str] = {}
        for name, joined in self.root.entries.items():
            if isinstance(joined.body, Weight) and (why := self.refuses(name, joined)):
                for claim in joined.claims:
                    found.setdefault(claim[:2], why)
        return found

    def refuses(self, name: str, joined: Joined) -> str:
        """Why no kind of link that is wanted can be made there; "" when one can."""
        body = joined.body
        assert isinstance(body, Weight)
        volume, path = self.source(body.blob)
        mount = self.mount(volume.path)
        if (mount.id == self.here.id and not volume.refers) or path == f"{self.root.path}/{name}":
            return ""
        if self.linkless:
            return f"{self.root.path} is on a disk whose file system has no links"
        if not volume.always and not self.bears:
            return (f"{volume.name} may be taken away, and a link that leads nowhere spoils the list of "
                    f"{' and '.join(self.root.providers)}; to allow it: helixstore volume add {volume.path} --always")
        kinds = (_ACROSS if LinkKind.STAND_IN in body.kinds and self.lends(volume, path) else _TO_BLOB)
        if mount.source == self.here.source and not volume.refers:
            kinds |= {LinkKind.REFLINK}     # between two mounts of one file system a clone may work, link(2) does not
        if not kinds.isdisjoint(body.kinds):
            return ""
        return f"{self.root.path} is on another disk than {volume.path}, and only a link within one disk is safe"

    def source(self, digest: str) -> tuple[Volume, str]:
        """The volume that a blob is linked from, and its path there, now or after this plan."""
        place = self.nearest(digest)
        if digest not in self.coming or not self.blobs.volumes.attached:
            return place.volume, place.path
        found = [(place.volume, place.path)] if os.path.exists(place.path) else []
        found += [(near, location) for location in self.coming[digest] if (near := self.blobs.volumes.near(location))]
        return min(found, key=lambda one: one[0] != self.home, default=(place.volume, place.path))

    def lends(self, volume: Volume, path: str) -> bool:
        """Whether there can be a stand-in for the blob."""
        try:
            return not volume.refers and self.blobs.stand_ins.possible(os.stat(path))
        except OSError:
            return False
