"""Reading blobs in the background, a little at a time, so that rot is found while there still is another copy.

    patrol = Patrol(session)
    patrol.some(seconds=60, stop=event)         again and again; it stops in the middle of a file, and goes on there

First come blobs of others that wait for it (`sync.deferred`), then what was not read for the longest time, and nothing
that was read within `every`: over that time everything comes round once. It reads from the disk itself and not from
memory, where the system can do that, which also leaves in memory what programs have there; it keeps to a rate, goes at
a crawl while the machine is busy, and stands still while somebody on this computer writes to the store. When a blob was
last read stands in the person's state directory; nothing is written into the store but a marker where bytes are wrong,
and block digests where they were not known yet.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from helixstore.errors import HelixError, StoreError
from helixstore.fs import kernel
from helixstore.index import BlobRow
from helixstore.session import Session
from helixstore.store.hashing import BLOCK, Hashes
from helixstore.store.verified import Sample, Verified
from helixstore.sync.deferred import waiting

if TYPE_CHECKING:
    from helixstore.fs.kernel import Fingerprint

__all__ = ["EVERY", "RATE", "Patrol", "Patrolled", "row_of", "under_load", "verified_of"]

#: seconds within which everything is read once
EVERY = 30 * 86_400.0
#: bytes per second
RATE = 20 << 20
_CHUNK = 1 << 20                # bytes read at once; a multiple of what O_DIRECT asks for
_LOOK = 1.0                     # seconds between two looks at whether the machine is busy
_AGAIN = 3600.0                 # seconds until what is due is looked for again after nothing was
_PRESSURE = 20.0                # per cent of the last ten seconds in which somebody waited for the disk


@dataclass(slots=True)
class Patrolled:
    """What one call did.

    Attributes:
        bytes: read.
        checked: digests of blobs that were read to the end and are right.
        bad: digests of those that are not; they are in quarantine, and withdrawn from the programs.
        skipped: digest -> why it could not be read.
        paused: seconds in which it stood back for others.
        due_in: seconds until there is something to read again; 0 while there is.
    """

    bytes: int = 0
    checked: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    paused: float = 0.0
    due_in: float = 0.0


def verified_of(session: Session) -> Verified:
    """When this person last read each blob."""
    return Verified(os.path.join(session.places.state_for(session.store.id), "verified"))


def row_of(digest: str, hashes: Hashes, mark: Fingerprint) -> BlobRow:
    """What a full reading tells the index."""
    return BlobRow(digest, hashes.bytes, hashes.sha256, hashes.gitsha1, mark.inode, mark.mtime_ns, mark.ctime_ns)


def under_load() -> bool:
    """Whether others wait for the processors or the disk: by the load average, and where Linux tells it by its pressure
    stall information [kernel Documentation/accounting/psi.rst]."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/pressure/io", encoding="ascii") as file:
        if float(file.readline().split("avg10=")[1].split()[0]) > _PRESSURE:
            return True
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    return False


