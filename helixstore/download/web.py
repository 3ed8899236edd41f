"""A file at an address, whose SHA-256 the person has named: what its server says of it, and its bytes by ranges.

Session, proxies and offline mode are those of the hub's client; no token of the hub's goes there. What follows a `?` in
an address is often a signature, good for whoever has it: it is used, and never kept or shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from helixstore.catalogue.references import UrlReference
from helixstore.download.offered import Offered
from helixstore.errors import Failed, HelixError, NotFound, Passing
from helixstore.formats.names import base_name, extension
from helixstore.fs.names import check_relative, printable
from helixstore.hub.remote import RemoteFile
from helixstore.hub.repository import begins
from helixstore.hub.unreachable import host_of, unreachable
from helixstore.hub.wire import get
from helixstore.values import Source

__all__ = ["WebAddress", "web_offer"]

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_MODELS = frozenset({"gguf", "safetensors"})


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A file anywhere (`remote.Address`). `name`: its address without what follows the `?`."""

    name: str
    url: str = field(repr=False)

    @property
    def host(self) -> str:
        """See `remote.Address.host`."""
        return host_of(self.url)

    @contextlib.contextmanager
    def open(self, offset: int, length: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """See `remote.Address.open`."""
        wanted = {"Accept-Encoding": "identity", "Range": f"bytes={offset}-{offset + length - 1}"}
        with contextlib.ExitStack() as stack:
            with _told(self.name):
                response, chunks = stack.enter_context(get(self.url, wanted))
                _check(response, self.name)
            yield begins(response, self.name), self._telling(chunks)

    def wrong(self) -> None:
        """There is no other place."""

    def size(self) -> int:
        """Bytes of the whole, by asking for the first one.

        Raises:
            NotFound, Passing, Failed: the server does not say.
        """
        with _told(self.name), get(self.url, {"Accept-Encoding": "identity", "Range": "bytes=0-0"}) as (response, _):
            _check(response, self.name)
            whole = response.headers.get("Content-Range", "").rpartition("/")[2] if response.status_code == 206 \
                else response.headers.get("Content-Length", "")
        if not whole.isdecimal() or not int(whole):
            raise Failed(f"{self.name}: its server does not say how large it is",
                         "download it by other means, then: helixstore add FILE")
        return int(whole)

    def _telling(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with _told(self.name):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk


def web_offer(reference: UrlReference) -> Offered:
    """Ask the server of an address for the size of the file.

    Args:
        reference: with the digest that it must have.

    Raises:
        NotFound: there is no such file, or none that is a model by its name.
        Passing: the network or the server does not answer now.
        Failed: it is not given to us.
    """
    parts = urlsplit(reference.url)
    file = unquote(parts.path.rpartition("/")[2])
    place = f"{parts.netloc}{parts.path}"
    if extension(file) not in _MODELS:
        raise NotFound(f"{printable(place)} ends neither in .gguf nor in .safetensors",
                       "download it by other means, then: helixstore add FILE")
    check_relative(file)
    address = WebAddress(printable(f"{parts.scheme}://{place}"), reference.url)
    listed = RemoteFile(file, address.size(), reference.sha256, None, address)
    source = Source("url", repository=f"{parts.scheme}://{place}", revision=reference.sha256, name=file)
    return Offered(reference, place, reference.sha256, (listed,), source, base_name(file),
                   public=not parts.query)              # which may be what lets one in: a signature, a token


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever the client raises becomes an error of ours."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except HelixError:
        raise
    except OfflineModeIsEnabled as error:
        raise Passing(f"{name} cannot be asked for: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE") from error
    except Exception as error:
        failed = unreachable(name, error) or f"the connection failed ({type(error).__name__})"
        raise Passing(f"{name}: {failed}",
                      "see whether the network and the address are right, then try again") from error


def _check(response: Any, name: str) -> None:
    """Whether it is an answer with the file."""
    status = response.status_code
    if status in (404, 410):
        raise NotFound(f"{name}: there is no such file", "check the address")
    if status in _BUSY:
        raise Passing(f"{name}: the server answers {status}", "try again later", _seconds(response))
    if status in (401, 403):
        raise Failed(f"{name}: its server gives it to nobody who is not logged in ({status})",
                     "download it by other means, then: helixstore add FILE")
    if status not in (200, 206):
        raise Failed(f"{name}: the server answers {status}", "check the address")


def _seconds(response: Any) -> float:
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() else 0.0
