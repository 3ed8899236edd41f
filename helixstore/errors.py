"""Every error that helixstore raises on purpose.

Each one says what happened to which file or model, and what to do about it: `str(error)` is the first part and
`error.remedy` the second. The command line prints both and exits with `exit_code`; nobody sees a traceback.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar

__all__ = [
    "Ambiguous",
    "Busy",
    "ConfigError",
    "Corrupt",
    "Failed",
    "HelixError",
    "Incomplete",
    "IndexUnusable",
    "LayoutError",
    "NotFound",
    "Passing",
    "PlanOutdated",
    "StoreError",
    "StoreTooNew",
    "Unreadable",
    "UnsafeName",
    "Usage",
    "advice",
]

_AGAIN = "then run the command again"
_ADVICE = {
    errno.ENOSPC: f"free some space on that disk (helixstore gc, or what you do not need), {_AGAIN}",
    errno.EDQUOT: f"your quota on that disk is used up: free some of it, {_AGAIN}",
    errno.EROFS: f"that disk is read only: mount it for writing, {_AGAIN}",
    errno.EIO: f"that disk fails: look into the system's log, copy what you cannot lose, {_AGAIN}",
    errno.EACCES: f"see who may read and write there (ls -l), {_AGAIN}",
    errno.EPERM: f"see who may read and write there (ls -l), {_AGAIN}",
    errno.EINTR: "run the command again",
}


def advice(error: OSError, otherwise: str = "helixstore doctor") -> str:
    """What the person can do about what the system refused: a remedy.

    Args:
        error: with its errno.
        otherwise: where that says nothing in particular.
    """
    return _ADVICE.get(error.errno or 0, otherwise)


class HelixError(Exception):
    """The root of all of them.

    Args:
        message: what happened, naming the file or model; without a full stop.
        remedy: what the person can do, preferably a command to type; empty when there is nothing.
        path: the file or folder that it is about, if it is about one.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "failed"

    def __init__(self, message: str, remedy: str = "", path: str | os.PathLike[str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.path = os.fspath(path) if path is not None else None

    def __reduce__(self) -> tuple[type[HelixError], tuple[str, str, str | None]]:
        return type(self), (self.message, self.remedy, self.path)


class Usage(HelixError):
    """The command was called wrongly; nothing was done."""

    exit_code = 2
    kind = "usage"


class Ambiguous(Usage):
    """A name that fits several models; the message lists them."""

    kind = "ambiguous"


class NotFound(HelixError, LookupError):
    """No model, file or record of that name."""

    kind = "not-found"


class Failed(HelixError):
    """An operation could not be done; what existed before still exists."""


class Passing(Failed):
    """Something on a network that may be over when it is tried again: a cut connection, a busy server.

    Args:
        message, remedy: as of every error.
        seconds: how long the server asks to wait; 0 where it does not say.
    """

    def __init__(self, message: str, remedy: str = "", seconds: float = 0.0) -> None:
        super().__init__(message, remedy)
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[Passing], tuple[str, str, float]]:  # type: ignore[override]
        return type(self), (self.message, self.remedy, self.seconds)


class Unreadable(HelixError, OSError):
    """A file or folder that cannot be read, or is not what its name says."""

    kind = "unreadable"


class Incomplete(Unreadable):
    """A file that is shorter than its own header says, or a set of shards with some missing."""

    kind = "incomplete"


class UnsafeName(HelixError, ValueError):
    """A name from outside that would climb out of its folder or cannot exist on every system."""

    kind = "unsafe-name"


class StoreError(HelixError):
    """The store cannot be used as it is."""

    kind = "store"


class StoreTooNew(StoreError):
    """The store was written by a newer helixstore; the message names what this one does not know."""

    kind = "store-too-new"


class Corrupt(StoreError):
    """Bytes in the store that do not hash to their name."""

    kind = "quarantined"


class IndexUnusable(HelixError):
    """The index cannot be opened here; it can always be rebuilt or put elsewhere."""

    kind = "index"


class ConfigError(HelixError):
    """The configuration cannot be read or holds a value that makes no sense."""

    kind = "config"


class LayoutError(HelixError):
    """A layout broke its contract, or a provider's folder is not as the layout expects it."""

    kind = "layout"


class PlanOutdated(HelixError):
    """The world has changed since the plan was made; nothing was applied."""

    kind = "plan-outdated"


class Busy(HelixError):
    """Another process holds what is needed."""

    kind = "busy"
