"""Paths that something has touched, from the threads that hear of it to the one that looks."""

from __future__ import annotations

import threading
from typing import NamedTuple

__all__ = ["Touch", "Touched"]

#: so many waiting paths are not gone through one by one: everything is looked at
MANY = 5_000


class Touch(NamedTuple):
    """A path, absolute, and whether the event was about a folder."""

    path: str
    folder: bool


class Touched:
    """An inbox. Each path waits in it once, however often it is touched."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._waiting: dict[Touch, None] = {}
        self._lost: list[str] = []
        self._woken = False

    def note(self, path: str, folder: bool = False) -> None:
        """Something happened at `path`."""
        with self._ready:
            if len(self._waiting) < MANY:
                self._waiting[Touch(path, folder)] = None
            elif not self._lost:
                self._lost.append(f"more than {MANY:,} paths changed at once")
            self._ready.notify()

    def lose(self, why: str) -> None:
        """Events were lost, so that anything may have changed."""
        with self._ready:
            if why not in self._lost:
                self._lost.append(why)
            self._ready.notify()

    def wake(self) -> None:
        """End a `wait` without news."""
        with self._ready:
            self._woken = True
            self._ready.notify()

    def wait(self, seconds: float) -> None:
        """Sleep until there is news, at most that long."""
        with self._ready:
            if not self._waiting and not self._lost and not self._woken and seconds > 0:
                self._ready.wait(seconds)
            self._woken = False

    def take(self) -> tuple[list[Touch], list[str]]:
        """What was touched, and why events were lost; both are empty afterwards."""
        with self._ready:
            waiting, self._waiting = list(self._waiting), {}
            lost, self._lost = self._lost, []
            return waiting, lost
