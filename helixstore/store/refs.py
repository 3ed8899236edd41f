"""Refs: a name leads to a manifest, and while that is so, all that the manifest names is kept.

`refs/<host>/<uid>/<uuid>.json`, one writer for each folder, never edited. Moving a name, adding a source or pinning
writes a new file that supersedes the old; withdrawing a name writes one without a manifest (a tombstone), which a
later one may supersede again. A *claimant* is a person on a host, and only they supersede their refs: nobody drops or
moves another's claim. The one exception is the store's owner, who can withdraw a model for everyone.

A ref *leads* when its writer brought the content or chose it, and *follows* when the writer's programs only show what
another claimant leads. So each person's names are theirs: see `heads`.
The rule of the whole store: blob durable, then ref durable, then link; and the reverse to remove.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from helixstore.errors import HelixError, Unreadable, UnsafeName
from helixstore.fs.listing import listdir, scandir
from helixstore.fs.names import folded
from helixstore.store import records
from helixstore.store.host import Host
from helixstore.store.own_sources import OwnSources
from helixstore.store.sharing import Sharing
from helixstore.store.trust import believed
from helixstore.values import Issue, Source

__all__ = ["Claim", "Claimant", "Proofs", "Ref", "Refs", "Said", "Seen", "claimant_of", "current", "heads", "named"]

#: (host id, uid)
Claimant = tuple[str, int]
_NAME = re.compile(r"[0-9A-Za-z-]{1,64}")


@dataclass(frozen=True, slots=True)
class Ref:
    """One immutable claim.

    Attributes:
        uuid: its file's name.
        host: who wrote it, where.
        uid: the person's number.
        name: model name as spelt.
        variant: variant id, `format:quantization`.
        manifest: digest; None when the name is withdrawn.
        sources: where the content came from, first the one that gave the name.
        pinned: stays at this version.
        supersedes: uuids of the refs that it replaces.
        mtime_ns: nanoseconds on the store's own clock.
        follows: `<host>/<uid>` of the claimant whose model the writer's programs show; None: the ref leads.
        everyone: it supersedes refs of other claimants too, named by their `id`; believed of the store's owner, and of
            root, only.
        believed: its file belongs to the person whose claim it is, or to the store's owner. One that does not gives no
            names and supersedes nothing, but what it names is kept.
        by_steward: its file belongs to the store's owner.
    """

    uuid: str
    host: str
    uid: int
    name: str
    variant: str
    manifest: str | None
    sources: tuple[Source, ...]
    pinned: bool
    supersedes: tuple[str, ...]
    mtime_ns: int
    follows: str | None = None
    everyone: bool = False
    believed: bool = True
    by_steward: bool = False

    @property
    def id(self) -> str:
        """What tells it from all others: anybody can give a file of theirs the uuid of another's."""
        return f"{self.host}/{self.uid}/{self.uuid}"

    @property
    def claimant(self) -> Claimant:
        """Whose claim it is."""
        return self.host, self.uid

    @property
    def path(self) -> str:
        """Relative to the store."""
        return f"refs/{self.id}.json"


class Claim(NamedTuple):
    """What is to be published: a `Ref` before it has a uuid and a time."""

    name: str
    variant: str
    manifest: str | None
    sources: tuple[Source, ...] = ()
    pinned: bool = False
    supersedes: tuple[str, ...] = ()
    follows: str | None = None
    everyone: bool = False


class Said(NamedTuple):
    """A name of the hub that somebody else gives to content, and that nothing has shown to be true.

    Attributes:
        source: the repository and revision.
        by: `<host>/<uid>` of whose word it is.
    """

    source: Source
    by: str


class Seen(NamedTuple):
    """What one claimant sees under a name.

    Attributes:
        ref: the one that counts; its claimant need not be the one who looks.
        sources: theirs, and what others know of the hub's names for the same content, as far as it counts.
        claimed: whether who looks has a current claim on that content under this name.
        said: the hub's names for it that do not count.
    """

    ref: Ref
    sources: tuple[Source, ...]
    claimed: bool
    said: tuple[Said, ...] = ()


