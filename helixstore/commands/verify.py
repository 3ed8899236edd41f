"""`verify`: read what the store has, say what is wrong, and let the programs have what is right."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helixstore.errors import NotFound
from helixstore.fs import kernel
from helixstore.index import BlobRow
from helixstore.session import Session
from helixstore.store import verify as store_verify
from helixstore.store.verified import Sample, Verified
from helixstore.sync.change import change
from helixstore.sync.damaged import touched
from helixstore.sync.deferred import waiting
from helixstore.sync.healing import heal
from helixstore.sync.patrol import row_of, verified_of
from helixstore.sync.progress import Progress, counting
from helixstore.sync.wanted import Change

if TYPE_CHECKING:
    from helixstore.fs.kernel import Fingerprint
    from helixstore.store.hashing import Hashes

__all__ = ["verify"]


def verify(
    session: Session, ref: str | None, progress: Progress | None, *, sample: str | None = None, repair: bool = False,
    sources: Sequence[Path] = (), dry_run: bool = False,
) -> store_verify.VerifyReport:
    """Read blobs, tell the index which are right, and bring those that are not back from where their bytes still are.

    What is wrong is marked; the links that were made for it are withdrawn at once, and made again when it is mended.

    Args:
        session: whose store.
        ref: the model to read; None for the whole store.
        progress: told how far the reading is.
        sample: read only so much: "5%", "20GB", or "100" files; first what was not read for the longest time.
        repair: mend what is damaged or missing; see `helixstore.commands.repair`.
        sources: files, folders or other stores that may have it, before all others.
        dry_run: write nothing, and fetch nothing; with `repair` the report says what would be taken from where.

    Raises:
        NotFound: no such model, or nothing at one of `sources`.
        Usage: `sample` is no amount.
    """
    for source in sources:
        if not os.path.exists(source):
            raise NotFound(f"there is no file or folder {source}", "", source)
    verified = verified_of(session)
    named, sizes, chosen = _chosen(session, ref, sample, verified)
    sound = {digest: row.mtime_ns for digest in sizes if (row := session.index.blob(digest)) and row.inode}
    rows: dict[str, BlobRow] = {}

    def found(digest: str, hashes: Hashes, mark: Fingerprint) -> None:
        rows[digest] = row_of(digest, hashes, mark)
        if not dry_run:
            verified.note(digest, time.time())
            if mark.uid != session.store.host.uid:
                session.index.remember([(session.store.blobs.path(digest), mark, hashes)])

    total = sum(sizes.values() if chosen is None else (sizes.get(digest, 0) for digest in chosen))
    report = store_verify.verify(session.store, chosen, counting(progress, "verify", "", total), found, dry_run)
    report.unread = len(sizes) - len(chosen) if sample is not None and chosen is not None else 0
    report.bad = [replace(bad, models=tuple(dict.fromkeys(key.model for key in told.keys)), programs=told.programs,
                          given=told.given) for bad in report.bad for told in [touched(session, bad.digest)]]
    for digest in () if dry_run else {*(sizes if chosen is None else chosen)} - rows.keys():
        verified.note(digest, time.time())              # damaged, or not ours to read: else each sample began with it
    done: dict[str, Hashes] = {}
    if repair:
        from helixstore.commands.repair import repair as mend

        lost = [digest for digest in named if digest not in sizes and not session.store.blobs.absent(digest)]
        damaged = [bad.digest for bad in report.bad if bad.digest not in rows]      # else another disk has it whole
        done = mend(session, report, list(dict.fromkeys(damaged + lost)), sources, progress=progress)
    if not dry_run:
        session.index.put_blobs(rows.values())
        if report.bad or report.repaired:
            _carry_on(session, report, done, sound)
        verified.compact()
    return report


class _Chosen(NamedTuple):
    """What is to be read.

    Attributes:
        named: digest -> bytes of all files of the models that are meant.
        sizes: the same of the blobs that are meant and here; of the whole store, of those too that no model names.
        digests: of these, in the order in which they are read; None: all, in any order.
    """

    named: dict[str, int]
    sizes: dict[str, int]
    digests: list[str] | None


def _chosen(session: Session, ref: str | None, sample: str | None, verified: Verified) -> _Chosen:
    taken = Sample.of(sample) if sample is not None else None
    variants = session.index.variants() if ref is None else session.index.find(ref)
    named = {file.blake3: file.bytes for variant in variants for file in variant.files}
    session.store.volumes.refresh()
    sizes = {digest: named.get(digest) or _size(session, digest) for digest in session.store.blobs.digests()
             if ref is None or digest in named}
    if taken is None:
        return _Chosen(named, sizes, list(named) if ref is not None else None)
    read = verified.times() | dict.fromkeys(waiting(session), -1.0)
    return _Chosen(named, sizes, taken.choose(sizes, read))


def _carry_on(
    session: Session, report: store_verify.VerifyReport, done: Mapping[str, Hashes], sound: Mapping[str, int]
) -> None:
    """Withdraw what is damaged from the programs, and show again what is right."""
    for digest, hashes in done.items():
        session.index.put_blobs([row_of(digest, hashes, kernel.fingerprint(session.store.blobs.path(digest)))])
    report.issues += heal(session, sound=sound)
    change(session, Change("verify", scan=False))


def _size(session: Session, digest: str) -> int:
    """Bytes of a blob that no current variant names."""
    try:
        return os.stat(session.store.blobs.path(digest)).st_size
    except OSError:
        return 0
