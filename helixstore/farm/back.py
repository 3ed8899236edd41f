"""The ways back, as plans: `undo` takes one operation back, `leave` makes every link an ordinary file. Pure but for
looking at what lies there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from helixstore.farm.compare import content
from helixstore.farm.desired import Claim
from helixstore.farm.journal import DONE
from helixstore.farm.ledger import FOLDER, Ledgers, Record
from helixstore.farm.library import Library
from helixstore.farm.outcome import InUse
from helixstore.farm.plan import STARTED_WITH, Action, Look, Plan
from helixstore.farm.planner import body_of
from helixstore.farm.scan import look_at
from helixstore.fs.mounts import mount_of
from helixstore.values import Issue, Key

__all__ = ["inverse", "leave", "space_needed"]

#: a root's path -> whether a file there can be had without its own bytes on disk (a reflink)
Clones = Callable[[str], bool]

_UNDONE = "taken back by undo"


def inverse(number: int, plan: Plan, result: Mapping[str, Any], ledgers: Ledgers, clones: Clones) -> Plan:
    """The plan that takes an operation back, as far as the world is still as it left it.

    Args:
        number: of the operation.
        plan: what it carried out.
        result: what became of each step.
        ledgers: what is ours now.
        clones: whether a copy costs nothing at a path.
    """
    extra = [done for done in result["learnt"].get("extra", ()) if done]
    back = _Back(plan, ledgers, frozenset(Key(move["model"], move["variant"]) for done in extra
                                          for move in done.get("refs", ())
                                          if move["manifest"] and not (move["before"] or {}).get("manifest")))
    steps = [action for action, letter in zip(plan.actions, result["letters"], strict=False) if letter == DONE]
    back.were_there(steps)
    for action in reversed(steps):
        back.action(action)
    order = {"unhide": 0, "folder": 1, "own": 3, "remove": 4, "unfolder": 5, "hide": 6, "decline": 7}
    actions = tuple(sorted(back.actions, key=lambda action: order.get(action.op, 2)))
    reverted = tuple({"kind": "revert", "of": done} for done in reversed(extra))
    return Plan("undo", actions, {**plan.texts}, issues=tuple(back.issues), extra=reverted,
                space=space_needed(actions, clones), undoes=(number,))


class _Back:
    """The inverse of each action of one plan. `named`: the variants that got their names by it, and lose them again."""

    def __init__(self, plan: Plan, ledgers: Ledgers, named: frozenset[Key]) -> None:
        self.plan, self.ledgers, self.named = plan, ledgers, named
        self.actions: list[Action] = []
        self.issues: list[Issue] = []
        self._hidden: set[tuple[str, Key]] = set()
        self._before: set[tuple[str, Key]] = set()          # provider, and a variant that it was shown before
        self._inodes: dict[tuple[object, ...], str] = {}    # what an inode was before it -> a path that gets it back

    def were_there(self, actions: Sequence[Action]) -> None:
        """Note who was shown what before all this, also in another version, by another name or in another folder: undo
        hides it from none of them."""
        made = {(action.root, action.path) for action in actions}
        stayed = (claim for root in self.ledgers.roots() if root
                  for path, record in self.ledgers.of(root).records.items() if (root, path) not in made
                  for claim in record.claims if claim.witness)
        gone = (claim for action in actions if action.op in ("remove", "replace") and action.was is not None
                for claim in action.was.claims)
        self._before = {(claim.provider, claim.key) for claim in (*stayed, *gone) if claim.key is not None}

    def action(self, action: Action) -> None:
        """Add what takes this action back; what cannot be looked at is left as it is, and said."""
        try:
            self._take_back(action)
        except OSError as error:
            self._skip(action, f"it cannot be looked at ({error.strerror or error})")

    def _take_back(self, action: Action) -> None:
        op = action.op
        if op in ("make", "record"):
            self._unmake(action)
        elif op == "replace":
            self._put_back(action)
        elif op == "remove":
            look = look_at(action.absolute)
            if look is None:
                self._add(action, "make", body=action.body, expect=None)
            else:
                self._skip(action, "something lies there now")
        elif op == "restore":
            self._merge_again(action)
        elif op == "folder" and action.note != STARTED_WITH:
            record = self._record(action)
            if record is not None:
                self._add(action, "unfolder", expect=_look(action.absolute), was=record)
        elif op == "unfolder":
            self._add(action, "folder")
        elif op == "hide":
            self._add(action, "unhide", body=action.body)
        elif op == "unhide":
            self._add(action, "hide", path="", body=action.body)
        elif op in ("intake", "swap"):
            self._give_back(action)

    def _unmake(self, action: Action) -> None:
        record = self._record(action)
        if record is None or (action.op == "make") != (record.origin == "made"):
            self._skip(action, "it is not ours any more")
            return
        if action.op == "record":
            self._add(action, "forget", was=record)
            return
        look = look_at(action.absolute)
        if look is not None:
            self._add(action, "remove", body=body_of(record), expect=_expected(record, look), was=record)
        else:
            self._add(action, "forget", was=record)
        if action.was is None:                  # an entry that was only repaired leaves its variant where it was
            for claim in record.claims:
                if claim.key is None or claim.key in self.named or (claim.provider, claim.key) in self._before:
                    continue
                if (action.root, claim.key) not in self._hidden:
                    self._hidden.add((action.root, claim.key))
                    self._add(action, "hide", path="", body=(*claim.key,), note=_UNDONE, claims=tuple(
                        one for one in action.claims if (one.provider, one.key) not in self._before))

    def _put_back(self, action: Action) -> None:
        record, look = self._record(action), _look(action.absolute)
        if record is None or look is None:
            self._skip(action, "it is not ours any more")
            return
        expect = _expected(record, look)
        if action.was is not None:
            self._add(action, "replace", body=body_of(action.was), expect=expect, was=record, claims=action.was.claims)
        else:
            original = action.body[3]
            self._add(action, "restore", body=("text", original, original), expect=expect, was=record)

    def _merge_again(self, action: Action) -> None:
        """The person's text, with ours in it as it was before it was taken out."""
        look, was = _look(action.absolute), action.was
        if was is None or look is None or content(action.absolute) != action.body[1]:
            self._skip(action, "it was changed since")
            return
        body = ("text", was.digest, was.base, *([was.original] if was.original else []))
        self._add(action, "replace", body=body, expect=look, claims=was.claims)

    def _give_back(self, action: Action) -> None:
        adoption = self.plan.adoptions[action.body[1]]
        record = self.ledgers.of("").records.get(adoption.path)
        look = _look(adoption.path)
        if record is None or look is None or not (record.kind == "reference" or _still(record, look)):
            self._skip(action, "it was changed since")
            return
        if record.kind == "reference":          # nothing was done to it
            self._add(action, "forget", was=record)
            self._add(action, "decline", body=(), note=_UNDONE)
            return
        was = self.plan.originals[action.body[1]]
        original = list(was)
        inode = adoption.expect.device, adoption.expect.inode, was._replace(atime_ns=0)
        twin = self._inodes.setdefault(inode, adoption.path)
        self._add(action, "own", body=("own", adoption.digest, adoption.expect.bytes, original,
                                       "" if twin == adoption.path else twin), expect=look, was=record)
        self._add(action, "decline", body=(), note=_UNDONE)
        if adoption.root is not None:           # nothing is to be made there beside what is the person's alone again
            self._hide(adoption.root, adoption.key, [Claim(name, adoption.key, False) for name in adoption.providers])

    def _hide(self, root: str, key: Key, claims: Iterable[Claim]) -> None:
        if (root, key) not in self._hidden:
            self._hidden.add((root, key))
            self.actions.append(Action("hide", root, "", (*key,), claims=tuple(claims), note=_UNDONE))

    def _record(self, action: Action) -> Record | None:
        return self.ledgers.of(action.root).records.get(action.path)

    def _add(self, action: Action, op: str, *, path: str | None = None, body: tuple[Any, ...] = (),
             expect: Look | None = None, was: Record | None = None, note: str = "",
             claims: tuple[Claim, ...] | None = None) -> None:
        self.actions.append(Action(op, action.root, action.path if path is None else path, body, expect,
                                   action.claims if claims is None else claims, action.order, was, note))

    def _skip(self, action: Action, why: str) -> None:
        self.issues.append(Issue("changed", action.absolute, f"{why}, so it is left as it is"))


