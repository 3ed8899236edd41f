"""What was really saved, for everybody to see: `hosts/<host>/<uid>/saved/`, one small record for each operation.

    saved/<operation>.json   {freed: [{blake3, bytes, copies, programs [, after]}], given_back: [{blake3, copies}]}
    saved/me.json            {user, avoided_bytes}: this person's name on that host, and what their links avoid

A record says which duplicates an operation replaced by links, or made ordinary files again (undo, leave); it is never
edited, and what it says is dated by the store's own clock. It lies in the store, since a person's journal is private
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
from helixstore.store import records
from helixstore.store.host import Host

__all__ = ["Freed", "Person", "Saved", "Saving"]

_OPERATION = re.compile(r"[0-9]{1,18}")
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
    """One person on one host: their name there, if they have said it, and the bytes that their links avoid."""

    host: str
    uid: int
    user: str | None
    avoided_bytes: int


class Saved:
    """The figures of one store; this person's on this host can be written, everybody's are read."""

    def __init__(self, root: str, host: Host, working: Callable[[], AbstractContextManager[str]]) -> None:
        self._root = root
        self._hosts = os.path.join(root, "hosts")
        self._own = os.path.join(self._hosts, host.id, str(host.uid), "saved")
        self._working = working

    def put(self, operation: int, freed: Iterable[Freed], given_back: Mapping[str, int]) -> None:
        """Note durably what an operation freed and gave back; done again for the same operation, it does nothing.

        Args:
            operation: its number in this person's journal.
            freed: copies that it replaced by links.
            given_back: digest -> paths that have bytes of their own again.

        Raises:
            HelixError: it cannot be written.
        """
        summed: dict[tuple[str, int, tuple[str, ...], int], int] = {}
        for one in freed:
            key = records.check_digest(one.digest), one.bytes, one.programs, one.after
            summed[key] = summed.get(key, 0) + one.copies
        if not summed and not given_back:
            return
        rows = [{"blake3": digest, "bytes": size, "copies": copies, "programs": list(programs),
                 **({"after": after} if after else {})} for (digest, size, programs, after), copies in summed.items()]
        record = records.canonical({
            "schema": records.SCHEMA, "freed": rows,
            "given_back": [{"blake3": digest, "copies": copies} for digest, copies in sorted(given_back.items())]})
        try:
            with self._working() as staging:
                os.makedirs(self._own, exist_ok=True)
                records.publish_all(staging, [(f"{self._own}/{operation}.json", record)])
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
                os.makedirs(self._own, exist_ok=True)
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
        dated = []
        for name in _files(folder):
            if _OPERATION.fullmatch(name.removesuffix(".json")):
                found = _believed(f"{folder}/{name}", {uid, self._owner()})
                if found is not None:
                    dated.append((found[1], int(name.removesuffix(".json")), found[0]))
        person = Person(host, uid, user if isinstance(user, str) else None, _count(avoided))
        return person, [Saving(host, uid, time_ns, freed) for time_ns, freed in _standing(sorted(dated, key=_when))]

    def _owner(self) -> int:
        return os.stat(self._root).st_uid


def _when(row: tuple[int, int, Any]) -> tuple[int, int]:
    return row[:2]


def _standing(dated: Iterable[tuple[int, int, Mapping[str, Any]]]) -> list[tuple[int, Freed]]:
    """What is freed after all records, each copy that was given back taken from the latest that was freed."""
    stacks: dict[str, list[tuple[int, Freed]]] = {}
    for time_ns, _, record in dated:
        for row in _rows(record, "given_back"):
            left, stack = _count(row.get("copies")), stacks.get(str(row.get("blake3")), [])
            while left and stack:
                when, freed = stack.pop()
                taken = min(left, freed.copies)
                left -= taken
                if freed.copies > taken:
                    stack.append((when, freed._replace(copies=freed.copies - taken)))
        for row in _rows(record, "freed"):
            digest, programs = row.get("blake3"), row.get("programs")
            if isinstance(digest, str) and records.is_digest(digest):
                named = tuple(str(one) for one in programs) if isinstance(programs, list) else ()
                stacks.setdefault(digest, []).append((time_ns, Freed(
                    digest, _count(row.get("bytes")), _count(row.get("copies")), named, _count(row.get("after")))))
    return [one for stack in stacks.values() for one in stack]


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
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _files(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except OSError:
        return []
