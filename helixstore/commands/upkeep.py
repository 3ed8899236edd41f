"""The store's upkeep for one person: trash, verify, reindex."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.errors import NotFound
from helixstore.fs import kernel
from helixstore.index import BlobRow
from helixstore.session import Session
from helixstore.store import trash as store_trash
from helixstore.store import verify as store_verify
from helixstore.store.verified import Sample
from helixstore.sync.change import restate
from helixstore.sync.damaged import touched
from helixstore.sync.deferred import waiting
from helixstore.sync.healing import heal
from helixstore.sync.patrol import row_of, verified_of
from helixstore.sync.progress import Progress, counting

if TYPE_CHECKING:
    from helixstore.fs.kernel import Fingerprint
    from helixstore.index import ReindexReport
    from helixstore.store.hashing import Hashes

__all__ = ["reindex", "restore", "trash", "verify"]


def trash(session: Session) -> list[Mapping[str, Any]]:
    """What can still be restored, by epoch; size in bytes, `since` in seconds since 1970 on the store's clock."""
    names = _names(session)
    return [{"epoch": item.epoch, "digest": item.digest, "bytes": item.bytes, "since": item.since_ns / 1e9,
             "corrupt": item.corrupt, "was": names.get(item.digest, "")} for item in store_trash.trashed(session.store)]


def restore(session: Session, which: str) -> int:
    """Bring back one epoch, or the blobs whose digest begins with `which`; how many came back.

    Raises:
        NotFound: nothing in the trash is called so.
    """
    found = [item.digest for item in store_trash.trashed(session.store)
             if not item.corrupt and (item.epoch == which or item.digest.startswith(which))]
    if not which or not found:
        raise NotFound(f"nothing in the trash is called {which!r}", "helixstore trash list")
    return len(store_trash.restore(session.store, found))


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
    taken = Sample.of(sample) if sample is not None else None
    variants = session.index.variants() if ref is None else session.index.find(ref)
    named = {file.blake3: file.bytes for variant in variants for file in variant.files}
    session.store.volumes.refresh()
    sizes = {digest: named.get(digest) or _size(session, digest) for digest in session.store.blobs.digests()
             if ref is None or digest in named}
    verified = verified_of(session)
    read = verified.times() | dict.fromkeys(waiting(session), -1.0)
    chosen = taken.choose(sizes, read) if taken is not None else None
    if chosen is None and ref is not None:
        chosen = list(named)
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
    report.unread = len(sizes) - len(chosen) if taken is not None and chosen is not None else 0
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
    if dry_run:
        return report
    session.index.put_blobs(rows.values())
    if report.bad or report.repaired:
        _carry_on(session, report, done, sound)
    verified.compact()
    return report


def _carry_on(
    session: Session, report: store_verify.VerifyReport, done: Mapping[str, Hashes], sound: Mapping[str, int]
) -> None:
    """Withdraw what is damaged from the programs, and show again what is right."""
    from helixstore.sync.change import change
    from helixstore.sync.wanted import Change

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


def reindex(session: Session, progress: Progress | None) -> ReindexReport:
    """Make the index anew from the store, and the copy of the ledgers in it from the ledgers."""
    step = (lambda done, total: progress("read", "manifests", done, total)) if progress else None
    report = session.index.rebuild(step)
    session.farm.publish()
    restate(session)
    return report


def _names(session: Session) -> dict[str, str]:
    """Digest -> the model that it was a part of, by every manifest that a ref ever named."""
    found: dict[str, str] = {}
    for ref in session.index.claims():
        if ref.manifest is not None:
            try:
                manifest = session.store.manifests.read(ref.manifest)
            except NotFound:
                continue            # collected with its blobs, or reported by verify
            for file in manifest.files:
                found.setdefault(file.blake3, ref.name)
    return found