class Proofs(Protocol):
    """What tells whether a hub's name for some content is true; see `helixstore.hub.names`."""

    @property
    def mark(self) -> str:
        """Another text whenever another answer may be given."""

    def proven(self, source: Source, manifest: str) -> bool:
        """Whether that repository has, at that revision, what the manifest names."""


def claimant_of(host: Host) -> Claimant:
    """Who writes on this host."""
    return host.id, host.uid


def current(refs: Iterable[Ref]) -> list[Ref]:
    """Those that are not superseded, tombstones too, in the order of their times. Pure."""
    every = list(refs)
    gone = {(ref.host, ref.uid, old) for ref in every if ref.believed for old in ref.supersedes if old != ref.uuid}
    for_all = {old for ref in every if ref.everyone for old in ref.supersedes}
    return sorted((ref for ref in every if ref.id not in for_all and (ref.host, ref.uid, ref.uuid) not in gone),
                  key=lambda ref: (ref.mtime_ns, ref.uuid))


def heads(
    refs: Iterable[Ref], me: Claimant, counts: Callable[[Ref, Source], bool] = lambda ref, source: True,
) -> tuple[dict[tuple[str, str], Seen], list[Issue]]:
    """What `me` sees under each (name, variant). Pure.

    My own claim counts: the latest by the store's clock, then by uuid. If it is a tombstone I see nothing, whoever
    else claims the model. If it follows somebody, what they have under that name now; once they lead no more, what I
    claimed. Without a claim of mine, it is whoever claimed the name first that counts, before those who only follow.
    So nobody can put other content under a name that I use.

    Names are compared by case-fold and NFC, and kept as the winner spells them. Two claims of mine on different
    content are reported, whichever order they were published in; and each that speaks in another's name. `counts`:
    whether I go by what a ref says of where content came from (`Refs.counts`).
    """
    said = list(refs)
    every = [ref for ref in said if ref.believed]
    first: dict[tuple[Claimant, str, str], int] = {}
    groups: dict[tuple[str, str], list[Ref]] = {}
    for ref in current(every):
        groups.setdefault((folded(ref.name), ref.variant), []).append(ref)
    if any(ref.claimant != me for ref in every):
        for ref in every:
            if ref.follows is None and ref.manifest is not None:
                claim = (ref.claimant, folded(ref.name), ref.variant)
                first[claim] = min(first.get(claim, ref.mtime_ns), ref.mtime_ns)
    winners: dict[tuple[str, str], Seen] = {}
    issues = [Issue("forged", ref.path, f"it speaks for user {ref.uid}, and its file belongs to somebody else; it "
                    "gives no names", "the owner of the store can find out who put it there, and remove it")
              for ref in said if not ref.believed]
    for (name, variant), group in groups.items():
        mine = [ref for ref in group if ref.claimant == me]
        others = sorted((ref for ref in group if ref.claimant != me and ref.manifest is not None),
                        key=lambda ref: (ref.follows is not None,
                                         first.get((ref.claimant, name, variant), ref.mtime_ns), ref.uuid))
        if (head := _counting(mine, others)) is not None:
            told = head.sources if head.claimant == me else ()
            known = [(other, source) for other in (head, *others) if other.manifest == head.manifest
                     for source in other.sources if source.kind != "program"]
            good = [source for ref, source in known if counts(ref, source)]
            sources = tuple(dict.fromkeys((*told, *good)))
            rest = {source: Said(source, f"{ref.host}/{ref.uid}") for ref, source in known if source not in sources}
            winners[head.name, variant] = Seen(head, sources, any(own.manifest == head.manifest for own in mine),
                                               tuple(rest.values()))
        if len({own.manifest for own in mine}) > 1:
            issues.append(_twice(mine))
    return winners, issues


def _counting(mine: list[Ref], others: list[Ref]) -> Ref | None:
    """Of one name's current refs the one that counts for me; the lists as `heads` orders them."""
    if not mine:
        return others[0] if others else None
    last = mine[-1]
    if last.manifest is None:
        return None
    if last.follows is None:
        return last
    led = (ref for ref in others if f"{ref.host}/{ref.uid}" == last.follows and ref.follows is None)
    return next(led, last)


