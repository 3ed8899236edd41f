"""The farm of one person on one host: plan, apply, recover, undo, leave, and how things stand.

Nothing here knows a provider by name. Every change runs under the farm lock, is written down before its first step,
and can be taken back for as long as `undo_window` says.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from helixstore.errors import Failed, PlanOutdated
from helixstore.farm import back
from helixstore.farm.adopt import unpark
from helixstore.farm.apply import Executor
from helixstore.farm.check import check_plan
from helixstore.farm.desired import WantedRoot
from helixstore.farm.gather import HIDDEN, Gathered
from helixstore.farm.intent import Intent
from helixstore.farm.journal import DONE, Journal, OperationSummary
from helixstore.farm.ledger import Ledgers, without_collector
from helixstore.farm.lock import FarmLock
from helixstore.farm.mend import keep_given, mend
from helixstore.farm.moved import Moved, follow, is_gone
from helixstore.farm.narrow import narrowed, others
from helixstore.farm.needed import spared
from helixstore.farm.outcome import AskNeeded, Bases, Handler, InUse, Memory, Outcome, Progress, Services
from helixstore.farm.place import sweep
from helixstore.farm.plan import Adoption, Plan, digests_needed
from helixstore.farm.planner import Intentions, plan_root, visible
from helixstore.farm.scan import Missing, missing_witnesses, root_state, scan, vanished
from helixstore.farm.space import check_space
from helixstore.farm.states import Exceptions, farm_rows, states
from helixstore.farm.undo_keeps import forget, keep_of
from helixstore.fs.mounts import mount_of
from helixstore.fs.probe import probe
from helixstore.values import Issue, Key, LinkKind, Variant

if TYPE_CHECKING:
    from helixstore.index.codec import FarmRow, Standing
    from helixstore.store.store import Store

__all__ = ["Farm", "FarmIndex", "Overtaken"]

#: file systems that may clone; on the others nothing needs to be tried
_CLONING = frozenset({"btrfs", "xfs", "bcachefs", "ocfs2", "zfs", "apfs", "nfs4", "cifs", "smb3", ""})


class Overtaken(PlanOutdated):
    """Another operation has begun or ended since the plan was made; make it again."""


class FarmIndex(Memory, Protocol):
    """What the farm needs of the index."""

    def put_farm(self, root: str, rows: Iterable[FarmRow], gone: Iterable[str] | None = None) -> None:
        """Keep a copy of a root's ledger."""
        ...

    def variants(self) -> list[Variant]:
        """The current variants."""
        ...

    def refresh(self) -> bool:
        """Read new refs."""
        ...


class FarmSettings(Protocol):
    """What the farm needs of the settings."""

    @property
    def undo_window(self) -> float:
        """Seconds for which operations can be undone."""
        ...


