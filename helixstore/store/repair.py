"""Mending a damaged blob from whatever still has its bytes: only the ranges that are bad, each proven, then the whole.

The blob's `blocks` (XXH3-128 of each 16 MiB) tell which ranges are bad and prove each one that is taken from elsewhere,
so that several donors, none of them whole, can give one file together. Where they are not known, or are themselves
wrong, one donor must have all of it. BLAKE3 of the finished file decides, read back from its disk.

    ranges -> a new file in staging -> BLAKE3 -> flushed -> the damaged inode gets a name in the trash -> replaced

Hard links to the damaged inode elsewhere are the farm's to mend: `sync.healing`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from helixstore.errors import Failed, HelixError, StoreError
from helixstore.store import records
from helixstore.store.donors import Donor, Donors, open_itself, read_range
from helixstore.store.draft import Draft
from helixstore.store.hashing import BLOCK, Hashes, hash_file
from helixstore.store.store import Store
from helixstore.store.volumes import Volume

__all__ = ["Mended", "Taken", "mend"]


@dataclass(frozen=True, slots=True)
class Taken:
    """How many bytes came, or would come, from one donor."""

    source: str
    bytes: int
    remote: bool


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of one blob, or with a dry run would.

    Attributes:
        digest: of the blob.
        path: where it lies.
        bytes: its size.
        bad_bytes: in the ranges that were not right; all of them where that cannot be told.
        taken: from where these came.
        kept: where the damaged bytes lie now; "" where there were none.
        why: why it could not be mended; "" when it was.
        remedy: what the person, or somebody else, can do then.
    """

    digest: str
    path: str
    bytes: int
    bad_bytes: int
    taken: tuple[Taken, ...] = ()
    kept: str = ""
    why: str = ""
    remedy: str = ""


def mend(store: Store, digest: str, size: int, donors: Iterable[Donor], *, lists: Sequence[Sequence[str]] = (),
         sha256: str | None = None, dry_run: bool = False,
         progress: Callable[[int], None] | None = None) -> tuple[Mended, Hashes | None]:
    """Bring a blob's bytes back that are damaged or missing.

    Args:
        store: whose blob.
        digest: of the blob.
        size: what its manifests say, in bytes.
        donors: the cheapest first; asked for only as long as something is missing.
        lists: other lists of `blocks` than the store's own, tried after it.
        sha256: its alias, if it is known: what a registry calls it.
        dry_run: read and ask, but take nothing over a network and write nothing.
        progress: called with the bytes taken or read since the last call.

    Returns:
        What became of it, and the hashes of the mended file. That it cannot be mended is no error but is told there.

    Raises:
        OSError: the store itself cannot be read.
    """
    volume, path = _place(store, digest)
    job = _Job(store, digest, size, volume, path, Donors(donors), sha256, dry_run, progress or (lambda _: None))
    try:
        if not dry_run:
            job.may_replace()
        with store.working() if not dry_run else ExitStack():
            return job.run([list(one) for one in (store.blobs.meta(digest).blocks or (), *lists) if one])
    except HelixError as error:
        return job.told(why=error.message, remedy=error.remedy), None
    except OSError as error:
        failure = records.failed(path, error)
        return job.told(why=failure.message, remedy=failure.remedy), None


def _place(store: Store, digest: str) -> tuple[Volume, str]:
    """The volume and path of the copy to mend; of a file that is only referred to, the store's own folder: the file is
    the person's."""
    for place in store.blobs.places(digest):
        if not place.volume.refers and os.path.lexists(place.path):
            return place.volume, place.path
    return store.volumes.main, store.volumes.main.blob(digest)


