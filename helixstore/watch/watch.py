"""The watch itself: it listens, waits until what it heard of is whole, and runs the same pass as `sync`.

    touched -> sieve -> (quiet for a moment) -> pass over the folders concerned
                                                pass over everything at the start, when events were lost, and every
                                                `rescan` seconds

Everything but listening happens in the thread that calls `run`. What it does can be cut off anywhere: passes are
journaled, and the next one finishes what is left.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from helixstore.errors import HelixError
from helixstore.sync.look import roots_of
from helixstore.watch.alone import alone
from helixstore.watch.notify import notify
from helixstore.watch.passes import Passes, Stopped
from helixstore.watch.rounds import reading
from helixstore.watch.senses import Senses
from helixstore.watch.sieve import News, Sieve
from helixstore.watch.surroundings import Surroundings
from helixstore.watch.told import Told
from helixstore.watch.touched import Touch, Touched

if TYPE_CHECKING:
    from helixstore.session import Session
    from helixstore.sync.progress import Progress
    from helixstore.sync.still import Within

__all__ = ["Watch"]

#: Seconds of quiet before a look, by what happened. A program that deletes a model takes its files one by one, and
#: what is put back in its way would spoil that; the files of a model folder come one after the other.
_QUIET = {News.WHOLE: 0.015, News.GONE: 0.5, News.PART: 2.0}
_PATIENCE = 10                  # no longer than that many times of quiet, whatever goes on
_TICK = 2.0                     # seconds between two looks at the surroundings
_SPARE = 30.0                   # seconds between two questions whether there are watches left
_AGAIN, _SELDOM = 1.0, 60.0     # seconds until a file that is being written is asked about again, and at most
_RETRY = 5.0                    # seconds after a pass that failed


@dataclass
class _Waiting:
    """One folder in which something happened: since when, when it is looked at, the paths, and whether nothing happened
    but that new files came to lie there."""

    since: float
    due: float
    paths: set[str] = field(default_factory=set)
    came: bool = True


class Watch:
    """See the module. Made by `HelixStore.watch`.

    Args:
        session: the person's store, settings and folders.
        lock: held during each pass, so that other threads may use the same session between them.
        tell: is told what happens; of the reading in the background from a thread of its own.
        progress: of long passes.
    """

    def __init__(self, session: Session, lock: AbstractContextManager[object], tell: Callable[[Told], None],
                 progress: Progress | None = None) -> None:
        self._session, self._lock, self._tell = session, lock, tell
        self._touched = Touched()
        self._passes = Passes(session, progress)
        self._sieve = Sieve(session)
        self._waiting: dict[str, _Waiting] = {}
        self._written: dict[str, tuple[float, float]] = {}      # path -> when it is asked about again, and the pause
        self._full = ""                                         # why everything is to be looked at
        self._full_at = 0.0
        self._stop = False
        self._store_away = False
        self._away: set[str] = set()

    def stop(self) -> None:
        """End `run` soon: what is being done is left where the next pass takes it up. For any thread or signal."""
        self._stop = True
        self._passes.stop()
        _apart(self._touched.wake)

    def rescan(self) -> None:
        """Look at everything now. For any thread or signal."""
        _apart(partial(self._touched.lose, "it was asked for"))

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            Busy: another process watches this store for this person.
            HelixError: the first scan could not begin.
        """
        state = str(self._session.places.state_for(self._session.store.id))
        os.makedirs(state, mode=0o700, exist_ok=True)
        with alone(state):
            self._open(state)
            try:
                self._first()
                with reading(self._session, self._tell):
                    while not self._stop:
                        self._turn()
            except Stopped:
                pass
            finally:
                notify(self._session.places.environ, "STOPPING=1")
                self._senses.close()
                self._passes.close()
                self._say("stopped", "Stopped.")

    def _open(self, state: str) -> None:
        spare = os.path.join(state, "watch")
        os.makedirs(spare, mode=0o700, exist_ok=True)
        self._surroundings = Surroundings(self._session)
        self._senses = Senses(self._touched, spare, self._session.settings.poll, self._way)
        self._senses.probe(spare)
        self._senses.probe(os.path.join(str(self._session.store.path), "staging"))
        self._tick_at = self._spare_at = self._poll_at = 0.0

    def _first(self) -> None:
        """Listen before the first scan, so that nothing falls between them."""
        self._aim()
        self._full = "start"
        self._everything()
        notify(self._session.places.environ, "READY=1\nSTATUS=watching")
        self._say("started", f"Watching {len(self._folders)} folders.", folders=self._folders,
                  polled=sorted(self._senses.polled))

    def _aim(self) -> set[str]:
        """Watch the folders of the programs that are on, and the person's; which of them are new."""
        with self._lock:
            roots = [str(place.root.path) for place in roots_of(self._session) if place.on and not place.root.forbid]
            self._folders = sorted({*roots, *map(str, self._session.settings.scan)})
        return self._senses.aim(self._folders)

    # ---- one turn --------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        now = time.monotonic()
        due = [self._tick_at, self._senses.due, *(one.due for one in self._waiting.values()),
               *(at for at, _ in self._written.values())]
        self._touched.wait(min(due) - now)
        if self._stop:
            return
        touches, lost = self._touched.take()
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick(now)
        if self._store_away:
            return                      # nothing can be done, and what is missed is found by a full scan
        for why in lost:
            self._say("lost", f"Everything is looked at: {why}.", why=why)
            self._full = self._full or why
        self._senses.look(now)
        with self._lock:
            self._take(touches, now)
        if self._full and now >= self._full_at:
            self._everything()
        elif ready := [root for root, one in self._waiting.items() if one.due <= now]:
            self._some(ready)

    def _take(self, touches: Sequence[Touch], now: float) -> None:
        """Sort what was touched, and what was being written, by when it is to be looked at."""
        named = [(root, path, touch.folder) for touch in touches for root, path in self._senses.named(touch.path)]
        asked = [path for path, (at, _) in self._written.items() if at <= now]
        named += [(root, place, False) for path in asked for root, place in self._senses.named(_real(path))]
        if len(named) < len(touches) + len(asked):
            self._compare(now)                  # beside a folder that was missing, something has appeared
        for path in {*asked} - {path for _, path, _ in named}:
            del self._written[path]             # its folder is not watched any more
        self._sieve.open()
        for root, path, folder in named:
            news = self._sieve.news(path, folder)
            if news is News.WRITTEN:
                self._wait_for(path, now)
                continue
            self._written.pop(path, None)
            if news is not News.NOTHING:
                quiet = _QUIET[news]
                one = self._waiting.setdefault(root, _Waiting(now, now))
                one.due = max(one.due, min(now + quiet, one.since + _PATIENCE * quiet))
                one.paths.add(path)
                one.came = one.came and news is News.WHOLE and self._sieve.comes(path)
                if news is News.WHOLE:
                    self._passes.expect()

    def _wait_for(self, path: str, now: float) -> None:
        """Ask about a file that is being written again, less and less often; its closing is heard anyway."""
        _, pause = self._written.get(path, (0.0, 0.0))
        if not pause:
            self._say("waiting", f"{path} is being written.", path=path)
        pause = min(pause * 2, _SELDOM) or _AGAIN
        self._written[path] = now + pause, pause

    def _tick(self, now: float) -> None:
        """Look at the surroundings."""
        self._tick_at = now + _TICK
        if not self._surroundings.store_there():
            if not self._store_away:
                self._store_away = True
                self._say("away", f"The store {self._session.store_folder} is away.", path=str(
                    self._session.store_folder))
            return
        if self._store_away:
            self._store_away = False
            self._passes.reopen()
            self._say("there", f"The store {self._session.store_folder} is back.", path=str(self._session.store_folder))
            self._full = "the store is back"
        if self._surroundings.settings_changed():
            self._say("settings", "The settings have changed.")
            self._full = "the settings have changed"
            self._aim()
        self._compare(now)
        if now >= self._spare_at:
            self._spare_at = now + _SPARE
            self._passes.rest()
            self._senses.short()
            for root in self._aim():            # a program's own settings name another folder now
                self._look_at(root, now)
        if now >= self._poll_at:
            self._poll_at = now + self._session.settings.poll
            with self._lock:
                if self._surroundings.disks_changed():
                    self._full = "a disk has come or gone"
                elif self._surroundings.claims_changed():
                    self._look_at("", now)
        if now - self._passes.last_full >= self._session.settings.rescan:
            self._full = self._full or "it is time"

    def _compare(self, now: float, after_pass: bool = False) -> None:
        """Notice folders that have come, gone or been replaced; but not those that a pass of ours has just made."""
        for root, how in self._senses.changed().items():
            ours = after_pass and how == "there" and root not in self._away and self._sieve.left(root)
            (self._away.add if how == "away" else self._away.discard)(root)
            if how and not ours:
                self._say(how, f"{root} is {how}.", path=root)
            if not ours:
                self._look_at(root, now)

    def _look_at(self, root: str, now: float) -> None:
        """Anything may have happened in a folder."""
        self._waiting.setdefault(root, _Waiting(now, now)).came = False

    # ---- passes ----------------------------------------------------------------------------------------------------

    def _everything(self) -> None:
        """A pass over everything."""
        why, self._full = self._full, ""
        paths = [path for one in self._waiting.values() for path in one.paths]
        self._waiting.clear()
        if not self._pass(None, paths, why):
            self._full, self._full_at = why, time.monotonic() + _RETRY

    def _some(self, roots: list[str]) -> None:
        """A pass over a few folders."""
        waited = {root: self._waiting.pop(root) for root in roots}
        paths = [path for one in waited.values() for path in one.paths]
        if not self._pass({root: one.paths if one.came else None for root, one in waited.items()}, paths, "events"):
            self._full, self._full_at = "a pass has failed", time.monotonic() + _RETRY

    def _pass(self, roots: Within | None, paths: list[str], why: str) -> bool:
        """Whether it could be done."""
        began = time.monotonic()
        with self._lock:
            before = self._sieve.looks(paths)
            try:
                report = self._passes.run(roots)
            except (HelixError, OSError) as error:
                message = error.message if isinstance(error, HelixError) else str(error)
                self._say("failed", f"{message}; it is tried again.", message=message)
                return False
            for path in self._sieve.unsettled(before):
                self._touched.note(_real(path))
            self._compare(time.monotonic(), after_pass=True)
        self._tell(self._passes.told(report, why, roots, time.monotonic() - began))
        return True

    # ---- telling ---------------------------------------------------------------------------------------------------

    def _way(self, event: str, path: str, why: str) -> None:
        self._say(event, f"{path} is looked at every {self._session.settings.poll:g} s: {why}.", path=path, why=why)

    def _say(self, event: str, text: str, **facts: object) -> None:
        self._tell(Told(event, text, facts))


def _apart(call: Callable[[], None]) -> None:
    """Call it from a thread of its own: a signal handler interrupts a thread that may hold the lock that it needs."""
    threading.Thread(target=call, daemon=True).start()


def _real(path: str) -> str:
    """The path with every link on the way resolved, but not one at its end."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
