"""What was really saved, for everybody to see: `hosts/<host>/<uid>/saved/`, one small record for each operation.

    saved/<operation>.json   {freed: [{blake3, bytes, copies, programs [, after]}], given_back: [{blake3, copies}],
                              taken_in: [blake3]}
    saved/<operation>.download.json  {not_fetched_bytes}: what a download did not fetch, since the store had it
    saved/me.json            {user, avoided_bytes}: this person's name on that host, and what their links avoid

A record says which duplicates an operation replaced by links, or made ordinary files again (undo, leave); it is never
edited, and what it says is dated by the store's own clock. What is given back beyond what was freed is a debt: the
blob is one copy more, which a later sync merges with the rest, until the blob is gone and a file is taken in for it
again (`taken_in`). It lies in the store, since a person's journal is private
and other people's figures would otherwise have to be guessed from what the files look like now. Only its owner can
have written it: a record whose file belongs to neither the <uid> of its folder nor the store's owner is left out.

Nothing rests on these files: they keep no blob alive, and one that cannot be read costs a figure only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

from helixstore.errors import HelixError
from helixstore.fs import kernel
from helixstore.fs.listing import listdir, scandir
from helixstore.store import records
from helixstore.store.host import Host
from helixstore.store.sharing import Sharing

__all__ = ["Freed", "Person", "Saved", "Saving"]

_OPERATION = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_DOWNLOAD = re.compile(rf"{_OPERATION.pattern}\.download")
_ME = "me.json"


class Freed(NamedTuple):
    """Copies of one blob that an operation replaced by links.

    Attributes:
        digest: the blob.
        bytes: of one copy.
        copies: how many.
        programs: in whose folders they lay; none for a folder that no program reads.
        after: seconds since 1970 until which the replaced inodes are kept; 0: they were freed at once.
    """

    digest: str
    bytes: int
    copies: int
    programs: tuple[str, ...]
    after: int = 0


class Saving(NamedTuple):
    """Copies that are freed still: nobody has given them back. `time_ns`: when, on the store's clock."""

    host: str
    uid: int
    time_ns: int
    freed: Freed


class Person(NamedTuple):
    """One person on one host: their name there, if they have said it, the bytes that their links avoid, and those that
    their downloads did not fetch."""

    host: str
    uid: int
    user: str | None
    avoided_bytes: int
    not_fetched_bytes: int = 0


class Saved:
    """The figures of one store; this person's on this host can be written, everybody's are read."""

    def __init__(self, root: str, host: Host, working: Callable[[], AbstractContextManager[str]],
                 sharing: Sharing) -> None:
        self._root = root
        self._sharing = sharing
        self._hosts = os.path.join(root, "hosts")
        self._own = os.path.join(self._hosts, host.id, str(host.uid), "saved")
        self._working = working

    def put(self, operation: str, freed: Iterable[Freed], given_back: Mapping[str, int],
            taken_in: Iterable[str] = ()) -> None:
        """Note durably what an operation freed and gave back; done again for the same operation, it does nothing.

        Args:
            operation: its number in this person's journal and its time, with a hyphen.
            freed: copies that it replaced by links.
            given_back: digest -> paths that have bytes of their own again.
            taken_in: digests of blobs that a path's own inode has become.

        Raises:
            HelixError: it cannot be written.
        """
        summed: dict[tuple[str, int, tuple[str, ...], int], int] = {}
        for one in freed:
            key = records.check_digest(one.digest), one.bytes, one.programs, one.after
            summed[key] = summed.get(key, 0) + one.copies
        fresh = self._owed().intersection(taken_in)
        if not summed and not given_back and not fresh:
            return
        rows = [{"blake3": digest, "bytes": size, "copies": copies, "programs": list(programs),
                 **({"after": after} if after else {})} for (digest, size, programs, after), copies in summed.items()]
        record = records.canonical({
            "schema": records.SCHEMA, "freed": rows, "taken_in": sorted(fresh),
            "given_back": [{"blake3": digest, "copies": copies} for digest, copies in sorted(given_back.items())]})
        self._publish(operation, record)

    def not_fetched(self, operation: str, count: int) -> None:
        """Note what the download that ended with this operation did not fetch, in bytes; arguments and errors as above.
        """
        self._publish(f"{operation}.download",
                      records.canonical({"schema": records.SCHEMA, "not_fetched_bytes": count}))

    def _publish(self, name: str, record: bytes) -> None:
        try:
            with self._working() as staging:
                self._sharing.own(self._own, self._hosts)
                records.publish_all(staging, [(f"{self._own}/{name}.json", record)])
        except OSError as error:
            raise records.failed(self._own, error) from error

    def say(self, user: str, avoided_bytes: int) -> None:
        """Say under which name this person is known here, and what their links avoid; nothing is flushed for that."""
        record = records.canonical({"schema": records.SCHEMA, "user": user, "avoided_bytes": avoided_bytes})
        path = f"{self._own}/{_ME}"
        with suppress(FileNotFoundError, HelixError):
            if records.read_small(path)[0] == record:
                return
        try:
            with self._working() as staging:
                self._sharing.own(self._own, self._hosts)
                kernel.replace_file(path, record, 0o444, durable=False, temporary_folder=staging)
        except OSError as error:
            raise records.failed(path, error) from error

    def folders(self) -> dict[tuple[str, int], int]:
        """(host, uid) -> mtime of their folder in nanoseconds: it has nothing new while that is the same."""
        found = {}
        for host in _names(self._hosts):
            for uid in _names(f"{self._hosts}/{host}"):
                with suppress(OSError):
                    if uid.isdecimal():
                        found[host, int(uid)] = os.stat(f"{self._hosts}/{host}/{uid}/saved").st_mtime_ns
        return found

    def of(self, host: str, uid: int) -> tuple[Person, list[Saving]]:
        """What one person on one host has said, and saved. What cannot be read or believed is left out."""
        folder = f"{self._hosts}/{host}/{uid}/saved"
        me = _believed(f"{folder}/{_ME}", {uid, self._owner()})
        user, avoided = (me[0].get("user"), me[0].get("avoided_bytes")) if me else (None, 0)
        downloads = (_believed(f"{folder}/{name}", {uid, self._owner()}) for name in _files(folder)
                     if _DOWNLOAD.fullmatch(name.removesuffix(".json")))
        spared = sum(_count(found[0].get("not_fetched_bytes")) for found in downloads if found is not None)
        person = Person(host, uid, user if isinstance(user, str) else None, _count(avoided), spared)
        standing, _ = self._balance(folder, uid)
        return person, [Saving(host, uid, time_ns, freed) for time_ns, freed in standing]

    def _owed(self) -> set[str]:
        """The digests of which this person has given back more copies than were freed."""
        return self._balance(self._own, int(os.path.basename(os.path.dirname(self._own))))[1]

    def _balance(self, folder: str, uid: int) -> tuple[list[tuple[int, Freed]], set[str]]:
        dated = []
        for name in _files(folder):
            if _OPERATION.fullmatch(name.removesuffix(".json")):
                found = _believed(f"{folder}/{name}", {uid, self._owner()})
                if found is not None:
                    dated.append((found[1], int(name.partition("-")[0]), found[0]))
        return _balance(sorted(dated, key=_when))

    def _owner(self) -> int:
        return os.stat(self._root).st_uid


