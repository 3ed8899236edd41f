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


def read_suspects(session: Session, progress: Progress | None = None) -> None:
    """Hash each blob that is not as it was at the last look; what is damaged is quarantined from then on.

    Args:
        session: whose store, and whose index remembers how the blobs were.
        progress: told how far the reading is.
    """
    kept = session.index.state(_STAMPS)
    before: dict[str, list[int]] = json.loads(kept) if kept else {}
    now: dict[str, list[int]] = {}
    blobs = session.store.blobs
    for digest in blobs.digests():
        path = blobs.path(digest)
        try:
            status = os.stat(path)
        except OSError:
            continue                                    # what is missing is the plan's to say
        stamp = [status.st_size, status.st_mtime_ns]
        known = before.get(digest, stamp)
        now[digest] = stamp if known == stamp or _told(session, digest, path, status.st_size, progress) else known
    if now != before:
        session.index.put_state(_STAMPS, json.dumps(now).encode())


def _told(session: Session, digest: str, path: str, size: int, progress: Progress | None) -> bool:
    """Whether it could be read, and is whole or in quarantine now; False: somebody is writing to it still."""
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress("hash", path, done, size)

    try:
        session.store.blobs.check(digest, progress=step)
    except Corrupt:
        return True
    except HelixError:
        return False
    return True
