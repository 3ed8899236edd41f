"""HTTP as the hub's client speaks it: its session, with proxies and offline mode, and redirects that are looked at.

`build_hf_headers`, `get_session`, `hf_raise_for_status` and `validate_repo_id` are the same in 0.36 with requests and
in 1.0 to 2.4 with httpx.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from helixstore.errors import Failed

__all__ = ["client", "get"]

_SECONDS = 30.0                 # without an answer, or without a byte
_CHUNK = 1 << 20
_MOVED = frozenset({301, 302, 303, 307, 308})
_REDIRECTS = 10


def client() -> Any:
    """What the client builds on, in every version under this name."""
    from huggingface_hub import utils

    return utils


@contextlib.contextmanager
def get(url: str, headers: dict[str, str], seconds: float = _SECONDS) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """An answer whose body is not read yet, and its body in chunks.

    Redirects are followed here, since clients differ: a login stays with the server that it is for, and an encrypted
    way leads on to encrypted ones only. What a redirect or a refusal says beside its headers is not read: it may have
    no end.

    Args:
        url, headers: of the request.
        seconds: without an answer, or without a byte.

    Raises:
        Failed: a redirect leads where it should not.
    """
    session = client().get_session()
    with contextlib.ExitStack() as stack:
        for _ in range(_REDIRECTS):
            response, chunks = stack.enter_context(_answer(session, url, headers, seconds))
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
def _answer(session: Any, url: str, headers: dict[str, str],
            seconds: float) -> Iterator[tuple[Any, Iterator[bytes]]]:
    if callable(getattr(session, "stream", None)):      # httpx, since 1.0; of requests it is a setting
        with session.stream("GET", url, headers=headers, timeout=seconds, follow_redirects=False) as response:
            yield response, response.iter_raw()      # as it comes: joining it costs more than the rest
    else:
        with session.get(url, headers=headers, timeout=seconds, stream=True, allow_redirects=False) as response:
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
