"""Threads that run one step at a time, when they are told to: so a test says in which order things happen."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

__all__ = ["Actor", "Killed", "current"]

_HERE = threading.local()


class Killed(BaseException):
    """The process has died: nothing that would tidy up is done any more."""


class Actor:
    """One process. Its function runs in a thread of its own, and waits at each `pause`.

    Attributes:
        name: for people.
        ended: it has returned, failed or been killed.
        answer: what it returned.
        at: where it waits.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name, self.ended, self.answer, self.at = name, False, None, "begin"
        self.killed = False
        self._work, self._error = work, None
        self._go, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        self._go.acquire()
        self._done.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<{self.name}, {'ended' if self.ended else self.at}>"

    def _run(self) -> None:
        self._go.acquire()
        _HERE.actor = self
        try:
            if not self.killed:
                self.answer = self._work()
        except Killed:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self.ended = True
            self._done.release()

    def pause(self, where: str) -> None:
        """Wait until it is this actor's turn again; called by itself.

        Raises:
            Killed: its turn does not come any more.
        """
        if self.killed:
            raise Killed
        self.at = where
        self._done.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def step(self, times: int = 1) -> bool:
        """Let it go on by so many steps; False when it has ended. What it raised is raised here."""
        for _ in range(times):
            if self.ended:
                break
            self._go.release()
            self._done.acquire()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
        return not self.ended

    def finish(self) -> object:
        """Let it go on to its end."""
        while self.step(1000):
            pass
        return self.answer

    def kill(self) -> None:
        """It dies where it waits."""
        if not self.ended:
            self.killed = True
            self._go.release()
            self._done.acquire()
        self._thread.join()


def current() -> Actor | None:
    """The actor whose thread this is."""
    return getattr(_HERE, "actor", None)
