"""Blobs that somebody may have written into: their size or time of change is not what it was, so they are read again.

A blob is never written by us once it is there, and is read-only; but whoever owns it, or root, can write through any of
its names. A program that only touches the time (Ollama does) costs one reading.

One that another person brought is read before its first use by this one, and again whenever the system's own time of
change, which nobody can set, has moved: whoever owns it could have put any bytes under that name. Where the number of
its names has changed, too, that waits a while: see `sync.deferred`. The store's owner could write to it as well, but
could just as well have made the whole store.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from helixstore.errors import Corrupt, HelixError
from helixstore.fs.fingerprint import fingerprint_of
from helixstore.session import Session
from helixstore.sync.deferred import Deferred
from helixstore.sync.progress import Progress, counting

__all__ = ["read_suspects", "usable"]

_STAMPS = "blobs' sizes and times"


def read_suspects(session: Session, progress: Progress | None = None) -> set[str]:
    """Hash each blob that is not as it was at the last look; what is damaged is quarantined from then on, and what is
    right again is so no more.

    Args:
        session: whose store, and whose index remembers how the blobs were.
        progress: told how far the reading is.

    Returns:
        The digests of blobs that are right and have another inode than at the last look.
    """
    kept = session.index.state(_STAMPS)
    before: dict[str, list[int]] = json.loads(kept) if kept else {}
    now: dict[str, list[int]] = {}
    replaced: set[str] = set()
    blobs, linked = session.store.blobs, None
    first: dict[int, list[int]] | None = None
    marked, doubted = session.store.quarantine.all(), session.store.quarantine.doubted()
    deferred = Deferred(session)
    for digest in blobs.digests():
        path = blobs.path(digest)
        try:
            status = os.lstat(path)
        except OSError:
            continue                                    # what is missing is the plan's to say
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino, *([doubted[digest]] if digest in doubted else ())]
        if digest not in before and first is None:
            first = _as_linked(session)
        known = before.get(digest) or (first or {}).get(status.st_ino, stamp[:3])
        changed = known[:2] != stamp[:2] or known[3:] != stamp[3:] or (digest in marked and known != stamp)
        if foreign := _foreign(session, status):
            linked = _linked(session) if linked is None else linked
            mark = fingerprint_of(status)
            changed = digest in linked and (changed or (session.index.digest_at(path, mark) != digest
                                                        and not deferred.waits(digest, path, mark)))
        whole = _told(session, digest, path, status, progress, foreign or digest in doubted) if changed else True
        now[digest] = known if whole is None else stamp
        if whole and known[2:3] not in ([], stamp[2:3]):
            replaced.add(digest)
    for digest in deferred.overdue():
        with suppress(FileNotFoundError):
            _told(session, digest, blobs.path(digest), os.lstat(blobs.path(digest)), progress, strict=True)
    deferred.keep()
    if now != before:
        session.index.put_state(_STAMPS, json.dumps(now).encode())
    return replaced


def _as_linked(session: Session) -> dict[int, list[int]]:
    """Inode -> size, time and inode of a file when it was taken in or linked: since then somebody may have written to a
    blob that is looked at for the first time."""
    ledgers = session.farm.ledgers
    roots = sorted(ledgers.roots(), reverse=True)           # the person's own paths, "", have the last word
    return {record.inode: [record.bytes, record.mtime_ns, record.inode]
            for root in roots for record in ledgers.of(root).records.values() if record.kind == "hard"}


def _foreign(session: Session, status: os.stat_result) -> bool:
    """Whether a blob is neither this person's nor the store's owner's."""
    return os.name == "posix" and status.st_uid not in (session.store.host.uid, session.store.sharing.steward)


def _linked(session: Session) -> set[str]:
    """The digests of what this person's programs have."""
    ledgers = session.farm.ledgers
    return {record.digest for root in ledgers.roots() for record in ledgers.of(root).records.values()}


def usable(session: Session, digest: str, progress: Progress | None = None) -> bool:
    """Whether the store has a blob that can be linked to: another person's is read now, unless it was before."""
    blobs, quarantine = session.store.blobs, session.store.quarantine
    if not blobs.exists(digest):
        return False
    path = blobs.path(digest)
    status = os.lstat(path)
    if not _foreign(session, status):
        return digest not in quarantine                 # a good copy that is found takes a damaged one's place
    if session.index.digest_at(path, fingerprint_of(status)) == digest:
        return digest not in quarantine
    return bool(_told(session, digest, path, status, progress, strict=True))


def _told(session: Session, digest: str, path: str, status: os.stat_result, progress: Progress | None,
          strict: bool) -> bool | None:
    """Whether it is whole, else it is in quarantine now; None: somebody is writing to it still.

    `strict`: read it whatever is known of it; and what cannot be read to the end is in quarantine, too.
    """
    row = session.index.blob(digest)
    now = status.st_ino, status.st_size, status.st_mtime_ns
    if strict or row is None or (row.inode, row.bytes, row.mtime_ns) != now:
        try:
            hashes, _ = session.store.blobs.check(digest, progress=counting(progress, "hash", path, status.st_size))
            session.index.remember([(path, fingerprint_of(status), hashes)])    # as it was before it was read
        except Corrupt:
            return False
        except HelixError as error:
            if isinstance(error.__cause__, PermissionError):
                return None                             # kept from us by its owner: the projection says so
            if strict and not session.store.read_only:
                session.store.quarantine.mark(digest, f"it belongs to user {status.st_uid} and cannot be read to its "
                                              f"end: {error.message}")
            return None
    if digest in session.store.quarantine:
        session.store.quarantine.lift(digest)
    return True
