"""Several disks: a volume is added, detached, removed.

How they stand is in `volume_views`, and what moves from one to another in `moving`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from helixstore.commands.moving import copy_on, move, sweep
from helixstore.commands.volume_views import digests_on, models_with, view, views
from helixstore.errors import Failed, Usage
from helixstore.fs import kernel
from helixstore.results import SyncReport, VolumeReport, VolumeView
from helixstore.session import Session
from helixstore.store import attach, gc, moving
from helixstore.store.trash import trashed
from helixstore.store.volumes import MAIN, Volume
from helixstore.sync.change import change
from helixstore.sync.progress import Progress
from helixstore.sync.wanted import Change

__all__ = ["Disks", "add", "detach", "remove"]


class Disks:
    """The disks of one store, for programs: `HelixStore.volumes`. One call at a time goes through."""

    def __init__(self, session: Session, lock: AbstractContextManager[object], progress: Progress | None) -> None:
        self._session, self._lock, self._progress = session, lock, progress

    def list(self) -> list[VolumeView]:
        """Every disk, the store's own folder first."""
        with self._lock:
            return views(self._session)

    def add(self, path: str | Path, *, name: str | None = None, always: bool | None = None,
            dry_run: bool = False) -> VolumeReport:
        """Let files on another disk be shared from there; see `add`."""
        with self._lock:
            return add(self._session, os.path.abspath(path), name=name, always=always, dry_run=dry_run)

    def move(self, ref: str, volume: str, *, dry_run: bool = False) -> VolumeReport:
        """Move a model's weights to another disk; see `move`."""
        with self._lock:
            return move(self._session, ref, volume, dry_run=dry_run, progress=self._progress)

    def detach(self, volume: str, *, dry_run: bool = False) -> VolumeReport:
        """Take every link into a disk down, and use it no more until it is added again."""
        with self._lock:
            return detach(self._session, volume, dry_run=dry_run)

    def remove(self, volume: str, *, lost: bool = False, dry_run: bool = False) -> VolumeReport:
        """Give a disk up when everything on it is on another too, or (`lost`) when it never comes back; see `remove`.
        """
        with self._lock:
            return remove(self._session, volume, lost=lost, dry_run=dry_run)


def add(session: Session, path: str, *, name: str | None = None, always: bool | None = None,
        dry_run: bool = False) -> VolumeReport:
    """Make a volume on a disk, or take up one that is there: after `detach`, at another place, on another computer.

    Args:
        session: whose store.
        path: a disk or a folder on it; the volume's folder is this one, or `helixstore` in it.
        name: for people; by default where the disk is mounted.
        always: whether symbolic links to it may lie in every program's folder; None: what the disk is like decides.
        dry_run: say what it would be.

    Raises:
        StoreError: no volume can lie there.
    """
    session.store.volumes.refresh()
    wanted = attach.prospect(session.store, path, name, always)
    if dry_run:
        return VolumeReport(view(session, wanted), dry_run=True)
    volume = attach.attach(session.store, wanted)
    done = change(session, Change("volume add", scan=False))
    return _report(session, volume, done)


def detach(session: Session, word: str, *, dry_run: bool = False) -> VolumeReport:
    """Take every link of ours into a volume down, and use it no more until it is added again.

    Raises:
        NotFound, Usage: there is no such volume, or it is the store's own folder.
    """
    volume = _other(session, word)
    if dry_run:
        return VolumeReport(view(session, volume), models_with(session, digests_on(session, volume)), dry_run=True)
    with session.store.working() as staging:
        session.store.volumes.note(staging)             # what is on it, for as long as it is not here
    attach.detach(session.store, volume)
    done = change(session, Change("volume detach", scan=False))
    left = [f"{path} is a link to it in the place of a file of yours; it leads nowhere until the volume is back"
            for path, record in session.farm.ledgers.of("").records.items()
            if record.kind == "symlink" and record.target.startswith(volume.path + "/") and os.path.lexists(path)]
    return replace(_report(session, session.store.volumes.find(volume.id), done), notes=(*done.notes, *left))