class Patrol:
    """One round after another over the blobs of one store; keeps its place between calls.

    Args:
        session: whose store; used from the calling thread only while `some` runs.
        bytes_per_second: at most.
        every: seconds within which nothing is read again.
        busy: whether to stand back now.
    """

    def __init__(self, session: Session, *, bytes_per_second: float = RATE, every: float = EVERY,
                 busy: Callable[[], bool] = under_load) -> None:
        self._session, self._rate, self._every, self._busy = session, bytes_per_second, every, busy
        self._queue: deque[str] = deque()
        self._tried: set[str] = set()
        self._reading: _Reading | None = None
        self._idle_until = 0.0

    def some(self, seconds: float, stop: threading.Event | None = None) -> Patrolled:
        """Read for a while.

        Args:
            seconds: return after so long, in the middle of a file too.
            stop: set by another thread to end at once.
        """
        report, stop = Patrolled(), stop or threading.Event()
        began = time.monotonic()
        looked = began - _LOOK
        while not stop.is_set() and (now := time.monotonic()) - began < seconds:
            if now - looked >= _LOOK:
                writing = self._somebody_writes()
                if writing or self._busy():
                    stop.wait(min(_LOOK, seconds - (now - began)))
                    report.paused += time.monotonic() - now
                    if writing or time.monotonic() - began >= seconds or stop.is_set():
                        continue                        # while it is only busy, one chunk for each look
                else:
                    looked = now
            if self._reading is None and not self._next(report):
                report.due_in = max(self._idle_until - now, 0.0)
                break
            count = self._step(report)
            report.bytes += count
            stop.wait(max(report.bytes / self._rate - (time.monotonic() - began - report.paused), 0.0))
        return report

    def close(self) -> None:
        """Let go of the file that is being read."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _somebody_writes(self) -> bool:
        """Whether another process or thread here is at work in the store; of another computer it is never certain."""
        store = self._session.store
        return any(name.startswith(f"{store.host.id}-") for name in store.staging.others())

    def _next(self, report: Patrolled) -> bool:
        """Begin with the next blob; False when none is due."""
        while True:
            first = next((one for one in waiting(self._session) if one not in self._tried), None)
            if first is None and not self._queue and not self._fill():
                return False
            digest = self._queue.popleft() if first is None else first
            self._tried.update((first,) if first is not None else ())
            path = self._session.store.blobs.path(digest)
            try:
                self._reading = _Reading(digest, path)
            except FileNotFoundError:
                continue                                # collected meanwhile
            except OSError as error:
                report.skipped[digest] = error.strerror or str(error)
                continue
            return True

    def _fill(self) -> bool:
        """Look for what is due, now and then."""
        now = time.monotonic()
        if now < self._idle_until:
            return False
        session, since = self._session, time.time() - self._every
        self._tried.clear()                             # what could not be read is tried again
        session.store.volumes.refresh()
        read = verified_of(session).times()
        due = dict.fromkeys((d for d in session.store.blobs.digests() if read.get(d, 0.0) < since), 0)
        self._queue.extend(Sample(count=len(due)).choose(due, read) if due else ())
        self._idle_until = now + _AGAIN                 # also after a round of what cannot be read
        return bool(self._queue)

    def _step(self, report: Patrolled) -> int:
        """Read one chunk; at the end of the file, say what came of it."""
        reading = self._reading
        assert reading is not None
        try:
            if count := reading.step():
                return count
            hashes, mark = reading.end()
        except OSError as error:
            self.close()
            if error.errno == errno.EIO:
                self._damaged(reading.digest, report, "its disk cannot read it")
            else:
                report.skipped[reading.digest] = error.strerror or str(error)
            return 0
        self.close()
        if mark is None:
            report.skipped[reading.digest] = "it was changed while it was read"
        elif hashes.blake3 == reading.digest:
            self._right(hashes, mark, report)
            if mark.uid != self._session.store.host.uid:
                self._session.index.remember([(reading.path, reading.before, hashes)])
                self._session.index.flush()
        else:
            self._damaged(reading.digest, report, "its bytes have another digest", hashes)
        return 0

    def _right(self, hashes: Hashes, mark: Fingerprint, report: Patrolled) -> None:
        session, digest = self._session, hashes.blake3
        session.index.put_blobs([row_of(digest, hashes, mark)])
        verified_of(session).note(digest, time.time())
        if mark.uid == session.store.host.uid and session.store.blobs.meta(digest).blocks is None:
            with contextlib.suppress(StoreError):       # read only: then the next verify learns them again
                session.store.blobs.learn(digest, bytes=hashes.bytes, blocks=hashes.blocks)
        report.checked.append(digest)
        if digest in session.store.quarantine and not session.store.read_only and session.store.quarantine.lift(digest):
            self._carry_on(digest, report)

    def _damaged(self, digest: str, report: Patrolled, why: str, hashes: Hashes | None = None) -> None:
        """Into quarantine, and out of the programs' folders."""
        report.bad.append(digest)
        verified_of(self._session).note(digest, time.time())
        with contextlib.suppress(StoreError):           # read only: it is told, and that is all
            facts = {} if hashes is None else {"found": hashes.blake3, "bytes": hashes.bytes}
            self._session.store.quarantine.mark(digest, why, **facts)
            self._carry_on(digest, report)

    def _carry_on(self, digest: str, report: Patrolled) -> None:
        """The programs' folders follow."""
        from helixstore.sync.change import change
        from helixstore.sync.wanted import Change

        try:
            change(self._session, Change("verify", scan=False))
        except HelixError as error:                     # the next sync does it
            report.skipped[digest] = f"the programs' folders were not brought up to date: {error.message}"


class _Reading:
    """One blob while it is read; it can be left and taken up again at any chunk.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, digest: str, path: str) -> None:
        import xxhash
        from blake3 import blake3

        self.digest, self.path = digest, path
        self._blake3, self._new = blake3(), xxhash.xxh3_128
        self._block, self._blocks, self._offset = self._new(), list[str](), 0
        self._memory = memoryview(mmap.mmap(-1, _CHUNK))            # aligned, as O_DIRECT asks for
        self._direct: int = getattr(os, "O_DIRECT", 0)
        self._descriptor = self._open()
        self.before = kernel.fingerprint(self._descriptor)

    def _open(self) -> int:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            return os.open(self.path, flags | self._direct)
        except OSError as error:
            if not self._direct or error.errno != errno.EINVAL:
                raise
            self._direct = 0                                        # a file system without it
            return os.open(self.path, flags)

    def step(self) -> int:
        """Read and hash one chunk; the bytes that were read, 0 at the end."""
        count = self._read()
        part = self._memory[:count]
        self._blake3.update(part)
        self._block.update(part)
        self._offset += count
        if count and self._offset % BLOCK == 0:
            self._blocks.append(self._block.hexdigest())
            self._block = self._new()
        return count

    def _read(self) -> int:
        if not hasattr(os, "readv"):
            data = os.read(self._descriptor, min(_CHUNK, self.before.bytes - self._offset))
            self._memory[:len(data)] = data
            return len(data)
        filled = 0
        wanted = min(_CHUNK, self.before.bytes - self._offset)
        while filled < wanted:                                      # a short read must not end a block in the middle
            try:
                count = os.readv(self._descriptor, [self._memory[filled:]])
            except OSError as error:
                if not self._direct or error.errno != errno.EINVAL:
                    raise
                self._direct = 0                                    # it was taken at opening, but not meant
                os.close(self._descriptor)
                self._descriptor = self._open()
                os.lseek(self._descriptor, self._offset + filled, os.SEEK_SET)
                continue
            if not count:
                break
            filled += count
        return filled

    def end(self) -> tuple[Hashes, Fingerprint | None]:
        """The hashes, and the fingerprint unless it changed meanwhile."""
        if self._offset % BLOCK:
            self._blocks.append(self._block.hexdigest())
        now = kernel.fingerprint(self._descriptor)
        same = now.same_content(self.before, ours=True) and now.bytes == self._offset
        return Hashes(self._blake3.hexdigest(), self._offset, blocks=tuple(self._blocks)), now if same else None

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
