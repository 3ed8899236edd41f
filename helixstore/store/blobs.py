"""Blobs: immutable bytes under their BLAKE3 digest, and what has been learnt of them beside.

A blob lies in the store's own folder, or on a volume where its bytes were found, or on several disks at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from helixstore.errors import Corrupt, Failed, HelixError, NotFound, StoreError, Unreadable
from helixstore.fs import kernel
from helixstore.fs.inside import Inside
from helixstore.fs.kernel import Fingerprint
from helixstore.fs.listing import listdir
from helixstore.store import adding, records, references
from helixstore.store.adding import Added
from helixstore.store.hashing import Hashes, hash_open, open_steady
from helixstore.store.host import Host
from helixstore.store.manifests import digests_below
from helixstore.store.quarantine import Quarantine
from helixstore.store.sharing import Sharing
from helixstore.store.standins import StandIns
from helixstore.store.volumes import Place, Volume, Volumes

__all__ = ["Added", "Blobs", "Meta"]

_HEX = {kind: re.compile(rf"[0-9a-f]{{{length}}}") for kind, length in (("sha256", 64), ("gitsha1", 40), ("xet", 64))}
_BLOCK = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Meta:
    """What the writer of a blob's `meta` file has learnt of it; None where nothing has been.

    Attributes:
        bytes: size of the blob.
        sha256, gitsha1, xet: aliases in lower-case hex.
        blocks: XXH3-128 of each 16 MiB.
        uid: who wrote it; another person's is a hint until we have hashed the blob once. None: there is no file.
    """

    bytes: int
    sha256: str | None = None
    gitsha1: str | None = None
    xet: str | None = None
    blocks: tuple[str, ...] | None = None
    uid: int | None = None


class Blobs:
    """The blobs of one store, `blobs/<2 hex>/<digest>`, read only once they are there.

    Attributes:
        volumes: the other disks on which they may lie.
        stand_ins: what symbolic links lead to in their place.
    """

    def __init__(self, root: str, host: Host, working: Callable[[], AbstractContextManager[str]],
                 quarantine: Quarantine, volumes: Volumes, sharing: Sharing) -> None:
        self._root = root
        self._blobs = os.path.join(root, "blobs")
        self._uid = host.uid
        self._working = working
        self._quarantine = quarantine
        self._sharing = sharing
        self.volumes = volumes
        self.stand_ins = StandIns(host, sharing)

    def path(self, digest: str) -> str:
        """Where the blob lies or would lie, absolute; of several copies the one in the store's own folder.

        Raises:
            UnsafeName: not a digest.
        """
        if digest in self.volumes.far:
            return self.places(digest)[0].path
        return self._main(digest)

    def _main(self, digest: str) -> str:
        return f"{self._blobs}/{records.check_digest(digest)[:2]}/{digest}"

    def places(self, digest: str) -> tuple[Place, ...]:
        """Every copy that can be used now, the one in the store's own folder first; if there is none, where it would
        lie there."""
        main = Place(self.volumes.main, self._main(digest))
        far = self.volumes.far.get(digest)
        return (main,) if not far else tuple(place for place in (main, *far) if place.holds) or (main,)

    def near(self, folder: str, keep: str = "") -> Callable[[str], Place]:
        """What tells for each digest which copy to link from in a folder: the one on the same disk, if there is one.

        `keep`: the id of a volume that goes before that.
        """
        home = self.volumes.near(f"{folder}/.") if self.volumes.attached else None

        def nearest(digest: str) -> Place:
            places = self.places(digest)
            kept = next((place for place in places if place.volume.id == keep), None)
            return kept or next((place for place in places if place.volume == home), places[0])

        return nearest

    def texts(self, digest: str) -> set[str]:
        """Every text that a symbolic link of ours to the blob may have."""
        places = self.places(digest)
        return {place.path for place in places} | {
            path for place in places for path in self.stand_ins.paths(place.volume.path, digest)}

    def leads(self, text: str, digest: str, direct: bool = False) -> bool:
        """Whether a symbolic link with this text is as it would be made now, and leads to the blob.

        Args:
            text: of the link, absolute.
            digest: of the blob.
            direct: it was tried to make a stand-in, and there could be none.
        """
        places = self.places(digest)
        for place in [place for place in places if not place.volume.refers] or places:
            try:
                blob = os.stat(place.path)
                if text == place.path:
                    return direct or place.volume.refers or not self.stand_ins.possible(blob)
                if text in self.stand_ins.paths(place.volume.path, digest):
                    return os.path.samestat(os.stat(text), blob)
            except OSError:
                continue                # the link is made again then, if there is anything to lead to
        return False

    def absent(self, digest: str) -> str:
        """Why a blob that is nowhere may come back; "" when it is missing for good."""
        changed = next((place.path for place in self.volumes.far.get(digest, ()) if not place.holds), "")
        if changed:
            return f"the file that the store refers to was changed: {changed}"
        names = [volume.name for volume in self.volumes.missing(digest)]
        return f"on a disk that is not here: {' or '.join(names)}" if names else ""

    def exists(self, digest: str) -> bool:
        """Whether there is a blob that can be opened; opening, unlike stat, makes a network file system ask its server.

        Raises:
            Unreadable: it is there but cannot be opened.
        """
        path = self.path(digest)
        try:
            with open_steady(path, lease=False):
                return True
        except Unreadable:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    raise                               # else somebody's link or pipe, which is no blob
        return bool(self.volumes.attached and self.volumes.look(digest))

    def lies(self, digest: str) -> bool:
        """Whether a blob lies anywhere: in its place, in a trash, or, when last seen, on a disk that is not here."""
        if any(os.path.lexists(place.path) for place in self.places(digest)) or any(
                digest in self.volumes.last_seen(volume) for volume in self.volumes.away):
            return True
        epochs = [f"{volume.path}/trash" for volume in self.volumes.here if not volume.refers]
        return any(os.path.lexists(f"{trash}/{epoch}/{digest}") for trash in epochs for epoch in listdir(trash))

    def ensure(self, digest: str) -> bool:
        """As `exists`, but first brings the blob back if a collector has just put it into the trash.

        Call it for every reused blob after the ref that names it is durable.
        """
        return self.exists(digest) or self.revive(digest)

    def revive(self, digest: str) -> bool:
        """Bring a blob back from the trash, replacing nothing; False when it is not there either, or is another
        person's, who brings it back with their next command."""
        for volume in self.volumes.here:
            target, trash = volume.blob(digest), f"{volume.path}/trash"
            inside = Inside(trash)                      # a link in the trash leads to no trash
            for epoch in sorted(listdir(trash), reverse=True) if not volume.refers else ():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError, Failed):
                    if kernel.rename_new(inside.at(f"{trash}/{epoch}/{digest}"), target):
                        kernel.sync_folder(os.path.dirname(target))
                        if self.volumes.attached:
                            self.volumes.look(digest)
                        return True
        return self.exists(digest)

    def add(self, source: str | os.PathLike[str], *, sha256: bool = False, known: Hashes | None = None,
            expect: Fingerprint | None = None, link: bool = True, copy: bool = True) -> Added:
        """Take a file into the store; it stays where it is.

        By a hard link where we own it and the file system allows (it is read-only then, under both names), else a
        reflink, else a copy. It is hashed in the same pass, under a lease where the kernel grants one. A file on a
        disk that has a volume becomes a blob of that volume.

        Args:
            source: absolute; a symbolic link is followed.
            sha256: learn the SHA-256 too.
            known: its hashes, if the index remembers them for `expect`; then it is not read again.
            expect: the fingerprint that the file must have.
            link: False never shares the inode (for small files that people edit): reflink or copy.
            copy: False refuses where neither link works.

        Raises:
            Busy: somebody has it open for writing.
            Unreadable: it cannot be read, or changed meanwhile.
            Failed: no space, or it can be neither linked nor (if not allowed) copied.
        """
        request = adding.Request(os.fspath(source), sha256, known, expect, link, copy)
        home = self.volumes.near(os.path.realpath(request.source)) if self.volumes.attached else None
        with self._working() as staging:                # held for a volume too: it keeps collectors away
            if home is None or home == self.volumes.main:
                added = adding.add(request, staging, self._publisher())
            elif home.refers:
                added = references.add(request, home)
            else:
                with self.volumes.staging(home).working() as beside:
                    added = adding.add(request, beside, self._publisher(home))
        if home is not None:
            self.volumes.look(added.digest)
        self._learn(added)
        return added

    def add_bytes(self, data: bytes, *, sha256: bool = False) -> Added:
        """Make these bytes a blob."""
        return self.add_many([data], sha256=sha256)[0]

    def add_many(self, items: Sequence[bytes], *, sha256: bool = False) -> list[Added]:
        """As `add_bytes`, with one pass of flushing for all."""
        with self._working() as staging:
            outcomes = adding.add_bytes(items, sha256, staging, self._publisher())
        for added in outcomes:
            self._learn(added)
        return outcomes

    def take(self, path: str, hashes: Hashes) -> Added:
        """Make a file of ours, which lies in the store's own folder and nobody else uses, the blob; the path is gone
        then.

        Args:
            path: absolute, on the disk of the store's own folder.
            hashes: of exactly its bytes, computed from the file by the caller.

        Raises:
            OSError: it is still where it was.
        """
        with self._working():
            new = self._publisher().publish(path, hashes.blake3, 0o444)
            if not new:
                kernel.unlink(path)
        self.learn(hashes.blake3, bytes=hashes.bytes, sha256=hashes.sha256, gitsha1=hashes.gitsha1,
                   blocks=hashes.blocks)
        return Added(hashes.blake3, hashes.bytes, hashes.sha256, hashes.gitsha1, "taken" if new else "known",
                     kernel.fingerprint(self._main(hashes.blake3)))

    def check(self, digest: str, *, sha256: bool = False, blocks: bool = False,
              progress: Callable[[int], None] | None = None, at: str = "") -> tuple[Hashes, Fingerprint]:
        """Hash a blob now; `at`: which copy, absolute, if there are several.

        Raises:
            NotFound: it is not there.
            Corrupt: it is not what its name says; it is in quarantine from now on.
            Unreadable: it cannot be read.
        """
        path = at or self.path(digest)
        if not os.path.lexists(path):
            raise NotFound(f"the blob {digest[:12]} is missing from the store", "run: helixstore verify", path)
        with open_steady(path, lease=False) as file:
            before = kernel.fingerprint(file.descriptor)
            hashes = hash_open(file, before.bytes, sha256=sha256, blocks=blocks, progress=progress)
            fingerprint = kernel.fingerprint(file.descriptor)
        if not fingerprint.same_content(before, ours=True):     # links come and go, and move ctime
            raise Unreadable(f"the blob {digest[:12]} was written to while it was read", "run: helixstore verify", path)
        if hashes.blake3 != digest:
            damaged = _damaged_blocks(self.meta(digest).blocks, hashes.blocks)
            with contextlib.suppress(StoreError):       # read only: then it is only told
                self._quarantine.mark(digest, "its bytes have another digest", found=hashes.blake3,
                                      bytes=hashes.bytes, blocks=damaged)
            raise Corrupt(f"the blob {digest[:12]} is damaged: its bytes have another digest",
                          "helixstore verify --repair", path)
        return hashes, fingerprint

    def damaged(self) -> set[str]:
        """The digests of all that are in quarantine: nothing is made from them."""
        return self._quarantine.all()

    def discard(self, digest: str, place: Place) -> None:
        """Put a damaged copy aside, into the trash of its disk, when another is whole; it is in quarantine no more."""
        if place.volume.refers:
            kernel.unlink(place.volume.blob(digest))    # the file is the person's, and is not what it was
            self._quarantine.lift(digest)
        else:
            self._publisher(place.volume).discard(digest)
        self.volumes.look(digest)

    def digests(self) -> Iterator[str]:
        """The digests of all blobs that are here, each once, in no order."""
        yield from digests_below(self._blobs)
        for digest, places in self.volumes.far.items():
            if any(place.holds for place in places) and not os.path.lexists(self._main(digest)):
                yield digest

    def meta(self, digest: str) -> Meta:
        """What is written down about a blob; a damaged file counts as none, since all of it can be learnt again."""
        record: dict[str, Any] = {}
        uid: int | None = None
        try:
            record, status = records.read_record(self._meta_path(digest))
            uid = status.st_uid
        except (HelixError, FileNotFoundError):
            pass
        aliases = {kind: value for kind, pattern in _HEX.items()
                   if isinstance(value := record.get(kind), str) and pattern.fullmatch(value)}
        return Meta(_size(record, self.path(digest)), aliases.get("sha256"), aliases.get("gitsha1"),
                    aliases.get("xet"), _blocks(record.get("blocks")), uid)

    def learn(self, digest: str, *, bytes: int | None = None, sha256: str | None = None, gitsha1: str | None = None,
              xet: str | None = None, blocks: Sequence[str] | None = None) -> bool:
        """Write down what we have computed of a blob's bytes ourselves; never what somebody else claims.

        Returns:
            False when the file is another person's: then the index has to remember it.
        """
        path = self._meta_path(digest)
        record: dict[str, Any] = {}
        try:
            record, status = records.read_record(path)
            if status.st_uid != self._uid and os.name == "posix":
                return False
        except (HelixError, FileNotFoundError):
            pass
        news = {"bytes": bytes, "sha256": sha256, "gitsha1": gitsha1, "xet": xet,
                "blocks": list(blocks) if blocks is not None else None}
        told = {key: value for key, value in news.items() if value is not None}
        if any(record.get(key) != value for key, value in told.items()):
            merged = {"schema": records.SCHEMA, **record, **told}
            with self._working() as staging:
                kernel.replace_file(path, records.canonical(merged), 0o444, durable=False, temporary_folder=staging)
        return True

    def settle(self, digests: Iterable[str]) -> None:
        """Make durable what is written down about these blobs: whoever reads a ref of theirs finds it."""
        paths = [path for path in map(self._meta_path, digests) if os.path.exists(path)]
        kernel.sync_all([*paths, *dict.fromkeys(map(os.path.dirname, paths))])

    def forget(self, digest: str) -> None:
        """Remove what is written down about a blob that is gone."""
        with contextlib.suppress(FileNotFoundError):
            kernel.unlink(self._meta_path(digest))

    def _learn(self, added: Added) -> None:
        self.learn(added.digest, bytes=added.bytes, sha256=added.sha256, gitsha1=added.gitsha1)

    def _publisher(self, volume: Volume | None = None) -> adding.Publisher:
        root, path = (self._root, self._main) if volume is None else (volume.path, volume.blob)
        return adding.Publisher(root, self._uid, path, lambda digest: self.check(digest, at=path(digest)),
                                self._quarantine, self._sharing)

    def _meta_path(self, digest: str) -> str:
        return f"{self._root}/meta/{records.check_digest(digest)[:2]}/{digest}.json"


def _size(record: dict[str, Any], blob: str) -> int:
    try:
        return os.stat(blob).st_size
    except OSError:
        size = record.get("bytes")
        return size if isinstance(size, int) and size >= 0 else 0


def _blocks(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, list) and all(isinstance(item, str) and _BLOCK.fullmatch(item) for item in value):
        return tuple(value)
    return None


def _damaged_blocks(expected: Sequence[str] | None, found: Sequence[str] | None) -> list[int]:
    """Numbers of the 16 MiB blocks that differ; [] when that is not known."""
    if expected is None or found is None:
        return []
    longer = max(len(expected), len(found))
    return [number for number in range(longer) if expected[number:number + 1] != found[number:number + 1]]
