"""The `World` of a collection that is the disk: what lies there, and single changes to it."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from helixstore.errors import Failed
from helixstore.fs import kernel, locks
from helixstore.fs.inside import Inside
from helixstore.store.alive import Alive, Memory
from helixstore.store.gc_notes import forget_notes, read_notes, write_note
from helixstore.store.gc_rules import Claims, Lying, Note
from helixstore.store.standins import of_blob
from helixstore.store.store import Store
from helixstore.store.trash import Trashed, move_in, trashed
from helixstore.store.volumes import MAIN, Place
from helixstore.values import Issue

__all__ = ["Collector"]


class _Item(NamedTuple):
    """A file in the trash of one disk; the disk is a part of the epoch's name, since notes tell epochs apart by it."""

    file: Trashed
    epoch: str

    @property
    def digest(self) -> str:
        return self.file.digest

    @property
    def corrupt(self) -> bool:
        return self.file.corrupt


class Collector:
    """See `gc_round.World`; and what was found and done there.

    Args:
        store: to be collected.
        memory: for what need not be read again the next time.
        alone: nothing is deleted while somebody else is at work.

    Attributes:
        issues: what could not be read.
        failed: digest -> why something could not be done with it.
        restored: digests that were brought back.
        unlinked: what was deleted for good; `freed`: the bytes that were freed by that.
    """

    def __init__(self, store: Store, memory: Memory | None = None, alone: bool = False) -> None:
        self._store, self._alone = store, alone
        self._alive = Alive(store, memory)
        self._sizes: dict[str, int] = {}
        self.issues: list[Issue] = []
        self.failed: dict[str, str] = {}
        self.restored: set[str] = set()
        self.unlinked: list[Trashed] = []
        self.freed = 0

    # ---- look ------------------------------------------------------------------------------------------------------

    def blobs(self) -> set[str]:
        """The digests of all blobs that are here."""
        return set(self._store.blobs.digests())

    def trash(self) -> list[_Item]:
        """What lies in the trash of every disk that is here."""
        names = {volume.path: "" if volume.id == MAIN else f"@{volume.id}" for volume in self._store.volumes.here}
        found = [_Item(item, f"{item.epoch}{names[item.root]}") for item in trashed(self._store)]
        self._sizes = {item.digest: item.file.bytes for item in found} | self._sizes
        return found

    def notes(self) -> list[Note]:
        """The notes of all collectors."""
        return read_notes(self._store)

    def claims(self) -> Claims:
        """What anybody claims or keeps now."""
        digests, issues = self._alive.read()
        self.issues += [issue for issue in issues if issue not in self.issues]
        return Claims(digests, not issues)

    def clock_ns(self) -> int:
        """Now, by the store's own clock."""
        return self._store.now_ns()

    def own(self, digest: str) -> bool:
        """Whether every copy of a blob, in its place and in the trash, is this person's."""
        owners = {item.uid for item in trashed(self._store) if item.digest == digest}
        for place in self._store.blobs.places(digest):
            with suppress(FileNotFoundError):
                owners.add(os.lstat(place.path).st_uid)
        return owners == {self._store.host.uid}

    def why_keep(self, digest: str) -> str:
        """A reason to leave a blob without a claim where it is, or ""; none is a reason to delete it."""
        for place in self._store.blobs.places(digest):
            with suppress(FileNotFoundError):
                if why := _why_keep(digest, place, os.lstat(place.path)):
                    return why
        return ""

    def size(self, digest: str) -> int:
        """Bytes of all copies of a blob; once it has left its place, as it was."""
        if digest not in self._sizes:
            found = 0
            for place in self._store.blobs.places(digest):
                with suppress(OSError):
                    found += os.lstat(place.path).st_size
            self._sizes[digest] = found
        return self._sizes[digest]

    # ---- act -------------------------------------------------------------------------------------------------------

    def move(self, digests: Sequence[str], epoch: str) -> None:
        """Move blobs to the trash of their disks."""
        for digest in digests:
            self.size(digest)
        self.failed |= move_in(self._store, digests, epoch)

    def bring_back(self, digest: str) -> None:
        """Bring back what is claimed. Where we may not, its readers look in the trash until its owner's next run."""
        try:
            if self._store.blobs.revive(digest):
                self.restored.add(digest)
            else:
                self.failed[digest] = "is claimed, and cannot be brought back from the trash: it is another person's"
        except OSError as error:
            self.failed[digest] = f"cannot be brought back from the trash: {error.strerror or error}"

    def delete(self, one: Lying) -> None:
        """Delete a file for good, and before it its stand-ins, which have led to its bytes until now."""
        assert isinstance(one, _Item)
        file = one.file
        if self._alone and self._store.staging.others(self._store.hosts.expiry(self._store.now_ns).over):
            return
        inside = Inside(f"{file.root}/trash")           # in a folder that a member may swap for a link
        try:
            path = inside.at(file.path)
            status = os.lstat(path)
            for stand_in in of_blob(file.root, file.digest):
                with suppress(FileNotFoundError, PermissionError):  # another's goes with their own next sync
                    if os.path.samestat(os.lstat(stand_in), status):
                        kernel.unlink(stand_in)
            last = os.lstat(path).st_nlink == 1
            kernel.unlink(path)
        except FileNotFoundError:
            return                                      # restored meanwhile
        except Failed as error:
            self.failed[file.digest] = f"cannot be deleted: {error.message}"
            return
        except OSError as error:
            self.failed[file.digest] = f"cannot be deleted: {error.strerror or error}"
            return
        self.unlinked.append(file)
        self.freed += file.bytes if last else 0
        if not file.corrupt and not os.path.lexists(self._store.blobs.path(file.digest)) and (
                not self._store.volumes.away):
            with suppress(PermissionError):             # another's; it can be learnt again
                self._store.blobs.forget(file.digest)

    def note(self, *, condemned: Collection[str] = (), absolved: Collection[str] = (),
             trashed: Collection[tuple[str, str]] = (), settled: Collection[tuple[str, str]] = ()) -> None:
        """Publish a note."""
        write_note(self._store, condemned=condemned, absolved=absolved, trashed=trashed, settled=settled)

    def forget(self, notes: Sequence[str]) -> None:
        """Remove notes; none while a disk is away, since what is in its trash is not seen."""
        if not self._store.volumes.away:
            forget_notes(self._store, notes)


def _why_keep(digest: str, place: Place, status: os.stat_result) -> str:
    if place.volume.refers:
        return ""                                       # only the note of where it lies goes
    if status.st_nlink > 1 and status.st_nlink > 1 + len(of_blob(place.volume.path, digest)):
        return "a file outside the store is the same inode; deleting would free nothing"
    if locks.in_use(place.path):
        return "a program has it open"
    return ""
