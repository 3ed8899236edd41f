"""Fetching the bytes: several connections, each file in stretches that need not come in order, everything resumed.

Small files come into memory and enter the store together. A large one grows in a `Partial`, and is hashed as far as it
is whole while the rest is still coming; once its digest is proven, its file becomes the blob. A file that cannot be had
does not stop the others, and what has come of it stays for the next time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial as bound
from typing import Protocol

from helixstore.download.crew import Crew
from helixstore.download.growing import Growing
from helixstore.download.partial import PIECE, Partial
from helixstore.download.patience import Patience
from helixstore.download.stream import NoRanges, stream
from helixstore.errors import Corrupt, Failed, HelixError, advice
from helixstore.hub.remote import RemoteFile
from helixstore.store.hashing import Hashes, hash_bytes

__all__ = ["Fetched", "Shelf", "fetch"]

_SMALL = 4 << 20                # bytes up to which a file is fetched into memory
_STRETCH = 32                   # pieces that one request asks for
_BATCH = 64 << 20               # bytes of small files held before they enter the store
_FILES = 1000                   # so many at most
_TELL = 0.1                     # seconds between two times that a connection tells what came
_POLL = 0.3                     # seconds until another process is asked again whether it is done


class Shelf(Protocol):
    """Where what was fetched goes: the store, as fetching sees it. Called from several threads."""

    def held(self, file: RemoteFile) -> str | None:
        """The blob that has a file's digest; None where there is none."""
        ...

    def keep(self, digests: Collection[str]) -> None:
        """Keep these blobs, durably, for this download."""
        ...

    def partial(self, file: RemoteFile) -> Partial:
        """The file in which it grows.

        Raises:
            BlockingIOError: another process downloads it now.
            OSError: it cannot be made.
        """
        ...

    def take(self, path: str, hashes: Hashes) -> str:
        """Make a whole file the blob. Returns its digest."""
        ...

    def take_bytes(self, items: Sequence[bytes]) -> list[str]:
        """Make blobs of these bytes, with one pass of flushing for all."""
        ...


@dataclass
class Fetched:
    """What became of the files.

    Attributes:
        blobs: digest in the listing -> blob.
        bytes: that came over the network.
        failed: path in the listing -> why it did not come.
    """

    blobs: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    failed: dict[str, HelixError] = field(default_factory=dict)


def fetch(files: Sequence[RemoteFile], shelf: Shelf, *, connections: int = 8,
          progress: Callable[[int], None] = lambda count: None, arrived: Mapping[str, int] | None = None) -> Fetched:
    """Fetch files, each content once.

    Args:
        files: each with a digest.
        shelf: where they go.
        connections: at once.
        progress: called with the bytes that are there since the last call, one call at a time; negative where what
            had come was worth nothing.
        arrived: digest in the listing -> bytes that an earlier try has left, which `progress` is not told of again.
    """
    crew, every = Crew(connections), list({file.digest: file for file in files}.values())
    small = [file for file in every if file.bytes <= _SMALL]
    job = _Job(shelf, crew, progress, arrived or {}, len(small))
    crew.add(bound(job.small, file) for file in small)
    crew.add(bound(job.large, file) for file in every if file.bytes > _SMALL)
    try:
        crew.run()
    finally:
        job.close()
    job.flush()
    return job.result