def remove(session: Session, word: str, *, lost: bool = False, dry_run: bool = False) -> VolumeReport:
    """Give a volume up, when everything on it is on another disk too.

    Args:
        session: whose store.
        word: its name, id or folder.
        lost: it is not here and never comes back, since the disk is broken or its folder was deleted: what only it held
            is missing from now on, and is named. Files that are found again are taken in anew.
        dry_run: say what would be given up.

    Raises:
        Failed: it holds the only copy of something, or is not here; nothing was changed.
    """
    volume = _other(session, word)
    awaited = _awaited(session, volume) if volume.away else frozenset()
    if awaited and not lost:
        raise Failed(f"{volume.name} is not here: {volume.away}; what is on it would be lost to the store",
                     f"plug it in and add it: helixstore volume add {volume.path or 'DIR'}; if it is gone for good: "
                     f"helixstore volume remove {volume.name} --lost", volume.path or None)
    gone = models_with(session, awaited)
    missing = tuple(f"{model} was only there, and is incomplete now: add it again, or helixstore remove {model!r}"
                    for model in gone)
    elsewhere: dict[str, Volume] = {}
    only: set[str] = set()
    for digest in digests_on(session, volume) if not volume.away else ():
        others = [place.volume for place in session.store.blobs.places(digest)
                  if place.volume.id != volume.id and not place.volume.refers]      # a file of the person's is no copy
        if others:
            elsewhere[digest] = others[0]
        else:
            only.add(digest)
    if only:
        raise _only_copy(session, volume, only)
    if not volume.away and any(item.root == volume.path for item in trashed(session.store)):
        raise Failed(f"the trash of {volume.name} is not empty", "helixstore gc --now, or helixstore trash restore",
                     volume.path)
    if dry_run:
        return VolumeReport(view(session, volume), (*gone, *models_with(session, elsewhere)), dry_run=True,
                            notes=missing)
    freed = 0
    with session.store.working():
        for digest, keep in elsewhere.items():
            session.store.blobs.check(digest, at=copy_on(session, digest, keep))
            with session.farm.locked():                 # of two that let go of each other's copy, one finds it gone
                freed += moving.let_go(session.store, digest, keep, on=volume)
    for digest in elsewhere if volume.refers else ():
        kernel.unlink(volume.blob(digest))              # the note alone: the file is the person's
    session.store.volumes.refresh()
    done = change(session, Change("volume remove", scan=False))
    if not volume.away:
        sweep(session, [volume])
    shown = view(session, volume)
    attach.forget(session.store, volume)
    session.store.volumes.refresh()
    return VolumeReport(shown, gone, freed_bytes=freed, sync=done, notes=(*done.notes, *missing), issues=done.issues)


def _awaited(session: Session, volume: Volume) -> frozenset[str]:
    """What somebody claims, is on no disk that is here, and may be on that one, whatever was noted of it."""
    claimed, unread = gc.referenced(session.store)
    if unread:
        raise Failed(f"what the store needs cannot be read: {unread[0].message}", unread[0].remedy, unread[0].path)
    nowhere = claimed - frozenset(session.store.blobs.digests())
    return frozenset(digest for digest in nowhere
                     if any(one.id == volume.id for one in session.store.volumes.missing(digest)))


def _only_copy(session: Session, volume: Volume, only: Collection[str]) -> Failed:
    referenced, _ = gc.referenced(session.store)
    models = models_with(session, only)
    if models:
        shown = ", ".join(models[:5]) + (" and more" if len(models) > 5 else "")
        return Failed(f"{volume.name} holds the only copy of {shown}",
                      f"move it first: helixstore volume move '{models[0]}' {MAIN}", volume.path)
    why = "undo or an earlier version still needs" if set(only) & referenced else "nobody claims any more"
    return Failed(f"{volume.name} holds {len(only)} files that {why}", "helixstore gc --now", volume.path)


def _other(session: Session, word: str) -> Volume:
    session.store.volumes.refresh()
    volume = session.store.volumes.find(word)
    if volume.id == MAIN:
        raise Usage("that is the store's own folder", "helixstore leave gives everything back", volume.path)
    return volume


def _report(session: Session, volume: Volume, done: SyncReport) -> VolumeReport:
    return VolumeReport(view(session, volume), models_with(session, digests_on(session, volume)), sync=done,
                        notes=done.notes, issues=done.issues)
