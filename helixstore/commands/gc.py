"""`gc`: one round of collection, with what only `undo` keeps of the space, and old unfinished downloads."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

from helixstore.download.leftovers import forget_old, unfinished_bytes
from helixstore.errors import Busy
from helixstore.farm.undo_keeps import keep_of
from helixstore.session import Session
from helixstore.store import gc
from helixstore.store.alive import Alive
from helixstore.store.gc import KeptForUndo

__all__ = ["collect"]


def collect(session: Session, *, now: bool, dry_run: bool) -> gc.CollectReport:
    """One round of collection with the person's grace and undo window.

    Args:
        session: whose store.
        now: at once what is theirs alone, and what has come of unfinished downloads; what only their `undo` keeps goes
            with it, and those operations can no longer be undone. Nothing of that is let go of while something cannot
            be read, or somebody else is at work.
        dry_run: only say what would be done.

    Raises:
        Busy: as `gc.collect`.
    """
    settings = session.settings
    if not (dry_run or session.store.read_only):
        with suppress(Busy):                            # whoever is at work does it at their end
            session.farm.forget_undo()
    kept = _only_undo(session)

    left = unfinished_bytes(session) if now and dry_run else forget_old(session, now=now, dry_run=True)

    def let_go() -> None:
        forget_old(session, now=now)
        if now and kept is not None:
            session.farm.forget_undo(kept.operations[-1])

    report = gc.collect(session.store, now=now, grace=settings.grace, undo_window=settings.undo_window,
                        dry_run=dry_run, memory=session.index, before=let_go)
    return replace(report, undo=kept and replace(kept, let_go=now), cleaned_bytes=report.cleaned_bytes + left)


def _only_undo(session: Session) -> KeptForUndo | None:
    """What nothing but this person's `undo` keeps; None for nothing, or when some claim cannot be read.

    Operations are taken back from the latest on. So when what one of them needs is let go of, all before it go, too.
    """
    store, journal, window = session.store, session.farm.journal, session.settings.undo_window
    times = {one.number: one.time for one in session.farm.operations() if one.undoable}
    needs = {number: store.keeps.digests(keep_of(number)) for number in times}
    if not any(needs.values()):
        return None
    claimed, issues = Alive(store, session.index).read(without=set(map(keep_of, times)))
    store.volumes.refresh()
    sizes: dict[str, int] = {}
    for digest in set().union(*needs.values()) - claimed:
        with suppress(OSError):                         # not here: nothing that would be freed
            sizes[digest] = os.stat(store.blobs.path(digest)).st_size
    holding = [number for number, digests in needs.items() if digests & sizes.keys()]
    if issues or not holding:
        return None
    last = max(holding)
    closing = tuple(number for number in journal.undoable(0) if number <= last)[::-1]
    until = max(map(times.__getitem__, holding)) + window
    return KeptForUndo(closing, tuple(sorted(sizes)), sum(sizes.values()), until)
