"""The store's upkeep for one person: collect, trash, verify, reindex."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from helixstore.errors import NotFound
from helixstore.index import BlobRow
from helixstore.session import Session
from helixstore.store import gc
from helixstore.store import trash as store_trash
from helixstore.store import verify as store_verify
from helixstore.sync.change import restate
from helixstore.sync.wanted import Progress

if TYPE_CHECKING:
    from helixstore.fs.kernel import Fingerprint
    from helixstore.index import ReindexReport
    from helixstore.store.hashing import Hashes

__all__ = ["collect", "reindex", "restore", "trash", "verify"]


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


def collect(session: Session, *, now: bool, dry_run: bool) -> gc.CollectReport:
    """One round of collection with the person's grace and undo window."""
    settings = session.settings
    return gc.collect(session.store, now=now, grace=settings.grace, undo_window=settings.undo_window, dry_run=dry_run)


def verify(session: Session, ref: str | None, progress: Progress | None) -> store_verify.VerifyReport:
    """Read the blobs of a model, or all, and tell the index which are right.

    What is wrong is marked; the links that were made for it are withdrawn at once, and made again when it is mended.
    """
    digests = None
    if ref is not None:
        digests = list(dict.fromkeys(f.blake3 for v in session.index.find(ref) for f in v.files))
    total = session.index.figures().bytes if digests is None else sum(
        row.bytes for digest in digests if (row := session.index.blob(digest)))
    rows: list[BlobRow] = []

    def found(digest: str, hashes: Hashes, mark: Fingerprint) -> None:
        rows.append(BlobRow(digest, hashes.bytes, hashes.sha256, hashes.gitsha1, mark.inode, mark.mtime_ns,
                            mark.ctime_ns))

    report = store_verify.verify(session.store, digests, _counting(progress, total), found)
    session.index.put_blobs(rows)
    if report.bad or report.repaired:
        from helixstore.sync.change import change
        from helixstore.sync.wanted import Change

        change(session, Change("verify", scan=False))
    return report


def reindex(session: Session, progress: Progress | None) -> ReindexReport:
    """Make the index anew from the store, and the copy of the ledgers in it from the ledgers."""
    step = (lambda done, total: progress("read", "manifests", done, total)) if progress else None
    report = session.index.rebuild(step)
    session.farm.publish()
    restate(session)
    return report


def _counting(progress: Progress | None, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress("verify", "", done, total)

    return step


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
