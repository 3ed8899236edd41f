"""The record of every operation: `ops/<n>/` with what was typed, the plan, what became of each step.

    about.json   when, by what command, of which kind
    plan.json    the plan, durable with its folder before the first step
    result.json  one letter per action, and what the steps learnt; its absence means that the operation was cut short
    undone.json  which operation took it back
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from helixstore.farm.plan import Plan
from helixstore.fs import kernel
from helixstore.fs.listing import listdir
from helixstore.values import Key

__all__ = ["DONE", "FAILED", "SKIPPED", "WITHDRAWN", "Journal", "OperationSummary"]

#: What became of an action: done; not needed or no longer right; failed; made and taken away again.
DONE, SKIPPED, FAILED, WITHDRAWN = "d", "s", "f", "w"


#: Kind of step -> what it did, for people. Folders are not worth a word.
_DID = {
    "intake": ("took in", "file"), "swap": ("replaced by links", "copy"), "make": ("added", "file"),
    "replace": ("renewed", "file"), "restore": ("put back", "file"), "own": ("gave back", "file"),
    "remove": ("took away", "file"), "hide": ("hid", "model"), "unhide": ("showed again", "model"),
    "decline": ("left alone", "path"), "accept": ("looks again at", "path"),
}
#: Commands that only say something of names -> what they did.
_SAID = {"pin": "pinned", "unpin": "unpinned"}
_NAMED = 3                      # of which the names are told


@dataclass(frozen=True, slots=True)
class OperationSummary:
    """One operation, for `log`.

    Attributes:
        number: its number.
        command: what was typed.
        kind: "sync", "undo" or "leave".
        time: seconds since 1970.
        finished: False: it was cut short and waits for recovery.
        undone: the number of the operation that took it back, or None.
        undoable: `undo` can still walk back over it.
        counts: kind of step -> how many were done.
        issues: messages that it ended with.
        names: variants whose names it moved, or said something else of.
    """

    number: int
    command: str
    kind: str
    time: float
    finished: bool
    undone: int | None
    undoable: bool
    counts: Mapping[str, int]
    issues: tuple[str, ...]
    names: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """As `log` prints it, JSON-ready; `time` is ISO 8601 in UTC."""
        if not self.finished:
            state = "interrupted"
        else:
            state = f"undone by {self.undone}" if self.undone is not None else "done"
        return {
            "n": self.number, "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="seconds"),
            "command": self.command, "kind": self.kind, "state": state, "undoable": self.undoable,
            "summary": ", ".join(_did(op, count) for op, count in self.counts.items() if op in _DID) or _said(
                self.command, self.names),
            "counts": dict(self.counts), "issues": list(self.issues),
        }


def _did(op: str, count: int) -> str:
    did, noun = _DID[op]
    return f"{did} {count:,} {noun if count == 1 else 'copies' if noun == 'copy' else noun + 's'}"


def _said(command: str, names: tuple[str, ...]) -> str:
    """What an operation did that only says something of names."""
    if command not in _SAID or not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{_SAID[command]} {', '.join(names[:_NAMED])}{more}"


class Journal:
    """The operations of one person for one store.

    Args:
        folder: `<state>/ops`, absolute; made when missing.
        owner: host id and uid: only they recover what they began.
    """

    def __init__(self, folder: str, owner: str) -> None:
        self.folder, self.owner = folder, owner
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def numbers(self) -> list[int]:
        """All operations, the earliest first."""
        return sorted(int(name) for name in listdir(self.folder) if name.isdigit())

    def begin(self, plan: Plan, command: str, now: float) -> int:
        """Write the plan down, durably; returns its number."""
        number = (self.numbers() or [0])[-1] + 1
        draft = self._path(number) + ".new"
        shutil.rmtree(draft, ignore_errors=True)
        os.mkdir(draft, 0o700)
        about = {"schema": 1, "command": command, "kind": plan.kind, "time": now, "owner": self.owner}
        kernel.write_new(f"{draft}/about.json", json.dumps(about).encode(), 0o600, durable=False)
        kernel.write_new(f"{draft}/plan.json", plan.encode(), 0o600, durable=False)
        kernel.sync_file(f"{draft}/about.json")
        kernel.sync_file(f"{draft}/plan.json")
        kernel.sync_folder(draft)
        kernel.replace(draft, self._path(number))
        kernel.sync_folder(self.folder)
        return number

    def end(self, number: int, letters: str, learnt: Mapping[str, Any], issues: list[str]) -> None:
        """Write down what became of each action, durably."""
        result = {"schema": 1, "letters": letters, "learnt": learnt, "issues": issues}
        kernel.replace_file(f"{self._path(number)}/result.json", json.dumps(result).encode(), 0o600)

    def undone(self, number: int, by: int) -> None:
        """Note that an operation has been taken back."""
        kernel.replace_file(f"{self._path(number)}/undone.json", json.dumps({"by": by}).encode(), 0o600)

    def name(self, number: int) -> str:
        """A name of an operation that no other has, not even of a journal that was deleted and begun anew."""
        return f"{number}-{int((self._read(number, 'about.json') or {}).get('time', 0) * 1000)}"

    def plan(self, number: int) -> Plan:
        """The plan of an operation, as it was written down."""
        with open(f"{self._path(number)}/plan.json", "rb") as file:
            return Plan.decode(file.read())

    def result(self, number: int) -> dict[str, Any] | None:
        """What became of it; None while it is not finished."""
        return self._read(number, "result.json")

    def unfinished(self) -> Iterator[tuple[int, bool]]:
        """Operations that were cut short, and whether they are ours to recover."""
        for number in self.numbers():
            if not os.path.exists(f"{self._path(number)}/result.json"):
                about = self._read(number, "about.json") or {}
                yield number, about.get("owner") == self.owner

    def cut_short(self, kind: str) -> list[int]:
        """Our operations of a kind that are not finished, the earliest first."""
        return [number for number, ours in self.unfinished()
                if ours and (self._read(number, "about.json") or {}).get("kind") == kind]

    def latest(self) -> tuple[int, bool]:
        """The last operation and whether it is finished: another value means that something has happened since."""
        number = (self.numbers() or [0])[-1]
        return number, os.path.exists(f"{self._path(number)}/result.json")

    def undoable(self, since: float) -> list[int]:
        """Operations that `undo` can walk back over, the latest first."""
        return [s.number for s in self.summaries(since) if s.undoable][::-1]

    def why_nothing(self, since: float) -> str:
        """Why `undoable` has nothing, for people."""
        if any(s.finished and s.kind == "sync" and s.undone is None and s.time >= since and s.counts
               for s in self.summaries(since)):
            return "nothing can be undone any more: gc --now has let go of what that needs"
        return "there is nothing to undo"

    def summaries(self, since: float) -> list[OperationSummary]:
        """All operations, the earliest first; those before `since` (seconds since 1970) cannot be undone any more."""
        found = []
        for number in self.numbers():
            about = self._read(number, "about.json") or {}
            result = self._read(number, "result.json")
            undone = (self._read(number, "undone.json") or {}).get("by")
            learnt = (result or {}).get("learnt", {})
            kind, time = about.get("kind", "sync"), about.get("time", 0.0)
            undoable = result is not None and undone is None and kind == "sync" and time >= since and bool(
                learnt.get("counts") or learnt.get("extra")) and os.path.exists(f"{self._path(number)}/plan.json")
            found.append(OperationSummary(number, about.get("command", ""), kind, time, result is not None, undone,
                                          undoable, learnt.get("counts", {}), tuple((result or {}).get("issues", ())),
                                          tuple(str(Key(one["model"], one["variant"])) for record in
                                                learnt.get("extra", ()) for one in record.get("refs", ()))))
        return found

    def forget_plans(self, before: float, upto: int = 0) -> bool:
        """Drop the plans of finished operations that are too old to be undone, durably; the log keeps the rest.

        Args:
            before: seconds since 1970.
            upto: and of all up to this one, however young.

        Returns:
            Whether there were any.
        """
        gone = False
        for number in self.numbers():
            about = self._read(number, "about.json") or {}
            old = number <= upto or about.get("time", before) < before
            if old and os.path.exists(f"{self._path(number)}/result.json"):
                with contextlib.suppress(FileNotFoundError):
                    kernel.unlink(f"{self._path(number)}/plan.json")
                    kernel.sync_folder(self._path(number))
                    gone = True
        return gone

    def closed(self, number: int) -> bool:
        """Whether an operation is finished and nothing takes it back any more: its plan was dropped."""
        folder = self._path(number)
        return os.path.exists(f"{folder}/result.json") and not os.path.exists(f"{folder}/plan.json")

    def _path(self, number: int) -> str:
        return os.path.join(self.folder, str(number))

    def _read(self, number: int, name: str) -> dict[str, Any] | None:
        try:
            with open(os.path.join(self._path(number), name), "rb") as file:
                found: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return None
        return found