class Farm:
    """See the module.

    Args:
        store: the open store.
        index: the index, or None to work without one.
        state: the person's state folder for this store, absolute; made when missing.
        settings: `undo_window`, in seconds.
        clock: seconds since 1970.
        patience: seconds to wait for the farm lock.

    Attributes:
        handlers: kind of extra record -> who carries it out. To be filled in later.
        in_use, needed: whether a program itself relies on a file that we put into its cache; which files of a root
            others there need. May be set later.
    """

    def __init__(self, store: Store, index: FarmIndex | None, state: Path | str, settings: FarmSettings,
                 *, clock: Callable[[], float] = time.time, patience: float = 10.0) -> None:
        self.store, self.index, self.settings, self.clock = store, index, settings, clock
        self.state = os.fspath(state)
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        self.handlers: dict[str, Handler] = {}
        self.in_use: InUse = lambda path, providers: None
        self.needed: AskNeeded = lambda root, providers: {}
        self.ledgers = Ledgers(os.path.join(self.state, "ledger"))
        self.bases = Bases(os.path.join(self.state, "bases"))
        self.intent = Intent(self.state)
        self.journal = Journal(os.path.join(self.state, "ops"), f"{store.host.id}/{store.host.uid}")
        self.exceptions = Exceptions(self.state)
        self._lock = FarmLock(self.state, patience)
        self._narrow: tuple[Plan, frozenset[str]] = Plan(), frozenset()     # roots planned in part

    # ---- the lock --------------------------------------------------------------------------------------------------

    def locked(self) -> AbstractContextManager[None]:
        """Hold the farm lock; may be nested.

        Raises:
            Busy: another process holds it for longer than `patience`.
        """
        return self._lock.held()

    # ---- plan ------------------------------------------------------------------------------------------------------

    def plan(self, wanted: Sequence[WantedRoot], *, adoptions: Sequence[Adoption] = (), restore: bool = False,
             hide: Collection[tuple[str, Key]] = (), unhide: Collection[tuple[str, Key]] = (),
             unhidden: Collection[tuple[str, Key]] = (), extra: Sequence[Mapping[str, Any]] = (),
             present: Mapping[str, Collection[Key]] = MappingProxyType({}),
             part: Mapping[str, Collection[str]] = MappingProxyType({})) -> Plan:
        """What would bring these roots to the desired state. Nothing is written.

        Args:
            wanted: the roots; those that are not named are not touched. A root whose providers are all off is given
                with no entries.
            adoptions: files to take into the store.
            restore: lift what was concluded from deletions, and what `undo` declined; accept a root that was deleted
                or replaced on its own disk.
            hide: (provider, variant) that the person does not want to see there; provider "" for all.
            unhide: (provider, variant) that they want to see again; provider "" for all.
            unhidden: as `unhide`, where an extra record writes it down.
            extra: records `{"kind": ...}` for the handlers; one with `digests` brings those blobs into the store.
            present: root -> variants that were found there under a name that is not ours: whatever became of ours,
                the person has not deleted them there, and has brought back what was.
            part: root -> the paths that matter there, if all others are known to be as they should be.
        """
        gathered = Gathered()
        gathered.intent(hide, unhide)
        coming = frozenset([a.digest for a in adoptions] + [digest for r in extra for digest in r.get("digests", ())])
        if restore:
            gathered.accept(self.intent.declined())
        with without_collector():
            for root in wanted:
                self._plan_root(gathered, root, adoptions, coming, restore, frozenset(hide),
                                frozenset([*unhide, *unhidden]), frozenset(present.get(root.path, ())),
                                part.get(root.path))
        gathered.add(mend(self.ledgers, self.store.blobs, [root.path for root in wanted]))
        kept: list[Adoption] = []
        moved = Moved(adoptions, self.ledgers, self.store.blobs)
        for adoption in adoptions:
            try:
                gathered.adopt(len(kept), adoption, moved.original(adoption))
            except OSError as error:
                gathered.issues.append(Issue("unreadable", adoption.path, error.strerror or str(error)))
                continue
            kept.append(adoption)
        gathered.add(moved.forget(kept))
        plan = gathered.plan("sync", kept, extra)
        self._narrow = plan, frozenset(part)
        return plan

    def _plan_root(self, gathered: Gathered, root: WantedRoot, adoptions: Sequence[Adoption], coming: frozenset[str],
                   restore: bool, hide: frozenset[tuple[str, Key]], unhide: frozenset[tuple[str, Key]],
                   present: frozenset[Key], part: Collection[str] | None) -> None:
        whole = self.ledgers.of(root.path)
        root, ledger = (root, whole) if part is None else narrowed(root, whole, part)
        prefix = root.path + "/"
        adopting = {a.path[len(prefix):]: a.digest for a in adoptions if a.path.startswith(prefix)}
        hidden = self.intent.in_root("" if restore else root.path, root.providers)
        hidden |= {(p, key): HIDDEN for p in root.providers for who, key in hide if who in ("", p)}
        lifted: set[Key] = set()
        if restore or present:
            lifted = {key for _, key in self.intent.in_root(root.path, root.providers, only_root=True)
                      if restore or key in present}
            by_command = self.intent.in_root("", root.providers) if lifted else {}
            hidden = {pair: why for pair, why in hidden.items() if pair[1] not in lifted or pair in by_command}
        gone: dict[Key, str] = {}
        if part is None and not restore and root_state(root.path, whole)[0] == "here":
            gone = {key: path for key, path in vanished(root.path, whole).items() if key not in present}
        if unhide:
            hidden = {(p, key): why for (p, key), why in hidden.items() if not {(p, key), ("", key)} & unhide}
            gone = {key: path for key, path in gone.items() if all(key != shown for _, shown in unhide)}
        declined = frozenset() if restore else self.intent.declined_in(root.path)
        intentions = Intentions(hidden, gone, declined - adopting.keys(), frozenset(lifted))
        seen = visible(root, intentions)
        actual = scan(seen, ledger, self.store.blobs, adopting, self.bases.get, restore or root.cache)
        planned = plan_root(seen, ledger.records, actual, intentions, adopting, coming)
        planned.actions = spared(planned.actions, root.path, self.needed)
        if part is not None:
            planned.states += others(self.exceptions.load().get(root.path, ()), root)
        gathered.root(root.path, actual.identity, planned)

    def withheld(self, variants: Iterable[Variant], roots: Mapping[str, Collection[str]] | None = None,
                 restore: bool = False, present: Mapping[str, Collection[Key]] = MappingProxyType({}),
                 ) -> Mapping[str, set[Key]]:
        """Provider -> variants that its layout is not to be asked about: hidden, or just deleted by the person.

        Args:
            variants: the current ones.
            roots: root -> providers that read it; their witnesses are looked at.
            restore: as of `plan`.
            present: as of `plan`.
        """
        found = {who: set(keys) for who, keys in self.intent.withheld(variants, restore, present).items()}
        for root, providers in (roots or {}).items():
            ledger = self.ledgers.of(root)
            if not restore and root_state(root, ledger)[0] == "here":
                for key in vanished(root, ledger).keys() - present.get(root, ()):
                    for provider in providers:
                        found.setdefault(provider, set()).add(key)
        return found

    def missing(self, root: str) -> Mapping[Key, Missing]:
        """The variants of which a witness is gone from a root; nothing where the root is not as we know it."""
        ledger = self.ledgers.of(root)
        return missing_witnesses(root, ledger) if root_state(root, ledger)[0] == "here" else {}

    # ---- apply -----------------------------------------------------------------------------------------------------

    def apply(self, plan: Plan, *, command: str = "sync", progress: Progress | None = None, strict: bool = False,
              since: tuple[int, bool] | None = None) -> Outcome:
        """Carry out a plan.

        Args:
            plan: made by `plan`, `leave_plan`, or read from a file.
            command: what the person typed, for the log.
            progress: told (steps done, steps in all).
            strict: every precondition is checked before the first step.
            since: what `journal.latest()` was before the plan was made, if it must not rest on anything older.

        Raises:
            PlanOutdated: `strict`, and something is not as it was; nothing was changed.
            Overtaken: another operation has begun or ended since; nothing was changed.
            Failed: the space that it needs is not there; nothing was changed.
            Busy: another process is at work.
        """
        if plan.empty and not plan.actions:
            self._check_latest(since)
            self._note(plan, Outcome(plan=plan), [])
            return Outcome(plan=plan)
        with self.locked():
            issues = self.recover()
            self._check_latest(since)
            if strict:
                check_plan(plan, self.ledgers)
            check_space(plan.space)
            if plan.empty:
                return self._book(plan)
            with without_collector():
                number = self.journal.begin(plan, command, self.clock())
            outcome = self._carry_out(number, plan, progress, recovering=False)
            outcome.issues[:0] = issues
            self._tidy()
            return outcome

    def _check_latest(self, since: tuple[int, bool] | None) -> None:
        if since is not None and since != self.journal.latest():
            raise Overtaken("another operation was carried out since the plan was made", "run the command again",
                            self.state)

    def _book(self, plan: Plan) -> Outcome:
        """Only the ledger follows: no operation."""
        with self._services() as services:
            outcome = Executor(services, plan).run()
        self._note(plan, outcome, plan.roots)
        return outcome

    def _carry_out(self, number: int, plan: Plan, progress: Progress | None, recovering: bool) -> Outcome:
        """Run a plan that is written down, and write down what came of it."""
        if keep := digests_needed(plan):
            self.store.keeps.put(keep_of(number), keep)
        if self.index is not None and (recovering or plan.undoes):
            self.index.refresh()            # a first try of this, or another process, has made claims
        with self._services() as services, without_collector():
            executor = Executor(services, plan, recovering=recovering, progress=progress)
            outcome = executor.run()
        if self.index is not None:
            self.index.refresh()            # after the links: at a thousand models it takes as long as they
        keep_given(self.ledgers, self.store.keeps)
        outcome.number = number
        outcome.count_saved(self.store.saved, self.journal.name(number))
        counts: dict[str, int] = {}
        for letter, action in zip(executor.letters, plan.actions, strict=True):
            if letter == DONE and action.op not in ("record", "refresh", "forget"):
                counts[action.op] = counts.get(action.op, 0) + 1
        messages = [f"{issue.path}: {issue.message}" for issue in outcome.issues]
        learnt = {"extra": executor.extra, "counts": counts, "freed": outcome.freed, "later": outcome.freed_later}
        for undone in plan.undoes:                      # before the end: recovery comes by here until that is written
            self.journal.undone(undone, number)
        outcome.letters = "".join(executor.letters)
        self.journal.end(number, outcome.letters, learnt, messages)
        for undone in plan.undoes:
            self.store.keeps.drop(keep_of(undone))
        if keep and plan.kind != "sync":
            self.store.keeps.drop(keep_of(number))
        self._note(plan, outcome, {action.root for action in plan.actions} | set(plan.roots))
        return outcome

    def recover(self) -> list[Issue]:
        """Roll forward what a crash left, before any other change; decided from what is on disk.

        Returns:
            One issue for each operation that was finished now, and for those of others, which are left to them.
        """
        unfinished = list(self.journal.unfinished())
        if not unfinished:
            return []
        issues = []
        with self.locked():
            for number, ours in self.journal.unfinished():
                if not ours:
                    issues.append(Issue("interrupted", self.journal.folder,
                                        f"operation {number} of another host or user was cut short",
                                        "run helixstore there"))
                    continue
                plan = self.journal.plan(number)
                sweep({folder for action in plan.actions for folder in (action.root, os.path.dirname(action.absolute))})
                outcome = self._carry_out(number, plan, None, recovering=True)
                issues += outcome.issues
            self.store.staging.clean()
        return issues

    @contextlib.contextmanager
    def _services(self) -> Iterator[Services]:
        """What the steps work with; while it is held, no collector empties the trash out of turn."""
        host = self.store.host
        with self.store.working() as staging:
            uid = host.uid if hasattr(os, "getuid") else -1
            yield Services(self.store, self.index, self.ledgers, self.intent, self.bases, self.handlers, staging,
                           self._parking(), self.clock(), uid, self.in_use, self.needed)

    def _parking(self) -> str:
        """Where replaced copies wait: on the store's file system, which a hard link into it does not leave."""
        host = self.store.host
        return f"{os.fspath(self.store.path)}/hosts/{host.id}/{host.uid}/parked"

    def _note(self, plan: Plan, outcome: Outcome, roots: Iterable[str]) -> None:
        """Keep what is not simply linked, and bring the index's copy of the ledgers up to date."""
        seen = plan.roots if plan.kind == "sync" else {root: None for root in roots if root}
        self.exceptions.update([*seen, ""], [*plan.states, *outcome.standings])
        touched = {root for root in roots if root}
        if self.index is not None and touched:
            self.index.refresh()
            manifests = {variant.key: variant.manifest for variant in self.index.variants()}
            for root in touched:
                records, changed = self.ledgers.of(root).records, None
                if plan is self._narrow[0] and root in self._narrow[1]:
                    changed = {action.path for action in plan.actions if action.root == root}
                rows = records.values() if changed is None else [records[path] for path in changed & records.keys()]
                self.index.put_farm(root, farm_rows(rows, manifests), changed and changed - records.keys())

    def follow(self, moved: Sequence[tuple[str, str]], keep: bool) -> None:
        """As `moved.follow`; the ledgers alone follow, which is no operation."""
        touched = follow(self.ledgers, moved, keep=False)
        if keep and touched:
            self.ledgers.reread()
            with self.locked():
                touched = follow(self.ledgers, moved, keep)
            self._note(Plan(), Outcome(plan=Plan()), touched)

    def publish(self) -> None:
        """Write the index's copy of every ledger anew, after `reindex`."""
        if self.index is not None:
            manifests = {variant.key: variant.manifest for variant in self.index.variants()}
            for root in [root for root in self.ledgers.roots() if root]:
                self.index.put_farm(root, farm_rows(self.ledgers.of(root).records.values(), manifests))

    def _tidy(self) -> None:
        """Let go of what has waited long enough: replaced copies after a day, plans after the undo window."""
        now = self.clock()
        for parking in (self._parking(), *map(self.store.volumes.parking, self.store.volumes.here[1:])):
            unpark(parking, now)
        self.forget_undo()

    def forget_undo(self, upto: int = 0) -> None:
        """Let go of what undo needs: of all that is older than the undo window, and up to this operation."""
        with self.locked():
            before = self.clock() - self.settings.undo_window
            forget(self.journal, self.store.keeps, self.ledgers, self.bases, before, upto)

    # ---- the ways back ---------------------------------------------------------------------------------------------

    def undo(self, n: int = 1, *, dry_run: bool = False, shown: Collection[int] | None = None) -> Outcome:
        """Walk back the latest `n` operations.

        Args:
            n: how many; those that are undone already, and undoings, do not count.
            dry_run: only the plans; `Outcome.plan` is all of them one after the other.
            shown: the numbers that the person was asked about; nothing else is taken back.

        Raises:
            Overtaken: those are not the latest any more; nothing was changed.
            Failed: there is nothing to undo, or the space that it needs is not there; nothing was changed.
        """
        with self.locked():
            issues = [] if dry_run else self.recover()
            numbers = self.journal.undoable(self.clock() - self.settings.undo_window)[:n]
            if not numbers:
                raise Failed(self.journal.why_nothing(self.clock() - self.settings.undo_window),
                             "helixstore log shows what was done; helixstore leave undoes all of it")
            if shown is not None and list(shown) != numbers:
                raise Overtaken("another operation was carried out meanwhile", "run the command again", self.state)
            preview = Gathered.together([self._inverse(number) for number in numbers])
            check_space(preview.space)
            if dry_run:
                return Outcome(plan=preview)
            outcomes = []
            for number in numbers:
                plan = self._inverse(number)
                outcomes.append(self._carry_out(self.journal.begin(plan, f"undo {number}", self.clock()), plan, None,
                                                recovering=False))
        last = outcomes[-1]
        for earlier in outcomes[:-1]:
            last.done += earlier.done
            last.removed += earlier.removed
            last.made += earlier.made
            last.skipped += earlier.skipped
            issues += earlier.issues
        last.plan = preview
        last.issues = [*issues, *last.issues]
        return last

    def _inverse(self, number: int) -> Plan:
        result = self.journal.result(number)
        assert result is not None
        return back.inverse(number, self.journal.plan(number), result, self.ledgers, self._clones)

    def leave_plan(self, provider: str | None = None) -> Plan:
        """The plan that makes every adopted or linked file an ordinary one in its place; for `apply`.

        Args:
            provider: only what nobody but this provider uses; None for all.
        """
        return back.leave(self.ledgers, provider, self._clones, self.in_use,
                          lambda record: is_gone(record, self.store.blobs))

    def _clones(self, folder: str) -> bool:
        """Whether a file in `folder` can share the blocks of a blob."""
        try:
            if mount_of(folder).kind not in _CLONING:
                return False
            with self._services() as services:
                return LinkKind.REFLINK in probe(services.staging, folder).works
        except OSError:
            return False

    # ---- questions -------------------------------------------------------------------------------------------------

    def operations(self) -> list[OperationSummary]:
        """Every operation, the latest first."""
        return self.journal.summaries(self.clock() - self.settings.undo_window)[::-1]

    def states(self, only: Collection[Key] | None = None) -> dict[tuple[str, Key], Standing]:
        """(provider, variant) -> how it stands, where it is linked or something stands in the way."""
        return states(self.ledgers, self.exceptions.load(), only)

    def roots(self) -> list[str]:
        """Every root where something is ours."""
        return [root for root in self.ledgers.roots() if root]

    def away(self) -> dict[str, str]:
        """Roots with something of ours that are not there now -> why."""
        found = {}
        for root in self.roots():
            state, reason, _ = root_state(root, self.ledgers.of(root))
            if state == "away":
                found[root] = reason
        return found

    def adopted_as(self, path: str | Path) -> Key | None:
        """The variant as which an absolute path was adopted, or None."""
        record = self.ledgers.of("").records.get(os.fspath(path))
        return record.keys[0] if record is not None and record.keys else None
