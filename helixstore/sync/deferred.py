"""Blobs of others that were given more names, or fewer: reading them again waits, since it would be for nothing mostly.

Whoever owns a blob links it into their programs' folders and takes the links away again, and each time the system's
time of change moves, which also moves when they write to it. Reading 40 GB over a network each time would cost far more
than it is worth. So where only the number of names has changed with the time, and neither size, time of the last
writing nor inode has, the blob is put on a list, and programs go on with it. It is read

- first of all by the background reading of `watch`, and by the next `verify --sample`;
- before it is linked anew, by this person's next link to it;
- by `sync` itself once it has waited for a week, the longest waiting first, a certain amount in each sync.

Who writes to a blob of theirs without touching its names is found out by the next sync, as ever.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from helixstore.fs.fingerprint import fingerprint

if TYPE_CHECKING:
    from helixstore.fs.fingerprint import Fingerprint
    from helixstore.session import Session

__all__ = ["AMOUNT", "LATEST", "Deferred", "due", "waiting"]

#: seconds that a blob waits before a sync reads it
LATEST = 7 * 86_400.0
#: bytes that one sync reads of those that have waited so long; one blob at least
AMOUNT = 32 << 30
_NAME = "blobs that wait to be read again"


class Deferred:
    """The list while a sync looks at the blobs.

    Args:
        session: whose index keeps it, and knows how each blob was when it was read.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = _load(session)
        self._now: dict[str, tuple[float, int, int]] = {}
        self._bytes: dict[str, int] = {}

    def waits(self, digest: str, path: str, mark: Fingerprint) -> bool:
        """Whether all that was done to a blob since this person looked at it last is to its names; then it waits."""
        names = self._session.index.names_at(path, mark)
        if names is None:
            return False
        since, ctime_ns, names = self._before.get(digest, (time.time(), 0, names))
        if ctime_ns != mark.ctime_ns and names == mark.nlink:
            return False
        self._now[digest], self._bytes[digest] = (since, mark.ctime_ns, mark.nlink), mark.bytes
        return True

    def overdue(self) -> list[str]:
        """Those that this sync is to read; they wait no more."""
        late = [digest for digest in sorted(self._now, key=self._now.__getitem__)
                if time.time() - self._now[digest][0] >= LATEST]
        taken: list[str] = []
        total = 0
        for digest in late:
            if taken and total >= AMOUNT:
                break
            taken.append(digest)
            total += self._bytes[digest]
        for digest in taken:
            del self._now[digest]
        return taken

    def keep(self) -> None:
        """Write the list down."""
        if self._now != self._before:
            self._session.index.put_state(_NAME, json.dumps(self._now).encode() if self._now else None)


def waiting(session: Session) -> list[str]:
    """The digests of the blobs that are to be read before all others, the longest waiting first."""
    found = _load(session)
    return [digest for digest in sorted(found, key=found.__getitem__) if _unread(session, digest)]


def due(session: Session) -> float:
    """When a sync has to read one of them, seconds since 1970; infinite: none waits."""
    return min((since for since, _, _ in _load(session).values()), default=float("inf")) + LATEST


def _unread(session: Session, digest: str) -> bool:
    path = session.store.blobs.path(digest)
    try:
        mark = fingerprint(path)
    except OSError:
        return False
    return digest not in session.store.quarantine and session.index.digest_at(path, mark) != digest


def _load(session: Session) -> dict[str, tuple[float, int, int]]:
    kept = session.index.state(_NAME)
    return {digest: (row[0], row[1], row[2]) for digest, row in json.loads(kept).items()} if kept else {}
