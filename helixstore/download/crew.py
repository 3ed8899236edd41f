"""A few threads that work off tasks, which may bring more tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context

__all__ = ["Crew"]

_LOOK = 0.2                     # seconds after which the caller's thread looks whether it was interrupted
_LEAVE = 1.0                    # seconds that a thread gets to notice that all is over


class Crew:
    """Threads that end with the process, also when the network does not answer.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._busy = 0
        self._broken: BaseException | None = None
        self.stopped = threading.Event()

    def add(self, tasks: Iterable[Callable[[], None]], first: bool = False) -> None:
        """More to do; `first`: before what is waiting."""
        with self._changed:
            if first:
                self._tasks.extendleft(reversed(list(tasks)))
            else:
                self._tasks.extend(tasks)
            self._changed.notify_all()

    def run(self) -> None:
        """Until there is nothing left to do. What a task raises ends it all, and is raised here; so does Ctrl-C."""
        threads = [threading.Thread(target=copy_context().run, args=(self._work,), daemon=True)
                   for _ in range(self._size)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(_LOOK / self._size)
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join(_LEAVE / self._size)
        if self._broken is not None:
            raise self._broken

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except BaseException as error:              # noqa: BLE001  raised again in the caller's thread
                self._broken = error
                self.stopped.set()
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._tasks and self._busy and not self.stopped.is_set():
                self._changed.wait(_LOOK)
            if not self._tasks or self.stopped.is_set():
                return None
            self._busy += 1
            return self._tasks.popleft()
