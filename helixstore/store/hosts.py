"""The hosts that use a store: when each was last here, and how long its word counts.

    hosts/<host>/host.json                     {name, ephemeral}: for people
    hosts/<host>/<uid>/seen.json               {machine, boot, at, answered [, lease]}: its mtime is when they were here
    forgotten/<host>-<uid or all>-<random>.json     {host, uid}: what they claimed before this counts no more

A claim (a ref or a keep) never ends by age. It ends when a person says so, by a record in `forgotten/` that is younger
than the claim; and for an *ephemeral* host, a container or a CI run, when its lease is over: `lease` seconds after the
later of the claim and of `seen.json`, which each command renews. All these times are mtimes that the store's own file
system gave. Such a record or lease is believed of the person whose claims it ends, and of the store's owner; a record
of root, too.

A host that comes back finds the record that it has not answered, and claims anew before it does anything else
(`returning`).
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from helixstore.errors import Failed, HelixError
from helixstore.fs import kernel
from helixstore.fs.listing import listdir, scandir
from helixstore.fs.mounts import mount_of
from helixstore.store import records
from helixstore.store.host import Host
from helixstore.store.sharing import Sharing
from helixstore.store.trust import believed

__all__ = ["SETTLE", "Expiry", "Forgotten", "Hosts", "LastSeen"]

#: seconds; more than twice what a host's caches of a network file system may be old (`acdirmax` is 60 s by default)
SETTLE = 900
#: seconds between two writes of `seen.json`
_HOURLY = 3600
_NS = 10**9


class LastSeen(NamedTuple):
    """One person on one host. `since_ns`: when they were last here; `lease_ns`: 0 for a host that is not ephemeral."""

    host: str
    uid: int
    since_ns: int
    machine: str
    boot: str
    lease_ns: int = 0


class Forgotten(NamedTuple):
    """A record that ends claims. `uid`: whose; None for everybody's on that host."""

    name: str
    host: str
    uid: int | None
    since_ns: int


@dataclass(frozen=True)
class Expiry:
    """Which claims count no more. Pure.

    Args:
        forgotten: all records that are believed.
        seen: of whom a lease is known.
        clock_ns: the store's clock; needed only where there is a lease.
    """

    forgotten: tuple[Forgotten, ...] = ()
    seen: tuple[LastSeen, ...] = ()
    clock_ns: int = 0
    _leases: Mapping[tuple[str, int], LastSeen] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_leases", {one[:2]: one for one in self.seen if one.lease_ns})

    def forgotten_ns(self, host: str, uid: int) -> int:
        """Claims of theirs that are older than this are over; 0 when they have not been forgotten."""
        return max((one.since_ns for one in self.forgotten if one.host == host and one.uid in (None, uid)), default=0)

    def ends_ns(self, host: str, uid: int) -> int:
        """When their lease ends as it stands, counted from when they were last here; 0 when they have none."""
        lease = self._leases.get((host, uid))
        return lease.since_ns + lease.lease_ns if lease is not None else 0

    def over(self, host: str, uid: int, since_ns: int) -> bool:
        """Whether a claim that was made then counts no more.

        A lease is over a settle time late: another host may have renewed it and we not have seen it yet.
        """
        if self.forgotten and since_ns < self.forgotten_ns(host, uid):
            return True
        lease = self._leases.get((host, uid))
        return lease is not None and (
            self.clock_ns > max(lease.since_ns, since_ns) + lease.lease_ns + SETTLE * _NS)


