"""What everybody in the store has saved, as they wrote it down there; read again only where something is new."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from helixstore.fs.access import user_name
from helixstore.fs.mounts import unsettled_ns
from helixstore.session import Session
from helixstore.store.saved import Freed, Person, Saving
from helixstore.sync.standing import avoided

__all__ = ["Figures", "figures", "savings"]

_READ = "what people saved"


class Figures(NamedTuple):
    """Of all people. Bytes: of duplicates that lay on disk and were freed; of copies that linking made needless; that
    downloads did not fetch. How many they are, a number under one name being one person, and on how many hosts."""

    saved_bytes: int
    copies_avoided_bytes: int
    not_fetched_bytes: int
    people: int
    hosts: int


def savings(session: Session) -> tuple[list[Person], list[Saving]]:
    """Everybody who has said something, and every copy that is freed still; those that wait for a day are left out."""
    known = json.loads(session.index.state(_READ) or b"{}")
    noted: dict[str, list[object]] = {}
    people: list[Person] = []
    found: list[Saving] = []
    settled = time.time_ns() - unsettled_ns(session.store.path)
    for (host, uid), mtime_ns in session.store.saved.folders().items():
        name = f"{host}/{uid}"
        row = known.get(name)
        if row is not None and row[0] == mtime_ns:
            person = Person(host, uid, *row[1])
            theirs = [Saving(host, uid, when, Freed(digest, size, copies, tuple(programs), after))
                      for when, (digest, size, copies, programs, after) in row[2]]
        else:
            person, theirs = session.store.saved.of(host, uid)
        noted[name] = [mtime_ns if mtime_ns < settled else 0, person[2:], [(one.time_ns, one.freed) for one in theirs]]
        people.append(person)
        found += theirs
    data = json.dumps(noted).encode()
    if data != session.index.state(_READ):
        session.index.put_state(_READ, data)
    now = time.time()
    return people, [one for one in found if one.freed.after <= now]


def figures(session: Session) -> Figures:
    """What linking has saved so far, for all people and hosts."""
    people, freed = savings(session)
    me = session.store.host.id, session.store.host.uid
    names = {(person.host, person.uid): person.user for person in people}
    expiry = session.store.hosts.expiry(session.store.now_ns)
    seen = [one for one in session.store.hosts.seen() if not expiry.over(one.host, one.uid, one.since_ns)]
    here = {me, *(one[:2] for one in seen)}
    others = sum(person.avoided_bytes for person in people if (person.host, person.uid) in here - {me})
    computers = {session.store.host.machine or me[0], *(one.machine or one.host for one in seen)}
    return Figures(sum(one.freed.bytes * one.freed.copies for one in freed), avoided(session).bytes + others,
                   sum(person.not_fetched_bytes for person in people),
                   len({(uid, names.get((host, uid)) or user_name(uid)) for host, uid in here}),
                   len(computers))
