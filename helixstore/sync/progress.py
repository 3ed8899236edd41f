"""How far long work has come, told while it lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Progress", "counting", "in_turn", "linking"]

#: (what, path, bytes done, bytes in all); ("wait", why, seconds that are over, seconds in all) while a server fails
Progress = Callable[[str, str, int, int], None]


def in_turn(progress: Progress) -> Progress:
    """The same for several threads, one call at a time."""
    turn = threading.RLock()

    def told(what: str, path: str, done: int, total: int) -> None:
        with turn:
            progress(what, path, done, total)

    return told


def counting(progress: Progress | None, what: str, path: str, total: int, done: int = 0) -> Callable[[int], None]:
    """What is called with the bytes done since the last call, and tells `progress` of all that are done.

    Args:
        progress: None: nobody is told.
        what, path, total: as it is told them.
        done: bytes before the first call.
    """
    def step(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(what, path, min(done, total), total)

    return step


def linking(progress: Progress | None) -> Callable[[int, int], None] | None:
    """What the farm calls with (steps done, steps in all)."""
    return (lambda done, total: progress("link", "", done, total)) if progress else None
