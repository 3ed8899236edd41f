"""Files where models are published, read by ranges, so that a repair fetches only what is bad.

Addresses, tokens, offline mode, and the session with its proxies are huggingface_hub's own (`hf_hub_url`,
`build_hf_headers`, `get_session`, `get_hf_file_metadata`, `hf_raise_for_status`; the same in 0.36 with requests and in
1.0 to 2.4 with httpx). The ranges are plain HTTP (RFC 9110, 14.2): the hub sends large files on to a storage that
answers 206 for them too, where they are kept in Xet as well. Registries of containers' kind, Ollama's among them, give
a blob by its SHA-256 (OCI distribution specification 1.1, "Pulling blobs"), ranges too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from helixstore.errors import Failed, HelixError
from helixstore.hub.telling import first_line

__all__ = ["HubFile", "WebFile", "client", "get"]

_SECONDS = 30.0                 # without an answer, or without a byte
_TRIES = 3                      # of one range
_CHUNK = 1 << 20
_MOVED = frozenset({301, 302, 303, 307, 308})
_REDIRECTS = 10
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
            Failed: there is not, or it cannot be asked; the reason is the client's own.
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
        with _told(), get(self.address, wanted) as (response, chunks):
            return _body(response, chunks, offset, length)

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
        from huggingface_hub import hf_hub_url

        return (hf_hub_url(self._repository, path, revision=self._revision, endpoint=self._endpoint),
                f"{self._repository}@{self._revision[:12]}: {path}")

    def _compare(self, size: int, sha256: str | None) -> None:
        from huggingface_hub import get_hf_file_metadata

        try:
            with _told():
                there = get_hf_file_metadata(self.address, headers=self._headers(), timeout=_SECONDS)
        except Failed:
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
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        with _told():
            for item in HfApi(endpoint=self._endpoint).list_repo_tree(self._repository, revision=self._revision,
                                                                      recursive=True):
                if isinstance(item, RepoFile) and item.lfs is not None and item.lfs.sha256 == sha256:
                    self.address, self._name = self._place(item.path)
                    return True
        return False

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = client().build_hf_headers(library_name="helixstore")
        return headers


def client() -> Any:
    """What the client builds on, in every version under this name."""
    from huggingface_hub import utils

    return utils


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
def get(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """An answer whose body is not read yet, and its body in chunks.

    Redirects are followed here, since clients differ: a login stays with the server that it is for, and an encrypted
    way leads on to encrypted ones only. What a redirect or a refusal says beside its headers is not read: it may have
    no end.

    Raises:
        Failed: a redirect leads where it should not.
    """
    session = client().get_session()
    with contextlib.ExitStack() as stack:
        for _ in range(_REDIRECTS):
            response, chunks = stack.enter_context(_answer(session, url, headers))
            location = response.headers.get("Location")
            if response.status_code not in _MOVED or not location:
                if response.status_code >= 400:
                    response.close()
                yield response, chunks
                return
            response.close()
            url, headers = _onward(url, urljoin(url, location), headers)
        raise Failed(f"{urlsplit(url).hostname} sends one round in circles", "tell those who run that server")


@contextlib.contextmanager
def _answer(session: Any, url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    if callable(getattr(session, "stream", None)):      # httpx, since 1.0; of requests it is a setting
        with session.stream("GET", url, headers=headers, timeout=_SECONDS, follow_redirects=False) as response:
            yield response, response.iter_raw()      # as it comes: joining it costs more than the rest
    else:
        with session.get(url, headers=headers, timeout=_SECONDS, stream=True, allow_redirects=False) as response:
            yield response, response.iter_content(_CHUNK)


def _onward(here: str, there: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Where a redirect leads, and what is sent there."""
    one, other = urlsplit(here), urlsplit(there)
    if other.scheme != "https" and (other.scheme, one.scheme) != ("http", "http"):
        raise Failed(f"{one.hostname} sends one on to {other.scheme}://{other.hostname or ''}, which is not followed",
                     "tell those who run that server: what it redirects to must be encrypted, as it is itself")
    if one[:2] == other[:2]:
        return there, headers
    return there, {name: value for name, value in headers.items() if name.lower() != "authorization"}


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Whatever the client raises, whose kinds differ from version to version, as our own error with its words."""
    try:
        yield
    except HelixError:
        raise
    except Exception as error:
        raise Failed(first_line(error)) from error
