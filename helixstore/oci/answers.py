"""What a registry's refusals say, as errors for people. No query, header or token is shown: they hold secrets."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from helixstore.errors import Failed, HelixError, NotFound
from helixstore.fs.names import printable
from helixstore.hub.unreachable import host_of

__all__ = ["AGAIN", "Cut", "Refused", "asked_for", "brief", "refusal", "said", "shown"]

#: answers after which the same request may go through later
AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class Cut(Failed):
    """The connection failed, or the registry said to try again; what was under way can go on.

    Attributes:
        pause: seconds that the registry asked for; None where it did not.
        strange: whether nobody has answered at all yet, as where there is no network, or no such registry.
    """

    pause: float | None = None
    strange = False


class Refused(Failed):
    """The registry will not do it.

    Attributes:
        status: of its answer.
    """

    status = 0


def refusal(status: int, name: str, method: str, address: str, reason: str, pause: float | None) -> HelixError:
    """The error for an answer that is none of those that were wanted.

    Args:
        status: of the answer.
        name: host and repository.
        method, address: of the request.
        reason: what the registry said, without anything that must not be shown.
        pause: seconds that it asked to wait.
    """
    host, _, repository = name.partition("/")
    told = f" ({reason})" if reason else ""
    if status in AGAIN:
        cut = Cut(f"{host_of(address)} answers {status}{told}", "try again later")
        cut.pause = pause
        return cut
    if status in (401, 403):
        action = "read" if method in ("GET", "HEAD") else "write"
        return Failed(f"{host} does not let one {action} {repository}{told}",
                      f"see whether the name is right; docker login {host}")
    if status == 404:
        return NotFound(f"{name} has no such thing (404): {shown(address)}{told}",
                        "see whether registry, name and tag are right")
    refused = Refused(f"{shown(address)} answered {status}{told}", "tell those who run the registry")
    refused.status = status
    return refused


def shown(address: str) -> str:
    """An address without user, query and fragment, where secrets may be."""
    parts = urlsplit(address)
    return printable(f"{parts.netloc.rpartition('@')[2]}{parts.path}"[:300])


def said(body: bytes) -> str:
    """What a registry says went wrong (distribution specification, "Error codes"), in one line."""
    try:
        errors: Iterable[object] = json.loads(body)["errors"]
        words = [f"{error.get('code', '')}: {error.get('message', '')}" for error in errors if isinstance(error, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        words = []
    return printable("; ".join(words)[:300])


def brief(error: Exception) -> str:
    """The reason of urllib3's error, without the address, which holds the query."""
    reason = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    inner = reason if isinstance(reason, OSError) else getattr(reason, "__cause__", None)
    if isinstance(inner, OSError) and inner.strerror:
        return printable(inner.strerror[:200])
    return type(reason if isinstance(reason, Exception) else error).__name__


def asked_for(header: str | None) -> float | None:
    """Seconds that Retry-After asks for: a number of them, or a date."""
    if not header:
        return None
    if header.strip().isdecimal() and len(header) < 12:
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