class Hosts:
    """The hosts of one store; this one's presence can be written, everybody's is read. Safe from threads."""

    def __init__(self, root: str, host: Host, working: Callable[[], AbstractContextManager[str]],
                 sharing: Sharing) -> None:
        self._root, self._host, self._working, self._sharing = root, host, working, sharing
        self._own = f"{root}/hosts/{host.id}/{host.uid}"
        self._looked = -float("inf")                    # on the monotonic clock
        self._pid = 0

    # ---- this host -------------------------------------------------------------------------------------------------

    @property
    def known(self) -> bool:
        """Whether this person has been here from this host before."""
        return os.path.isdir(self._own)

    @property
    def period(self) -> float:
        """Seconds after which being here is written down again."""
        return min(_HOURLY, self._host.lease / 4) if self._host.ephemeral else _HOURLY

    def renew(self, now: float | None = None) -> bool:
        """Say that this person is here; a file is written once in an hour, else it costs nothing.

        Args:
            now: seconds since 1970, on this host's clock, which is only compared with itself.

        Returns:
            Whether it was written.

        Raises:
            Failed: this host is ephemeral, and its lease cannot be renewed.
        """
        if self._pid == os.getpid() and time.monotonic() - self._looked < min(self.period, 60):
            return False
        self._pid, self._looked = os.getpid(), time.monotonic()
        at = time.time() if now is None else now
        record = self._seen_here()
        told = record.get("at")
        if record | self._about() == record and isinstance(told, (int, float)) and 0 <= at - told < self.period:
            return False
        try:
            self.say(_answered(record), at)
        except (OSError, HelixError) as error:
            if self._host.ephemeral:                    # what it claims would end without its knowing
                raise Failed(f"the lease of this host cannot be renewed: {error}", "run: helixstore doctor",
                             self._own) from error
            return False                                # they have no folder here, and claim nothing
        return True

    def say(self, answered: Iterable[str], now: float | None = None) -> None:
        """Write down durably that this person is here now, and which records that forgot them are answered."""
        self._pid, self._looked = os.getpid(), time.monotonic()
        record = {"schema": records.SCHEMA, **self._about(), "at": time.time() if now is None else now,
                  "answered": sorted(answered)}
        with self._working() as staging:
            self._sharing.own(self._own, f"{self._root}/hosts")
            kernel.replace_file(f"{self._own}/seen.json", records.canonical(record), 0o444, temporary_folder=staging)
            self.introduce(staging)

    def introduce(self, staging: str) -> None:
        """Write down what this host is called, once; `staging` is a folder to work in."""
        path = f"{self._root}/hosts/{self._host.id}/host.json"
        if not os.path.exists(path):
            records.publish_all(staging, [(path, records.canonical(
                {"schema": records.SCHEMA, "name": socket.gethostname(), "ephemeral": self._host.ephemeral}))])

    def unanswered(self) -> list[Forgotten]:
        """Records that forgot this person here, and to which nobody has answered by claiming anew."""
        mine = [one for one in self.forgotten() if one.host == self._host.id and one.uid in (None, self._host.uid)]
        answered = self.answered() if mine else ()
        return [one for one in mine if one.name not in answered]

    def answered(self) -> list[str]:
        """The records that forgot this person here, and to which they have answered."""
        return _answered(self._seen_here())

    def lapsed_ns(self, clock_ns: Callable[[], int]) -> int:
        """When this host's lease ended, if it is over: nanoseconds on the store's clock; else 0.

        Args:
            clock_ns: the store's clock, asked only if this host's own says that it may be.
        """
        if not self._host.ephemeral:
            return 0
        told = self._seen_here().get("at")
        if not isinstance(told, (int, float)) or 0 <= time.time() - told < self._host.lease / 2:
            return 0
        ends_ns = os.stat(f"{self._own}/seen.json").st_mtime_ns + int(self._host.lease * _NS)
        return ends_ns if clock_ns() > ends_ns else 0

    def _about(self) -> dict[str, object]:
        lease = {"lease": self._host.lease} if self._host.ephemeral else {}
        return {"machine": self._host.machine, "boot": self._host.boot, **lease}

    def _seen_here(self) -> dict[str, object]:
        try:
            return records.read_record(f"{self._own}/seen.json")[0]
        except (HelixError, OSError):
            return {}                                   # not yet, or damaged: it is written again

    # ---- all hosts -------------------------------------------------------------------------------------------------

    def people(self) -> Iterator[tuple[str, int]]:
        """(host, uid) of everybody who has a folder in `hosts/`."""
        for host in _folders(f"{self._root}/hosts"):
            for uid in _folders(f"{self._root}/hosts/{host}"):
                if uid.isdecimal():
                    yield host, int(uid)

    def name(self, host: str) -> str:
        """What a host calls itself; "" where that is not known."""
        try:
            name = records.read_record(f"{self._root}/hosts/{host}/host.json")[0].get("name")
        except (HelixError, OSError):
            return ""
        return name if isinstance(name, str) else ""

    def seen(self) -> tuple[LastSeen, ...]:
        """When everybody was last here. Whoever's record cannot be read or believed is missing, and has no lease."""
        found = []
        for host, uid in self.people():
            with suppress(HelixError, OSError, TypeError, ValueError):
                record, status = records.read_record(f"{self._root}/hosts/{host}/{uid}/seen.json")
                if believed(status, self._sharing.steward, uid):
                    found.append(LastSeen(host, uid, status.st_mtime_ns, str(record.get("machine", "")),
                                      str(record.get("boot", "")), int(float(record.get("lease", 0)) * _NS)))
        return tuple(found)

    def forgotten(self) -> tuple[Forgotten, ...]:
        """Every record that ends claims; one that cannot be read or believed ends none."""
        found = []
        for name in _names(f"{self._root}/forgotten"):
            with suppress(HelixError, OSError, KeyError, TypeError):
                record, status = records.read_record(f"{self._root}/forgotten/{name}")
                uid = record["uid"]
                if isinstance(record["host"], str) and (uid is None or type(uid) is int) and believed(
                        status, self._sharing.steward, 0, *(() if uid is None else (uid,))):
                    found.append(Forgotten(name, record["host"], uid, status.st_mtime_ns))
        return tuple(found)

    def expiry(self, clock_ns: Callable[[], int]) -> Expiry:
        """Which claims count no more. `clock_ns`: the store's clock, asked only where somebody has a lease."""
        seen = tuple(one for one in self.seen() if one.lease_ns)
        return Expiry(self.forgotten(), seen, clock_ns() if seen else 0)

    def forget(self, host: str, uid: int | None = None) -> Forgotten:
        """End the claims that a host, or (`uid`) one person on it, has made until now. Durable when it returns."""
        name = f"{host}-{'all' if uid is None else uid}-{secrets.token_hex(6)}.json"
        path = f"{self._root}/forgotten/{name}"
        with self._working() as staging:
            self._sharing.common(os.path.dirname(path))
            record = records.canonical({"schema": records.SCHEMA, "host": host, "uid": uid})
            records.publish_all(staging, [(path, record)])
        return Forgotten(name, host, uid, os.stat(path).st_mtime_ns)

    def settle_time(self, paths: Iterable[str], expiry: Expiry) -> float:
        """Seconds for which a host may be wrong about what others have just done in the store.

        None, where the store's disks are this machine's and so is everybody who uses it: one kernel, no old caches.

        Args:
            paths: a folder of the store on each of its disks.
            expiry: whose word counts no more.
        """
        if any(mount_of(path).network for path in paths):
            return SETTLE
        known = {one[:2]: one for one in self.seen()}
        for host, uid in self.people():
            there = known.get((host, uid))
            if there is None and not _claims(self._root, host, uid):
                continue
            if there is None or (there.machine != self._host.machine and there.boot != self._host.boot
                                 and not expiry.over(host, uid, there.since_ns)):
                return SETTLE
        return 0


def _answered(record: Mapping[str, object]) -> list[str]:
    told = record.get("answered")
    return [name for name in told if isinstance(name, str)] if isinstance(told, list) else []


def _claims(root: str, host: str, uid: int) -> bool:
    """Whether they have claimed anything, as far as anybody can tell."""
    try:
        return any(_names(f"{root}/{place}") for place in (f"refs/{host}/{uid}", f"hosts/{host}/{uid}/keeps"))
    except OSError:
        return True


def _names(folder: str) -> list[str]:
    """The records in a folder; none where it is missing."""
    try:
        return [name for name in listdir(folder) if name.endswith(".json") and not name.startswith(".")]
    except FileNotFoundError:
        return []


def _folders(folder: str) -> list[str]:
    try:
        with scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []                                       # gc reports what it cannot read