def _twice(mine: list[Ref]) -> Issue:
    last = mine[-1]
    kept = last.manifest[:12] if last.manifest else "withdrawn"
    others = sorted({ref.manifest[:12] if ref.manifest else "withdrawn" for ref in mine} - {kept})
    return Issue("conflict", last.name,
                 f"{last.name} ({last.variant}) was changed twice at once: {kept} counts, also {', '.join(others)}",
                 f"the later one counts; see: helixstore show {last.name}")


class Refs:
    """The refs of one store.

    Attributes:
        own_sources: keeps what the group must not read of where this person's models came from; None in a store of
            one's own, whose refs say all.
        proofs: tells which of the hub's names that others give to content are true; None: none of them counts.
    """

    def __init__(self, root: str, host: Host, working: Callable[[], AbstractContextManager[str]],
                 sharing: Sharing) -> None:
        self._store = root
        self._sharing = sharing
        self._root = os.path.join(root, "refs")
        self._host = host
        self._working = working
        self.own_sources: OwnSources | None = None
        self.proofs: Proofs | None = None

    def counts(self, ref: Ref, source: Source) -> bool:
        """Whether this person goes by what a ref says of where its content came from.

        That it is a certain commit of a repository of the hub is believed of oneself, who has compared the digests
        that the hub's client left, and of the store's owner; of all others when it is proven.
        """
        if source.kind != "hub" or not self._sharing.shared or ref.uid == self._host.uid or ref.by_steward:
            return True
        return self.proofs is not None and self.proofs.proven(source, ref.manifest or "")

    def counted(self, ref: Ref) -> tuple[Source, ...]:
        """What of a ref's sources this person goes by."""
        return tuple(source for source in ref.sources if self.counts(ref, source))

    def publish(self, name: str, variant: str, manifest: str | None, sources: Sequence[Source] = (),
                pinned: bool = False, supersedes: Sequence[str] = (), follows: str | None = None,
                everyone: bool = False) -> Ref:
        """Make one claim durable; returns it with its time. See `Claim` for the arguments."""
        return self.publish_many([Claim(name, variant, manifest, tuple(sources), pinned, tuple(supersedes), follows,
                                        everyone)])[0]

    def publish_many(self, claims: Sequence[Claim]) -> list[Ref]:
        """As `publish`, with one pass of flushing for all."""
        if not claims:
            return []
        folder = f"{self._root}/{self._host.id}/{self._host.uid}"
        self._sharing.own(folder, self._root)
        named = [(str(uuid.uuid4()), claim) for claim in claims]
        told = named
        if (own := self.own_sources) is not None:
            own.keep({name: claim.sources for name, claim in named})
            told = [(name, claim._replace(sources=own.published(claim.sources))) for name, claim in named]
        with self._working() as staging:
            records.publish_all(staging, [(f"{folder}/{name}.json", _encode(claim)) for name, claim in told])
        found = [os.stat(f"{folder}/{name}.json") for name, _ in named]
        return [Ref(name, self._host.id, self._host.uid, *claim[:6], status.st_mtime_ns, *claim[6:],
                    by_steward=status.st_uid == self._sharing.steward)
                for (name, claim), status in zip(named, found, strict=True)]

    def folders(self) -> dict[str, int]:
        """`<host>/<uid>` -> the folder's mtime in nanoseconds.

        A folder whose mtime is the one noted before has no new refs, unless that was within 2 s of the noting.
        """
        found = {}
        for host in _names(self._root):
            for uid in _names(f"{self._root}/{host}") if named(host) else ():
                if uid.isascii() and uid.isdecimal():
                    found[f"{host}/{uid}"] = os.stat(f"{self._root}/{host}/{uid}").st_mtime_ns
        return found

    def scan(self, known: Collection[str] = frozenset(),
             unchanged: Collection[str] = frozenset()) -> tuple[list[Ref], list[Issue]]:
        """All refs that are not known yet, of every person on every host, in no order.

        Args:
            known: ids that need not be read again: refs never change.
            unchanged: `<host>/<uid>` folders that need not even be listed.

        Returns:
            The refs, and what could not be read: while there is any of that, nothing may be deleted.
        """
        refs: list[Ref] = []
        issues: list[Issue] = []
        try:
            folders = self.folders()
        except OSError as error:
            return [], [_issue(self._root, error)]
        for folder in folders:
            if folder not in unchanged:
                host, uid = folder.split("/")
                found, unread = self.of(host, int(uid), known)
                refs += found
                issues += unread
        return refs, issues

    def of(self, host: str, uid: int, known: Collection[str] = frozenset()) -> tuple[list[Ref], list[Issue]]:
        """As `scan`, of one person on one host."""
        refs: list[Ref] = []
        issues: list[Issue] = []
        folder = f"{self._root}/{host}/{uid}"
        try:
            names, owner = listdir(folder), os.stat(self._store).st_uid
        except FileNotFoundError:
            return [], []
        except OSError as error:
            return [], [_issue(folder, error)]
        for name in names:
            if not name.endswith(".json") or not named(name[:-5]) or f"{host}/{uid}/{name[:-5]}" in known:
                continue
            path = f"{folder}/{name}"
            try:
                ref = _decode(path, name[:-5], host, uid, owner)
                mine = self.own_sources is not None and (host, uid) == claimant_of(self._host)
                every = self.own_sources.of(ref.uuid) if mine and self.own_sources is not None else None
                refs.append(ref if every is None else replace(ref, sources=every))
            except FileNotFoundError:
                continue                                # of a host that was forgotten, and swept away meanwhile
            except (HelixError, OSError) as error:
                issues.append(_issue(path, error))
        return refs, issues


