"""Which folders are listened to, which are looked at, and whether they still are the folders that they were.

The kernel's watch stays with a folder that is moved or replaced, under whatever name; a disk that is mounted over it is
not heard at all. So each watched folder is compared with what it was, every few seconds, by one stat.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from helixstore.fs.mounts import mount_of
from helixstore.watch.ears import Ears
from helixstore.watch.eyes import Eyes
from helixstore.watch.touched import Touched

__all__ = ["Senses"]

Identity = tuple[int, int]
Tell = Callable[[str, str, str], None]


@dataclass(slots=True)
class _Target:
    """One folder that must be watched, with all in it.

    Attributes:
        path: as the settings and layouts name it.
        real: without links on the way.
        identity: of the folder; None while it is not there.
    """

    path: str
    real: str
    identity: Identity | None


class Senses:
    """Watches folders by whatever way works for each.

    Args:
        touched: is told what happened.
        spare: a folder of ours that is not watched otherwise.
        every: seconds between two looks at what cannot be heard.
        tell: called with (event, path, why) when the way changes.
    """

    def __init__(self, touched: Touched, spare: str, every: float, tell: Tell) -> None:
        self._touched, self._tell = touched, tell
        self._ears = Ears(touched.note, touched.lose, spare)
        self._eyes = Eyes(every)
        self._targets: dict[str, _Target] = {}
        self._heard: set[str] = set()           # real folders that are listened to
        self._parents: set[str] = set()         # folders in which a target may appear
        self._polled: dict[str, str] = {}       # real folder that is looked at -> why
        self._quiet: dict[str, str] = {}        # mount point -> why nothing, or not all, is heard there

    def aim(self, folders: Iterable[str]) -> set[str]:
        """Watch these folders and no others; they need not exist. Those that were not watched before."""
        before = self._targets
        self._targets = {path: before.get(path) or _target(path) for path in folders}
        if self._targets.keys() != before.keys():
            self._arrange(frozenset())
        return self._targets.keys() - before.keys()

    def changed(self) -> dict[str, str]:
        """The folders that are not what they were -> "away", "there" or "replaced"; watched as they are now.

        "" for one that had to be listened to anew: what was not told yet is lost.
        """
        found = {}
        for path, known in self._targets.items():
            now = _target(path)
            if now != known:
                self._targets[path] = now
                found[path] = "away" if now.identity is None else "there" if known.identity is None else "replaced"
        again = self._ears.anew()
        if found or again or self._missing() != self._parents:
            self._arrange(again | {self._targets[path].real for path in found})
        for path, target in self._targets.items():
            if any(target.real == real or target.real.startswith(real + os.sep) for real in again):
                found.setdefault(path, "")
        return found

    def look(self, now: float) -> None:
        """Look at what cannot be heard, where its time has come."""
        for path, folder in self._eyes.look(now):
            self._touched.note(path, folder)

    def short(self) -> None:
        """Notice that the limit of watches was reached meanwhile: new folders would not be heard."""
        if self._heard and (why := self._ears.full()):
            for real in sorted(self._heard):
                self._ears.ignore(real)
                self._poll(real, why)
            self._heard.clear()
            self._touched.lose(why)

    @property
    def due(self) -> float:
        """When the next look is due, on the monotonic clock."""
        return self._eyes.due

    @property
    def polled(self) -> Mapping[str, str]:
        """Folders that are looked at -> why."""
        return self._polled

    def named(self, path: str) -> list[tuple[str, str]]:
        """Where a real path lies: (watched folder, path), as they are named."""
        found = []
        for target in self._targets.values():
            if path == target.real:
                found.append((target.path, target.path))
            elif path.startswith(target.real + os.sep):
                found.append((target.path, target.path + path[len(target.real):]))
        return found

    def close(self) -> None:
        """Watch nothing more."""
        self._ears.close()

    def _arrange(self, anew: Iterable[str]) -> None:
        """Listen and look where it is needed; to `anew` again, though they are listened to already."""
        there = {target.real for target in self._targets.values() if target.identity is not None}
        top = {real for real in there if not any(real.startswith(other.rstrip(os.sep) + os.sep) for other in there)}
        again = {real for real in top if any(one == real or one.startswith(real + os.sep) for one in anew)}
        for real in (self._heard | self._polled.keys()) - (top - again):
            self._ears.ignore(real)
            self._heard.discard(real)
        for real in self._polled.keys() - top:
            self._eyes.ignore(real)
            del self._polled[real]
        for real in sorted(top - self._heard):
            self._watch(real)
        missing = self._missing()
        for parent in self._parents - missing:
            self._ears.ignore(parent)
        for parent in missing - self._parents - self._heard:    # those that are heard already tell of it too
            self._ears.listen(parent, below=False)          # if that fails, the next comparison sees it all the same
        self._parents = missing

    def _missing(self) -> set[str]:
        """The nearest folders above what is not there yet."""
        return {_nearest(target.real) for target in self._targets.values() if target.identity is None}

    def _watch(self, real: str) -> None:
        """By ear, if the file system tells all; else by eye, beside or instead."""
        why = self._deaf(real)
        if not (loud := self._ears.listen(real)):
            self._heard.add(real)
        if loud or why:
            self._poll(real, loud or why)

    def _poll(self, real: str, why: str) -> None:
        self._eyes.watch(real)
        if self._polled.get(real) != why:
            self._polled[real] = why
            self._tell("polling", real, why)

    def _deaf(self, real: str) -> str:
        """Why not all changes are heard on that disk; "" where they are."""
        try:
            mount = mount_of(real)
        except OSError as error:
            return f"its disk cannot be told: {error.strerror or error}"
        if mount.network:
            return f"it is on a network file system ({mount.kind}), which tells nothing of what other hosts do"
        if mount.kind.startswith("fuse"):
            return f"its file system ({mount.kind}) may not tell of changes behind it"
        return self._quiet.get(mount.point, "")

    def probe(self, folder: str) -> None:
        """Find out by doing whether changes are told on the disk of a folder of ours."""
        point = mount_of(folder).point
        if point not in self._quiet and not self._ears.hears(folder):
            self._quiet[point] = "its file system tells of no changes"


def _target(path: str) -> _Target:
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
        os.close(os.open(real, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)))       # a dead mount fails here
    except OSError:
        return _Target(path, real, None)
    return _Target(path, real, (status.st_dev, status.st_ino))


def _nearest(path: str) -> str:
    """The nearest folder above that is there."""
    above = os.path.dirname(path)
    while not os.path.isdir(above) and above != os.path.dirname(above):
        above = os.path.dirname(above)
    return above
