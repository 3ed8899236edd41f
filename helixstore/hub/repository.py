"""A repository of the hub at one commit: its files with sizes and digests, and where their bytes are.

One request tells all of it (`helixstore.hub.listing`). Tokens, sessions with their proxies, HF_ENDPOINT and offline
mode are huggingface_hub's own. The bytes come by plain HTTP with ranges, since its own downloads begin anew in another
process from 1.18 on.

Files above 50 GB come so too. The hub's storage answers 400 to whoever asks for too much at once, and above 50 GB the
client does not even ask (`constants.MAX_HTTP_DOWNLOAD_SIZE`). Ranges of such files it sends: pull request 2991 of the
client says so, and 248 of antirez/ds4 has seen 206 for 64 MiB of a file of 430 GB.

The hub sends every request for a large file on to that storage, by an address that is signed for a while. It is kept,
so that a file of 100 GB costs a few requests at the hub and not three thousand: that is all that it takes from somebody
without a login in five minutes (its documentation, "Hub Rate limits").
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from helixstore.errors import Failed, Passing
from helixstore.fs.names import printable
from helixstore.hub.listing import file_address, listing
from helixstore.hub.remote import RemoteFile
from helixstore.hub.telling import told
from helixstore.hub.unreachable import host_of
from helixstore.hub.wire import client, get

__all__ = ["HubAddress", "Repository", "repository_at"]

_LARGEST = 1 << 46              # bytes of a file
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA1, _SHA256 = _COMMIT, re.compile(r"[0-9a-f]{64}")
_PART = r"(?![-.])[\w.-]{1,96}(?<![-.])"
_NAME = re.compile(rf"(?:{_PART}/)?{_PART}", re.ASCII)      # as the client itself allows (`validate_repo_id`)
_STALE = frozenset({400, 401, 403, 404, 410})       # what a signed address answers when its time is over


@dataclass(frozen=True, slots=True)
class Repository:
    """What the hub says of one commit.

    Attributes:
        name: `org/name` as the hub spells it.
        commit: 40 hex digits.
        files: sorted by path. Names are the hub's, not checked yet.
        gated: people must accept its terms.
        private: not everybody sees it.
    """

    name: str
    commit: str
    files: tuple[RemoteFile, ...]
    gated: bool = False
    private: bool = False


def repository_at(name: str, revision: str | None = None, endpoint: str | None = None) -> Repository:
    """Ask the hub for a repository at a revision.

    Args:
        name: `org/name`.
        revision: a branch, tag or commit; None: the main branch.
        endpoint: the hub's address; None: huggingface_hub's own, which HF_ENDPOINT sets.

    Raises:
        NotFound: there is no such repository or revision, or it is private.
        Passing: the network or the hub does not answer now, or offline mode is on.
        Failed: it is gated, or the answer makes no sense.
    """
    what = f"{name}@{revision}" if revision else name
    with told(what):
        info = listing(name, revision, endpoint)
    commit, called = info.get("sha"), info.get("id") or name
    if not (isinstance(commit, str) and _COMMIT.fullmatch(commit) and isinstance(called, str)
            and _NAME.fullmatch(called)):
        raise Failed(f"{what}: the hub names no commit", "try again later; a mirror may not be complete")
    files: dict[str, RemoteFile] = {}
    for sibling in info["siblings"]:
        file = _listed(sibling, called, commit, endpoint)
        if file is None or file.path in files:
            raise Failed(f"{what}: the hub tells no size or digest of {printable(str(sibling.get('rfilename'))[:200])},"
                         " or none that can be", "a mirror may not be complete: unset HF_ENDPOINT, or download without "
                         "helixstore")
        files[file.path] = file
    return Repository(called, commit, tuple(files[path] for path in sorted(files)), bool(info.get("gated")),
                      bool(info.get("private")))


def _listed(sibling: Mapping[str, Any], repository: str, commit: str, endpoint: str | None) -> RemoteFile | None:
    """One file of a listing; None where what is said of it cannot be."""
    path, size, lfs = sibling.get("rfilename"), sibling.get("size"), sibling.get("lfs")
    digest, wanted = (sibling.get("blobId"), _SHA1) if lfs is None else (
        lfs.get("sha256") if isinstance(lfs, dict) else None, _SHA256)
    if not isinstance(path, str) or type(size) is not int or not 0 <= size <= _LARGEST or not (
            isinstance(digest, str) and wanted.fullmatch(digest.lower())):
        return None
    known = digest.lower()
    return RemoteFile(path, size, None if lfs is None else known, known if lfs is None else None,
                      HubAddress(repository, commit, path, endpoint))


@dataclass(frozen=True, slots=True)
class HubAddress:
    """One file in a repository at one commit (`remote.Address`)."""

    repository: str
    commit: str
    path: str
    endpoint: str | None = None
    _storage: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.repository}@{self.commit[:8]}: {self.path}"

    @property
    def host(self) -> str:
        """The hub's; also where its storage is asked."""
        return host_of(file_address(self.repository, self.commit, self.path, self.endpoint))

    @contextlib.contextmanager
    def open(self, offset: int, length: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """See `remote.Address.open`."""
        wanted = {"Accept-Encoding": "identity", "Range": f"bytes={offset}-{offset + length - 1}"}
        with contextlib.ExitStack() as stack:
            with told(self.name):
                response, chunks = self._answer(stack, wanted)
                client().hf_raise_for_status(response)
            yield begins(response, self.name), _telling(chunks, self.name)

    def wrong(self) -> None:
        """There is no other place; the hub is asked anew where that is."""
        self._storage.clear()

    def _answer(self, stack: contextlib.ExitStack, wanted: dict[str, str]) -> tuple[Any, Iterator[bytes]]:
        """From the storage, where the hub has sent somebody there already; else from the hub, which may send us on."""
        if storage := next(iter(self._storage), ""):
            headers = client().build_hf_headers(library_name="helixstore", token=False)
            with contextlib.ExitStack() as tried:
                try:
                    response, chunks = tried.enter_context(get(storage, {**headers, **wanted}))
                except Exception:
                    self._storage.clear()
                    raise
                if response.status_code not in _STALE:
                    stack.push(tried.pop_all())
                    return response, chunks
            self._storage.clear()
        url = file_address(self.repository, self.commit, self.path, self.endpoint)
        headers = client().build_hf_headers(library_name="helixstore")
        response, chunks = stack.enter_context(get(url, {**headers, **wanted}))
        at = str(response.url)
        if response.status_code == 206 and urlsplit(at).netloc != urlsplit(url).netloc:
            self._storage[:] = [at]
        return response, chunks


def _telling(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The chunks; what the connection raises becomes an error of ours, and what is done with them does not."""
    while True:
        with told(name):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def begins(response: Any, name: str) -> int:
    """Where the body of an answer to a request for a range begins, in bytes.

    Raises:
        Passing: it is an answer without sense, as proxies give it when they are overloaded.
    """
    if response.status_code == 200:
        return 0
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    if response.status_code != 206 or unit != "bytes" or not first.isdecimal():
        raise Passing(f"{name}: the server answers {response.status_code} without a range")
    return int(first)
