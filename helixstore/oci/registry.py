"""One repository of a registry: its manifests, its blobs, and what is pushed to it.

Distribution specification 1.1. Whoever calls has the digests: what a blob's bytes hash to is compared by them, since
they hash while they write (`BlobStream.check`), so that nothing is read twice.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote

from helixstore.errors import Failed, NotFound
from helixstore.oci import uploads
from helixstore.oci.access import Access
from helixstore.oci.answers import Cut, Refused
from helixstore.oci.manifest import ACCEPTED, LARGEST_MANIFEST, Descriptor, Index, Manifest, read_manifest
from helixstore.oci.reference import Reference, is_tag
from helixstore.oci.uploads import Pushed
from helixstore.oci.wire import Wire

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["SMALL", "BlobStream", "Registry"]

#: bytes of a blob that is read as a whole: configurations, templates, licences
SMALL = 8 << 20
_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_MOST_TAGS = 10_000             # that are read of one repository
_PREFERRED = ("application/vnd.cncf.model.manifest.v1+json",)


class Registry:
    """A repository.

    Args:
        reference: which, and which artifact of it.
        access: how it is reached.
    """

    def __init__(self, reference: Reference, access: Access) -> None:
        self.reference = reference
        self._wire = Wire(reference, access)
        self._pull = frozenset({f"repository:{reference.repository}:pull"})

    @property
    def logged_in(self) -> bool:
        """Whether the registry was shown who the person is: not everybody may see then what it answered."""
        return self._wire.logged_in

    def tagged(self, tag: str) -> Registry:
        """The same repository over the same connections, at another tag."""
        other = copy.copy(self)
        other.reference = replace(self.reference, tag=tag, digest=None)
        return other

    # ---- pull --------------------------------------------------------------------------------------------------------

    def manifest(self, digest: str | None = None) -> Manifest | Index:
        """The manifest that the reference names, or the one of that digest, proven by it.

        Args:
            digest: 64 hex digits.

        Raises:
            NotFound: there is none.
            Failed: it cannot be had, or is not to be believed.
        """
        expected = digest or self.reference.digest
        wanted = f"sha256:{expected}" if expected else self.reference.wanted
        name = f"{self.reference.host}/{self.reference.repository}{'@' if expected else ':'}{wanted}"

        def one() -> tuple[bytes, str, str]:
            response = self._wire.once("GET", self._wire.address(f"manifests/{wanted}"), frozenset({200}),
                                       headers={"Accept": ", ".join(ACCEPTED)}, scopes=self._pull)
            return (self._wire.text(response, LARGEST_MANIFEST), response.headers.get("Content-Type", ""),
                    response.headers.get("Docker-Content-Digest", ""))

        try:
            raw, content_type, told = self._wire.trying(one)
        except NotFound as error:
            raise NotFound(f"{name} is not there", "see whether registry, name and tag are right") from error
        found = hashlib.sha256(raw).hexdigest()
        said = expected or (told.removeprefix("sha256:") if told.startswith("sha256:") else None)
        if said and found != said.lower():
            raise Failed(f"{name} is not what its digest says: {found[:12]} instead of {said[:12]}",
                         "try again; if it stays so, the registry or something before it is damaged or hostile")
        return read_manifest(raw, content_type, name)

    def model(self) -> Manifest:
        """The manifest of the model; from an index the one that is a model's.

        Raises:
            NotFound, Failed: as for `manifest`; or an index holds no model, or several.
        """
        found = self.manifest()
        if isinstance(found, Manifest):
            return found
        models = [one for one in found.manifests if one.artifact_type in _PREFERRED] or list(found.manifests)
        if len(models) != 1:
            raise Failed(f"{self.reference} holds {len(found.manifests)} artifacts, and none of them alone is a model",
                         f"name one of them by its digest: oci://{self.reference.host}/{self.reference.repository}"
                         "@sha256:...")
        inner = self.manifest(models[0].sha256)
        if isinstance(inner, Index):
            raise Failed(f"{self.reference} is an index of indexes", "ask those who pushed it to push it again")
        return inner

    def tags(self) -> list[str]:
        """Every tag of the repository (distribution specification, "Listing Tags"), in the registry's order.

        Raises:
            NotFound: there is no such repository.
            Failed: the registry cannot be asked, or what it says is no list of tags.
        """
        found: dict[str, None] = {}
        more, last = True, ""
        while more and len(found) < _MOST_TAGS:
            raw, more = self._wire.trying(partial(self._some_tags, last))
            try:
                page = json.loads(raw)["tags"] or []
                fresh = [tag for tag in page if is_tag(tag) and tag not in found]
            except (ValueError, TypeError, KeyError, RecursionError):
                raise Failed(f"what {self.reference.host} sends as the tags of {self.reference.repository} is no list "
                             "of them", "see whether it is a registry") from None
            found |= dict.fromkeys(fresh)
            last = fresh[-1] if fresh else ""
            more = more and bool(fresh)
        return list(found)

    def _some_tags(self, after: str) -> tuple[bytes, bool]:
        """A page of them, and whether there are more."""
        address = self._wire.address(f"tags/list?last={quote(after)}" if after else "tags/list")
        response = self._wire.once("GET", address, frozenset({200}), scopes=self._pull)
        return self._wire.text(response, LARGEST_MANIFEST), 'rel="next"' in response.headers.get("Link", "")

    def size(self, sha256: str) -> int | None:
        """Bytes of a blob, 0 where that is not told; None where the repository has none of that digest."""
        try:
            return self._told("HEAD", sha256) or 0
        except NotFound:
            return None

    def has(self, sha256: str, size: int) -> bool:
        """Whether the repository has a blob, in its size.

        HEAD need not tell the size (distribution specification 1.1, "Checking if content exists in the registry"), and
        what stands before a registry may tell another one: then an answer with the bytes decides.

        Args:
            sha256: 64 hex digits.
            size: of what has that digest, in bytes.

        Raises:
            Failed: it has other bytes under that digest. To send it again would mend nothing in Docker's registry,
                which keeps what is there (distribution, registry/storage/blobwriter.go, `moveBlob`).
        """
        try:
            told = self._told("HEAD", sha256)
            if told != size:
                told = self._told("GET", sha256)
        except NotFound:
            return False
        if told in (None, size):
            return True
        raise Failed(f"blob {sha256[:12]} in {self.reference.host}/{self.reference.repository} is damaged: it has "
                     f"{told:,} bytes instead of {size:,}",
                     "those who run the registry must remove that blob from its storage; then run the command again")

    def _told(self, method: str, sha256: str) -> int | None:
        """Bytes of a blob as the answer to HEAD, or to GET of its first byte, tells them; None where it does not.

        Raises:
            NotFound: the repository has none of that digest.
        """
        head = method == "HEAD"
        try:
            response = self._wire.ask(method, self._wire.address(f"blobs/sha256:{sha256}"),
                                      frozenset({200} if head else {200, 206, 416}), scopes=self._pull,
                                      headers={} if head else {"Range": "bytes=0-0"})
        except Refused as error:
            if not head or error.status not in (405, 501):
                raise
            return self._told("GET", sha256)            # it does not know HEAD
        response.release_conn() if head else response.close()
        if response.status == 200:
            told = response.headers.get("Content-Length", "")
        else:
            told = response.headers.get("Content-Range", "").rpartition("/")[2]
        return int(told) if told.isdecimal() and len(told) < 16 else None

    def small(self, blob: Descriptor) -> bytes:
        """A small blob as a whole, proven by its digest.

        Raises:
            NotFound, Failed: it cannot be had, is too large, or is not what its digest says.
        """
        if blob.bytes > SMALL:
            raise Failed(f"the {blob.media_type} of {self.reference} has {blob.bytes:,} bytes instead of few",
                         "ask those who pushed it to push it again")
        with self.blob(blob.sha256, blob.bytes) as stream:
            data = b"".join(stream)
            stream.check(hashlib.sha256(data).hexdigest())
        return data

    def blob(self, sha256: str, size: int, offset: int = 0) -> BlobStream:
        """A blob's bytes from an offset on, as they come; a cut connection is gone on with where it was cut.

        Args:
            sha256: 64 hex digits.
            size: in bytes, of the whole blob, as its manifest says.
            offset: bytes that are here already.
        """
        return BlobStream(self._wire, self._pull, str(self.reference), sha256, size, offset)

    @contextlib.contextmanager
    def part(self, sha256: str, size: int, offset: int, length: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """A part of a blob as it comes, over one connection, in one try: whoever calls has several going at once.

        Args:
            sha256: 64 hex digits.
            size: in bytes, of the whole blob, as its manifest says.
            offset, length: in bytes.

        Returns:
            Where what comes begins (0 where the registry does not know ranges), and the bytes.

        Raises:
            NotFound: the registry has not got it.
            Cut: it may work when it is tried again; the bytes raise it too.
            Failed: it will not.
        """
        headers = {} if length == size else {"Range": f"bytes={offset}-{offset + length - 1}"}
        response = self._wire.once("GET", self._wire.address(f"blobs/sha256:{sha256}"), frozenset({200, 206, 416}),
                                   headers=headers, scopes=self._pull)
        try:
            begins = _begins(response, str(self.reference), size)
            if begins not in (0, offset):
                raise Failed(f"{self.reference}: the registry sent another range than the one that was wanted",
                             "tell those who run the registry")
            yield begins, _blocks(response, str(self.reference))
        finally:
            response.close()

    def range(self, sha256: str, offset: int, length: int) -> bytes:
        """A part of a blob, and no more over the network.

        Args:
            sha256: 64 hex digits.
            offset, length: in bytes.

        Raises:
            NotFound: the registry has not got it.
            Failed: it cannot be had, or the registry does not know ranges.
        """
        def one() -> bytes:
            response = self._wire.once(
                "GET", self._wire.address(f"blobs/sha256:{sha256}"), frozenset({200, 206}), scopes=self._pull,
                headers={"Range": f"bytes={offset}-{offset + length - 1}"})
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status != 206 or found is None or int(found[1]) != offset:
                response.close()
                raise Failed(f"{self.reference.host} does not send ranges of blobs", "tell those who run the registry")
            return self._wire.text(response, length)

        return self._wire.trying(one) if length else b""

    # ---- push --------------------------------------------------------------------------------------------------------

    def push_blob(self, path: str, sha256: str, size: int, *, mounts: Sequence[str] = (), session: str = "",
                  remember: Callable[[str], None] | None = None,
                  progress: Callable[[int], None] | None = None) -> Pushed:
        """Make sure that the repository has a blob; see `uploads.push`."""
        job = uploads.Job(path, sha256, size, remember or (lambda _: None), progress or (lambda _: None))
        return uploads.push(self._wire, self.reference, job, mounts, session, lambda: self.has(sha256, size))

    def push_small(self, data: bytes, sha256: str) -> Pushed:
        """The same for bytes in memory."""
        if self.has(sha256, len(data)):
            return Pushed("there", 0)
        uploads.push_small(self._wire, self.reference, data, sha256)
        return Pushed("sent", len(data))

    def push_manifest(self, raw: bytes, media_type: str) -> str:
        """Give the manifest its tag, last of all: from then on others find the model.

        Returns:
            Its SHA-256, 64 hex digits.

        Raises:
            Failed: it is refused.
        """
        digest = hashlib.sha256(raw).hexdigest()
        response = self._wire.ask(
            "PUT", self._wire.address(f"manifests/{self.reference.tag or f'sha256:{digest}'}"), frozenset({200, 201}),
            headers={"Content-Type": media_type}, body=raw, scopes=uploads.scopes(self.reference))
        told = response.headers.get("Docker-Content-Digest", "")
        response.drain_conn()
        if told.startswith("sha256:") and told != f"sha256:{digest}":
            raise Failed(f"{self.reference} became another manifest than the one that was pushed",
                         "tell those who run the registry; something before it changes what passes")
        return digest


class BlobStream:
    """The bytes of a blob, in blocks; closed at the end of a `with`.

    Attributes:
        offset: where the next block begins.
        received: bytes that came over the network, those that had to be thrown away included.
        ranges: False once the registry ignored that only the rest was wanted; what was here already came again then.
    """

    def __init__(self, wire: Wire, scopes: frozenset[str], name: str, sha256: str, size: int, offset: int) -> None:
        self._wire, self._scopes, self._name, self._sha256, self._size = wire, scopes, name, sha256, size
        self.offset, self.received, self.ranges = offset, 0, True
        self._response: BaseHTTPResponse | None = None
        self._skip = 0

    def __enter__(self) -> BlobStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._drop()

    def __iter__(self) -> Iterator[bytes]:
        """Blocks until the end.

        Raises:
            NotFound: the registry has not got it.
            Failed: it does not come, or has another size.
        """
        failed = 0
        while self.offset < self._size:
            try:
                block = self._block()
            except Cut as cut:
                self._drop()
                failed += 1
                self._wire.pause(cut, failed)
                continue
            failed = 0
            self.offset += len(block)
            yield block

    def check(self, sha256: str) -> None:
        """Compare what came with what was wanted.

        Args:
            sha256: of all bytes, those that were here already included; 64 hex digits.

        Raises:
            Failed: it is something else.
        """
        if sha256 != self._sha256:
            raise Failed(f"a blob of {self._name} is not what its digest says: {sha256[:12]} instead of "
                         f"{self._sha256[:12]}", "run the command again: it is fetched anew; if it stays so, the "
                         "registry or something before it is damaged or hostile")

    def _block(self) -> bytes:
        from urllib3.exceptions import HTTPError

        while True:
            response = self._response or self._open()
            try:
                block = response.read(_BLOCK)
            except (HTTPError, OSError) as error:
                raise Cut(f"{self._name} broke off after {self.offset:,} of {self._size:,} bytes",
                          "run the command again: it goes on from there") from error
            if not block:
                raise Cut(f"{self._name} ended after {self.offset:,} of {self._size:,} bytes",
                          "run the command again: it goes on from there")
            self.received += len(block)
            skipped = min(self._skip, len(block))
            self._skip -= skipped
            block = block[skipped:]
            if len(block) > self._size - self.offset:
                raise Failed(f"a blob of {self._name} is longer than the {self._size:,} bytes that its manifest says",
                             "the registry or something before it is damaged or hostile")
            if block:
                return block

    def _open(self) -> BaseHTTPResponse:
        """Ask for the rest; a registry that sends all of it is noticed, and the part that is here left out."""
        headers = {"Range": f"bytes={self.offset}-"} if self.offset else {}
        response = self._wire.once("GET", self._wire.address(f"blobs/sha256:{self._sha256}"),
                                   frozenset({200, 206, 416}), headers=headers, scopes=self._scopes)
        self._response = response
        begins = _begins(response, self._name, self._size)
        if begins not in (0, self.offset) or (response.status == 206 and begins != self.offset):
            raise Failed(f"{self._name}: the registry sent another range than the one that was wanted",
                         "tell those who run the registry")
        self._skip, self.ranges = self.offset - begins, self.ranges and begins == self.offset
        return response

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _begins(response: BaseHTTPResponse, name: str, size: int) -> int:
    """Where the bytes of an answer begin in the blob; 0 where it is the whole.

    Args:
        response: to a request for a blob or a range of it, with status 200, 206 or 416.
        name: for messages.
        size: of the blob, in bytes, as its manifest says.

    Raises:
        Failed: it is no answer to that.
    """
    told, total, begins = response.headers.get("Content-Length", ""), None, 0
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None:
            raise Failed(f"{name}: the registry sent another range than the one that was wanted",
                         "tell those who run the registry")
        begins, total = int(found[1]), int(found[3]) if found[3] != "*" else None
    elif response.status == 200:
        total = int(told) if told.isdecimal() else None
    if response.status == 416 or total not in (None, size):
        has = "fewer" if total is None else f"{total:,}"
        raise Failed(f"a blob of {name} has {has} bytes instead of the {size:,} that its manifest says",
                     "the registry or something before it is damaged or hostile")
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise Failed(f"{name} comes compressed, which was not asked for", "tell those who run the registry")
    return begins


def _blocks(response: BaseHTTPResponse, name: str) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    while True:
        try:
            block = response.read(_BLOCK)
        except (HTTPError, OSError) as error:
            raise Cut(f"{name} broke off", "run the command again: it goes on from there") from error
        if not block:
            return
        yield block
