"""Hearing of changes by watchdog (6 and 7), and of what watchdog does not say itself.

Read from its sources (6.0.0, 7.1.0), beside what correctness.md section 9 has:

- An overflow of the kernel's queue reaches no handler. 7.1 writes a warning to its log, which is listened to here; 6
  drops it. But a queue that overflows was full, so with 6 whoever gets many events without a pause may have lost some.
- Where the limit of watches is reached below the root, 7.1 says nothing and goes on without. So after each tree one
  more watch is asked for, on a folder of ours: if there is none left, the tree is not wholly heard.
- A rename holds back all that comes after it for half a second, while its second half is waited for. Both halves mean
  the same to us, "look there", so that time is made short.
- 7.1 warns of every folder that is made in a new folder, and writes its whole table of watches into each warning: with
  10,000 watches that takes longer than our work. It harms nothing, so it is neither shown nor written.
- Before 7.1 a folder that is moved in gets no watches below it: then the tree is listened to anew.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from helixstore.fs import kernel

__all__ = ["Ears"]

_PAIRING = 0.01                 # seconds for which the halves of a rename wait for each other
_BURST = 2_048                  # events without a pause: an eighth of what the kernel's queue holds by default
_PAUSE = 3.0                    # seconds that end a burst
_PATIENCE = 1.0                 # seconds for which an event is waited for
_WATCHES_MOVED_IN = (7, 1)
#: What a program does to its models. Writing itself is left out where closing is told: a download would never be quiet.
_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent, DirDeletedEvent, DirMovedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent,
    FileClosedEvent if sys.platform.startswith("linux") else FileModifiedEvent,
]


class Ears:
    """Listens to trees of folders.

    Args:
        note: called with (path, whether it is a folder) by threads of watchdog.
        lose: called with the reason when events were lost.
        spare: a folder of ours that nothing else listens to.
    """

    def __init__(self, note: Callable[[str, bool], None], lose: Callable[[str], None], spare: str) -> None:
        _tame()
        self._lose = lose
        self._old = tuple(map(int, version("watchdog").split(".")[:2])) < _WATCHES_MOVED_IN
        self._handler = _Handler(note, lose if self._old else lambda why: None, self._moved_in)
        self._overflow = _OverflowLog(lose)
        self._spare = spare
        self._observer: Any = None
        self._watches: dict[str, Any] = {}
        self._again: set[str] = set()

    def listen(self, folder: str, *, below: bool = True) -> str:
        """Listen to a folder, and with `below` to all in it.

        Args:
            folder: absolute, real (no link on the way).

        Returns:
            "", or why it is not heard, or not wholly.
        """
        self.ignore(folder)
        try:
            self._watches[folder] = self._start().schedule(self._handler, folder, recursive=below, event_filter=_EVENTS)
        except OSError as error:
            return _reason(error)
        if why := self.full():
            self.ignore(folder)
        return why

    def ignore(self, folder: str) -> None:
        """Listen to a folder no more."""
        watch = self._watches.pop(folder, None)
        if watch is not None:
            with contextlib.suppress(KeyError, OSError):        # it ended by itself, with its folder
                self._observer.unschedule(watch)

    def full(self) -> str:
        """Why not even one more folder can be listened to; "" when it can."""
        try:
            self._observer.unschedule(self._start().schedule(self._handler, self._spare))
        except OSError as error:
            return _reason(error) if error.errno in (errno.ENOSPC, errno.EMFILE) else ""
        return ""

    def hears(self, folder: str) -> bool:
        """Whether a file that is made in a folder of ours is heard of, found out by making one."""
        heard = threading.Event()
        handler = _Handler(lambda path, is_folder: heard.set(), self._lose, lambda path: None)
        try:
            watch = self._start().schedule(handler, folder, event_filter=_EVENTS)
        except OSError:
            return False
        descriptor, path = tempfile.mkstemp(prefix=".probe-", dir=folder)
        os.close(descriptor)
        kernel.unlink(path)
        heard.wait(_PATIENCE)
        self._observer.unschedule(watch)
        return heard.is_set()

    def anew(self) -> set[str]:
        """Folders that must be listened to again, since some below them are new and not heard (watchdog before 7.1)."""
        again, self._again = self._again, set()
        return again

    def close(self) -> None:
        """Hear nothing more."""
        self._overflow.close()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def _start(self) -> Any:
        """The observer; it starts with its first folder, since that may fail."""
        if self._observer is None:
            observer = Observer()
            observer.start()
            self._observer = observer
        return self._observer

    def _moved_in(self, path: str) -> None:
        if self._old:
            self._again.update(folder for folder in self._watches if path.startswith(folder + os.sep))


class _Handler(FileSystemEventHandler):
    """Every event says "look there" of each path in it."""

    def __init__(self, note: Callable[[str, bool], None], lose: Callable[[str], None],
                 moved_in: Callable[[str], None]) -> None:
        self._note, self._lose, self._moved_in = note, lose, moved_in
        self._burst, self._last = 0, 0.0

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called by watchdog."""
        now = time.monotonic()
        self._burst = self._burst + 1 if now - self._last < _PAUSE else 1
        self._last = now
        if self._burst == _BURST:
            self._burst = 0
            self._lose(f"{_BURST:,} events came without a pause, and some may have been lost")
        for path in (event.src_path, event.dest_path):
            if path:
                self._note(os.fsdecode(path), event.is_directory)
        if event.is_directory and event.event_type in ("created", "moved"):
            self._moved_in(os.fsdecode(event.dest_path or event.src_path))


class _OverflowLog(logging.Handler):
    """Listens to what watchdog logs; nothing of it reaches the person."""

    def __init__(self, lose: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._lose = lose
        self._logger = logging.getLogger("watchdog")
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """An overflow, or a tree that could not be listened to again after one."""
        message = record.getMessage()
        if "overflow" in message or "rebuild" in message:
            self._lose(f"events were lost: {message}")

    def close(self) -> None:
        """Listen no more."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        super().close()


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return _raise("watches", "fs.inotify.max_user_watches", 524_288)
    if error.errno == errno.EMFILE:
        return _raise("watchers", "fs.inotify.max_user_instances", 512)
    return f"it cannot be listened to: {error.strerror or error}"


def _raise(what: str, name: str, least: int) -> str:
    """That a limit of the kernel's is reached, and the commands that raise it, now and for good."""
    now = 0
    with contextlib.suppress(OSError, ValueError), open(f"/proc/sys/{name.replace('.', '/')}") as file:
        now = int(file.read())
    wanted = f"{name}={max(least, 2 * now)}"
    return (f"the limit of {what} is reached ({now:,}); to raise it: sudo sysctl {wanted}; for good: "
            f"echo {wanted} | sudo tee /etc/sysctl.d/60-helixstore.conf")


def _tame() -> None:
    """See the module; each release has one of these."""
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
    with contextlib.suppress(ImportError):
        from watchdog.observers.inotify import InotifyWatchGroup

        InotifyWatchGroup.__repr__ = object.__repr__  # type: ignore[method-assign]
    with contextlib.suppress(ImportError):
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

        InotifyMoveEventGrouper.delay = _PAIRING
    with contextlib.suppress(ImportError):
        from watchdog.observers.inotify_buffer import InotifyBuffer  # type: ignore[import-not-found,unused-ignore]

        InotifyBuffer.delay = _PAIRING