class _Job:
    """One call of `fetch`."""

    def __init__(self, shelf: Shelf, crew: Crew, progress: Callable[[int], None], arrived: Mapping[str, int],
                 awaited: int) -> None:
        self.shelf, self.crew, self.result, self.patience = shelf, crew, Fetched(), Patience()
        self._progress, self._arrived = progress, arrived
        self._guard = threading.Lock()
        self._small: list[tuple[RemoteFile, bytes]] = []
        self._held = 0                                  # bytes of them
        self._awaited = awaited                         # how many have not been asked for yet, or are on their way
        self._open: list[Partial] = []

    def close(self) -> None:
        """Let go of what was left open when all was stopped: this process may go on with it."""
        with self._guard:
            for partial in self._open:
                partial.close()

    def small(self, file: RemoteFile) -> None:
        """Fetch a file into memory; the last of them brings those that wait into the store, while large ones come."""
        data = self._proven(file)
        with self._guard:
            self._awaited -= 1
            if data is not None and not self.crew.stopped.is_set():
                self._small.append((file, data))
                self._held += len(data)
            full = self._held > _BATCH or len(self._small) >= _FILES or not self._awaited
        if full:
            self.flush()

    def _proven(self, file: RemoteFile) -> bytes | None:
        """The bytes of a small file; what is not what the listing says is asked for once more. None: it failed."""
        try:
            data = self._read(file)
            if not _is(hash_bytes(data, sha256=True), file):
                self.told(-len(data))
                file.address.wrong()
                data = self._read(file)
                if not _is(hash_bytes(data, sha256=True), file):
                    raise wrong(file)
        except NoRanges:
            self.fail(file, Failed(f"{file.address.name} came only in part, and its server sends no ranges",
                                   "try again"))
        except HelixError as error:
            self.fail(file, error)
        else:
            return data
        return None

    def _read(self, file: RemoteFile) -> bytes:
        data = bytearray()
        for _, part in stream(file.address, 0, file.bytes, self.crew.stopped, self.patience):
            data += part
            self.told(len(part), arrived=True)
        return bytes(data)

    def flush(self) -> None:
        """Bring the small files that have come into the store."""
        with self._guard:
            batch, self._small, self._held = self._small, [], 0
        if not batch:
            return
        try:
            blobs = self.shelf.take_bytes([data for _, data in batch])
        except HelixError as error:
            for file, _ in batch:
                self.fail(file, error)
            return
        for (file, _), blob in zip(batch, blobs, strict=True):
            self.came(file, blob)

    def large(self, file: RemoteFile) -> None:
        """Go on with a large file, unless it has come meanwhile, or another process is at it."""
        try:
            partial = self.shelf.partial(file)
        except BlockingIOError:
            self.crew.stopped.wait(_POLL)
            self.crew.add([bound(self.large, file)])
            return
        except OSError as error:
            self.fail(file, error if isinstance(error, HelixError) else Failed(
                f"{file.path} cannot be downloaded: {error.strerror}", advice(error), error.filename))
            return
        with self._guard:
            self._open.append(partial)
        try:
            blob = self.shelf.held(file)                # another process may just have brought it
            if blob is not None:
                self.shelf.keep({blob})
        except HelixError as error:
            partial.close()
            self.fail(file, error)
            return
        if blob is not None:
            partial.remove()
            partial.close()
            self.told(self.new(file, file.bytes))
            self.came(file, blob)
        else:
            _Large(self, file, partial).begin()

    def told(self, count: int, arrived: bool = False) -> None:
        """So many bytes more are there; `arrived`: over the network."""
        with self._guard:
            self.result.bytes += count if arrived else 0
            self._progress(count)

    def new(self, file: RemoteFile, count: int) -> int:
        """Of so many bytes that are here of a file, those that nobody was told of; negative where some are gone."""
        return count - self._arrived.get(file.digest, 0)

    def came(self, file: RemoteFile, blob: str) -> None:
        """A file is in the store."""
        with self._guard:
            self.result.blobs[file.digest] = blob

    def fail(self, file: RemoteFile, error: HelixError) -> None:
        """A file could not be had."""
        with self._guard:
            self.result.failed[file.path] = error


