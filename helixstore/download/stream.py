"""A range of a remote file, over as many connections as it takes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from helixstore.errors import Passing
from helixstore.hub.remote import Address

__all__ = ["NoRanges", "patiently", "stream"]

T = TypeVar("T")

_TRIES = 6                      # in a row without a new byte
_QUESTIONS = 4                  # times that a busy server is asked for a listing
_LONGEST = 60.0                 # seconds between two tries, unless the server names more
_ASKED = 600.0                  # seconds to which a server's wish to wait is kept


class NoRanges(Exception):
    """The server begins at the start whatever it is asked for."""


def stream(address: Address, offset: int, end: int, stopped: threading.Event) -> Iterator[tuple[int, memoryview]]:
    """The bytes from `offset` to `end`, in order, each with its place.

    A connection that is cut, or a server that is busy, is tried again where it stopped, after a time that doubles and
    is never the same for two; or after what the server asks for.

    Args:
        address: of the file.
        offset, end: in bytes.
        stopped: ends it, without an error.

    Raises:
        NoRanges: the server does not send ranges, and one would be needed.
        Passing: several tries in a row brought nothing.
        HelixError: it cannot be had.
    """
    at, left = offset, _TRIES
    while at < end and not stopped.is_set():
        try:
            for place, part in _once(address, at, end):
                if stopped.is_set():
                    return
                yield place, part
                at, left = place + len(part), _TRIES
        except Passing as error:
            left -= 1
            if not left:
                raise
            stopped.wait(_pause(_TRIES - left, error))


def patiently(ask: Callable[[], T]) -> T:
    """The answer to a question over a network, which is asked again where the server is busy or the connection is cut.

    One that cannot be made at all is not: nobody who is offline waits to hear it.

    Args:
        ask: may be called several times.

    Raises:
        Passing: the last time, too.
        HelixError: of `ask`.
    """
    for done in range(1, _QUESTIONS):
        try:
            return ask()
        except Passing as error:
            if type(error.__cause__).__name__.startswith(("Connect", "Offline")):   # of httpx, requests, the hub's
                raise
            time.sleep(_pause(done, error))
    return ask()


def _pause(done: int, error: Passing) -> float:
    """Seconds before the next try: doubled with each, never the same for two, and not less than the server asks for."""
    pause = min(2.0 ** (done - 1), _LONGEST) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return max(pause, min(error.seconds, _ASKED))


def _once(address: Address, at: int, end: int) -> Iterator[tuple[int, memoryview]]:
    """The same over one connection; what is short of the end is an error."""
    with address.open(at, end - at) as (begins, chunks):
        if begins != at:
            raise NoRanges
        for chunk in chunks:
            part = memoryview(chunk)[:end - at]
            if not part:
                return                                  # more than it was asked for
            yield at, part
            at += len(part)
        if at == end:                                   # read to its end: its connection serves the next request
            return
    raise Passing(f"{address.name}: the connection was cut at byte {at:,}")
