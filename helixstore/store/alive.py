"""What anybody claims or keeps: every root of the store, read at bounded cost.

A folder of refs whose time has not moved has nothing new, so of a person who has claimed nothing since, only that time
is looked at; what their refs said then is remembered. What is over (`hosts.Expiry`) is not even read: of a folder in
which nothing has changed since its host was forgotten, an unreadable one too, all is over.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from helixstore.errors import HelixError
from helixstore.fs.listing import listdir
from helixstore.fs.mounts import mount_of, unsettled_ns
from helixstore.store.hashing import blake3_hex
from helixstore.store.hosts import SETTLE, Expiry, Forgotten
from helixstore.store.refs import Ref, current
from helixstore.store.store import Store
from helixstore.values import Issue

__all__ = ["Alive", "Memory"]

_HEAD = struct.Struct("<qqQI")              # mtime, ctime, inode; how many claims
_CLAIM = struct.Struct("<16s32sq")          # ref, manifest, mtime
_REF = struct.Struct("<16s")
_CHECK = 32                                 # bytes of BLAKE3 before all that


class Memory(Protocol):
    """Where what was read is remembered; may lose anything at any time."""

    def state(self, name: str) -> bytes | None:
        """What was put there."""
        ...

    def put_state(self, name: str, data: bytes | None) -> None:
        """Remember it; None forgets."""
        ...


class _Said(NamedTuple):
    """What the refs of one person on one host said: (ref, manifest, mtime) of those that count, without tombstones, and
    the refs of others that the store's owner has superseded for everyone. Refs are named by a hash of their id."""

    claims: Sequence[tuple[bytes, bytes, int]]
    for_all: Sequence[bytes]


