"""The report before anything exists: what each program holds, and how much of it is there twice. Nothing is written.

Only headers and three samples of each large file are read, so that a home with hundreds of gigabytes answers within
seconds. A size that occurs twice is "up to" a duplicate; when the samples agree as well it counts as "at least".
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from stat import S_ISREG
from typing import TYPE_CHECKING

import xxhash

from helixstore.fs.listing import walk
from helixstore.fs.mounts import mount_of
from helixstore.results import Duplicates, Holding, Survey
from helixstore.session import Machine

if TYPE_CHECKING:
    from helixstore.providers.layout import Found
    from helixstore.session import PlacedRoot

__all__ = ["survey"]

_SAMPLE = 64 * 1024             # bytes, at the head, the middle and the tail of a file
_LARGE = 1024 * 1024            # bytes; what is smaller frees nothing worth a line


class _Held:
    """The files of one program: (device, inode) -> (path, bytes), so that no inode counts twice."""

    def __init__(self) -> None:
        self.files: dict[tuple[int, int], tuple[str, int]] = {}
        self.models = 0

    def take(self, found: Found) -> None:
        self.models += 1
        for part in found.inspection.parts:
            where = str(found.files.get(part.path, part.location))
            try:
                stat = os.stat(where)
            except OSError:
                continue        # it has gone since it was listed: it is not held any more
            self.files[stat.st_dev, stat.st_ino] = (where, stat.st_size)


def survey(machine: Machine, seconds: float = 5.0) -> Survey:
    """Look at every program's folder of a person.

    Args:
        machine: whose programs.
        seconds: after this time no further folder is begun, and the report says that it is not complete.
    """
    from helixstore.providers.layout import Layout
    from helixstore.providers.reader import DiskReader

    begun = time.monotonic()
    reader = DiskReader(machine.places.home)
    nowhere = machine.places.default_store / "farms"
    holdings: list[Holding] = []
    unread: list[Holding] = []
    everything: dict[tuple[int, int], tuple[str, int]] = {}
    complete = True
    for names, placed in _by_folder(machine.roots(reader, nowhere)):
        if time.monotonic() - begun > seconds:
            complete = False
            break
        if type(placed.layout).discover is Layout.discover:
            if size := _size(str(placed.root.path), begun + seconds):
                titles = ", ".join(machine.layouts[name].title for name in names)
                unread.append(Holding(",".join(names), titles, str(placed.root.path), 0, size,
                                      mount_of(placed.root.path).point))
            continue
        held = _Held()
        try:
            for found in placed.layout.discover(placed.root, reader):
                held.take(found)
        except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
            reader.issue("layout", placed.root.path, f"the layout {placed.provider} failed: {type(error).__name__}: "
                         f"{error}", f"helixstore layouts check {placed.provider}")
        if held.models:
            fresh = {key: value for key, value in held.files.items() if key not in everything}
            everything |= fresh
            titles = ", ".join(machine.layouts[name].title for name in names)
            holdings.append(Holding(",".join(names), titles, str(placed.root.path), held.models,
                                    sum(size for _, size in held.files.values()), mount_of(placed.root.path).point))
    duplicates, sampled = _duplicates(everything, begun + seconds)
    command = "helixstore init" if holdings or unread else "helixstore init --scan DIR"
    return Survey(tuple(holdings), duplicates, (*machine.issues, *reader.issues), time.monotonic() - begun,
                  complete and sampled, command, tuple(unread))


def _size(folder: str, deadline: float) -> int:
    """Bytes of the large files below `folder`, each inode once, as far as the time allows; no link is followed."""
    inodes: dict[tuple[int, int], int] = {}
    for above, _, names in walk(folder, lenient=True):
        for name in names:
            try:
                stat = os.lstat(os.path.join(above, name))
            except OSError:
                continue            # it has gone since it was listed
            if S_ISREG(stat.st_mode) and stat.st_size >= _LARGE:
                inodes[stat.st_dev, stat.st_ino] = stat.st_size
        if time.monotonic() > deadline:
            break
    return sum(inodes.values())


def _by_folder(roots: Iterable[PlacedRoot]) -> Iterator[tuple[list[str], PlacedRoot]]:
    """Each folder once, with the names of all providers that read it; folders of our own and missing ones left out."""
    shared: dict[str, tuple[list[str], PlacedRoot]] = {}
    for placed in roots:
        if placed.root.owned or not placed.root.path.is_dir():
            continue
        folder = os.path.realpath(placed.root.path)
        shared.setdefault(folder, ([], placed))[0].append(placed.provider)
    yield from shared.values()


def _duplicates(files: Mapping[tuple[int, int], tuple[str, int]], deadline: float) -> tuple[Duplicates, bool]:
    """What could be freed; False when the time did not suffice for all samples."""
    sizes: dict[int, list[str]] = {}
    for path, size in files.values():
        if size >= _LARGE:
            sizes.setdefault(size, []).append(path)
    at_least = up_to = groups = 0
    complete = True
    for size, paths in sorted(sizes.items(), reverse=True):
        if len(paths) == 1:
            continue
        up_to += size * (len(paths) - 1)
        if time.monotonic() > deadline:
            complete = False
            continue
        samples = [sample for path in paths if (sample := _sample(path, size)) is not None]
        same = len(samples) - len(set(samples))
        at_least += size * same
        groups += bool(same)
    return Duplicates(at_least, up_to, groups), complete


def _sample(path: str, size: int) -> str | None:
    """A fingerprint of three pieces; None when the file cannot be read."""
    hash = xxhash.xxh3_128()
    try:
        with open(path, "rb", buffering=0) as file:
            for offset in (0, size // 2, max(0, size - _SAMPLE)):
                file.seek(offset)
                hash.update(file.read(_SAMPLE))
    except OSError:
        return None
    return hash.hexdigest()