def _when(row: tuple[int, int, Any]) -> tuple[int, int]:
    return row[:2]


def _balance(dated: Iterable[tuple[int, int, Mapping[str, Any]]]) -> tuple[list[tuple[int, Freed]], set[str]]:
    """What is freed after all records, each copy that was given back taken from the latest that was freed; and of which
    digests more was given back."""
    stacks: dict[str, list[tuple[int, Freed]]] = {}
    debts: dict[str, int] = {}
    for time_ns, _, record in dated:
        taken_in = record.get("taken_in")
        for digest in taken_in if isinstance(taken_in, list) else ():
            debts.pop(str(digest), None)
        for row in _rows(record, "given_back"):
            digest, left = str(row.get("blake3")), _count(row.get("copies"))
            stack = stacks.get(digest, [])
            while left and stack:
                when, freed = stack.pop()
                taken = min(left, freed.copies)
                left -= taken
                if freed.copies > taken:
                    stack.append((when, freed._replace(copies=freed.copies - taken)))
            if left:
                debts[digest] = debts.get(digest, 0) + left
        for freed in map(_freed, _rows(record, "freed")):
            paid = min(debts.get(freed.digest, 0), freed.copies)
            if paid:
                debts[freed.digest] -= paid
            if freed.copies > paid and records.is_digest(freed.digest):
                stacks.setdefault(freed.digest, []).append((time_ns, freed._replace(copies=freed.copies - paid)))
    return [one for stack in stacks.values() for one in stack], {digest for digest, left in debts.items() if left}


def _freed(row: Mapping[str, Any]) -> Freed:
    programs = row.get("programs")
    return Freed(str(row.get("blake3")), _count(row.get("bytes")), _count(row.get("copies")),
                 tuple(map(str, programs)) if isinstance(programs, list) else (), _count(row.get("after")))


def _rows(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = record.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 60 else 0


def _believed(path: str, owners: set[int]) -> tuple[dict[str, Any], int] | None:
    """A record and its time in nanoseconds, if it can be read and is of one of these owners."""
    try:
        record, status = records.read_record(path)
    except (HelixError, OSError):
        return None
    return (record, status.st_mtime_ns) if status.st_uid in owners else None


def _names(folder: str) -> list[str]:
    try:
        with scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _files(folder: str) -> list[str]:
    try:
        return sorted(name for name in listdir(folder) if name.endswith(".json"))
    except OSError:
        return []
