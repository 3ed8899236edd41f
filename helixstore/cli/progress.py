"""Long work while it lasts: a bar with bytes, speed, time left and the disk on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from helixstore.cli.output import printable
from helixstore.sizes import size

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from helixstore.cli.output import Output

__all__ = ["reporter"]

#: Seconds between two plain lines, and before the first.
_PAUSE = 10.0
#: Columns of a bar where the terminal does not say its width.
_WIDTH = 79
_VERBS = {
    "hash": "reading", "copy": "copying", "link": "linking", "scan": "looking", "verify": "verifying",
    "read": "reading", "download": "downloading",
    "upload": "uploading",
}
#: What is counted in steps; the rest is in bytes.
_STEPS = frozenset({"link", "read"})
#: What tqdm would read as a field.
_BRACES = str.maketrans({"{": "{{", "}": "}}"})


def reporter(out: Output) -> Callable[[str, str, int, int], None] | None:
    """The callback for the engine's progress: None when quiet, bars on a terminal, lines elsewhere."""
    if out.quiet:
        return None
    return Bars(out) if out.stderr.isatty() else Lines(out)


class Bars:
    """One bar for the file that is worked on now; a file that takes under half a second shows none.

    While a server fails, words stand in its place, until bytes come again.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._bar: Any = None
        self._about: tuple[str, str] | None = None
        self._waits = False
        out.clear = self.close

    def close(self) -> None:
        """Take the bar away, so that a line can stand there; the next call begins another."""
        with self._lock:
            self._end()

    def __call__(self, what: str, path: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `path` have been worked on; of "link" and "read", steps; of "wait", seconds."""
        with self._lock:
            if what == "wait":
                self._words(path, done, total)
                return
            if self._bar is None or self._about != (what, path):
                if self._bar is not None and not self._finished():
                    return              # one file at a time: the others are seen when they are the only one
                self._begin(what, path, done, total)
            if self._waits and done != self._bar.n:
                self._bar.bar_format, self._waits = None, False
            self._bar.update(done - self._bar.n)
            if done >= total:
                self._end()

    def _words(self, why: str, over: int, seconds: int) -> None:
        """Why nothing comes, in place of the bar; where there is none, until it is tried again."""
        if self._bar is None:
            self._begin("wait", "", over, seconds)
        alone = self._about == ("wait", "")
        words = f"{'' if alone else '{desc}: {percentage:3.0f}%  '}{_told(why, over, seconds).translate(_BRACES)}"
        self._bar.bar_format, self._bar.delay, self._waits = words, 0, True
        self._bar.refresh()
        if alone and over >= seconds:
            self._end()

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _finished(self) -> bool:
        return self._about == ("wait", "") or bool(self._bar.n >= self._bar.total)

    def _begin(self, what: str, path: str, done: int, total: int) -> None:
        """A new bar; what was done before it began counts for how far it is, and not for its speed."""
        from tqdm import tqdm

        self._end()
        self._waits = False
        narrow = None if _columns(self._out.stderr) else _WIDTH
        label = f"{_VERBS.get(what, what)} {printable(os.path.basename(path))}".rstrip()
        self._about = (what, path)
        unit = " steps" if what in _STEPS else "B"
        self._bar = tqdm(total=total, initial=done, desc=label[:48], unit=unit, unit_scale=True, leave=False, delay=0.5,
                         file=self._out.stderr, dynamic_ncols=not narrow, ncols=narrow,
                         postfix=printable(_disk(path)) or None)


class Lines:
    """A line every ten seconds, for logs; another that a server fails, at once and then as often."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._told = self._last - _PAUSE                # of a server that fails

    def __call__(self, what: str, path: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `path` have been worked on."""
        now = time.monotonic()
        with self._lock:
            if now - (self._told if what == "wait" else self._last) < _PAUSE:
                return
            self._told, self._last = now if what == "wait" else self._told, now
        if what == "wait":
            self._out.note(_told(path, done, total))
            return
        far = f"{done:,} of {total:,}" if what in _STEPS else f"{size(done)} of {size(total)}"
        self._out.note(f"{_VERBS.get(what, what)} {path}: {far}".replace(" :", ":"))


def _told(why: str, over: int, seconds: int) -> str:
    """Why is waited, and how long still."""
    return printable(f"{why}; trying again{f' in {seconds - over} s' if over < seconds else ''}")


def _columns(terminal: TextIO) -> int:
    """The width of a terminal; 0 where it does not say, as a serial line or one in a container does not."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns
    except (OSError, ValueError):
        return 0


def _disk(path: str) -> str:
    """The mount point that a path lies on; "" when it is no path or the system does not say."""
    from helixstore.fs.mounts import mount_of

    try:
        return mount_of(path).point if os.path.isabs(path) else ""
    except OSError:
        return ""
