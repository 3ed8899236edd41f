"""One pass after the other, by the same way as `sync`, in a process that stays."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from helixstore.sync.change import change
from helixstore.sync.projection import aliases_needed
from helixstore.sync.still import Still, Within
from helixstore.sync.wanted import Change
from helixstore.watch.told import Told

if TYPE_CHECKING:
    from helixstore.results import SyncReport
    from helixstore.session import Session
    from helixstore.sync.progress import Progress

__all__ = ["Passes", "Stopped"]


_KEPT = 30.0                    # seconds for which a process that hashes stays without work


class Stopped(BaseException):
    """The watch is to end: raised where a long step says how far it is, and caught by nobody on the way."""


class Passes:
    """Runs passes.

    Args:
        session: the person's store, settings and folders.
        progress: of long ones.

    Attributes:
        last: when the last pass ended, or one was expected, on the monotonic clock.
        last_full: when the last pass over everything ended.
    """

    def __init__(self, session: Session, progress: Progress | None) -> None:
        self._session, self._progress = session, progress
        self._still = Still()
        self._stop = False
        self.last = 0.0
        self.last_full = 0.0

    def run(self, roots: Within | None) -> SyncReport:
        """A pass over some folders, or over everything.

        Args:
            roots: watched folders in which something happened, and what came there, if that is all; "" is none of them.
                None: all.

        Raises:
            HelixError: nothing was changed.
            Stopped: `stop` was called; what was begun is finished by the next pass.
        """
        report = change(self._session, Change("watch", still=self._still, within=roots), progress=self._step)
        self.last = time.monotonic()
        if roots is None:
            self.last_full = self.last
        return report

    def expect(self) -> None:
        """A pass is near: what takes a moment to start may start."""
        if "xet" in aliases_needed(layout for name, layout in self._session.layouts.items()
                                   if self._session.is_on(name)):
            self._still.hasher.start()
            self.last = time.monotonic()

    def rest(self) -> None:
        """Let go of what is only kept for the next pass, when that does not come soon."""
        if time.monotonic() - self.last > _KEPT:
            self._still.hasher.close()

    def stop(self) -> None:
        """End the pass that runs, if one does, at its next step."""
        self._stop = True
        self._still.hasher.abort()              # which may be reading a large file

    def reopen(self) -> None:
        """Open the store again, after it was away."""
        self._session.close()
        for name in ("store", "index", "farm", "farms", "choices"):
            self._session.__dict__.pop(name, None)
        self._still.forget()

    def close(self) -> None:
        """Let go of what is kept between passes."""
        self._still.hasher.close()

    def told(self, report: SyncReport, why: str, roots: Collection[str] | None, seconds: float) -> Told:
        """What is to be said of a pass."""
        taken = [f"{one.model} ({one.variant})" for one in report.adopted]
        done = [f"took in {', '.join(dict.fromkeys(taken))}"] if taken else []
        done += [f"{len(report.linked)} linked"] if report.linked else []
        done += [f"{len(report.removed)} removed"] if report.removed else []
        done += [f"{action['path']} hidden: {action['note']}" for action in report.actions if action["op"] == "hide"]
        done += list(report.notes)
        done += [f"{issue.kind}: {issue.path}: {issue.message}" for issue in report.issues]
        where = "everything" if roots is None else " ".join(root for root in roots if root) or "what others changed"
        text = f"Looked at {where} ({why}) in {seconds * 1000:.0f} ms: {'; '.join(done) or 'as it should be'}."
        facts = {
            "why": why, "roots": None if roots is None else sorted(roots), "seconds": round(seconds, 4),
            "operation": report.operation, "linked": len(report.linked), "removed": len(report.removed),
            "adopted": [{"path": one.path, "model": one.model, "variant": one.variant} for one in report.adopted],
            "notes": list(report.notes), "unchanged": report.unchanged, "issues": [
                {"kind": one.kind, "path": one.path, "message": one.message, "remedy": one.remedy}
                for one in report.issues],
        }
        return Told("pass", text, facts)

    def _step(self, what: str, path: str, done: int, total: int) -> None:
        if self._stop:
            raise Stopped
        if self._progress is not None:
            self._progress(what, path, done, total)
