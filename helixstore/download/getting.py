"""One download from beginning to end, up to the models that the sync pipeline takes in.

    what is held -> does the rest fit -> fetch -> links under the listing's names -> models

Whoever wants the same commit at the same time waits, and finds it there. Everything that has come is kept, durably,
until a ref names it; what was interrupted goes on where it was, in this process or another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from helixstore.download.bring import brought, check_names
from helixstore.download.fetching import fetch
from helixstore.download.storing import StoreShelf
from helixstore.errors import Failed, HelixError
from helixstore.fs import kernel, locks
from helixstore.fs.kernel import Fingerprint
from helixstore.hub.remote import RemoteFile
from helixstore.index.codec import BlobRow
from helixstore.providers.layout import Found
from helixstore.session import Session
from helixstore.sizes import size
from helixstore.store.hashing import GIT_LIMIT, Hashes
from helixstore.sync.progress import Progress, counting
from helixstore.values import Issue, Source

__all__ = ["Held", "free_bytes", "getting", "held"]


@dataclass
class Held:
    """What the store has of a download.

    Attributes:
        blobs: digest in the listing -> blob.
        arrived: digest in the listing -> bytes that an earlier try has left.
        begun: blobs that an earlier try of the same download keeps: it may have brought them.
    """

    blobs: dict[str, str] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()

    def missing(self, files: Sequence[RemoteFile]) -> int:
        """Bytes that are still to be fetched, each content once."""
        every = {file.digest: file for file in files if file.digest not in self.blobs}
        return sum(file.bytes - self.arrived.get(file.digest, 0) for file in every.values())


def held(session: Session, files: Sequence[RemoteFile], progress: Progress | None = None) -> Held:
    """What the store has already, under whatever name.

    A blob whose SHA-256 or git-SHA-1 is not known yet, since it is large or somebody else brought it, is hashed, if it
    has the right size: that is quicker than to download it.
    """
    operation = _operation(files)
    shelf, found = StoreShelf(session, operation), Held(begun=frozenset(session.store.keeps.digests(operation)))
    every = {file.digest: file for file in files}
    found.blobs = {digest: blob for digest, file in every.items() if (blob := shelf.held(file))}
    found.blobs |= _by_hashing(session, [file for file in every.values() if file.digest not in found.blobs], progress)
    found.arrived = {digest: count for digest, file in every.items()
                     if digest not in found.blobs and (count := shelf.arrived(file))}
    return found


@contextmanager
def getting(session: Session, files: Sequence[RemoteFile], sources: Sequence[Source], name: str,
            progress: Progress | None = None) -> Iterator[tuple[list[Found], list[Issue], int]]:
    """Download what is missing; the block takes the models in, and until it ends all that has come is kept.

    Args:
        session: whose store.
        files: of one commit of one repository.
        sources: where they come from.
        name: of the model.
        progress: ("download", name, bytes there, bytes in all).

    Returns:
        The models, what a person should know of them, and the bytes that came over the network.

    Raises:
        Failed: it does not fit, or something could not be fetched; what has come stays for the next try.
        NotFound: there is no whole model in it.
        UnsafeName: their names cannot be, or not together.
    """
    check_names(files, name)
    operation = _operation(files)
    folder = session.places.state_for(session.store.id) / "downloads"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = folder / f"{operation}.lock"
    with session.store.working() as staging, locks.lock_file(lock):
        shelf, had = StoreShelf(session, operation), held(session, files, progress)
        shelf.renew()
        had.blobs = shelf.secured(had.blobs)
        _check_space(session, had.missing(files))
        every = {file.digest: file for file in files}
        total = sum(file.bytes for file in every.values())
        step = counting(progress, "download", name, total, total - had.missing(files))
        for digest in had.blobs:
            shelf.clear(every[digest])
        step(0)                                         # so that what is here counts for no speed
        result = fetch([file for digest, file in every.items() if digest not in had.blobs], shelf, progress=step,
                       arrived=had.arrived)
        if result.failed:
            raise _failed(name, len(every), result.failed)
        blobs = shelf.secured({**had.blobs, **result.blobs})
        if len(blobs) < len(every):
            raise Failed(f"files of {name} were let go of while others came", "run the command again")
        tree = os.path.join(staging, operation)
        os.mkdir(tree, 0o700)
        models, issues = brought(session.store, tree, files, blobs, sources, name)
        yield models, issues, result.bytes
        shelf.done()
        with suppress(OSError):                         # Windows keeps it as long as somebody waits for it
            kernel.unlink(lock)


def _by_hashing(session: Session, files: Sequence[RemoteFile], progress: Progress | None) -> dict[str, str]:
    """Digest in the listing -> a blob of that size whose hash was not known and is the one; it is from now on."""
    blobs, index = session.store.blobs, session.index
    wanted: dict[int, list[RemoteFile]] = {}
    for file in files:
        if file.sha256 or file.bytes < GIT_LIMIT:
            wanted.setdefault(file.bytes, []).append(file)
    found: dict[str, str] = {}
    learnt: list[tuple[BlobRow, Hashes, Fingerprint]] = []
    for row in index.of_sizes(wanted) if wanted else ():
        unknown = any(file.digest not in found and (row.sha256 if file.sha256 else row.gitsha1) is None
                      for file in wanted[row.bytes])
        if not unknown or not blobs.exists(row.digest) or row.digest in session.store.quarantine:
            continue
        step = counting(progress, "hash", blobs.path(row.digest), row.bytes)
        try:
            hashes, mark = blobs.check(row.digest, sha256=True, progress=step)
        except HelixError:                              # damaged, or away: whatever it is, it helps nobody here
            continue
        blobs.learn(row.digest, sha256=hashes.sha256, gitsha1=hashes.gitsha1)
        learnt.append((row, hashes, mark))
        found |= {file.digest: row.digest for file in wanted[row.bytes]
                  if file.digest in (hashes.sha256, hashes.gitsha1)}
    if learnt:
        index.put_blobs(row._replace(sha256=hashes.sha256, gitsha1=hashes.gitsha1) for row, hashes, _ in learnt)
        index.remember([(blobs.path(row.digest), mark, hashes) for row, hashes, mark in learnt])
    return found


def _operation(files: Sequence[RemoteFile]) -> str:
    """The same for the same contents, wherever they come from."""
    text = "\n".join(sorted({file.digest for file in files}))
    return f"download-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _check_space(session: Session, needed: int) -> None:
    free = free_bytes(session)
    if free is not None and needed > free:
        raise Failed(
            f"it does not fit: {size(needed)} are to be downloaded, and {size(free)} are free where the store lies",
            f"free {size(needed - free)} there: helixstore gc, or what you do not need", session.store.path)


def free_bytes(session: Session) -> int | None:
    """What is free on the store's disk for this person; None where the system does not say."""
    if not hasattr(os, "statvfs"):
        return None
    status = os.statvfs(session.store.path)
    return status.f_bavail * status.f_frsize


def _failed(name: str, count: int, failed: dict[str, HelixError]) -> HelixError:
    """One error for all of them, of so many files; a single one as it is."""
    first = next(iter(failed.values()))
    if len(failed) == 1:
        return Failed(f"{first.message}; what else has come of {name} stays, and the same command goes on with it",
                      first.remedy, first.path)
    return Failed(f"{len(failed)} of {count} files of {name} could not be downloaded; the first: {first.message}; what "
                  "else has come stays, and the same command goes on with it", first.remedy, first.path)