def leave(ledgers: Ledgers, provider: str | None, clones: Clones, in_use: InUse,
          gone: Callable[[Record], bool] = lambda record: False) -> Plan:
    """The plan that makes every adopted or linked file an ordinary one in its place.

    Args:
        ledgers: what is ours.
        provider: only entries that nobody but this provider claims; None for all.
        clones: whether a copy costs nothing at a path.
        in_use: see `Farm`.
        gone: whether an adopted file is certainly no more where it lay.

    Only the library, which belongs to no program, is removed, and what no program uses in its cache. Sidecars stay,
    since the model must go on working in its program; they are only forgotten.
    """
    actions: list[Action] = []
    issues: list[Issue] = []
    adopted = ledgers.of("").records
    done: set[str] = set()
    for root in [root for root in ledgers.roots() if root]:
        records = ledgers.of(root).records.values()
        alone = all(_names(r) <= {provider} for r in records)
        first = next((r for r in records if r.claims), None)
        cached = first is not None and in_use(f"{root}/{first.path}", _names(first)) is not None
        for record in records:
            if record.kind != FOLDER or alone or provider is None:
                spare = cached and record.origin == "made" and not (
                    record.kind == "hard" and in_use(f"{root}/{record.path}", _names(record)))
                _leave_one(root, record, provider if record.claims else None, adopted, actions, issues, done, spare)
    for path, record in adopted.items():
        if path not in done:
            _leave_one("", record, provider, adopted, actions, issues, done, gone=gone(record))
    rank = {"own": 0, "refresh": 0, "remove": 1, "forget": 2, "unfolder": 3}
    ordered = tuple(sorted(actions, key=lambda one: (rank[one.op], -one.path.count("/") - bool(one.path))))
    return Plan("leave", ordered, issues=tuple(issues), space=space_needed(ordered, clones))


