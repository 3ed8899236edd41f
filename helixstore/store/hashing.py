"""One pass over a file: its BLAKE3, and whatever else is asked for, while nobody writes it.

The file is read, never mapped: a mapped file that somebody truncates ends the process. A reader thread fills a few
buffers while the caller's thread hashes the one before; SHA-256, SHA-1 and a copy run in threads of their own beside
it, since hashlib, blake3 and the system calls all let other threads run.

Measured on 2 cores with a 4 GiB page-cached file, whole processes in turn with `b3sum`: reading and hashing in turn
takes 1.7 times its time, overlapped in ordinary buffers of 1 to 4 MiB 1.0 to 1.5 (as the page cache holds the file in
small or large folios, which only mapping profits from). Two buffers of 2 MiB in huge pages need the least processor
time of all that were tried, 1.11 s against `b3sum`'s 1.15 s and 1.37 s in ordinary pages; 8 MiB falls out of the
cache. XXH3 of each block costs a third more (2.0 s against 1.5 s), so `blocks` are learnt by the first verify.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import NamedTuple

from blake3 import blake3

from helixstore.errors import Busy, Unreadable
from helixstore.fs import kernel, locks
from helixstore.fs.kernel import Fingerprint
from helixstore.fs.locks import Lease, LeaseWatch

__all__ = [
    "BLOCK", "GIT_LIMIT", "Hashes", "OpenFile", "blake3_hex", "hash_bytes", "hash_file", "hash_open", "open_steady",
]

#: bytes of one entry of `blocks`
BLOCK = 16 << 20
#: bytes below which the git-SHA-1 is computed unasked: the hub names files by it that are not LFS
GIT_LIMIT = 16 << 20
_BUFFER = 2 << 20
_BUFFERS = 2
#: more threads do not help: one thread reading is the limit then
_THREADS = min(os.cpu_count() or 1, 8)

Sink = Callable[[memoryview], object]


class Hashes(NamedTuple):
    """What one pass over a file has told. Digests in lower-case hex, None when not asked for.

    `blocks`: XXH3-128 of each 16 MiB. `xet`: never from this pass; see `store.xet`.
    """

    blake3: str
    bytes: int
    sha256: str | None = None
    gitsha1: str | None = None
    blocks: tuple[str, ...] | None = None
    xet: str | None = None


class OpenFile(NamedTuple):
    """A regular file open for reading, with the lease that is held while it is."""

    path: str
    descriptor: int
    lease: LeaseWatch

    def check(self, before: Fingerprint) -> Fingerprint:
        """The fingerprint now.

        Raises:
            Busy: a writer is waiting.
            Unreadable: the file changed since `before`. Without a lease a moved ctime counts as a change.
        """
        now = kernel.fingerprint(self.descriptor)
        if self.lease.broken():
            raise _busy(self.path)
        if not now.same_content(before, ours=self.lease.state is Lease.GRANTED):
            raise _changed(self.path)
        return now


def blake3_hex(data: bytes) -> str:
    """The digest that names a blob of these bytes."""
    return blake3(data).hexdigest()


def hash_bytes(data: bytes, *, sha256: bool = False) -> Hashes:
    """The hashes of bytes in memory, with git's SHA-1 as for a small file."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return Hashes(blake3(data).hexdigest(), len(data), hashlib.sha256(data).hexdigest() if sha256 else None, git)


def hash_file(path: str | os.PathLike[str], *, sha256: bool = False, gitsha1: bool | None = None,
              blocks: bool = False, progress: Callable[[int], None] | None = None,
              lease: bool = True) -> tuple[Hashes, Fingerprint]:
    """Hash a regular file in one pass, and make sure that it did not change meanwhile.

    Args:
        path: absolute; a symbolic link is followed.
        sha256: compute it too, in a thread of its own; the pass then takes as long as SHA-256 does.
        gitsha1: compute git's blob SHA-1 too; by default for files under `GIT_LIMIT`.
        blocks: compute XXH3-128 of each 16 MiB too.
        progress: called with the bytes done since the last call.
        lease: ask the kernel whether somebody writes the file; off for blobs, which nobody may, and which are never
            links: one that somebody planted under a blob's name is not followed.

    Returns:
        The hashes, and the fingerprint of what was hashed.

    Raises:
        Busy: somebody has the file open for writing, or wants to.
        Unreadable: missing, not a regular file, no permission, a read error, or changed while it was read.
    """
    with open_steady(path, lease=lease) as file:
        before = kernel.fingerprint(file.descriptor)
        hashes = hash_open(file, before.bytes, sha256=sha256, gitsha1=gitsha1, blocks=blocks, progress=progress)
        return hashes, file.check(before)


