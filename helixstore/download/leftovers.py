"""Downloads that nobody has gone on with for a month: what has come of them is let go of, with what kept it.

And what processes that died have left beside them: locks, and notes of files that are gone.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from functools import partial as bound

from helixstore.download.partial import Partial
from helixstore.download.storing import folders
from helixstore.fs import locks
from helixstore.fs.listing import listdir
from helixstore.session import Session

__all__ = ["DAYS", "forget_old", "unfinished_bytes"]

DAYS = 30
_KEEP = "download-"
_LOCK = re.compile(r"download-[0-9a-f]{32}\.lock")
_RECORD = re.compile(r"[0-9a-f]{40,64}-\d+")


def unfinished_bytes(session: Session) -> int:
    """What has come of this person's downloads on this host that are not finished, holes apart; also files that are
    whole, and that no model has."""
    found, (folder, _) = 0, folders(session)
    for name in _names(folder):
        with suppress(OSError):                         # it has become a blob meanwhile
            found += os.lstat(os.path.join(folder, name)).st_blocks * 512
    keeps, blobs = session.store.keeps, session.store.blobs
    if whole := {digest for one in keeps.mine() if one.startswith(_KEEP) for digest in keeps.digests(one)}:
        whole -= {file.blake3 for variant in session.index.variants() for file in variant.files}
    for digest in whole:
        with suppress(OSError):                         # let go of meanwhile
            found += os.stat(blobs.path(digest)).st_size
    return found


def forget_old(session: Session, *, now: bool = False, dry_run: bool = False) -> int:
    """Remove what this person's downloads on this host have left that were last continued long ago.

    Args:
        session: whose downloads.
        now: also what came a moment ago; of partial files, unless a process is at it. Nobody may download meanwhile.
        dry_run: count only.

    Returns:
        Bytes of the partial files, holes apart. Whole files of them that no model needs are gc's from then on.
    """
    store, (data, records) = session.store, folders(session)
    before = time.time() - DAYS * 86_400
    until = time.time() if now else before
    freed = sum(_forget(os.path.join(data, name), os.path.join(records, name), until, dry_run)
                for name in _names(data))
    if not dry_run:
        for operation, since_ns in store.keeps.mine().items():
            if operation.startswith(_KEEP) and (now or since_ns < before * 1e9):
                store.keeps.drop(operation)
        _forget_lonely(data, records)
    return freed


def _names(folder: str) -> list[str]:
    with suppress(FileNotFoundError):
        return listdir(folder)
    return []


def _forget_lonely(data: str, records: str) -> None:
    """Locks that nobody holds, and notes of files that are gone."""
    for name in _names(os.path.dirname(records)):
        if _LOCK.fullmatch(name):
            locks.remove_lock(os.path.join(os.path.dirname(records), name))
    for name in _names(records):
        if _RECORD.fullmatch(name):
            locks.remove_lock(os.path.join(records, name), bound(os.path.lexists, os.path.join(data, name)))


def _forget(data: str, record: str, before: float, dry_run: bool) -> int:
    """One file; nothing of one that another process is at."""
    with suppress(OSError):
        status = os.lstat(data)
        if status.st_mtime < before:
            used = status.st_blocks * 512
            if not dry_run:
                partial = Partial(data, record, status.st_size)
                partial.remove()
                partial.close()
            return used
    return 0
