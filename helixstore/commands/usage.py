"""Who uses what, and what each would free: figures that add up, of everybody's claims on every host.

A row is a set of claims: of one person, of one model, of one month, of what one program shows. Each blob counts once
in a row, however many models of the row have it, and once in the total:

    bytes       all that the row uses
    only        what nothing outside the row uses
    share       each blob divided by the rows that use it: these add up to the total
    freed       what I, or in the row of a person they, would free by removing the row's models: nobody else claims it,
                and no file of mine, in its own place, keeps the bytes
    saved       duplicates that lay on disk and are links now, as `store.saved` has it
    avoided     what the links that were made would take as copies
    owned       by person only: the files of the store that the file system counts to them, claimed or not (quotas)

Sizes of blobs are their own; a blob that lies on several disks counts once, but each copy is owned by somebody.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from helixstore.commands.people import owned, who_is_who
from helixstore.commands.savings import savings
from helixstore.download.leftovers import unfinished_bytes
from helixstore.errors import Usage
from helixstore.fs.names import folded
from helixstore.results import UsageRow, UsageTable
from helixstore.session import Session
from helixstore.store.refs import Ref, current
from helixstore.store.saved import Saving
from helixstore.sync.standing import avoided

__all__ = ["WAYS", "usage"]

WAYS = ("model", "provider", "user", "month")

#: Labels of what belongs to no row of that kind; no model, program or person is called so.
_NO_PROGRAM, _OTHERS, _NOBODY, _TRASH, _GONE = "(no program)", "(others)", "(nobody)", "(trash)", "(removed)"


@dataclass(slots=True)
class _Sum:
    """One row, or the total, while it is counted."""

    models: set[str] = field(default_factory=set)
    bytes: int = 0
    only: int = 0
    share: int = 0
    freed: int = 0
    saved: int = 0
    avoided: int = 0
    owned: int | None = None


@dataclass(slots=True)
class _Users:
    """The claims on one manifest or blob: labels of any, labels of all, and whether all are this person's here."""

    any: set[str]
    all: set[str]
    mine: bool

    def add(self, labels: Iterable[str], mine: bool) -> None:
        """One more claim, or the claims of one more manifest."""
        self.any.update(labels)
        self.all.intersection_update(labels)
        self.mine &= mine


def usage(session: Session, by: str) -> UsageTable:
    """Rows by "model", "provider", "user" or "month", the largest first, and their total.

    Raises:
        Usage: there is no such way.
    """
    if by not in WAYS:
        raise Usage(f"du cannot count by {by}", f"one of: {' '.join(WAYS)}")
    session.index.refresh()                     # what others claimed since this session began
    return _Count(session, by).usage()