def named(name: str) -> bool:
    """Whether a host or a ref is called that; another name is none that helixstore has given, and is passed over."""
    return _NAME.fullmatch(name) is not None


def _names(folder: str) -> list[str]:
    """Names of the real folders in a folder."""
    try:
        with scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _issue(path: str, error: Exception) -> Issue:
    return Issue("unreadable", path, f"the ref cannot be read, so nothing is deleted: {error}",
                 getattr(error, "remedy", "") or "make it readable, or restore it from a backup")


def _encode(claim: Claim) -> bytes:
    if claim.manifest is not None:
        records.check_digest(claim.manifest)
    return records.canonical({
        "schema": records.SCHEMA, "name": claim.name, "variant": claim.variant, "manifest": claim.manifest,
        "sources": [{**source.described(), **({"sidecars": dict(source.sidecars)} if source.sidecars else {})}
                    for source in claim.sources],
        "pinned": claim.pinned, "supersedes": sorted(claim.supersedes),
        **({"follows": claim.follows} if claim.follows is not None else {}),
        **({"everyone": True} if claim.everyone else {}),
    })


def _decode(path: str, name: str, host: str, uid: int, owner: int) -> Ref:
    record, status = records.read_record(path)
    try:
        manifest = record["manifest"]
        if manifest is not None:
            records.check_digest(manifest)
        return Ref(name, host, uid, _text(record["name"]), _text(record["variant"]), manifest,
                   tuple(_source(item) for item in record.get("sources", ())), bool(record.get("pinned")),
                   tuple(_text(old) for old in record.get("supersedes", ())), status.st_mtime_ns,
                   _text(record["follows"]) if record.get("follows") is not None else None,
                   record.get("everyone") is True and status.st_uid in (owner, 0), believed(status, owner, uid),
                   status.st_uid == owner)
    except (KeyError, TypeError, AttributeError, UnsafeName) as error:
        raise Unreadable(f"{path} is not a ref: {error!r}", "restore it from a backup", path) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _source(item: dict[str, Any]) -> Source:
    known = {key: _text(item[key]) for key in ("kind", "repository", "revision", "program", "name")
             if item.get(key) is not None}
    sidecars = tuple((_text(path), _text(text)) for path, text in sorted(item.get("sidecars", {}).items()))
    return Source(**known, sidecars=sidecars)