def _leave_one(root: str, record: Record, provider: str | None, adopted: Mapping[str, Record], actions: list[Action],
               issues: list[Issue], done: set[str], spare: bool = False, gone: bool = False) -> None:
    """`spare`: it need not stay; `gone`: it is not there, nor on a disk that is away."""
    names = _names(record)
    if provider is not None and names != {provider}:
        rest = tuple(claim for claim in record.claims if claim.provider != provider)
        if provider in names:
            actions.append(Action("refresh", root, record.path, body_of(record), _look(f"{root}/{record.path}"), rest,
                                  record.order, record))
        return
    forget = Action("forget", root, record.path, claims=record.claims, was=record)
    if names == {Library.name} or spare:
        look = _look(forget.absolute)
        if look is not None and record.kind != FOLDER and _still(record, look):
            actions.append(forget._replace(op="remove", body=body_of(record), expect=_expected(record, look)))
        elif record.kind == FOLDER:
            actions.append(forget._replace(op="unfolder"))
        return
    if record.kind not in ("hard", "symlink"):
        actions.append(forget)
        return
    path = forget.absolute
    done.add(path)
    try:
        look = look_at(path)
    except OSError as error:
        issues.append(Issue("away", path, error.strerror or str(error), "mount the disk, then leave again"))
        return
    if look is None or not _still(record, look):
        actions.append(forget)
        if look is None and not gone and not os.path.isdir(root or os.path.dirname(path)):
            actions.pop()
            issues.append(Issue("away", path, "it is not there now", "mount the disk, then leave again"))
        return
    taken = adopted.get(path)
    original = json.loads(taken.original) if taken is not None else None
    actions.append(Action("own", root, record.path, ("own", record.digest, record.bytes, original), look, record.claims,
                          record.order, record))


def _names(record: Record) -> set[str]:
    return {claim.provider for claim in record.claims}


def space_needed(actions: Iterable[Action], clones: Clones) -> dict[str, int]:
    """Bytes that giving files their own inodes takes, by mount point; none where the file system clones."""
    needed: dict[str, int] = {}
    points: dict[str, tuple[str, bool]] = {}
    for action in actions:
        if action.op == "own" and not any(action.body[4:]):
            folder = os.path.dirname(action.absolute)
            if folder not in points:
                points[folder] = mount_of(folder).point, clones(folder)
            point, free = points[folder]
            if not free or _across(action, folder):
                needed[point] = needed.get(point, 0) + action.body[2]
    return needed


def _across(action: Action, folder: str) -> bool:
    """Whether a symbolic link leads to another file system, from which nothing can be cloned."""
    look = action.expect
    return look is not None and look.kind == "link" and mount_of(look.target).source != mount_of(folder).source


def _look(path: str) -> Look | None:
    try:
        return look_at(path)
    except OSError:
        return None


def _still(record: Record, look: Look) -> bool:
    if record.kind == "symlink":
        return look.kind == "link" and look.target == record.target
    return look.kind == "file" and look.inode == record.inode


def _expected(record: Record, look: Look) -> Look:
    """What must lie there for it to be still ours: as the ledger says, not as it may be now."""
    if record.kind in ("symlink", "inner"):
        return Look("link", look.inode, 0, look.mtime_ns, record.target)
    if record.kind == FOLDER:
        return look
    return Look("file", record.inode, record.bytes, record.mtime_ns)
