"""The background reading of `watch`: a thread of its own, with a session of its own, for as long as the watch runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from helixstore.errors import HelixError
from helixstore.session import Session
from helixstore.sync.patrol import Patrol, Patrolled, under_load
from helixstore.watch.told import Told

__all__ = ["reading"]

#: seconds after the start, when much else is to be done
_FIRST = 600.0
#: seconds of one stretch, and between two looks for what is due
_STRETCH, _PAUSE = 60.0, 3600.0


@contextmanager
def reading(
    session: Session, tell: Callable[[Told], None], first: float = _FIRST, busy: Callable[[], bool] = under_load,
) -> Iterator[None]:
    """Read blobs while the block runs, if the person's settings say so (`verify`); at its end that stops at once.

    Args:
        session: of the watch; only its environment and folder are used here.
        tell: is told of what was read, from the thread that reads.
        first: seconds until it begins.
        busy: as of `Patrol`.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_read, name="reading", daemon=True, args=(
        Session(session.environ, folder=session.folder), tell, first, busy, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _read(
    session: Session, tell: Callable[[Told], None], pause: float, busy: Callable[[], bool], stop: threading.Event,
) -> None:
    patrol: Patrol | None = None
    while not stop.wait(pause):
        pause = _PAUSE
        try:
            session.forget_settings()
            every = session.settings.verify
            if every:
                patrol = patrol or Patrol(session, every=every, busy=busy)
                report = patrol.some(_STRETCH, stop)
                _tell(session, report, tell)
                pause = min(report.due_in, _PAUSE)
        except (HelixError, OSError) as error:              # the store is away, say: the watch itself tells of that
            tell(Told("failed", f"Reading in the background: {error}.", {"message": str(error)}))
            if patrol is not None:
                patrol.close()
            patrol = None
    if patrol is not None:
        patrol.close()
    session.close()


def _tell(session: Session, report: Patrolled, tell: Callable[[Told], None]) -> None:
    if report.checked:
        count = len(report.checked)
        tell(Told("verified", f"{count} file{'s' * (count > 1)} read again, intact.", {"digests": report.checked}))
    for digest in report.bad:
        path = session.store.blobs.path(digest)
        tell(Told("damaged", f"{path} is damaged, and withdrawn from all programs: helixstore verify --repair",
                  {"path": path, "digest": digest}))
