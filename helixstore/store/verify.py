"""Reading everything again: do the bytes still hash to their names, and is everything there that refs promise?"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from helixstore.errors import Corrupt, HelixError, NotFound, Unreadable
from helixstore.fs import kernel
from helixstore.fs.kernel import Fingerprint
from helixstore.store.hashing import Hashes, hash_file, open_steady
from helixstore.store.refs import current
from helixstore.store.repair import Mended
from helixstore.store.store import Store
from helixstore.store.volumes import MAIN, Volume
from helixstore.values import Issue

__all__ = ["Bad", "VerifyReport", "missing", "quarantined", "verify"]


@dataclass(frozen=True, slots=True)
class Bad:
    """A blob that must not be used.

    Attributes:
        digest: of the blob.
        path: where it lies.
        why: one clause.
        models: names of those that it is part of.
        programs: those that cannot show them any more.
        given: paths of the person's own that are the same file, and so have the damaged bytes.
    """

    digest: str
    path: str
    why: str
    models: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


@dataclass(slots=True)
class VerifyReport:
    """What was found.

    Attributes:
        checked: blobs that were read to the end and are intact.
        bytes: how much of them was read.
        bad: blobs that are not; those whose bytes differ are in quarantine now.
        repaired: blobs that were in quarantine and are intact again.
        mended: what became of those that were to be mended; what was mended is not in `bad`.
        unread: blobs that were left for the next sample.
        dry_run: nothing was written.
        issues: refs and manifests that are damaged or name what is missing, and blobs whose stat is suspicious.
    """

    checked: int = 0
    bytes: int = 0
    bad: list[Bad] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    mended: list[Mended] = field(default_factory=list)
    unread: int = 0
    dry_run: bool = False
    issues: list[Issue] = field(default_factory=list)


def quarantined(store: Store) -> set[str]:
    """The digests of all blobs that must not be handed out."""
    return store.quarantine.all()


def verify(store: Store, digests: Iterable[str] | None = None, progress: Callable[[int], None] | None = None,
           found: Callable[[str, Hashes, Fingerprint], None] | None = None, dry_run: bool = False) -> VerifyReport:
    """Hash blobs and compare, and learn their 16 MiB `blocks` on the way, which is nearly free while the disk is slow.

    Args:
        store: where it is read only, markers and blocks are not written.
        digests: which blobs; None for all, and then refs and manifests are looked at too.
        progress: called with the bytes read since the last call.
        found: called with each intact blob's hashes and its fingerprint from before it was read, for the index.
        dry_run: write nothing, no marker either.
    """
    report = VerifyReport(dry_run=dry_run)
    store.volumes.refresh()
    marked = quarantined(store)
    for digest in sorted(store.blobs.digests()) if digests is None else digests:
        _verify_one(store, digest, digest in marked, report, progress, found)
    if digests is None:
        report.issues += missing(store)
    return report


def missing(store: Store) -> list[Issue]:
    """Current refs whose manifest or blobs are not there, and refs and manifests that cannot be read. Reads no blob."""
    refs, issues = store.refs.scan()
    for ref in current(refs):
        if ref.manifest is None:
            continue
        try:
            manifest = store.manifests.read(ref.manifest)
        except (HelixError, OSError) as error:
            issues.append(Issue("unreadable", ref.name, f"{ref.name} ({ref.variant}) cannot be used: {error}",
                                getattr(error, "remedy", "")))
            continue
        for file in manifest.files:
            path = store.blobs.path(file.blake3)
            try:
                size = os.stat(path).st_size
            except OSError:
                if store.blobs.absent(file.blake3):
                    continue                            # nothing is concluded from a disk that is not here
                issues.append(Issue("missing", path, f"{file.path} of {ref.name} ({ref.variant}) is not in the store",
                                    f"see: helixstore trash list; else add {ref.name} again"))
                continue
            if size != file.bytes:
                issues.append(Issue("suspicious", path, f"{file.path} of {ref.name} has {size} bytes, not {file.bytes}",
                                    "run: helixstore verify"))
    return issues


def _verify_one(store: Store, digest: str, marked: bool, report: VerifyReport,
                progress: Callable[[int], None] | None,
                found: Callable[[str, Hashes, Fingerprint], None] | None) -> None:
    if len(store.blobs.places(digest)) > 1 and not report.dry_run:
        _verify_copies(store, digest, report, progress)
    path = store.blobs.path(digest)
    try:
        meta = store.blobs.meta(digest)
        before = kernel.fingerprint(path) if os.path.lexists(path) else None
        hashes, fingerprint = _read(store, digest, path, progress, report.dry_run)
    except NotFound as error:
        if store.blobs.absent(digest):
            return
        report.issues.append(Issue("missing", path, error.message, error.remedy))
        return
    except Corrupt:
        report.bad.append(Bad(digest, path, "its bytes have another digest"))
        return
    except HelixError as error:
        if isinstance(error.__cause__, PermissionError):
            report.issues.append(Issue("unreadable", path, error.message, "its owner can: helixstore verify"))
            return
        report.bad.append(Bad(digest, path, error.message))
        if getattr(error.__cause__, "errno", None) == errno.EIO and not (store.read_only or report.dry_run):
            store.quarantine.mark(digest, "its disk cannot read it")
        return
    report.checked += 1
    report.bytes += hashes.bytes
    may_write = not (store.read_only or report.dry_run)
    if marked and may_write and store.quarantine.lift(digest):
        report.repaired.append(digest)
    if meta.blocks is None and may_write and fingerprint.uid == store.host.uid:
        store.blobs.learn(digest, bytes=hashes.bytes, gitsha1=hashes.gitsha1, blocks=hashes.blocks)
    volume = store.blobs.places(digest)[0].volume
    if os.name == "posix" and fingerprint.mode & 0o222 and not volume.refers and _keeps_modes(volume):
        report.issues.append(Issue("suspicious", path, f"the blob {digest[:12]} is intact but can be written to",
                                   f"run: chmod a-w {path}"))
    if found is not None:
        found(digest, hashes, before or fingerprint)


def _keeps_modes(volume: Volume) -> bool:
    """Whether files there can be read-only at all: its description was published so, and shows it (not on SMB, FAT)."""
    with suppress(OSError):
        name = "store.json" if volume.id == MAIN else "volume.json"
        return not os.stat(f"{volume.path}/{name}").st_mode & 0o222
    return True


def _read(store: Store, digest: str, path: str, progress: Callable[[int], None] | None,
          dry_run: bool) -> tuple[Hashes, Fingerprint]:
    """Hash a blob as its disk has it, not as memory remembers it.

    Raises:
        NotFound, Corrupt, Unreadable: as of `Blobs.check`.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError, Unreadable), open_steady(path, lease=False) as file:
            os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if not dry_run or not os.path.lexists(path):
        return store.blobs.check(digest, blocks=True, progress=progress)
    hashes, fingerprint = hash_file(path, blocks=True, progress=progress, lease=False)
    if hashes.blake3 != digest:
        raise Corrupt(f"the blob {digest[:12]} is damaged: its bytes have another digest", "", path)
    return hashes, fingerprint


def _verify_copies(store: Store, digest: str, report: VerifyReport, progress: Callable[[int], None] | None) -> None:
    """Of a blob on several disks: a damaged copy goes, while another is whole; the first that is left is read again."""
    whole, damaged = 0, []
    for place in store.blobs.places(digest):
        try:
            store.blobs.check(digest, at=place.path, progress=progress)
            whole += 1
        except Corrupt:
            damaged.append(place)
        except HelixError as error:
            report.bad.append(Bad(digest, place.path, error.message))
    if whole and not store.read_only:
        for place in damaged:
            report.bad.append(Bad(digest, place.path, "its bytes have another digest; another disk has it whole"))
            store.blobs.discard(digest, place)
