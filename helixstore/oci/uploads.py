"""A blob on its way to a registry: not at all where it is there or can be taken from beside, else in parts.

Distribution specification 1.1, "Pushing blobs": POST opens an upload, PATCH adds a part, GET asks how far it is, PUT
ends it with the digest that the registry proves. An upload's address is remembered by the caller after each part, and
another run goes on with it.

Docker's own registry (distribution 2.8, read and tried) throws an upload away when a connection is cut inside a part:
its address holds the size as it was before. That blob then begins anew, the finished ones stay. Those that do not take
parts at all (404, 405, 416, 501 to a part) are sent the whole in one request; those that take only small ones (413)
are sent smaller ones.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from helixstore.errors import Failed, NotFound
from helixstore.oci.answers import Cut, Refused
from helixstore.oci.reference import Reference
from helixstore.oci.wire import Wire

__all__ = ["Job", "Pushed", "push", "push_small", "scopes"]

_PART = 64 << 20                # bytes
_LEAST = 1 << 20
_FINISHING = 3600.0             # seconds that a registry may take to prove a large blob
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_NO_PARTS = frozenset({400, 405, 416, 501})


class Pushed(NamedTuple):
    """How a blob came to be there.

    Attributes:
        how: "there" already, "mounted" from another repository, or "sent".
        sent: bytes over the network.
    """

    how: str
    sent: int


@dataclass(slots=True)
class Job:
    """One blob to be sent.

    Attributes:
        path: the file with its bytes.
        sha256, bytes: of it.
        remember: is told the address with which another run can go on; "" when it is done.
        progress: is told bytes as they are accepted.
        sent: bytes so far.
    """

    path: str
    sha256: str
    bytes: int
    remember: Callable[[str], None]
    progress: Callable[[int], None]
    sent: int = 0


def scopes(reference: Reference, mounts: Sequence[str] = ()) -> frozenset[str]:
    """What a token has to be good for in order to push."""
    return frozenset({f"repository:{reference.repository}:pull,push", *(f"repository:{one}:pull" for one in mounts)})


def push(wire: Wire, reference: Reference, job: Job, mounts: Sequence[str], session: str,
         has: Callable[[], bool]) -> Pushed:
    """Make sure that a repository has a blob.

    Args:
        wire: to it.
        reference: the repository.
        job: the blob.
        mounts: other repositories of the same registry that may have it.
        session: an upload's address, as `job.remember` was told it in an earlier run; "" for none.
        has: whether the repository has it; raises where it has other bytes in its place. It is asked again after all
            has been sent or taken from beside, since a registry may keep those.

    Raises:
        Failed: it is refused, or does not get through.
    """
    if has():
        job.progress(job.bytes)
        job.remember("")
        return Pushed("there", 0)
    pushed = _brought(_Upload(wire, reference, job, has), mounts, session)
    has()
    return pushed


def _brought(upload: _Upload, mounts: Sequence[str], session: str) -> Pushed:
    if not session or not upload.resume(session):
        for source in mounts:
            if upload.mounted(source):
                return Pushed("mounted", 0)
    return upload.run()


def push_small(wire: Wire, reference: Reference, data: bytes, sha256: str) -> None:
    """Send bytes in memory, in one request."""
    def one() -> None:
        wanted = scopes(reference)
        response = wire.once("POST", wire.address("blobs/uploads/"), frozenset({202}), scopes=wanted,
                             headers={"Content-Length": "0"})
        location = wire.joined(response.headers.get("Location", ""), wire.address(""))
        response.drain_conn()
        wire.once("PUT", _ended(location, sha256), frozenset({201, 204}), body=data, scopes=wanted,
                  headers={"Content-Type": "application/octet-stream"}).drain_conn()

    wire.trying(one)


class _Upload:
    """An upload that is under way."""

    def __init__(self, wire: Wire, reference: Reference, job: Job, has: Callable[[], bool]) -> None:
        self._wire, self._reference, self._job, self._has = wire, reference, job, has
        self._scopes = scopes(reference)
        self._location = ""
        self._offset = 0
        self._told = 0                                  # bytes of progress that were told
        self._part, self._whole = _PART, False

    def mounted(self, source: str) -> bool:
        """Whether the registry took the blob from another repository; if not, it may have opened an upload."""
        if source == self._reference.repository:
            return False
        wanted = scopes(self._reference, (source,))
        address = self._wire.address(f"blobs/uploads/?mount=sha256:{self._job.sha256}&from={quote(source, safe='')}")
        try:
            response = self._wire.ask("POST", address, frozenset({201, 202}), scopes=wanted,
                                      headers={"Content-Length": "0"})
        except Failed:                                  # not our repository, or no such thing as mounting
            return False
        if response.status == 202:
            self._at(response.headers.get("Location", ""), 0)
        else:
            self._tell(self._job.bytes)
        response.drain_conn()
        return response.status == 201

    def resume(self, session: str) -> bool:
        """Go on with an upload of an earlier run, if the registry still has it."""
        base = urlsplit(self._wire.address(""))
        if urlsplit(session)[:2] != base[:2]:
            return False
        self._location = session
        return self._ask()

    def run(self) -> Pushed:
        """Send what is missing, and end the upload."""
        failed, before = 0, -1
        while True:
            try:
                if not self._location:
                    self._begin()
                while self._offset < self._job.bytes and not self._whole:
                    self._send_part()
                self._end()
            except Cut as cut:
                failed = 1 if self._offset > before else failed + 1
                before = self._offset
                self._wire.pause(cut, failed)
                if self._location and self._ask():
                    continue
                if self._has():                  # it ended well, and nobody told us
                    self._tell(self._job.bytes)
                    break
                self._forget()
            else:
                break
        self._job.remember("")
        return Pushed("sent", self._job.sent)

    def _begin(self) -> None:
        response = self._wire.once("POST", self._wire.address("blobs/uploads/"), frozenset({202}), scopes=self._scopes,
                                   headers={"Content-Length": "0"})
        self._at(response.headers.get("Location", ""), 0)
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        if least.isdecimal() and len(least) < 12:
            self._part = max(self._part, int(least))
        response.drain_conn()

    def _send_part(self) -> None:
        start = self._offset
        end = min(start + self._part, self._job.bytes)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - start),
                   "Content-Range": f"{start}-{end - 1}"}
        try:
            response = self._wire.once("PATCH", self._location, frozenset({202, 201, 204}), headers=headers,
                                       body=lambda: self._open(start, end), scopes=self._scopes)
        except NotFound:                                # the registry has forgotten the upload
            self._forget()
            raise Cut(f"{self._wire.host} has lost an upload", "run the command again") from None
        except Refused as error:
            self._refused(error)
            return
        self._job.sent += end - start
        reached = _RANGE.fullmatch(response.headers.get("Range", ""))
        self._at(response.headers.get("Location", ""), int(reached[1]) + 1 if reached and start < int(reached[1]) < end
                 else end)
        response.drain_conn()

    def _refused(self, error: Refused) -> None:
        """A part that is too large is tried smaller, a registry that takes none is sent the whole."""
        if error.status == 413 and self._part > _LEAST:
            self._part = max(_LEAST, self._part // 8)
            if not self._ask():
                self._forget()
                raise Cut(str(error), error.remedy) from None
        elif error.status == 416 and self._differs():
            return
        elif error.status in _NO_PARTS and not self._whole:
            self._forget()
            self._whole = True
            raise Cut(str(error), error.remedy) from None
        else:
            raise error

    def _differs(self) -> bool:
        """Whether the registry has another part of the blob than we thought; then we go on from there."""
        before = self._offset
        return self._ask() and self._offset != before

    def _end(self) -> None:
        """The last request; with `_whole` it carries everything."""
        start = self._offset if self._whole else self._job.bytes
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(self._job.bytes - start)}
        try:
            response = self._wire.once(
                "PUT", _ended(self._location, self._job.sha256), frozenset({201, 204}), headers=headers,
                body=(lambda: self._open(start, self._job.bytes)) if start < self._job.bytes else b"",
                scopes=self._scopes, silence=_FINISHING)
        except NotFound:
            self._forget()
            raise Cut(f"{self._wire.host} has lost an upload", "run the command again") from None
        except Refused as error:
            if "DIGEST_INVALID" in str(error):
                raise Failed(f"{self._job.path} has other bytes than its digest says", "helixstore verify",
                             self._job.path) from None
            raise
        response.drain_conn()
        self._job.sent += self._job.bytes - start
        self._tell(self._job.bytes)

    def _ask(self) -> bool:
        """How far the upload is; False where the registry does not have it any more."""
        try:
            response = self._wire.ask("GET", self._location, frozenset({204, 202, 200}), scopes=self._scopes)
        except (NotFound, Refused):
            return False
        reached = _RANGE.fullmatch(response.headers.get("Range", ""))
        # "0-0" is what an upload without a byte says too: then one byte is not worth the doubt
        offset = int(reached[1]) + 1 if reached and int(reached[1]) else 0
        self._at(response.headers.get("Location") or self._location, min(offset, self._job.bytes))
        response.drain_conn()
        return True

    def _at(self, location: str, offset: int) -> None:
        if not location:
            raise Cut(f"{self._wire.host} does not say where an upload goes on", "tell those who run the registry")
        self._location = self._wire.joined(location, self._location or self._wire.address(""))
        self._offset = offset
        self._job.remember(self._location)              # before anybody is told: they may stop us
        self._tell(offset)

    def _forget(self) -> None:
        self._location, self._offset = "", 0
        self._job.remember("")

    def _tell(self, offset: int) -> None:
        if offset > self._told:
            self._job.progress(offset - self._told)
            self._told = offset

    def _open(self, start: int, end: int) -> io.RawIOBase:
        return _Section(self._job.path, start, end)


class _Section(io.RawIOBase):
    """A part of a file, to be read once."""

    def __init__(self, path: str, start: int, end: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with this
        self._file.seek(start)
        self._left = end - start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)[:self._left]  # type: ignore[arg-type]
        count = self._file.readinto(view) or 0
        if not count and self._left:
            raise Failed(f"{self._file.name} is shorter than it was", "helixstore verify", os.fspath(self._file.name))
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _ended(location: str, sha256: str) -> str:
    return f"{location}{'&' if urlsplit(location).query else '?'}digest=sha256:{sha256}"
