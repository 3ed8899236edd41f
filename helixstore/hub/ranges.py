"""Files where models are published, read by ranges, so that a repair fetches only what is bad.

Tokens, offline mode, and the session with its proxies are huggingface_hub's own (`helixstore.hub.wire`), and so is what
it says of a file (`get_hf_file_metadata`, the same in 0.36 to 2.4). The ranges are plain HTTP (RFC 9110, 14.2): the hub
sends large files on to a storage that answers 206 for them too, where they are kept in Xet as well. Registries of
containers' kind, Ollama's among them, give a blob by its SHA-256 (OCI distribution specification 1.1, "Pulling blobs"),
ranges too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from helixstore.errors import Failed, HelixError, NotFound, Passing
from helixstore.hub.listing import file_address, listing
from helixstore.hub.telling import first_line, told
from helixstore.hub.unreachable import unreachable
from helixstore.hub.wire import client, get

__all__ = ["HubFile", "WebFile"]

_SECONDS = 30.0                 # without an answer
_TRIES = 3                      # of one range
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class WebFile:
    """A file at an address that anybody may read.

    Args:
        address: https, or http on this computer.
        name: as people read it.
    """

    remote = True

    def __init__(self, address: str, name: str) -> None:
        self.address, self._name = address, name
        self._asked = False
        self._why: HelixError | None = None

    @property
    def name(self) -> str:
        """As people read it."""
        return self._name

    def ask(self, size: int, sha256: str | None) -> None:
        """One request, the first time: whether there is that file, of that size, and of that digest where it is told.

        Args:
            size: in bytes.
            sha256: hex, or None where it is not known.

        Raises:
            NotFound, Failed: there is not, or it cannot be asked.
        """
        if not self._asked:
            self._asked = True
            try:
                self._compare(size, sha256)
            except HelixError as error:
                self._why = error
        if self._why is not None:
            raise self._why

    def read(self, offset: int, length: int) -> bytes:
        """That range, and not a byte more over the network.

        Args:
            offset, length: in bytes.

        Raises:
            NotFound: there is no such file.
            Failed: after three tries; or the server does not know ranges.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self._range(offset, length)[0]
            except Failed:
                if not left:
                    raise
        raise AssertionError("a range is tried at least once")

    def _compare(self, size: int, sha256: str | None) -> None:
        """See `ask`."""
        total = self._range(0, 1)[1] if size else 0
        if total not in (-1, size):
            raise Failed(f"it has {total:,} bytes there instead of {size:,}")

    def _range(self, offset: int, length: int) -> tuple[bytes, int]:
        """One try; the bytes, and the size of the whole file, -1 where it is not told."""
        wanted = {**self._headers(), "Accept-Encoding": "identity", "Range": f"bytes={offset}-{offset + length - 1}"}
        with self._told(), get(self.address, wanted) as (response, chunks):
            return _body(response, chunks, offset, length)

    def _told(self) -> AbstractContextManager[None]:
        """Whatever the client raises, whose kinds differ from version to version, as our own error."""
        return _cut(self.address)

    def _headers(self) -> dict[str, str]:
        return {}                                       # no token of the hub's goes anywhere else


class HubFile(WebFile):
    """One file in a repository of the hub, at one commit.

    Args:
        repository: `org/name`.
        revision: the commit, or a branch.
        path: in the repository.
        endpoint: the hub's address; None: huggingface_hub's own, which HF_ENDPOINT sets.
    """

    def __init__(self, repository: str, revision: str, path: str, endpoint: str | None = None) -> None:
        self._repository, self._revision, self._endpoint = repository, revision, endpoint
        super().__init__(*self._place(path))

    def _place(self, path: str) -> tuple[str, str]:
        """Address and name of a file of the repository."""
        return (file_address(self._repository, self._revision, path, self._endpoint),
                f"{self._repository}@{self._revision[:12]}: {path}")

    def _compare(self, size: int, sha256: str | None) -> None:
        from huggingface_hub import get_hf_file_metadata

        try:
            with self._told():
                there = get_hf_file_metadata(self.address, headers=self._headers(), timeout=_SECONDS)
        except NotFound:
            if not sha256 or not self._find(sha256):
                raise
            return
        if there.size is not None and there.size != size:
            raise Failed(f"it has {there.size:,} bytes there instead of {size:,}")
        etag = there.etag or ""
        if sha256 and re.fullmatch(r"[0-9a-f]{64}", etag) and etag != sha256:
            raise Failed(f"its SHA-256 is {etag[:12]} there instead of {sha256[:12]}")

    def _find(self, sha256: str) -> bool:
        """Whether another file of the repository is listed with that digest; it is the one then: the store may know
        the content under another name."""
        with self._told():
            there = listing(self._repository, self._revision, self._endpoint)["siblings"]
        for item in there:
            if isinstance(lfs := item.get("lfs"), dict) and lfs.get("sha256") == sha256:
                self.address, self._name = self._place(str(item["rfilename"]))
                return True
        return False

    def _told(self) -> AbstractContextManager[None]:
        return told(self._name)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = client().build_hf_headers(library_name="helixstore")
        return headers


def _body(response: Any, chunks: Iterator[bytes], offset: int, length: int) -> tuple[bytes, int]:
    """The bytes of an answer to a request for a range, and the size of the whole, -1 where it is not told."""
    client().hf_raise_for_status(response)
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or found is None or int(found[1]) != offset:
        raise Failed("the server does not send ranges of files")
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > length:
            raise Failed("the server sent more than it was asked for")
    return bytes(data), int(found[2]) if found[2] != "*" else -1


@contextlib.contextmanager
def _cut(address: str) -> Iterator[None]:
    try:
        yield
    except HelixError:
        raise
    except Exception as error:
        raise Passing(unreachable(address, error) or first_line(error),
                      "see whether the network is right, then try again") from error
