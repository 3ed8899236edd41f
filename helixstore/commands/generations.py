"""Generations: what the programs showed after each operation; which there are, how two differ, and the way to one.

A generation is the number of the operation that it came from, as `log` shows it; 0 is before the first. Nothing is kept
for them but the journal, so they reach back as far as `undo` does. The way to one is to take back what was done after
it, and to do again what was taken back since.
"""

from __future__ import annotations

from dataclasses import replace

from helixstore.commands.again import done_again
from helixstore.commands.back import undo
from helixstore.errors import NotFound
from helixstore.farm.journal import DONE, OperationSummary
from helixstore.farm.plan import Action
from helixstore.results import Difference, Generation, SyncReport
from helixstore.session import Session
from helixstore.sync.change import change
from helixstore.sync.wanted import Ask
from helixstore.values import LIBRARY

__all__ = ["difference", "generations", "go_back"]

_AGAIN = "again "               # what stands in the journal for an operation that is done again, as "undo 4" does
_SHOWING = frozenset({"make", "replace", "remove"})


def generations(session: Session) -> list[Generation]:
    """All that can be gone back to or compared, the latest first; the current one is marked."""
    found = []
    current = True
    for one in session.farm.operations():
        if one.finished and _kept(session, one.number):
            told = one.describe()
            found.append(Generation(one.number, told["time"], one.command, told["summary"], current))
            current = False
    return found


def difference(session: Session, first: int, second: int | None = None) -> list[Difference]:
    """What programs show in the second generation (None: now) other than in the first.

    Raises:
        NotFound: the journal does not reach back so far.
    """
    numbers = session.farm.journal.numbers()
    second = (numbers or [0])[-1] if second is None else second
    forth = second >= first
    low, high = sorted((first, second))
    between = [number for number in numbers if low < number <= high]
    for number in [one for one in (low, high) if one and one not in numbers] + [
            number for number in between if not _kept(session, number)]:
        raise NotFound(f"there is no generation {number}, or it is too old", "helixstore generations list")
    entries: dict[tuple[str, str], tuple[str, str]] = {}        # before the first operation, after the last
    rows: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
    for number in between:
        done = (session.farm.journal.result(number) or {}).get("letters", "")
        for action, letter in zip(session.farm.journal.plan(number).actions, done, strict=False):
            if letter == DONE and action.op in _SHOWING and action.root:
                place = action.root, action.path
                entries[place] = entries.get(place, (_was(action), ""))[0], _is(action)
                rows.setdefault(place, set()).update(
                    (claim.provider, claim.key.model, claim.key.variant) for claim in action.claims
                    if claim.key is not None and claim.provider not in ("", LIBRARY))
    changes: dict[tuple[str, str, str], set[str]] = {}
    for place, (before, after) in entries.items():
        if before != after:
            gone = not after if forth else not before
            new = not before if forth else not after
            for row in rows[place]:
                changes.setdefault(row, set()).add("gone" if gone else "shown" if new else "changed")
    return [Difference(*row, kinds.pop() if len(kinds) == 1 else "changed") for row, kinds in sorted(changes.items())]


def _was(action: Action) -> str:
    """What lay there for the programs before a step; "" for nothing."""
    return "" if action.op == "make" or action.was is None else action.was.digest or action.was.target or "something"


def _is(action: Action) -> str:
    """What lies there after it."""
    return "" if action.op == "remove" else str(action.body[1])


def go_back(session: Session, number: int, *, dry_run: bool = False, ask: Ask | None = None) -> SyncReport:
    """Let the programs show what they showed after an operation, whether that is in force or was taken back since.

    Every operation after it is taken back, the latest first; those up to it that were taken back later are done again.

    Raises:
        NotFound: there is no such generation, or one after it cannot be undone any more.
        Failed: one cannot be done again; nothing was changed.
    """
    operations = session.farm.operations()[::-1]
    if number and all(one.number != number for one in operations):
        raise NotFound(f"there is no generation {number}", "helixstore generations list")
    done = [one for one in operations if one.finished and one.kind != "undo" and _did(session, one)]
    now = [one for one in done if one.undone is None]
    then = [one for one in done if one.number <= number < (one.undone or number + 1)]
    same = 0
    while same < min(len(now), len(then)) and _first(now[same]) == _first(then[same]):
        same += 1
    later, again = now[same:], then[same:]
    if old := [one.number for one in later if not one.undoable]:
        raise NotFound(f"operation {old[-1]} cannot be undone any more", "helixstore generations list")
    for one in again:
        done_again(session, one)
    if not later and not again:
        return SyncReport(dry_run=dry_run, notes=(f"generation {number} is what there is",))
    report = undo(session, len(later), dry_run=dry_run, ask=ask, meant=[one.number for one in reversed(later)]) \
        if later else SyncReport(dry_run=dry_run)
    if report.dry_run and not dry_run:
        return report                           # the person was asked, and does not want it
    for one in again:
        wanted = replace(done_again(session, one), command=f"{_AGAIN}{_first(one)}")
        report = report.then(change(session, wanted, dry_run=dry_run))
    return report


def _did(session: Session, one: OperationSummary) -> bool:
    """Whether an operation changed anything; of some only names moved."""
    return bool(one.counts or (session.farm.journal.result(one.number) or {}).get("learnt", {}).get("extra"))


def _first(one: OperationSummary) -> int:
    """The operation that it does again, or its own number."""
    number = one.command.removeprefix(_AGAIN)
    return int(number) if number != one.command and number.isdecimal() else one.number


def _kept(session: Session, number: int) -> bool:
    return not session.farm.journal.closed(number)