class _Large:
    """One large file on its way. Its partial is closed when the last task that works on it is done."""

    def __init__(self, job: _Job, file: RemoteFile, partial: Partial) -> None:
        self._job, self._file, self._partial = job, file, partial
        self._hashing = Growing(partial, git=file.sha256 is None, lost=self._lost)
        self._guard = threading.Lock()
        self._tasks = 0
        self._over = False              # whole, or given up
        self._ranges = True
        self._anew = False
        self._losses = 0                # pieces

    def begin(self) -> None:
        """Ask for all that is missing; what is there is compared and hashed meanwhile."""
        self._job.told(self._job.new(self._file, self._partial.arrived_bytes))
        pieces = self._partial.missing()
        self._add([bound(self._stretch, first, last) for first, last in _stretches(pieces)] + [self._hash])

    def _add(self, tasks: Sequence[Callable[[], None]]) -> None:
        with self._guard:
            self._tasks += len(tasks)
        self._job.crew.add([bound(self._done, task) for task in tasks], first=True)

    def _done(self, task: Callable[[], None]) -> None:
        """Do a task; the last one closes the file."""
        try:
            if not self._over:
                task()
        except HelixError as error:
            self._give_up(error)
        except OSError as error:
            self._give_up(Failed(f"{self._file.path} cannot be written: {error.strerror}", advice(error),
                                 self._partial.path))
        finally:
            with self._guard:
                self._tasks -= 1
                last = not self._tasks
            if last:
                self._partial.close()

    def _give_up(self, error: HelixError) -> None:
        self._over = True
        self._job.fail(self._file, error)

    def _stretch(self, first: int, last: int) -> None:
        """Fetch pieces that follow one another."""
        if not self._ranges:
            return
        try:
            self._receive(first, last)
        except NoRanges:
            with self._guard:
                mine, self._ranges = self._ranges, False
            if mine:
                self._add([self._all])

    def _all(self) -> None:
        """Fetch the whole in one go, from a server that knows nothing else; once more where that was cut."""
        try:
            self._receive(0, self._partial.pieces - 1)
        except NoRanges:
            raise Failed(f"{self._file.address.name}: the connection was cut, and the server cannot go on where it was",
                         "try again") from None

    def _receive(self, first: int, last: int) -> None:
        """Put each piece where it belongs when it is whole, and hash on."""
        partial, end = self._partial, min((last + 1) * PIECE, self._partial.size)
        piece, data, filled, told = first, memoryview(bytearray(PIECE)), 0, _Told(self._job)
        job = self._job
        for _, part in stream(self._file.address, first * PIECE, end, job.crew.stopped, job.patience):
            while part and not self._over:
                room = partial.length(piece) - filled
                now, part = part[:room], part[room:]
                data[filled:filled + len(now)] = now
                filled += len(now)
                told.add(len(now))
                if len(now) == room:
                    if not partial.put(piece, data[:filled]):
                        told.add(-filled)
                    piece, filled = piece + 1, 0
                    if piece % 8 == 0 or piece > last:
                        told.all()
                        self._hash()
            if self._over:
                return

    def _lost(self, first: int, last: int) -> None:
        """Pieces are on the disk otherwise than they came; a disk that loses all of them again is given up."""
        partial = self._partial
        self._losses += last + 1 - first
        if self._losses > 2 * partial.pieces:
            raise Failed(f"what is written to {partial.path} is not what can be read there", "that disk fails, or "
                         "something else writes there: look into the system's log", partial.path)
        self._job.told(-sum(partial.length(piece) for piece in range(first, last + 1)))
        self._add([bound(self._stretch if self._ranges else self._again, first, last)])

    def _again(self, first: int, last: int) -> None:
        self._all()

    def _hash(self) -> None:
        """Hash on; when that was the last piece, prove the whole and hand it over."""
        hashes = self._hashing.advance()
        if hashes is None or self._over:
            return
        if not _is(hashes, self._file):
            self._worthless()
            return
        self._over = True
        with self._partial.becoming():
            blob = self._job.shelf.take(self._partial.path, hashes)
            self._partial.remove()
        self._job.came(self._file, blob)

    def _worthless(self) -> None:
        """What has come has another digest than the listing says: all of it is fetched once more."""
        self._partial.start_anew()
        self._file.address.wrong()
        self._job.told(-self._file.bytes)
        if self._anew:
            self._partial.remove()      # nobody goes on with it
            raise wrong(self._file)
        self._anew = True
        self._hashing.start_anew()
        pieces = self._partial.missing()
        self._add([bound(self._stretch, *ends) for ends in _stretches(pieces)] if self._ranges else [self._all])


class _Told:
    """Counts what comes, and tells of it now and then: threads that all tell of each chunk wait for one another."""

    def __init__(self, job: _Job) -> None:
        self._job, self._count, self._last = job, 0, time.monotonic()

    def add(self, count: int) -> None:
        """So many bytes more."""
        self._count += count
        if time.monotonic() - self._last > _TELL:
            self.all()

    def all(self) -> None:
        """Tell of all."""
        self._job.told(self._count, arrived=True)
        self._count, self._last = 0, time.monotonic()


def wrong(file: RemoteFile) -> HelixError:
    """The error of bytes that are not what the listing says."""
    return Corrupt(f"what comes as {file.address.name} is not what its listing names ({file.digest[:12]}); nothing of "
                   "it was kept", "try again later; if it stays so, tell whoever runs that server")


def _is(hashes: Hashes, file: RemoteFile) -> bool:
    """Whether these are the bytes that the listing names, by every digest that it gives."""
    return (hashes.bytes == file.bytes and bool(file.digest) and file.sha256 in (None, hashes.sha256)
            and (file.sha256 is not None or file.gitsha1 == hashes.gitsha1))


def _stretches(pieces: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of pieces that follow one another, none longer than a request asks for: first and last of each."""
    runs: list[tuple[int, int]] = []
    for piece in pieces:
        if runs and runs[-1][1] == piece - 1 and piece - runs[-1][0] < _STRETCH:
            runs[-1] = runs[-1][0], piece
        else:
            runs.append((piece, piece))
    return runs