class Alive:
    """Reads the roots of one store, as often as asked; remembers between two readings what cannot have changed.

    Args:
        store: to be read.
        memory: for what can be remembered longer than this object lives.
    """

    def __init__(self, store: Store, memory: Memory | None = None) -> None:
        self._store, self._memory = store, memory
        self._said: dict[str, bytes] = {}
        self._blobs: dict[str, frozenset[str]] = {}         # of manifests, which never change
        self._young_ns = 0                                  # a folder's time that is later is not trusted

    def read(self, but: Forgotten | None = None, without: Collection[str] = ()) -> tuple[set[str], list[Issue]]:
        """Every blob that a current ref or a keep of anybody names, and what could not be read.

        While there is an issue, the set is not complete and nothing may be deleted.

        Args:
            but: as if this had been forgotten, too.
            without: and as if this person kept nothing here for these operations.
        """
        expiry = self._store.hosts.expiry(self._store.now_ns)
        if but is not None:
            expiry = replace(expiry, forgotten=(*expiry.forgotten, but))
        self._young_ns = 0
        digests, issues = self._store.keeps.all(expiry.over, without)
        for manifest in self._manifests(expiry, issues):
            try:
                if manifest not in self._blobs:
                    self._blobs[manifest] = frozenset(self._store.manifests.blobs(manifest))
                digests |= self._blobs[manifest]
            except (HelixError, OSError) as error:
                issues.append(Issue("unreadable", self._store.manifests.path(manifest),
                                    f"a manifest that somebody claims cannot be read, so nothing is deleted: {error}",
                                    getattr(error, "remedy", "")))
        return digests, issues

    def _manifests(self, expiry: Expiry, issues: list[Issue]) -> set[str]:
        said: list[tuple[str, int, _Said]] = []
        gone: set[bytes] = set()
        for host, uid, folder in self._folders(issues):
            try:
                status = os.stat(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                issues.append(_issue(folder, error, self._store.hosts.name(host), host))
                continue
            if not expiry.over(host, uid, status.st_mtime_ns):
                found = self._of(host, uid, status, expiry, issues)
                said.append((host, uid, found))
                gone.update(found.for_all)
        return {manifest.hex() for host, uid, found in said for name, manifest, mtime_ns in found.claims
                if name not in gone and not expiry.over(host, uid, mtime_ns)}

    def _folders(self, issues: list[Issue]) -> Iterator[tuple[str, int, str]]:
        root = f"{self._store.path}/refs"
        for host in _listed(root, issues):
            for uid in _listed(f"{root}/{host}", issues):
                if uid.isdecimal() and os.path.isdir(folder := f"{root}/{host}/{uid}"):
                    yield host, int(uid), folder

    def _of(self, host: str, uid: int, status: os.stat_result, expiry: Expiry, issues: list[Issue]) -> _Said:
        key = f"refs of {host}/{uid}"
        known = self._said.get(key) or (self._memory.state(key) if self._memory is not None else None)
        if known is not None and (found := _unpacked(known, status)) is not None:
            self._said[key] = known
            return found
        self._young_ns = self._young_ns or self._store.now_ns() - _trusted_ns(self._store)
        refs, unread = self._store.refs.of(host, uid)
        found = _said(refs)
        unread = [issue for issue in unread if not _over(issue.path, expiry, host, uid)]
        issues += [_told(issue, self._store.hosts.name(host), host) for issue in unread]
        if not unread and max(status.st_mtime_ns, status.st_ctime_ns) < self._young_ns:
            packed = self._said[key] = _packed(found, status)
            if self._memory is not None:
                self._memory.put_state(key, packed)
        return found


def _trusted_ns(store: Store) -> int:
    """How old a folder's time must be to stand for what was listed of it: older than any host's caches on a network."""
    return SETTLE * 10**9 if mount_of(store.path).network else unsettled_ns(store.path)


def _said(refs: Sequence[Ref]) -> _Said:
    return _Said([(_short(ref.id), bytes.fromhex(ref.manifest), ref.mtime_ns) for ref in current(refs)
                  if ref.manifest is not None],
                 [_short(old) for old in {old for ref in refs if ref.everyone for old in ref.supersedes}])


def _short(id: str) -> bytes:
    return hashlib.blake2b(id.encode(errors="surrogateescape"), digest_size=_REF.size).digest()


def _packed(said: _Said, status: os.stat_result) -> bytes:
    body = b"".join((_HEAD.pack(status.st_mtime_ns, status.st_ctime_ns, status.st_ino, len(said.claims)),
                     *(_CLAIM.pack(*claim) for claim in said.claims), *said.for_all))
    return bytes.fromhex(blake3_hex(body)) + body


def _unpacked(data: bytes, status: os.stat_result) -> _Said | None:
    """What was remembered; None when the folder has changed since, or the memory has."""
    try:
        mtime_ns, ctime_ns, inode, count = _HEAD.unpack_from(data, _CHECK)
        if (mtime_ns, ctime_ns, inode) != (status.st_mtime_ns, status.st_ctime_ns, status.st_ino):
            return None
        middle = _CHECK + _HEAD.size + count * _CLAIM.size
        if bytes.fromhex(blake3_hex(data[_CHECK:])) != data[:_CHECK]:
            return None
        return _Said(list(_CLAIM.iter_unpack(data[_CHECK + _HEAD.size:middle])),
                     [name for (name,) in _REF.iter_unpack(data[middle:])])
    except struct.error:
        return None


def _over(path: str, expiry: Expiry, host: str, uid: int) -> bool:
    """Whether what cannot be read is over anyway, by its own time."""
    try:
        return expiry.over(host, uid, os.lstat(path).st_mtime_ns)
    except OSError:
        return False


def _listed(folder: str, issues: list[Issue]) -> list[str]:
    try:
        return listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        issues.append(_issue(folder, error, "", os.path.basename(folder)))
        return []


def _issue(path: str, error: OSError, name: str, host: str) -> Issue:
    return _told(Issue("unreadable", path, f"claims cannot be read, so nothing is deleted: {error.strerror}",
                       "make it readable"), name, host)


def _told(issue: Issue, name: str, host: str) -> Issue:
    who = f"of {name}, " if name else ""
    return Issue(issue.kind, issue.path, f"{who}{issue.message}",
                 f"{issue.remedy}; if that computer is gone for good: helixstore host forget {host}")
