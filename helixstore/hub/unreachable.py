"""Why a computer could not be reached, in our words instead of those of an HTTP client.

The clients (urllib3, requests, httpx) wrap what the system said in errors of their own, some several times; it is still
among what those were raised from.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from helixstore.fs.names import printable

__all__ = ["host_of", "unreachable"]

_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def host_of(address: str) -> str:
    """Host and port of an address, for people."""
    return printable(urlsplit(address).netloc.rpartition("@")[2])


def unreachable(address: str, error: BaseException) -> str | None:
    """One sentence without a full stop; None where the error is none of those that a lack of network has.

    Args:
        address: that was asked for. Only its host and port are shown.
        error: as it was raised.
    """
    host, causes = host_of(address), list(_causes(error))
    if any(type(one).__name__ == "ProxyError" for one in causes):
        host = f"the proxy on the way to {host}"
    for one in causes:
        if isinstance(one, socket.gaierror):
            return f"{host} has no address: this computer is offline, or the name is wrong"
        if isinstance(one, ConnectionRefusedError):
            return f"{host} refuses the connection"
        if isinstance(one, TimeoutError):
            return f"{host} does not answer"
        if isinstance(one, OSError) and one.errno in _NO_WAY:
            return f"no way leads to {host}: this computer is offline, or it cannot be reached from here"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and all that it was raised from or holds."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting += [found for found in inner if isinstance(found, BaseException)]
