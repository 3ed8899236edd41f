"""Carrying out a plan: the only code of the farm that changes a root.

Each step looks once more at what it is about to touch; what is not as the plan expects is left alone and said. Steps
are idempotent, so recovery runs the same plan again: what is already as the step would leave it only enters the
ledger. When one entry of a variant fails, what this operation made for that variant in that root is taken away again,
and nothing of the old version is removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from helixstore.errors import Failed, HelixError, advice
from helixstore.farm.adopt import Adopter
from helixstore.farm.compare import found, gone, holds, is_already, origin_of
from helixstore.farm.journal import DONE, FAILED, SKIPPED, WITHDRAWN
from helixstore.farm.last import LAST, Last
from helixstore.farm.ledger import FOLDER, Ledger, Record
from helixstore.farm.needed import Needed
from helixstore.farm.outcome import Outcome, Progress, Services
from helixstore.farm.place import CannotPlace, Placed, Placer, Stage
from helixstore.farm.plan import ADOPTED, Action, Look, Plan
from helixstore.farm.scan import identity_of, look_at
from helixstore.fs import kernel, parents
from helixstore.values import Issue, Key

__all__ = ["Executor"]

_EARLY = frozenset({"hide", "unhide", "decline", "accept", "intake", "swap"})
#: errors that everything else on that file system will suffer from too: said once for a root
_WHOLE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_TRIES = 3              # times that what a program prunes at its start is made again
_FLUSH = 1024           # records between two writes of the ledgers
_REPORT = 256           # steps between two reports of progress


class Executor:
    """One run over one plan.

    Args:
        services: what the steps work with.
        plan: what is to be done.
        recovering: the plan was begun before; what is right already was made by it.
        progress: told now and then.
    """

    def __init__(self, services: Services, plan: Plan, *, recovering: bool = False,
                 progress: Progress | None = None) -> None:
        self.services, self.plan, self.recovering, self.progress = services, plan, recovering, progress
        self.outcome = Outcome(plan=plan)
        self.letters = [SKIPPED] * len(plan.actions)
        self.extra: list[Mapping[str, Any]] = []
        self.needed, self.last = Needed(services.needed), Last(services.store.blobs, plan.actions)
        self.adopter = Adopter(services, plan, self.outcome, recovering)
        self.placers: dict[str, Placer] = {}
        self.ledgers: dict[str, Ledger] = {"": services.ledgers.of("")}
        self.touched: set[str] = set()
        self.made: list[int] = []
        self._told: set[tuple[str, int]] = set()
        self._unflushed = 0
        self._steps: dict[str, Callable[[Action], str]] = {
            "hide": self.hide, "unhide": self.unhide, "decline": self.decline, "accept": self.accept,
            "intake": self.adopter.intake,
            "swap": self.adopter.swap, "folder": self.folder, "unfolder": self.unfolder, "make": self.make,
            "replace": self.replace, "restore": self.restore, "record": self.record, "refresh": self.refresh,
            "forget": self.forget, "remove": self.remove, "own": self.own,
        }

    def run(self) -> Outcome:
        """All steps; nothing that happens to one of them stops the others."""
        actions, letters, steps = self.plan.actions, self.letters, self._steps
        total, extras = len(actions), False
        for index, action in enumerate(actions):
            if not extras and action.op not in _EARLY:
                self.extras()
                self.draft(actions[index:])
                extras = True
            letters[index] = letter = self.attempt(steps[action.op], action)
            if letter == DONE and action.op in ("make", "replace"):
                self.made.append(index)
            if index % _REPORT == 0 and self.progress is not None:
                self.progress(index, total)
        if not extras:
            self.extras()
        self.look_again()
        self.withdraw()
        self.settle()
        for placer in self.placers.values():
            placer.stage.inside.forget()                # a folder that is held open could not be unmounted
        self.outcome.done = letters.count(DONE)
        if self.progress is not None and total:
            self.progress(total, total)
        return self.outcome

    def draft(self, actions: Iterable[Action]) -> None:
        """Write all new small files ahead and flush them together; each step then only gives one its name.

        What cannot be written here is tried again by its own step, which says what is wrong.
        """
        waiting = []
        for action in actions:
            if action.op != "make" or action.body[0] not in ("text", "copy"):
                continue
            placer, path, body = self.placer(action.root), action.absolute, action.body
            try:
                waiting.append(placer.draft_text(path, self.plan.texts[body[1]]) if body[0] == "text" else
                               placer.draft_small(path, body[1], body[2]))
            except (OSError, Failed):
                break
        kernel.sync_all(waiting)

    def attempt(self, step: Callable[[Action], str], action: Action) -> str:
        """One step; its errors become issues and a pending variant."""
        failed = self.outcome.failed
        if failed and action.op not in _EARLY and self.held_back(action):
            return SKIPPED
        try:
            return step(action)
        except OSError as error:
            if isinstance(error, HelixError):
                return self.fail(action, error.message, error.remedy)
            reason = error.strerror or str(error)
            if error.errno in _WHOLE_DISK:
                where = action.root or action.path
                silent = (where, error.errno) in self._told
                self._told.add((where, error.errno))
                return self.fail(action, reason, advice(error), where, silent)
            return self.fail(action, reason, advice(error, "helixstore sync"))
        except CannotPlace as error:
            return self.fail(action, error.message, silent=True)
        except HelixError as error:
            return self.fail(action, error.message, error.remedy)

    def held_back(self, action: Action) -> bool:
        """Whether an earlier failure of the same variant in this root makes this step wrong."""
        failed, root = self.outcome.failed, action.root
        bad = sum((root, claim.provider, claim.key) in failed for claim in action.claims)
        if action.op in ("make", "replace"):
            return bad > 0 and bad == len(action.claims)
        return bad > 0 and action.op in ("remove", "restore", "forget")     # so a deletion is noted

    def fail(self, action: Action, reason: str, remedy: str = "", path: str = "", silent: bool = False) -> str:
        """Note a failure for everybody who wanted this."""
        for claim in action.claims:
            self.outcome.failed.setdefault((action.root, claim.provider, claim.key), reason)
        if not (silent or (action.body[:1] == ("weight",) and action.body[1] in self.adopter.failed)):   # told
            self.outcome.issues.append(Issue("failed", path or action.absolute, reason, remedy))
        return FAILED

    def skip(self, action: Action, why: str) -> str:
        """Note that a step was no longer right."""
        self.outcome.skipped.append(f"{action.absolute}: {why}")
        return SKIPPED

    # ---- entries -----------------------------------------------------------------------------------------------

    def make(self, action: Action) -> str:
        """An entry where nothing lies: one system call for a hard link."""
        root, body, path = action.root, action.body, f"{action.root}/{action.path}"
        placer = self.placers.get(root) or self.placer(root)
        try:
            if body[0] == "weight":
                placed = placer.weight(path, body[1], body[2], body[3])
            else:
                placed = self.place(placer, path, action)
        except FileExistsError:
            look = look_at(placer.at(path))
            if look is None or not is_already(action, look, self.placer(action.root), self.plan.texts):
                self.fail(action, "something has appeared there meanwhile")
                return SKIPPED
            if action.path not in self.ledger(action.root).records:
                origin = "made" if self.recovering else "adopted"
                self.put(action, found(action, look, self.placer(action.root)), origin)
            return DONE if self.recovering else SKIPPED
        self.put(action, placed, "made")
        self.services.bases.made_again(action)
        return DONE

    def replace(self, action: Action) -> str:
        """An entry that is ours, in one step; or the person's text with ours merged in."""
        placer = self.near(action)
        look = look_at(path := placer.at(action.absolute))
        if look is None or not holds(action, look):
            if look is not None and is_already(action, look, placer, self.plan.texts):
                self.put(action, found(action, look, placer), *origin_of(action))
                return DONE if self.recovering else SKIPPED
            return self.skip(action, "it is not what it was when the plan was made")
        if self.last(action):
            return self.stay(action)
        made: list[Placed] = []

        def make(temporary: str) -> None:
            made.append(self.place(placer, temporary, action))
            if look.kind == "file" and action.body[0] == "text":
                shutil.copymode(path, temporary, follow_symlinks=False)
        def finish(temporary: str, target: str) -> bool:
            right = holds(action, look_at(target))
            if right:
                kernel.replace(temporary, target)
            return right

        if not placer.stage.put(path, make, finish):
            return self.skip(action, "it changed in the last moment")
        now = placer.placed(path, made[-1].kind, made[-1].digest) if made[-1].kind != "symlink" else made[-1]
        self.put(action, now._replace(target=made[-1].target, why=made[-1].why), *origin_of(action))
        return DONE

    def restore(self, action: Action) -> str:
        """The person's file as it was before we wrote into it; then it is theirs alone."""
        letter = self.replace(action)
        if letter == DONE:
            self.drop(action)
        return letter

    def place(self, placer: Placer, path: str, action: Action) -> Placed:
        """Make what the body says at a path where nothing lies."""
        body = action.body
        kind = body[0]
        if kind == "weight":
            return placer.weight(path, body[1], body[2], body[3])
        if kind == "copy":
            return placer.small(path, body[1], body[2])
        if kind == "text":
            self.services.bases.put_all(self.plan.bases.intersection(body[2:]), self.plan.texts)
            return placer.text(path, self.plan.texts[body[1]], body[1])
        return placer.inner(path, body[1])

    def record(self, action: Action) -> str:
        """What lies there already is what we want: the ledger takes it in, nothing is touched."""
        if action.absolute in self.adopter.refused:
            return self.fail(action, self.adopter.refused[action.absolute], silent=True)
        look = look_at(action.absolute)
        if look is None or not is_already(action, look, self.placer(action.root), self.plan.texts):
            self.fail(action, "it is not what it was when the plan was made")
            return SKIPPED
        was = self.ledger(action.root).records.get(action.path) or action.was
        origin = was.origin if was is not None and action.note != ADOPTED else "adopted"
        self.services.bases.put_all(self.plan.bases.intersection(action.body[2:]), self.plan.texts)
        self.put(action, found(action, look, self.placer(action.root)), origin, was.original if was is not None else "")
        return DONE

    def refresh(self, action: Action) -> str:
        """The ledger follows what is ours and right: other claims, another time, the person's changes in a text."""
        look, was = look_at(action.absolute), action.was
        if look is None or was is None or not holds(action, look):
            return self.skip(action, "it changed meanwhile")
        digest, base = (action.body[1], action.body[2]) if was.kind == "text" else (was.digest, was.base)
        self.services.bases.put_all(self.plan.bases.intersection(action.body[2:]), self.plan.texts)
        placed = Placed(was.kind, digest, look.inode, was.bytes if look.kind == "link" else look.bytes, look.mtime_ns,
                        was.target, was.why)
        self.put(action, placed, was.origin, was.original, base)
        return DONE

    def forget(self, action: Action) -> str:
        """No longer ours; nothing is touched."""
        self.drop(action)
        return DONE

    def remove(self, action: Action) -> str:
        """Take away what we made, if it still is that."""
        path = action.absolute
        look = look_at(at := self.near(action).at(path))
        if look is not None:
            if not holds(action, look):
                self.drop(action)
                return self.skip(action, "it was changed meanwhile, so it stays")
            if self.last(action):
                return self.stay(action)
            if self.services.in_use(path, (claim.provider for claim in action.claims)):
                self.drop(action)
                return self.skip(action, "the program uses it, so it is the program's now")
            if action.root and self.needed(action.root, action.path, [claim.provider for claim in action.claims]):
                return self.give(action, look)
            self.services.bases.let_go(action, self.plan.texts)
            kernel.unlink(at)
            self.touched.add(os.path.dirname(path))
            self.outcome.removed += 1
        self.drop(action)
        return DONE

    def stay(self, action: Action) -> str:
        """It may be the last there is of its bytes: it stays, and is the person's."""
        self.drop(action)
        self.outcome.issues.append(Issue("modified", action.absolute, *LAST))
        return SKIPPED

    def give(self, action: Action, look: Look) -> str:
        """What was ours is the program's own from now on, and never a link that may lead nowhere one day."""
        if look.kind == "link" and action.was is not None:
            letter = self.own(action._replace(body=("own", action.was.digest, action.was.bytes, None)))
            if letter != DONE:
                return letter
        self.drop(action)
        return self.skip(action, "a model that the person made there needs it, so it is the program's now")

    def own(self, action: Action) -> str:
        """A link becomes an ordinary file with its own inode; then it is not ours any more."""
        look = look_at(action.absolute)
        if look is None or not holds(action, look):
            return self.skip(action, "it is not what it was when the plan was made")
        if not self.adopter.own(action, self.near(action).stage):
            return self.skip(action, "it changed in the last moment")
        self.touched.add(os.path.dirname(action.absolute))
        self.drop(action)
        return DONE

    # ---- folders and intent --------------------------------------------------------------------------------------

    def folder(self, action: Action) -> str:
        """A real folder; ours, so that it goes when it is empty and not needed."""
        path, highest = action.absolute, ""
        try:
            if action.path:
                path = self.placer(action.root).at(path)
                os.mkdir(path)
            else:
                highest = parents.make_folders(path)
            self.services.store.sharing.settle(action.absolute)
        except FileExistsError:
            look = look_at(path)
            if look is None or (look.kind != "folder" and (action.path or not os.path.isdir(path))):
                raise
            if not self.recovering:
                return SKIPPED
        look = look_at(path) or Look("folder", 0, 0, 0)
        self.put(action, Placed(FOLDER, "", look.inode, 0, 0, highest, ""), "made")
        return DONE

    def unfolder(self, action: Action) -> str:
        """Remove a folder of ours that is empty now, with what was made on the way to it; one that is not stays."""
        highest = (action.was.target if action.was is not None else "") or action.absolute
        inside = self.placer(action.root).stage.inside
        try:
            at = inside.at(action.absolute) if action.path else action.absolute
            parents.remove_folders(at, at if action.path else highest)
            inside.forget()
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return SKIPPED
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
        self.touched |= {os.path.dirname(action.absolute), os.path.dirname(highest)}
        self.drop(action)
        return DONE

    def hide(self, action: Action) -> str:
        """The person deleted it there: remember that, unless it is back."""
        if action.path and look_at(action.absolute) is not None:
            return self.skip(action, "it is back")
        key, providers = Key(*action.body[:2]), {claim.provider for claim in action.claims}
        if action.root:
            self.services.intent.hide(key, root=action.root, providers=providers, why=action.note)
        for provider in () if action.root else sorted(providers):
            self.services.intent.hide(key, provider=provider, why=action.note)
        return DONE

    def unhide(self, action: Action) -> str:
        """Lift what was said about it in this root, or for these providers."""
        key = Key(*action.body[:2])
        if action.root:
            self.services.intent.unhide(key, root=action.root)
        for claim in () if action.root else action.claims:
            self.services.intent.unhide(key, provider=claim.provider)
        return DONE

    def decline(self, action: Action) -> str:
        """Leave a path alone from now on."""
        self.services.intent.decline([action.absolute], action.note)
        return DONE

    def accept(self, action: Action) -> str:
        """Do not leave a path alone any more."""
        self.services.intent.accept([action.absolute])
        return DONE

    # ---- after the steps -----------------------------------------------------------------------------------------

    def extras(self) -> None:
        """The engine's own records, each by its handler."""
        for record in self.plan.extra:
            kind = record["kind"]
            handler = self.services.handlers.get(record["of"]["kind"] if kind == "revert" else kind)
            if handler is None:
                self.outcome.issues.append(Issue("failed", str(kind), "nobody here can carry out this record"))
            elif kind == "revert":
                self.outcome.issues += handler.revert(record["of"])
            elif (done := handler.apply(record, frozenset(self.adopter.failed))) is not None:
                self.extra.append({"kind": kind, **done})

    def look_again(self) -> None:
        """A program that starts meanwhile may prune what we have just made: make it again, three times."""
        pending = self.pruned(self.made)
        for _ in range(_TRIES if pending else 0):
            for placer in self.placers.values():
                placer.stage.inside.forget()            # it may have made the folders anew
            for index in pending:
                action = self.plan.actions[index]._replace(op="make", expect=None)
                self.letters[index] = self.attempt(self.make, action)
            if not (pending := self.pruned(pending)):
                return
        for index in pending:
            action = self.plan.actions[index]
            self.drop(action)
            self.letters[index] = WITHDRAWN
            self.fail(action, "the program removes it as often as it is made")

    def pruned(self, indexes: list[int]) -> list[int]:
        """Those actions whose path is not there any more."""
        missing = gone(self.plan.actions[index].absolute for index in indexes)
        return [index for index in indexes if self.plan.actions[index].absolute in missing]

    def withdraw(self) -> None:
        """Take away what this operation made for a variant that failed in the same root."""
        failed = self.outcome.failed
        if not failed:
            return
        for index in sorted(self.made, key=lambda i: -self.plan.actions[i].order):
            action = self.plan.actions[index]
            record = self.ledger(action.root).records.get(action.path)
            if record is None or action.op != "make" or record.origin != "made" or not all(
                    (action.root, claim.provider, claim.key) in failed for claim in action.claims):
                continue
            with contextlib.suppress(OSError, Failed):
                at = self.placer(action.root).at(action.absolute)
                look = look_at(at)
                if look is not None and look.inode == record.inode:
                    kernel.unlink(at)
            self.drop(action)
            self.letters[index] = WITHDRAWN
            self.outcome.made -= 1
        for index, action in enumerate(self.plan.actions):
            if action.op == "folder" and self.letters[index] == DONE:
                self.touched.discard(action.absolute)
        for action in reversed([a for i, a in enumerate(self.plan.actions)
                                if a.op == "folder" and self.letters[i] == DONE]):
            with contextlib.suppress(OSError, Failed):
                os.rmdir(self.placer(action.root).at(action.absolute) if action.path else action.absolute)
                self.drop(action)

    def settle(self) -> None:
        """Names first, then the ledgers: after a power cut no ledger may name what is not there."""
        kernel.sync_all(folder for folder in self.touched if os.path.isdir(folder))
        for root, ledger in self.ledgers.items():
            if root and ledger.records:
                ledger.identify(identity_of(root) or ledger.identity)
            ledger.compact()
        kernel.sync_all(ledger.file for ledger in self.ledgers.values() if os.path.exists(ledger.file))

    # ---- the ledger ------------------------------------------------------------------------------------------------

    def ledger(self, root: str) -> Ledger:
        """The ledger of a root, read when it is first needed."""
        ledger = self.ledgers.get(root)
        if ledger is None:
            ledger = self.ledgers[root] = self.services.ledgers.of(root)
        return ledger

    def placer(self, root: str, keep: bool = True) -> Placer:
        """What makes the entries of a root."""
        if (placer := self.placers.get(root)) is None:
            placer = Placer(self.services.store.blobs, Stage(root, self.services.staging), self.services.uid)
            if keep:
                self.placers[root] = placer
        return placer

    def near(self, action: Action) -> Placer:
        """As `placer`, of an action; of one on an absolute path, for its folder."""
        return self.placer(action.root or os.path.dirname(action.path), keep=bool(action.root))

    def put(self, action: Action, placed: Placed, origin: str, original: str = "", base: str = "") -> None:
        """Into the ledger."""
        kind, digest, inode, size, mtime_ns, target, why = placed
        if kind == "text" and not base:
            base = action.body[2]
        ledger = self.ledgers.get(action.root) or self.ledger(action.root)
        ledger.put(Record(action.path, kind, digest, inode, size, mtime_ns, target, base, action.claims, why, origin,
                          action.order, original))
        if action.op in ("make", "replace"):
            self.outcome.made += 1
            self.outcome.kinds[kind] = self.outcome.kinds.get(kind, 0) + 1
            folder = action.path.rpartition("/")[0]
            self.touched.add(f"{action.root}/{folder}" if folder and action.root else action.root or folder)
        self._unflushed += 1
        if self._unflushed >= _FLUSH:
            self.flush(self.ledgers.values())

    def drop(self, action: Action) -> None:
        """Out of the ledger."""
        self.ledger(action.root).drop(action.path)

    def flush(self, ledgers: Iterable[Ledger]) -> None:
        """Hand the records to the system, so that the end of this process does not lose them."""
        self._unflushed = 0
        for ledger in ledgers:
            ledger.flush()
