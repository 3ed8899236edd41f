"""Who projects into a folder that several people's programs read, such as a system service's: one of them.

    hosts/<host>/<uid>/roots/<hash of the path>.json    {path, machine}

Two farms in one folder would fight over its names. So whoever comes first claims it on their machine, until they give
it up; the others leave it alone. A claim is believed of whom it speaks for and of the store's owner, and is over with
the host that `host forget` ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

from helixstore.errors import HelixError
from helixstore.fs import kernel
from helixstore.fs.listing import listdir
from helixstore.store import records
from helixstore.store.hashing import blake3_hex
from helixstore.store.host import Host
from helixstore.store.sharing import Sharing
from helixstore.store.trust import believed

__all__ = ["Roots"]


class Roots:
    """Who projects into which folder of this machine.

    Args:
        root: the store's folder.
        host: who asks.
        working: gives a staging folder.
        sharing: makes this person's own folder.
        over: (host, uid, nanoseconds) -> whether a claim made then counts no more.
    """

    def __init__(self, root: str, host: Host, working: Callable[[], AbstractContextManager[str]], sharing: Sharing,
                 over: Callable[[str, int, int], bool] = lambda host, uid, since_ns: False) -> None:
        self._hosts = os.path.join(root, "hosts")
        self._host, self._working, self._sharing, self._over = host, working, sharing, over
        self._own = f"{self._hosts}/{host.id}/{host.uid}/roots"

    def claim(self, path: str) -> int:
        """Claim a folder, unless somebody else on this machine has.

        Two who claim it in the same instant may both be refused, never both be granted.

        Args:
            path: absolute.

        Returns:
            The uid of its owner: one's own when the claim stands.
        """
        own = f"{self._own}/{_name(path)}"
        with self._working() as staging:
            self._sharing.own(self._own, self._hosts)
            shown = os.fsencode(path).decode(errors="backslashreplace")
            record = records.canonical({"schema": records.SCHEMA, "path": shown, "machine": self._host.machine})
            [fresh] = records.publish_all(staging, [(own, record)])
        other = self._other(path)
        if other is None:
            return self._host.uid
        if fresh:
            kernel.unlink(own)
        return other

    def owner(self, path: str) -> int | None:
        """The uid of whoever claimed the folder; None when nobody did."""
        other = self._other(path)
        if other is None and os.path.lexists(f"{self._own}/{_name(path)}"):
            return self._host.uid
        return other

    def mine(self) -> list[str]:
        """The folders that this person has claimed."""
        found = []
        for name in _listed(self._own):
            with suppress(HelixError, OSError):
                found.append(str(records.read_record(f"{self._own}/{name}")[0].get("path", "")))
        return found

    def release(self, path: str) -> None:
        """Give up one's own claim, if there is one."""
        with suppress(FileNotFoundError):
            kernel.unlink(f"{self._own}/{_name(path)}")

    def _other(self, path: str) -> int | None:
        for host, uid, folder in self._people():
            with suppress(HelixError, OSError):
                record, status = records.read_record(f"{folder}/{_name(path)}")
                here = host == self._host.id or (self._host.machine and record.get("machine") == self._host.machine)
                if here and believed(status, self._sharing.steward, uid) and not self._over(
                        host, uid, status.st_mtime_ns):
                    return uid
        return None

    def _people(self) -> Iterator[tuple[str, int, str]]:
        """(host, uid, folder) of everybody else."""
        for host in _listed(self._hosts):
            for uid in _listed(f"{self._hosts}/{host}"):
                if uid.isdecimal() and (host, int(uid)) != (self._host.id, self._host.uid):
                    yield host, int(uid), f"{self._hosts}/{host}/{uid}/roots"


def _name(path: str) -> str:
    return f"{blake3_hex(os.fsencode(path))[:32]}.json"


def _listed(folder: str) -> list[str]:
    try:
        return listdir(folder)
    except OSError:
        return []                                       # nobody there, or nothing that we may know
