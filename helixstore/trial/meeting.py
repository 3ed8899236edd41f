"""How two processes talk when all they have in common is a folder: each writes numbered files, the other reads them.

A client of a network may not see a file that is there, for as long as its caches live. So whoever waits makes and
removes a file of its own between two looks: a change of one's own makes the client ask its server again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from helixstore.errors import Failed
from helixstore.fs import kernel

__all__ = ["Meeting"]

_PAUSE = 0.01


class Meeting:
    """One side of the talk.

    Args:
        folder: absolute, both sides'.
        side: "a" leads, "b" follows.
        alive: whether the other side can still answer.
    """

    def __init__(self, folder: str, side: str, alive: Callable[[], bool] = lambda: True) -> None:
        self.folder = folder
        self._side, self._other = side, "b" if side == "a" else "a"
        self._alive = alive
        self._said = self._heard = 0

    def say(self, **message: Any) -> None:
        """Tell the other side something."""
        self._said += 1
        name = os.path.join(self.folder, f"{self._side}.{self._said}.json")
        kernel.write_new(name, json.dumps(message).encode(), durable=False)

    def hear(self, patience: float = 180.0) -> Mapping[str, Any]:
        """What the other side says next, within so many seconds.

        Raises:
            Failed: it has gone, or says nothing for too long.
        """
        self._heard += 1
        name = f"{self._other}.{self._heard}.json"
        end = time.monotonic() + patience
        pause = _PAUSE
        while time.monotonic() < end and self._alive():
            try:
                if name in os.listdir(self.folder):
                    with contextlib.suppress(OSError, ValueError), open(os.path.join(self.folder, name), "rb") as file:
                        found = json.load(file)
                        if isinstance(found, dict):
                            return found
                nudge = os.path.join(self.folder, f"{self._side}.{secrets.token_hex(4)}.nudge")
                os.close(kernel.create(nudge))
                kernel.unlink(nudge)
            except FileNotFoundError:
                break                                   # the other side has taken the folder away
            time.sleep(pause)
            pause = min(1.0, pause * 1.3)
        raise Failed("the other process does not answer", "run the command again on both sides", self.folder)