@dataclass
class _Job:
    """The mending of one blob.

    Attributes:
        bad: bytes of the ranges that are not right, -1 while that is not known.
        remedy: what makes the first one that failed over the network try again; to go before others.
    """

    store: Store
    digest: str
    size: int
    volume: Volume
    path: str
    donors: Donors
    sha256: str | None
    dry_run: bool
    progress: Callable[[int], None]
    bad: int = -1
    taken: dict[str, Taken] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    remedy: str = ""

    def told(self, *, kept: str = "", why: str = "", remedy: str = "") -> Mended:
        """The report."""
        return Mended(self.digest, self.path, self.size, self.size if self.bad < 0 else self.bad, () if why else tuple(
            self.taken.values()), kept, why, remedy)

    def may_replace(self) -> None:
        """Nothing, where the damaged file can be replaced by us.

        Raises:
            StoreError: it cannot, and who can.
        """
        if self.store.read_only:
            raise StoreError(f"the store is read only here: {self.store.read_only_reason}",
                             "ask the owner of the store to run: helixstore verify --repair")
        folder = os.path.dirname(self.path)
        above, uid = os.stat(folder), os.geteuid() if hasattr(os, "geteuid") else 0
        with suppress(FileNotFoundError):
            owner = os.lstat(self.path).st_uid
            if not os.access(self.path, os.R_OK):
                raise StoreError(f"the blob belongs to user {owner}, and you may not read it, damaged or not",
                                 "ask them to run: helixstore verify", self.path)
            if above.st_mode & stat.S_ISVTX and uid not in (0, owner, above.st_uid):
                raise StoreError(f"the blob belongs to user {owner}, and only they or the owner of the store (user "
                                 f"{above.st_uid}) can replace it", "ask one of them to run: helixstore verify "
                                 "--repair", self.path)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StoreError(f"{folder} cannot be written to", "ask the owner of the store to run: helixstore verify "
                             "--repair", folder)

    def run(self, lists: Sequence[Sequence[str]]) -> tuple[Mended, Hashes | None]:
        """By ranges, by each list that fits; else all of it from one donor."""
        known = False                           # a list that fits the damaged file's good blocks is the blob's
        for blocks in lists:
            if len(blocks) != -(-self.size // BLOCK):
                continue
            good = self._good(blocks)           # all of them, where something was only appended
            known = known or bool(good)
            self.bad, self.taken = sum(self._length(n) for n in range(len(blocks)) if n not in good), {}
            done = self._by_ranges(blocks, good)
            if done is not None:
                return done
        if not known:
            self.bad, self.taken = self.size, {}
        return self._whole(remote=not known)

    def _by_ranges(self, blocks: Sequence[str], good: set[int]) -> tuple[Mended, Hashes | None] | None:
        """None where these ranges are nowhere, or the list was wrong."""
        missing = [number for number in range(len(blocks)) if number not in good]
        with self._draft() as draft:
            for donor in self.donors:
                if not missing:
                    break
                missing = list(self._try(donor, missing, blocks, draft))
            if missing:
                return None
            if self.dry_run:
                return self.told(), None
            draft.fill(self.path, sorted(good))
            return self._finish(draft)

    def _try(self, donor: Donor, missing: Sequence[int], blocks: Sequence[str], draft: Draft) -> Iterator[int]:
        """Take from a donor what it has; gives the numbers of the blocks that it has not."""
        import xxhash

        try:
            donor.ask(self.size, self.sha256)
        except (OSError, HelixError) as error:
            self._failed(donor, error)
            yield from missing
            return
        for index, number in enumerate(missing):
            if donor.remote and self.dry_run:
                self._take(donor, number)
                continue
            try:
                data = donor.read(number * BLOCK, self._length(number))
            except (OSError, HelixError) as error:
                self._failed(donor, error)
                if donor.remote:
                    yield from missing[index:]
                    return
                yield number
                continue
            if xxhash.xxh3_128_hexdigest(data) != blocks[number]:
                self.failures.setdefault(donor.name, "it has other bytes")
                if donor.remote:                # it is another file: the next range would be for nothing too
                    yield from missing[index:]
                    return
                yield number
                continue
            if not self.dry_run:
                draft.write(number * BLOCK, data)
            self._take(donor, number)

    def _whole(self, remote: bool) -> tuple[Mended, Hashes | None]:
        """From one donor that has all of it; `remote`: also over a network."""
        for donor in self.donors:
            if donor.remote and not remote:
                continue
            try:
                donor.ask(self.size, self.sha256)
                if not donor.remote and self._digest_of(donor) != self.digest:
                    self.failures.setdefault(donor.name, "it has other bytes")
                    continue
            except (OSError, HelixError) as error:
                self._failed(donor, error)
                continue
            self.taken = {donor.name: Taken(donor.name, self.size, donor.remote)}
            if self.dry_run:
                return self.told(), None
            with self._draft() as draft:
                if self._all_of(donor, draft) and (done := self._finish(draft)) is not None:
                    return done
                self.failures.setdefault(donor.name, "it has other bytes")
        tried = "; ".join(why if why.startswith(name) else f"{name}: {why}"
                          for name, why in self.failures.items())
        return self.told(why=f"nothing that could be found has its bytes{f' ({tried})' if tried else ''}",
                         remedy=f"{self.remedy}name a folder, a file or another store that may have them: "
                                "helixstore verify --repair --from DIR"), None

    def _all_of(self, donor: Donor, draft: Draft) -> bool:
        """Whether a donor gave as many bytes as the blob has."""
        draft.write(0, b"")                             # a file of no bytes is one too
        for offset in range(0, self.size, BLOCK):
            length = min(BLOCK, self.size - offset)
            try:
                data = donor.read(offset, length)
            except (OSError, HelixError) as error:
                self._failed(donor, error)
                return False
            if len(data) != length:
                return False
            draft.write(offset, data)
            self.progress(length)
        return True

    def _draft(self) -> Draft:
        return Draft(self.store, self.volume, self.path, self.size, self.bad)

    def _digest_of(self, donor: Donor) -> str:
        """BLAKE3 of a local file of the right size."""
        if os.stat(donor.name).st_size != self.size:
            return ""
        return hash_file(donor.name, gitsha1=False, progress=self.progress, lease=False)[0].blake3

    def _finish(self, draft: Draft) -> tuple[Mended, Hashes | None] | None:
        """Prove the draft, and let it take the blob's place; None where it is not the blob."""
        hashes = draft.proven(self.progress)
        if hashes.blake3 != self.digest:
            return None
        kept = draft.take_place(self.digest)
        lifted = self.store.quarantine.lift(self.digest)
        if self.store.volumes.attached:
            self.store.volumes.look(self.digest)
        self.store.blobs.learn(self.digest, bytes=hashes.bytes, gitsha1=hashes.gitsha1, blocks=hashes.blocks)
        return self.told(kept=kept, remedy="" if lifted else "it is marked as damaged by somebody else, until they or "
                         "the owner of the store run: helixstore sync"), hashes

    def _good(self, blocks: Sequence[str]) -> set[int]:
        """The numbers of the blocks that the damaged file still has."""
        import xxhash

        good = set[int]()
        with suppress(OSError), open(self.path, "rb", buffering=0, opener=open_itself) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return good
            for number, expected in enumerate(blocks):
                with suppress(OSError):                 # a sector that cannot be read is a bad one
                    data = read_range(file.fileno(), number * BLOCK, self._length(number))
                    self.progress(len(data))
                    if xxhash.xxh3_128_hexdigest(data) == expected:
                        good.add(number)
        return good

    def _take(self, donor: Donor, number: int) -> None:
        length = self._length(number)
        before = self.taken.get(donor.name)
        self.taken[donor.name] = Taken(donor.name, length + (before.bytes if before else 0), donor.remote)
        self.progress(length)

    def _failed(self, donor: Donor, error: Exception) -> None:
        why = getattr(error, "message", "") or getattr(error, "strerror", "") or str(error)
        self.failures.setdefault(donor.name, why)
        if donor.remote and isinstance(error, Failed) and error.remedy and not self.remedy:
            self.remedy = f"{error.remedy}; or "

    def _length(self, number: int) -> int:
        return min(BLOCK, self.size - number * BLOCK)
