"""What the person moved by hand and what is found again: the same inode, or the same bytes, under another name.

A file of theirs that was adopted keeps what it was like at first, under whatever name it lies now. A root that was
moved, whole or entry by entry, keeps what is ours in it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import takewhile

from helixstore.farm.adopt import original_of
from helixstore.farm.ledger import FOLDER, Ledger, Ledgers, Record
from helixstore.farm.plan import Action, Adoption, Original
from helixstore.farm.scan import identity_of, look_at
from helixstore.fs.mounts import mount_of
from helixstore.store.blobs import Blobs

__all__ = ["Moved", "follow", "is_gone"]

_LINKS = frozenset({"symlink", "inner"})


class Moved:
    """Which adopted files of which the path is gone are found again by the adoptions of a plan.

    Args:
        adoptions: of the plan.
        ledgers: of all roots and of the adopted files.
        blobs: the store's.
    """

    def __init__(self, adoptions: Iterable[Adoption], ledgers: Ledgers, blobs: Blobs) -> None:
        adoptions = list(adoptions)
        self._blobs = blobs
        self._records: dict[str, list[Record]] = {adoption.digest: [] for adoption in adoptions}
        for record in ledgers.of("").records.values() if adoptions else ():
            if record.digest in self._records:
                self._records[record.digest].append(record)
        self._before: dict[str, Record] = {}
        pairs = sorted((-_alike(adoption.path, record.path), adoption.path, record.path, record)
                       for adoption in adoptions for record in self._records[adoption.digest]
                       if not os.path.lexists(record.path) and self._is(adoption, record))
        taken: set[str] = set()
        for _, path, old, record in pairs:          # the names that are most alike belong together
            if path not in self._before and old not in taken:
                self._before[path] = record
                taken.add(old)

    def _is(self, adoption: Adoption, record: Record) -> bool:
        """Whether a record whose path is gone can be of the file that is adopted."""
        if record.inode == adoption.expect.inode:
            return self._is_blob(adoption)
        return (adoption.expect.mtime_ns == record.mtime_ns and not _writable(adoption.path)    # on another disk now
                and is_gone(record, self._blobs))

    def original(self, adoption: Adoption) -> Original:
        """What a file was like before it was shared. One that is another name of its blob is like the file that became
        the blob.

        Raises:
            OSError: the file cannot be looked at.
        """
        now, record = original_of(adoption.path), self._before.get(adoption.path)
        if record is None:
            if not self._is_blob(adoption):
                return now
            record = next((r for r in self._records[adoption.digest] if r.inode == adoption.expect.inode), None)
        if record is not None and record.original:
            return Original.of(json.loads(record.original))
        return now._replace(mode=now.mode | stat.S_IWUSR)           # a blob is read-only

    def _is_blob(self, adoption: Adoption) -> bool:
        return any(os.path.lexists(place.path) and os.path.lexists(adoption.path) and os.path.samestat(
            os.stat(place.path), os.lstat(adoption.path)) for place in self._blobs.places(adoption.digest))

    def forget(self, adoptions: Iterable[Adoption]) -> Iterator[Action]:
        """The records whose files are adopted anew where they lie now, by these adoptions."""
        for adoption in adoptions:
            if record := self._before.get(adoption.path):
                yield Action("forget", "", record.path, claims=record.claims, was=record, note="it was moved")


def is_gone(record: Record, blobs: Blobs) -> bool:
    """Whether an adopted file is certainly no more where it lay: nothing is there, on the same mount as its blob.

    A hard link never leads from one mount to another. Of a symbolic link nothing can be told.
    """
    above = os.path.dirname(record.path)
    if record.kind != "hard" or os.path.lexists(record.path):
        return False
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    places = [place.path for place in blobs.places(record.digest) if os.path.lexists(place.path)]
    return any(os.stat(path).st_ino == record.inode and mount_of(path).id == mount_of(above).id for path in places)


def follow(ledgers: Ledgers, moved: Iterable[tuple[str, str]], keep: bool) -> set[str]:
    """Enter what is ours in roots that the person moved where it lies now: the same inode, or link, at the same path.

    Files of the person's are left to the scan, which adopts them anew.

    Args:
        ledgers: of all roots.
        moved: roots that are given up, each with one that may be in its place.
        keep: write it down; else it is as if it were so until `ledgers.reread()`.

    Returns:
        The roots that are concerned.
    """
    touched: set[str] = set()
    for old, new in moved:
        before, after = ledgers.of(old), ledgers.of(new)
        here = identity_of(new)
        whole = here is not None and here == before.identity and not os.path.lexists(old)
        found = [record for path, record in before.records.items() if here is not None and path
                 and not os.path.lexists(f"{old}/{path}") and (whole or _lies(f"{new}/{path}", record))]
        if not any(record.kind != FOLDER for record in found):
            continue
        _rekey(before, after, found, whole)
        after.identify(here)
        touched |= {old, new}
    if not keep:
        ledgers.pretend(touched)
        return touched
    for root in touched:
        ledgers.of(root).flush(durable=True)
    for root in touched:
        ledgers.of(root).compact()
    return touched


def _rekey(before: Ledger, after: Ledger, found: Iterable[Record], whole: bool) -> None:
    for record in found:
        before.drop(record.path)
        if record.origin != "adopted":
            after.put(record)
    if whole:
        before.drop("")


def _lies(path: str, record: Record) -> bool:
    """Whether what a record is about lies at an absolute path."""
    try:
        look = look_at(path)
    except OSError:
        return False
    return look is not None and (look.target == record.target if record.kind in _LINKS else look.inode == record.inode)


def _writable(path: str) -> bool:
    try:
        return bool(os.lstat(path).st_mode & stat.S_IWUSR)
    except OSError:
        return True


def _alike(path: str, other: str) -> int:
    """How many components two paths have in common: at their ends, which counts most, and at their beginnings."""
    one, two = path.split("/"), other.split("/")
    return 1000 * _together(reversed(one), reversed(two)) + _together(one, two)


def _together(one: Iterable[str], two: Iterable[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
