"""Blobs that somebody may have written into: their size or time of change is not what it was, so they are read again.

A blob is never written by us once it is there, and is read-only; but whoever owns it, or root, can write through any of
its names. A program that only touches the time (Ollama does) costs one reading.
"""

from __future__ import annotations

import json
import os

from helixstore.errors import Corrupt, HelixError
from helixstore.session import Session
from helixstore.sync.wanted import Progress

__all__ = ["read_suspects"]

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
    blobs = session.store.blobs
    marked = session.store.quarantine.all()
    for digest in blobs.digests():
        path = blobs.path(digest)
        try:
            status = os.stat(path)
        except OSError:
            continue                                    # what is missing is the plan's to say
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = before.get(digest, stamp)
        whole: bool | None = True
        if known[:2] != stamp[:2] or (digest in marked and known != stamp):
            whole = _told(session, digest, path, status, progress)
        now[digest] = known if whole is None else stamp
        if whole and known[2:] not in ([], stamp[2:]):
            replaced.add(digest)
    if now != before:
        session.index.put_state(_STAMPS, json.dumps(now).encode())
    return replaced


def _told(session: Session, digest: str, path: str, status: os.stat_result, progress: Progress | None) -> bool | None:
    """Whether it is whole, else it is in quarantine now; None: somebody is writing to it still."""
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress("hash", path, done, status.st_size)

    row = session.index.blob(digest)
    if row is None or (row.inode, row.bytes, row.mtime_ns) != (status.st_ino, status.st_size, status.st_mtime_ns):
        try:
            session.store.blobs.check(digest, progress=step)
        except Corrupt:
            return False
        except HelixError:
            return None
    if digest in session.store.quarantine:
        session.store.quarantine.lift(digest)
    return True
