"""The people who share a store, by name: a person on a host says who they are, and files say whose they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from helixstore.fs.access import user_name
from helixstore.fs.listing import listdir, scandir
from helixstore.store import records
from helixstore.store.refs import Claimant
from helixstore.store.saved import Person
from helixstore.store.store import Store
from helixstore.store.trash import trashed

__all__ = ["People", "owned", "who_is_who"]


@dataclass(frozen=True, slots=True)
class People:
    """Who is who.

    The same number and name on several hosts is one person. A name that two numbers have is told with the hosts, and
    so is a number that has two names, since nobody says that they are the same.

    Attributes:
        labels: claimant -> how they are called.
        facts: that -> (uid, names of the hosts on which they use the store).
        owners: uid -> the label of whose a file of that owner is, seen from this host.
    """

    labels: Mapping[Claimant, str]
    facts: Mapping[str, tuple[int | None, tuple[str, ...]]]
    owners: Mapping[int, str]

    def label(self, claimant: Claimant) -> str:
        """How this person is called."""
        return self.labels[claimant]

    def owner(self, uid: int) -> str:
        """How the owner of a file is called; somebody who never used the store by the name on this machine."""
        return self.owners.get(uid) or user_name(uid)


def who_is_who(store: Store, people: Iterable[Person], claimants: Collection[Claimant]) -> People:
    """Everybody who claims something or has said something."""
    said = {(person.host, person.uid): person.user for person in people}
    everybody = {*claimants, *said, (store.host.id, store.host.uid)}
    names = {one: said.get(one) or user_name(one[1]) for one in everybody}
    hosts = {host: store.hosts.name(host) or host[:8] for host in {host for host, _ in everybody}}
    uids: dict[str, set[int]] = {}
    named: dict[int, set[str]] = {}
    for (_, uid), name in names.items():
        uids.setdefault(name, set()).add(uid)
        named.setdefault(uid, set()).add(name)
    where: dict[tuple[int, str], list[str]] = {}
    for host, uid in sorted(everybody):
        where.setdefault((uid, names[host, uid]), []).append(hosts[host])
    labels, facts, owners = dict[Claimant, str](), dict[str, tuple[int | None, tuple[str, ...]]](), dict[int, str]()
    for host, uid in sorted(everybody, key=lambda one: (one[0] != store.host.id, one)):     # this host's names first
        name, places = names[host, uid], tuple(sorted(set(where[uid, names[host, uid]])))
        label = name
        if len(uids[name]) > 1 or len(named[uid]) > 1:
            label = f"{name}@{','.join(places)}"
        if facts.get(label, (uid, ()))[0] != uid:           # two hosts of one name
            label = f"{label} ({uid})"
        labels[host, uid] = label
        facts[label] = uid, places
        owners.setdefault(uid, label)
    return People(labels, facts, owners)


def owned(store: Store) -> tuple[list[tuple[str, int, int]], list[tuple[int, int]]]:
    """Every copy of a blob as (digest, uid, bytes), and every file in the trash as (uid, bytes).

    Files that a volume only refers to are in nobody's store. One listing of each folder, one look at each file.
    """
    held: list[tuple[str, int, int]] = []
    for volume in store.volumes.here:
        if volume.refers:
            continue
        blobs = f"{volume.path}/blobs"
        for folder in listdir(blobs):
            with suppress(FileNotFoundError, NotADirectoryError), scandir(f"{blobs}/{folder}") as entries:
                for entry in entries:
                    if records.is_digest(entry.name):
                        with suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            held.append((entry.name, status.st_uid, status.st_size))
    return held, [(item.uid, item.bytes) for item in trashed(store)]
