"""`verify --repair`: where a damaged file's bytes may still be, for this person on this computer; nearest first.

    what the person names (--from) -> other disks, trash, parked copies -> files of the same size in the programs'
    folders and in the person's -> this site's mirror -> the repositories and registries that the model came from

None of them is believed: `store.repair` proves every range, and then the whole. What a copy is worth is found out by
reading it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from helixstore.download.mirror import mirror_place, published_name
from helixstore.download.registries import registry_access
from helixstore.errors import NotFound
from helixstore.fs.listing import listdir, scandir
from helixstore.hub.ranges import HubFile, WebFile
from helixstore.oci.access import Patience
from helixstore.oci.donor import RegistryFile, registry_file
from helixstore.oci.reference import Reference, noted_reference
from helixstore.oci.registry import Registry
from helixstore.providers.reader import DiskReader
from helixstore.session import Session
from helixstore.store import trash
from helixstore.store.donors import Donor, LocalFile
from helixstore.store.hashing import Hashes
from helixstore.store.repair import Mended, mend
from helixstore.store.store import Store
from helixstore.store.verify import VerifyReport
from helixstore.store.volumes import MAIN
from helixstore.sync.progress import Progress, counting
from helixstore.values import File, Variant

__all__ = ["repair"]


def repair(
    session: Session, report: VerifyReport, wanted: Sequence[str], sources: Sequence[Path], *,
    progress: Progress | None = None,
) -> dict[str, Hashes]:
    """Mend what a verification found damaged or missing.

    Args:
        session: whose store, and whose folders are looked through.
        report: what was found; `mended` is filled, and what was mended is taken out of `bad` and `issues`. With its
            `dry_run` nothing is written and nothing fetched.
        wanted: digests of the blobs.
        sources: files, folders or other stores that the person named.
        progress: ("repair", path, bytes done, bytes in all).

    Returns:
        Digest -> hashes of what was mended.

    Raises:
        NotFound: there is nothing at one of `sources`.
    """
    variants = _having(session, wanted)
    files = {file.blake3: file for variant in variants for file in variant.files}
    if wanted and not report.dry_run and not session.store.read_only:
        for volume in session.store.volumes.here:       # a repair that was killed may have left as much as the file
            (session.store.staging if volume.id == MAIN else session.store.volumes.staging(volume)).clean()
    search = _Search(session, sources, variants, {files[digest].bytes for digest in wanted if digest in files})
    done: dict[str, Hashes] = {}
    for digest in wanted:
        file = files.get(digest)
        row = session.index.blob(digest)
        size = file.bytes if file is not None else row.bytes if row is not None else None
        path = session.store.blobs.path(digest)
        if size is None:
            report.mended.append(Mended(digest, path, 0, 0, why="no model names it, so that its size is not known",
                                        remedy="helixstore gc"))
            continue
        sha256 = (file.sha256 if file is not None else None) or (row.sha256 if row is not None else None)
        mended, hashes = mend(
            session.store, digest, size, search.donors(digest, size), lists=search.lists(digest), sha256=sha256,
            dry_run=report.dry_run, progress=counting(progress, "repair", path, size))
        report.mended.append(mended)
        if hashes is not None:
            done[digest] = hashes
    if not report.dry_run:
        good = {mended.digest for mended in report.mended if not mended.why}
        paths = {mended.path for mended in report.mended if not mended.why}
        report.bad = [bad for bad in report.bad if bad.digest not in good]
        report.issues = [issue for issue in report.issues if issue.path not in paths]
        report.repaired += sorted(good - {*report.repaired})
    return done


def _having(session: Session, wanted: Sequence[str]) -> list[Variant]:
    """The current variants, and the earlier versions that have one of these blobs: `rollback` may want them."""
    variants, some = session.index.variants(), frozenset(wanted)
    holding = {manifest for manifest, files in session.index.holdings().items()
               if any(digest in some for digest, _ in files)} if some else set()
    holding -= {variant.manifest for variant in variants}
    earlier = {ref.manifest: ref for ref in session.index.claims() if ref.manifest in holding and ref.believed}
    return [*variants, *map(session.index.variant_at, earlier.values())]


class _Search:
    """Where bytes may be. Folders are gone through once, for all damaged blobs together, when nothing nearer helps.

    Args:
        session: see `repair`.
        sources: what the person named.
        variants: that may have one of the blobs.
        sizes: of the blobs that are to be mended, in bytes.
    """

    def __init__(self, session: Session, sources: Sequence[Path], variants: Sequence[Variant],
                 sizes: Collection[int]) -> None:
        self._session, self._variants, self._sizes = session, variants, frozenset(sizes)
        self._stores: list[Store] = []
        self._given: list[str] = []
        for source in sources:
            path = os.path.abspath(source)
            if not os.path.exists(path):
                raise NotFound(f"there is no file or folder {path}", "", path)
            if os.path.exists(os.path.join(path, "store.json")):
                self._stores.append(Store.open(Path(path), session.store.host))
            else:
                self._given.append(path)
        self._named: Mapping[int, list[str]] | None = None
        self._around: Mapping[int, list[str]] | None = None

    def lists(self, digest: str) -> list[tuple[str, ...]]:
        """Lists of the blob's blocks that other stores have."""
        return [blocks for store in self._stores if (blocks := store.blobs.meta(digest).blocks)]

    def donors(self, digest: str, size: int) -> Iterator[Donor]:
        """Everything that may have the blob, each file once, without the damaged one itself."""
        seen: set[tuple[int, int]] = set()
        with suppress(OSError):
            status = os.stat(self._session.store.blobs.path(digest))
            seen.add((status.st_dev, status.st_ino))
        for path in self._paths(digest, size):
            with suppress(OSError):
                status = os.stat(path)
                inode = status.st_dev, status.st_ino
                if stat.S_ISREG(status.st_mode) and inode not in seen:
                    seen.add(inode)
                    yield LocalFile(path)
        yield from self._mirrored(digest)
        yield from self._hub(digest)
        yield from self._published(digest)

    def _paths(self, digest: str, size: int) -> Iterator[str]:
        session, store = self._session, self._session.store
        for other in self._stores:
            yield from (place.path for place in other.blobs.places(digest))
            yield from (item.path for item in trash.trashed(other) if item.digest == digest)
        yield from (path for path in self._given if os.path.isfile(path))
        if self._named is None:
            self._named = _by_size([path for path in self._given if os.path.isdir(path)], self._sizes)
        yield from self._named.get(size, ())
        yield from (place.path for place in store.blobs.places(digest))
        yield from (item.path for item in trash.trashed(store) if item.digest == digest and not item.corrupt)
        yield from self._parked(digest)
        for root in session.farm.ledgers.roots():
            for path, record in session.farm.ledgers.of(root).records.items():
                if record.digest == digest and record.kind in ("copy", "reflink", "hard", "reference"):
                    yield os.path.join(root, path)
        yield from session.farm.intent.declined()
        yield from (item.path for item in trash.trashed(store) if item.digest == digest and item.corrupt)
        if self._around is None:
            own = [volume.path for volume in store.volumes.here]
            beside = {os.path.dirname(path) for path in session.farm.ledgers.of("").records}
            self._around = _by_size(self._folders(), self._sizes, own, sorted(beside))
        yield from self._around.get(size, ())

    def _parked(self, digest: str) -> Iterator[str]:
        """Copies that were replaced by links within the last day, and wait where they can be had again."""
        store = self._session.store
        host = store.host
        for folder in (f"{store.path}/hosts/{host.id}/{host.uid}/parked",
                       *map(store.volumes.parking, store.volumes.here[1:])):
            with suppress(OSError):
                yield from (os.path.join(folder, name) for name in listdir(folder) if digest[:16] in name)

    def _folders(self) -> list[str]:
        """The programs' folders and the person's."""
        session = self._session
        placed = session.roots(DiskReader(session.places.home), session.farms)
        return [*dict.fromkeys([*(str(place.root.path) for place in placed), *map(str, session.settings.scan)])]

    def _mirrored(self, digest: str) -> Iterator[Donor]:
        """The file in this site's mirror, whoever published it."""
        access = registry_access(self._session, Patience(tries=1, silence=20.0))
        seen: set[Reference] = set()
        for variant, file in self._named_by(digest):
            place = mirror_place(self._session, published_name(variant))
            if place is not None and file.sha256 and place not in seen:
                seen.add(place)
                name = f"{place.host}/{place.repository}: {file.path}"
                yield RegistryFile(Registry(place, access), file.sha256, name)

    def _hub(self, digest: str) -> Iterator[HubFile]:
        """The file in each repository that it came from."""
        endpoint = self._session.environ.get("HF_ENDPOINT") or None
        seen: set[tuple[str, str, str]] = set()
        for variant, file in self._named_by(digest):
            for source in variant.sources:
                if source.kind == "hub" and source.repository:
                    found = source.repository, source.revision or "main", file.path
                    if found not in seen:
                        seen.add(found)
                        yield HubFile(*found, endpoint)

    def _published(self, digest: str) -> Iterator[Donor]:
        """The file in the registries that it came from, or where a program says that it got it."""
        access = registry_access(self._session, Patience(tries=3, first=0.2))
        row = self._session.index.blob(digest)
        seen, asked = set[str](), set[tuple[str | None, str | None]]()
        for variant, file in self._named_by(digest):
            sha256 = file.sha256 or (row.sha256 if row is not None else None)
            for source in variant.sources if sha256 else ():
                if source.kind == "url" and _allowed(source.repository or "") and source.repository not in seen:
                    seen.add(str(source.repository))
                    yield WebFile(str(source.repository), f"{source.repository}")
                if source.kind == "registry" and (source.repository, sha256) not in asked:
                    asked.add((source.repository, sha256))
                    place = noted_reference(str(source.repository))
                    if place is None:
                        continue
                    yield RegistryFile(Registry(place, access), sha256 or "", f"{place}: {file.path}")
                layout = self._session.layouts.get(source.program or "") if source.kind == "program" else None
                if layout is None:
                    continue
                try:
                    address = layout.published(source.name or "", sha256 or "")
                except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
                    self._session.layout_failed(layout.name, error)
                    continue
                if _allowed(address) and address not in seen:
                    seen.add(address)
                    name = f"{source.program}, {source.name}: {file.path}"
                    yield registry_file(address, name, access) or WebFile(address, name)

    def _named_by(self, digest: str) -> Iterator[tuple[Variant, File]]:
        for variant in self._variants:
            yield from ((variant, file) for file in variant.files if file.blake3 == digest)


def _allowed(address: str) -> bool:
    """Whether bytes may come from there: over TLS, or from this computer."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))


def _by_size(
    folders: Sequence[str], sizes: Collection[int], without: Collection[str] = (), flat: Sequence[str] = (),
) -> dict[int, list[str]]:
    """Size -> the files of that size in these folders and below; links are not followed.

    Args:
        folders: absolute.
        sizes: in bytes.
        without: folders that are left out.
        flat: folders of which only the files right in them are looked at.
    """
    found: dict[int, list[str]] = {}
    visited = {os.path.realpath(folder) for folder in without}
    pending = [(os.path.realpath(folder), deep) for deep, some in ((False, flat), (True, folders)) for folder in some]
    while pending:
        here, deep = pending.pop()              # the deep ones first
        if here in visited:
            continue
        visited.add(here)
        try:
            with scandir(here) as entries:
                inside = entries
        except OSError:
            continue                            # what we may not look into cannot help
        for entry in inside:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    if deep:
                        pending.append((entry.path, True))
                elif entry.is_file(follow_symlinks=False) and (size := entry.stat().st_size) in sizes:
                    found.setdefault(size, []).append(entry.path)
    return {size: sorted(paths) for size, paths in found.items()}
