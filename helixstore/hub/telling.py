"""What the hub's client raises, in our own words: what happened, what to do, and whether it is worth another try.

Kinds of errors: `huggingface_hub.errors` of 0.36 to 2.4; below them its HTTP client's own, requests or httpx.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from helixstore.errors import Failed, HelixError, NotFound, Passing
from helixstore.hub.unreachable import unreachable

__all__ = ["first_line", "told"]

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
#: What the hub says beside 429 (its documentation, "Hub Rate limits"): `RateLimit: "resolvers";r=0;t=55`; the client
#: waits for it too, since 1.2.
_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*([0-9]{1,6})")
_SECRET = re.compile(r"(?<=://)[^\s/@]+@|\?[^\s'\")]*=[^\s'\")]*")
_LOGIN = "log in with a token that may read it: hf auth login, or HF_TOKEN=..."


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Whatever the client raises in the block becomes an error of ours.

    Args:
        what: the repository, or the repository and the file, as people read it.

    Raises:
        NotFound: there is no such repository, revision or file, or it is private.
        Passing: the connection was cut, the server is busy, or nobody is to be asked (HF_HUB_OFFLINE).
        Failed: gated, refused.
    """
    try:
        yield
    except HelixError:
        raise
    except Exception as error:
        raise _ours(error, what) from error


def _ours(error: Exception, what: str) -> HelixError:
    from huggingface_hub import errors

    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    repository = what.partition("@")[0].partition(":")[0]
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Passing(f"{what} cannot be asked for: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")
    if isinstance(error, errors.HFValidationError):
        return NotFound(f"{repository} is no name of a repository: {first_line(error)}", "give it as ORG/NAME")
    if isinstance(error, errors.GatedRepoError):
        return Failed(f"{repository} is gated: its owner lets people read it who have accepted its terms",
                      f"accept them on its page on the hub, then {_LOGIN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return NotFound(f"{what}: the repository has no such revision", "leave the revision out, or see the hub's page")
    if isinstance(error, errors.EntryNotFoundError):
        return NotFound(f"{what}: the repository has no such file", "see its page on the hub for its files")
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return NotFound(f"the hub has no repository {repository}, or it is private",
                        f"check the name; for a private one {_LOGIN}")
    if status in _BUSY:
        seconds = _seconds(response)
        when = f"in {seconds:.0f} seconds" if seconds >= 1 else "later"
        return Passing(f"{what}: the server answers {status}", f"try again {when}", seconds)
    if status in (401, 403):
        return Failed(f"{what}: access is refused ({status})", _LOGIN)
    if status is not None:
        return Failed(f"{what}: {first_line(error)}", "try again later")
    return Passing(f"{what}: {unreachable(_asked(error), error) or first_line(error)}",
                   "see whether the network and HF_ENDPOINT are right, then try again")


def _asked(error: Exception) -> str:
    """The address that was asked for, as the HTTP client noted it."""
    try:
        request: Any = getattr(error, "request", None)
        return str(request.url)
    except (AttributeError, RuntimeError):              # httpx raises where it has none
        return "https://the hub"


def first_line(error: Exception) -> str:
    """What an error says, in one line, without what lets somebody in: users and queries of addresses, where the
    storages that the hub redirects to have their signatures."""
    lines = str(error).strip().splitlines()
    return _SECRET.sub("", lines[0]) if lines else type(error).__name__


def _seconds(response: Any) -> float:
    """What the server asks to wait; a date counts as nothing said."""
    if limit := _LIMIT.search(response.headers.get("RateLimit", "")):
        return float(limit[1]) + 1
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except (TypeError, ValueError):
        return 0.0
