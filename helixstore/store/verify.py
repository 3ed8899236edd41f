"""Reading everything again: do the bytes still hash to their names, and is everything there that refs promise?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from helixstore.errors import Corrupt, HelixError, NotFound
from helixstore.fs import kernel
from helixstore.fs.kernel import Fingerprint
from helixstore.store.hashing import Hashes
from helixstore.store.refs import current
from helixstore.store.store import Store
from helixstore.values import Issue

__all__ = ["Bad", "VerifyReport", "missing", "quarantined", "verify"]


@dataclass(frozen=True, slots=True)
class Bad:
    """A blob that must not be used: its digest, where it lies, and why in one clause."""

    digest: str
    path: str
    why: str


@dataclass(slots=True)
class VerifyReport:
    """What was found.

    Attributes:
        checked: blobs that were read to the end and are intact.
        bytes: how much of them was read.
        bad: blobs that are not; those whose bytes differ are in quarantine now.
        repaired: blobs that were in quarantine and are intact again.
        issues: refs and manifests that are damaged or name what is missing, and blobs whose stat is suspicious.
    """

    checked: int = 0
    bytes: int = 0
    bad: list[Bad] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)


def quarantined(store: Store) -> set[str]:
    """The digests of all blobs that must not be handed out."""
    return store.quarantine.all()


def verify(store: Store, digests: Iterable[str] | None = None, progress: Callable[[int], None] | None = None,
           found: Callable[[str, Hashes, Fingerprint], None] | None = None) -> VerifyReport:
    """Hash blobs and compare, and learn their 16 MiB `blocks` on the way, which is nearly free while the disk is slow.

    Args:
        store: where it is read only, markers and blocks are not written.
        digests: which blobs; None for all, and then refs and manifests are looked at too.
        progress: called with the bytes read since the last call.
        found: called with each intact blob's hashes and fingerprint, for the index.
    """
    report = VerifyReport()
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
    if len(store.blobs.places(digest)) > 1:
        _verify_copies(store, digest, report, progress)
    path = store.blobs.path(digest)
    try:
        meta = store.blobs.meta(digest)
        hashes, fingerprint = store.blobs.check(digest, blocks=True, progress=progress)
    except NotFound as error:
        if store.blobs.absent(digest):
            return
        report.issues.append(Issue("missing", path, error.message, error.remedy))
        return
    except Corrupt:
        report.bad.append(Bad(digest, path, "its bytes have another digest"))
        return
    except HelixError as error:
        report.bad.append(Bad(digest, path, error.message))
        return
    report.checked += 1
    report.bytes += hashes.bytes
    if marked and not store.read_only:
        store.quarantine.lift(digest)
        report.repaired.append(digest)
    if meta.blocks is None and not store.read_only and fingerprint.uid == store.host.uid:
        store.blobs.learn(digest, bytes=hashes.bytes, gitsha1=hashes.gitsha1, blocks=hashes.blocks)
    if os.name == "posix" and fingerprint.mode & 0o222 and not store.blobs.places(digest)[0].volume.refers:
        report.issues.append(Issue("suspicious", path, f"the blob {digest[:12]} is intact but can be written to",
                                   f"run: chmod a-w {path}"))
    if found is not None:
        found(digest, hashes, kernel.fingerprint(path))


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