class _Count:
    """One counting."""

    def __init__(self, session: Session, by: str) -> None:
        self.session, self.by = session, by
        self.me = session.store.host.id, session.store.host.uid
        every = session.index.claims()
        over = session.store.hosts.expiry(session.store.now_ns).over        # of a host that is forgotten or has ended
        self.claims = [ref for ref in current(every)
                       if ref.manifest is not None and not over(ref.host, ref.uid, ref.mtime_ns)]
        people, self.savings = savings(session)
        self.who = who_is_who(session.store, people, {ref.claimant for ref in self.claims})
        gone = {one[:2] for one in session.store.hosts.seen() if over(one.host, one.uid, one.since_ns)}
        self.people = [one for one in people if (one.host, one.uid) not in gone]
        self.first = _first_claimed(every) if by == "month" else {}
        self.shown = self._shown() if by == "provider" else {}
        self.kept = {record.digest for path, record in session.farm.ledgers.of("").records.items()
                     if os.path.lexists(path)}
        self.names: dict[str, str] = {}
        self.rows: dict[str, _Sum] = {}
        self.total = _Sum()

    def usage(self) -> UsageTable:
        """Count everything."""
        blobs = self._blobs()
        self._saved(blobs)
        self._avoided()
        if self.by == "user":
            self._owned(blobs)
        found = [self._row(label, one) for label, one in self.rows.items()]
        found.sort(key=lambda row: (-row.bytes, row.label))
        return UsageTable(self.by, tuple(found), self._row("", self.total), unfinished_bytes(self.session))

    def _row(self, label: str, one: _Sum) -> UsageRow:
        uid, hosts = self.who.facts.get(label, (None, ())) if self.by == "user" else (None, ())
        return UsageRow(label, len(one.models), one.bytes, one.freed, one.saved, one.avoided, one.only, one.share,
                        one.owned, uid, hosts)

    def _sum(self, label: str) -> _Sum:
        return self.rows.setdefault(label, _Sum())

    # ---- claims ----------------------------------------------------------------------------------------------------

    def _blobs(self) -> dict[str, _Users]:
        """Count what is claimed; returns each claimed blob with whose it is."""
        manifests: dict[str, _Users] = {}
        for ref in self.claims:
            labels, name = self._labels(ref), folded(ref.name)
            for label in labels:
                self._sum(label).models.add(name)
            self.total.models.add(name)
            _join(manifests, ref.manifest or "", labels, ref.claimant == self.me)
        blobs: dict[str, _Users] = {}
        sizes: dict[str, int] = {}
        held = self.session.index.holdings()
        for manifest, users in manifests.items():
            for digest, size in dict(held.get(manifest, ())).items():
                if digest in blobs:
                    blobs[digest].any |= users.any
                    blobs[digest].all &= users.all
                    blobs[digest].mine &= users.mine
                else:
                    blobs[digest] = _Users(set(users.any), set(users.all), users.mine)
                    sizes[digest] = size
        for digest, users in blobs.items():
            self._count(digest, sizes[digest], users)
        return blobs

    def _count(self, digest: str, size: int, users: _Users) -> None:
        """One blob, into every row that uses it and into the total."""
        part, rest = divmod(size, len(users.any))
        for number, label in enumerate(sorted(users.any)):
            row = self._sum(label)
            row.bytes += size
            row.share += part + (rest if number == 0 else 0)
            if label in users.all:
                row.only += size
                if digest not in self.kept and (users.mine or self.by == "user"):
                    row.freed += size
        for name, value in (("bytes", size), ("only", size), ("share", size)):
            setattr(self.total, name, getattr(self.total, name) + value)
        self.total.freed += size if digest not in self.kept and (users.mine or self.by == "user") else 0

    def _labels(self, ref: Ref) -> tuple[str, ...]:
        """The rows that a claim belongs to."""
        if self.by == "user":
            return (self.who.label(ref.claimant),)
        if self.by == "month":
            return (_month(self.first[ref.claimant, folded(ref.name), ref.variant, ref.manifest or ""]),)
        if self.by == "model":
            return (self._spelt(ref),)
        if ref.claimant != self.me:
            return (_OTHERS,)
        return self.shown.get((folded(ref.name), ref.variant)) or (_NO_PROGRAM,)

    def _spelt(self, ref: Ref) -> str:
        """A model's name as this person spells it, else as the first who claimed it does."""
        if not self.names:
            self.names = {folded(one.name): one.name for one in reversed(self.claims)}
            self.names.update({folded(one.name): one.name for one in self.claims if one.claimant == self.me})
        return self.names[folded(ref.name)]

    def _shown(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """(folded model, variant) -> the programs of this person's that have it."""
        programs = self.session.layouts.keys()
        return {(folded(row["model"]), row["id"]): tuple(
            name for name, state in row["providers"].items() if state == "linked" and name in programs)
            for row in self.session.index.rows()}

    # ---- figures beside --------------------------------------------------------------------------------------------

    def _saved(self, blobs: Mapping[str, _Users]) -> None:
        for one in self.savings:
            size = one.freed.bytes * one.freed.copies
            self.total.saved += size
            for label in self._saved_in(one, blobs):
                self._sum(label).saved += size

    def _saved_in(self, one: Saving, blobs: Mapping[str, _Users]) -> Iterable[str]:
        if self.by == "user":
            return (self.who.label((one.host, one.uid)),)
        if self.by == "month":
            return (_month(one.time_ns),)
        if self.by == "model":
            return blobs[one.freed.digest].any if one.freed.digest in blobs else (_GONE,)
        return (one.freed.programs or (_NO_PROGRAM,)) if (one.host, one.uid) == self.me else (_OTHERS,)

    def _avoided(self) -> None:
        mine = avoided(self.session)
        others = {(p.host, p.uid): p.avoided_bytes for p in self.people if (p.host, p.uid) != self.me}
        self.total.avoided = mine.bytes + sum(others.values())
        for claimant, size in others.items():
            if size:
                self._sum(self.who.label(claimant) if self.by == "user" else _OTHERS).avoided += size
        if self.by == "user":
            if mine.bytes:
                self._sum(self.who.label(self.me)).avoided += mine.bytes
        elif self.by == "provider":
            for name, size in mine.programs.items():
                self._sum(name).avoided += size
        else:
            own = {(folded(ref.name), ref.variant): ref for ref in self.claims if ref.claimant == self.me}
            for key, size in mine.variants.items():
                ref = own.get((folded(key.model), key.variant))
                self._sum(self._labels(ref)[0] if ref is not None else _GONE).avoided += size

    def _owned(self, blobs: Mapping[str, _Users]) -> None:
        """What the file system counts to whom; and what nobody claims any more but lies in the store still."""
        held, trash = owned(self.session.store)
        self.total.owned = 0
        for digest, uid, size in [*held, *(("", uid, size) for uid, size in trash)]:
            row = self._sum(self.who.owner(uid))
            row.owned = (row.owned or 0) + size
            self.total.owned += size
            if digest not in blobs:
                unclaimed = self._sum(_NOBODY if digest else _TRASH)
                unclaimed.bytes += size
                unclaimed.only += size
                unclaimed.share += size
                for name in ("bytes", "only", "share"):
                    setattr(self.total, name, getattr(self.total, name) + size)


def _join(known: dict[str, _Users], name: str, labels: tuple[str, ...], mine: bool) -> None:
    if name in known:
        known[name].add(labels, mine)
    else:
        known[name] = _Users(set(labels), set(labels), mine)


def _first_claimed(refs: Iterable[Ref]) -> dict[tuple[tuple[str, int], str, str, str], int]:
    """(claimant, folded name, variant, manifest) -> when they first claimed it, whatever refs followed, in ns."""
    found: dict[tuple[tuple[str, int], str, str, str], int] = {}
    for ref in refs:
        if ref.manifest is not None:
            key = ref.claimant, folded(ref.name), ref.variant, ref.manifest
            found[key] = min(found.get(key, ref.mtime_ns), ref.mtime_ns)
    return found


def _month(mtime_ns: int) -> str:
    return datetime.datetime.fromtimestamp(mtime_ns / 1e9, datetime.UTC).strftime("%Y-%m")
