"""What a network makes one wait for, told to whoever asked for the work, wherever in it that happens.

Who is told is known to the thread (a context variable), so that nobody in between hands on what is not theirs. Threads
that are started on the way must take it with them, as those of `download.crew` do.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar

__all__ = ["Listener", "listening", "tell", "waiting"]

#: (who is waited for and why, seconds of the wait that are over, seconds in all); when all are over, it is tried again
Listener = Callable[[str, int, int], None]

_SHORT = 2.0                    # seconds; of a wait under that nobody is told
_STEP = 1.0                     # seconds between two times that it is told

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Whoever waits in the block, in this thread, tells of it.

    Args:
        listener: None: nobody is told.
    """
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(why: str, left: float, seconds: float) -> None:
    """Tell of a wait.

    Args:
        why: who is waited for, and why.
        left, seconds: that are left of it, and all.
    """
    if (listener := _listener.get()) is not None:
        whole = math.ceil(seconds)
        listener(why, whole - math.ceil(left), whole)


def waiting(seconds: float, why: str) -> Iterator[float]:
    """Cut a wait into steps, and tell of each, unless it is short.

    Args:
        seconds: in all.
        why: see `tell`.

    Returns:
        The seconds of each step: whoever asks waits for them.
    """
    left = seconds
    while left > 0:
        if seconds >= _SHORT:
            tell(why, left, seconds)
        step = min(left, _STEP)
        yield step
        left -= step
    if seconds >= _SHORT:
        tell(why, 0, seconds)