@contextlib.contextmanager
def open_steady(path: str | os.PathLike[str], lease: bool = True) -> Iterator[OpenFile]:
    """Open a regular file for reading; while the block runs, a writer has to wait if the kernel gives us a lease.

    Without `lease` it is a file of the store's, and a symbolic link in its place is refused.

    Raises:
        Busy: somebody has it open for writing.
        Unreadable: it cannot be opened, or is no regular file.
    """
    name = os.fspath(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)     # a pipe must not stop us
    try:
        descriptor = os.open(name, flags if lease else flags | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise _busy(name) from error
        if error.errno == errno.ELOOP and not lease:
            raise Unreadable(f"{name} is a link, which no file of a store is", "find out who put it there",
                             name) from error
        raise _unreadable(name, error) from error
    try:
        if not kernel.fingerprint(descriptor).regular:
            raise Unreadable(f"{name} is not a regular file", path=name)
        if not lease:
            yield OpenFile(name, descriptor, LeaseWatch(descriptor, Lease.UNKNOWN))
            return
        with locks.read_lease(descriptor) as watch:
            if watch.state is Lease.BUSY:
                raise _busy(name)
            yield OpenFile(name, descriptor, watch)
    finally:
        os.close(descriptor)


def hash_open(file: OpenFile, size: int, *, sha256: bool = False, gitsha1: bool | None = None, blocks: bool = False,
              into: int | None = None, progress: Callable[[int], None] | None = None) -> Hashes:
    """Hash an open file from its start; the caller compares fingerprints around it.

    Args:
        file: positioned at its start.
        size: what its length should be, in bytes.
        into: a descriptor to which all bytes are written in the same pass.

    Raises:
        Busy: a writer is waiting.
        Unreadable: a read error, or another length.
    """
    main = blake3(max_threads=_THREADS if size > _BUFFER else 1)
    sha = hashlib.sha256(usedforsecurity=False) if sha256 else None
    git = None
    if gitsha1 or (gitsha1 is None and size < GIT_LIMIT):
        git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    block = _Blocks() if blocks else None
    sinks: list[Sink] = [main.update]
    sinks.extend(hasher.update for hasher in (sha, git, block) if hasher is not None)
    if into is not None:
        sinks.append(lambda part: _write_all(into, part))
    done = 0
    for count in _pump(file, sinks, size):
        done += count
        if progress is not None:
            progress(count)
        if file.lease.broken():
            raise _busy(file.path)
        if done > size:
            break
    if done != size:
        raise _changed(file.path)
    return Hashes(main.hexdigest(), size, sha.hexdigest() if sha else None, git.hexdigest() if git else None,
                  block.finish() if block else None)


def _pump(file: OpenFile, sinks: Sequence[Sink], size: int) -> Iterator[int]:
    """Feed every chunk to every sink; yields the bytes of each chunk once all sinks have it."""
    if size <= _BUFFER:
        buffer = bytearray(size + 1)                     # one more, to see whether it grew
        while count := _read_into(file, buffer):
            part = memoryview(buffer)[:count]
            for sink in sinks:
                sink(part)
            yield count
        return
    reader = _Reader(file)
    workers = [_Worker(sink) for sink in sinks[1:]]
    try:
        for part in reader.chunks():
            for worker in workers:
                worker.give(part)
            sinks[0](part)
            for worker in workers:
                worker.wait()
            yield len(part)
    finally:
        for worker in workers:
            worker.close()
        reader.close()


def _buffer() -> memoryview:
    """Memory of our own for one chunk, in a huge page where the system gives one."""
    memory = mmap.mmap(-1, _BUFFER)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):               # a hint only
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def _read_into(file: OpenFile, buffer: bytearray | memoryview) -> int:
    try:
        if hasattr(os, "readv"):
            return os.readv(file.descriptor, [buffer])
        data = os.read(file.descriptor, len(buffer))
    except OSError as error:
        raise _unreadable(file.path, error) from error
    buffer[: len(data)] = data
    return len(data)


class _Reader:
    """A thread that reads ahead into a few buffers, used in turn."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | BaseException] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(_buffer())
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):           # a hint only
                os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while (buffer := self._free.get()) is not None:
                count = _read_into(self._file, buffer)
                self._full.put((buffer, count))
                if not count:
                    return
        except BaseException as error:                   # noqa: BLE001  raised again in the caller's thread
            self._full.put(error)

    def chunks(self) -> Iterator[memoryview]:
        """Each chunk; it may be used until the next is asked for."""
        while True:
            item = self._full.get()
            if isinstance(item, BaseException):
                raise item
            buffer, count = item
            if not count:
                return
            yield buffer[:count]
            self._free.put(buffer)

    def close(self) -> None:
        """Stop reading; the descriptor is not used afterwards."""
        self._free.put(None)
        self._thread.join()


class _Worker:
    """A thread that feeds one sink, one chunk at a time."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._todo: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hash beside", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (part := self._todo.get()) is not None:
            try:
                self._sink(part)
                self._done.put(None)
            except BaseException as error:               # noqa: BLE001  raised again in the caller's thread
                self._done.put(error)

    def give(self, part: memoryview) -> None:
        """Start on a chunk."""
        self._todo.put(part)

    def wait(self) -> None:
        """Until the chunk is done; raises what the sink raised."""
        error = self._done.get()
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread."""
        self._todo.put(None)
        self._thread.join()


class _Blocks:
    """XXH3-128 of each `BLOCK` bytes; chunks may end anywhere."""

    def __init__(self) -> None:
        import xxhash

        self._new = xxhash.xxh3_128
        self._current = self._new()
        self._room = BLOCK
        self._finished: list[str] = []

    def update(self, part: memoryview) -> None:
        while part:
            piece, part = part[: self._room], part[self._room:]
            self._current.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._finished.append(self._current.hexdigest())
                self._current, self._room = self._new(), BLOCK

    def finish(self) -> tuple[str, ...]:
        if self._room < BLOCK:
            self._finished.append(self._current.hexdigest())
        return tuple(self._finished)


def _write_all(descriptor: int, part: memoryview) -> None:
    while part:
        part = part[os.write(descriptor, part):]


def _busy(path: str) -> Busy:
    return Busy(f"{path} is open for writing in another program", "close it there, then try again", path)


def _changed(path: str) -> Unreadable:
    return Unreadable(f"{path} changed while it was read", "try again when nothing writes it", path)


def _unreadable(path: str, error: OSError) -> Unreadable:
    return Unreadable(f"{path} cannot be read: {error.strerror or error}", path=path)
