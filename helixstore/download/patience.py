"""How long a server that fails is waited for: what one download knows of all that it asks."""

from __future__ import annotations

import math
import random
import threading
import time

from helixstore.errors import Passing
from helixstore.hub.remote import Address
from helixstore.hub.waiting import tell

__all__ = ["Patience", "pause"]

_TRIES = 7                      # in a row without a new byte: half a minute to a minute
_LONGEST = 60.0                 # seconds between two tries, unless the server names more
_ASKED = 600.0                  # seconds to which a server's wish to wait is kept
_LAST = 10.0                    # seconds in which a server that was given up is still asked, once for each other file
_SILENT = 2.0                   # seconds without a byte from anywhere, before people are told why
_STEP = 1.0                     # seconds between two times that they are told


def pause(failed: int, error: Passing) -> float:
    """Seconds before the next try: doubled with each, never the same for two, and not less than the server asks for.

    Args:
        failed: tries in a row.
        error: of the last one.
    """
    alone = min(2.0 ** (failed - 1), _LONGEST) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return max(alone, min(error.seconds, _ASKED))


class Patience:
    """When bytes last came from each server, and which ones were given up. Used from several threads.

    Each file has its own tries. Once one was given up, and nothing has come from its server since it began to fail,
    that server is given up: whoever waits for it, and whoever comes later, asks once more and no longer waits. The
    first byte from there ends that.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._heard: dict[str, float] = {}              # server -> when a byte came last
        self._last = -math.inf                          # the same, of any server
        self._lost: dict[str, tuple[float, str]] = {}   # server -> when it was given up, and why
        self._ends: list[float] = []                    # when those who wait now will try again

    def came(self, host: str) -> float:
        """Bytes came from a server. Returns when."""
        now = self._heard[host] = self._last = time.monotonic()
        return now

    def check(self, address: Address) -> None:
        """Before a file is asked for.

        Raises:
            Passing: its server was given up, and not just now: one that lets each wait for its answer is not asked
                for hundreds of files.
        """
        if self._given_up(address.host):
            when, why = self._lost[address.host]
            if time.monotonic() - when > _LAST:
                raise Passing(f"{address.name}: {why}", "try again later")

    def failed(self, address: Address, error: Passing, tries: int, since: float, stopped: threading.Event) -> None:
        """Wait until the next try.

        Args:
            address: of the file.
            error: of the last try.
            tries: in a row that brought nothing.
            since: when the last byte of this file came, or when it was first asked for (`time.monotonic`).
            stopped: ends the wait.

        Raises:
            Passing: `error`; there is to be none.
        """
        host, why = address.host, error.message.removeprefix(f"{address.name}: ")
        if tries >= _TRIES and self._heard.get(host, -math.inf) <= since:
            self._lost[host] = time.monotonic(), why
        if tries >= _TRIES or self._given_up(host):
            raise error
        self._wait(host, why if host in why else f"{host}: {why}", pause(tries, error), since, stopped)

    def _given_up(self, host: str) -> bool:
        return host in self._lost and self._lost[host][0] > self._heard.get(host, -math.inf)

    def _wait(self, host: str, why: str, seconds: float, since: float, stopped: threading.Event) -> None:
        """Wait, and tell of it where nothing comes from anywhere; of several who wait, the one who is next tells."""
        end, told = time.monotonic() + seconds, False
        with self._guard:
            self._ends.append(end)
        while (left := end - time.monotonic()) > 0 and not self._given_up(host) and not stopped.is_set():
            with self._guard:
                told = end <= min(self._ends) and self._silent(since)
            if told:
                tell(why, left, seconds)
            stopped.wait(min(left, _STEP))
        with self._guard:
            self._ends.remove(end)
            told = told and not self._ends
        if told:
            tell(why, 0, seconds)

    def _silent(self, since: float) -> bool:
        return time.monotonic() - max(since, self._last) >= _SILENT
