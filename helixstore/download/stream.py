"""A range of a remote file, over as many connections as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from helixstore.download.patience import Patience, pause
from helixstore.errors import Passing
from helixstore.hub.remote import Address
from helixstore.hub.waiting import waiting

__all__ = ["NoRanges", "patiently", "stream"]

T = TypeVar("T")

_QUESTIONS = 4                  # times that a busy server is asked for a listing


class NoRanges(Exception):
    """The server begins at the start whatever it is asked for."""


def stream(address: Address, offset: int, end: int, stopped: threading.Event,
           patience: Patience | None = None) -> Iterator[tuple[int, memoryview]]:
    """The bytes from `offset` to `end`, in order, each with its place.

    A connection that is cut, or a server that is busy, is tried again where it stopped, after a time that doubles and
    is never the same for two; or after what the server asks for.

    Args:
        address: of the file.
        offset, end: in bytes.
        stopped: ends it, without an error.
        patience: of all who ask the same servers; None: of this one alone.

    Raises:
        NoRanges: the server does not send ranges, and one would be needed.
        Passing: several tries in a row brought nothing.
        HelixError: it cannot be had.
    """
    patience, host = patience or Patience(), address.host
    at, tries, since = offset, 0, time.monotonic()
    while at < end and not stopped.is_set():
        patience.check(address)
        try:
            for place, part in _once(address, at, end):
                if stopped.is_set():
                    return
                since = patience.came(host)
                yield place, part
                at, tries = place + len(part), 0
        except Passing as error:
            tries += 1
            patience.failed(address, error, tries, since, stopped)


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
            for step in waiting(pause(done, error), error.message):
                time.sleep(step)
    return ask()


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
