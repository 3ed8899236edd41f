"""A piece of a test in a process of its own, whose result comes back."""

from __future__ import annotations

import gc
import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["Killed", "forked"]


class Killed(Exception):
    """The child was ended by a signal.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"it hung, or was ended by signal {number}")
        self.number = number


def forked(work: Callable[[], Any], first: Callable[[], object] = lambda: None) -> Any:
    """Call `first`, which makes the child what it is to be, then `work`; its result, or its exception, comes back.

    Raises:
        Killed: a signal ended it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            gc.disable()                # it would touch, and so copy, all that the parent has
            first()
            try:
                answer = (True, work())
            except Exception as error:
                traceback.print_exc()
                answer = (False, error)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise Killed(os.WTERMSIG(status))
    assert data, "the child failed"
    good, answer = pickle.loads(data)
    if not good:
        raise answer
    return answer
