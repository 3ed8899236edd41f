"""One disturbed run after another, and what must hold after each."""

from __future__ import annotations

import errno
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from armed import FAIL, KILL, TEAR, Armed, Fault, Ran
from cases import CASES, STATES, Case
from ground import Ground
from reordered import Reordered
from world import Seen, World

__all__ = ["ERRORS", "Judge", "Judging", "Scene"]

#: what fails, and whether it goes on failing
ERRORS = (
    (errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False), (errno.EIO, True), (errno.EROFS, True),
    (errno.EROFS, False), (errno.EACCES, False), (errno.EACCES, True), (errno.EMLINK, False), (errno.EMLINK, True),
    (errno.EXDEV, False), (errno.EXDEV, True), (errno.EINTR, False),
)


@dataclass
class Scene:
    """One case, and how it goes when nothing disturbs it.

    Attributes:
        before, after: what lies there.
        ran: the command itself.
        codes: exit statuses of what is typed to complete it, where there is nothing to complete.
        done: what lies there after that.
        final: after a sync.
        told: what `list` says then.
    """

    name: str
    case: Case
    before: Seen
    ran: Ran
    after: Seen
    codes: tuple[int, ...]
    done: Seen
    final: Seen
    told: Any
    healthy: tuple[str, ...]


class Judge:
    """The trials on one ground."""

    def __init__(self, ground: Ground, armed: Armed) -> None:
        self.world = World(ground, armed)
        self.ground = ground
        self.figures: Counter[str] = Counter()
        self._scenes: dict[str, Scene] = {}
        self._plain = dict(self.world.environ)

    def take_figures(self) -> dict[str, int]:
        """What was counted since the last time."""
        figures, self.figures = dict(self.figures), Counter()
        return figures

    def close(self) -> None:
        self.world.armed.close()
        self.ground.close()

    # ---- before the trials -----------------------------------------------------------------------------------------

    def begin(self, state: str) -> None:
        """The ground in one of STATES."""
        self.world.environ = dict(self._plain)
        if "nothing" not in self.ground.states:
            self.ground.save("nothing")
        if state not in self.ground.states:
            self.ground.restore("nothing")
            STATES[state](self.world)
            self.ground.save(state)
        self.ground.restore(state)

    def scene(self, name: str) -> Scene:
        """The case made ready, and run once undisturbed."""
        if name not in self._scenes:
            case, world = CASES[name], self.world
            self.begin(case.start)
            case.before(world)
            world.environ |= case.environ
            self.ground.save(name)
            before = world.look()
            ran = world.run(*case.argv, watched=True)
            assert ran.code in (0, 3), f"{name}: {ran.code}\n{ran.out}\n{ran.err}"
            after = world.look()
            lost = before.bytes - after.bytes
            if not case.deletes:
                owned = {digest for path, digest in before.content.items() if path.endswith((".gguf", ".safetensors"))}
                assert not lost & owned, f"{name}: undisturbed, it loses a model"
            codes = tuple(world.run(*line).code for line in self._completing(case))
            done = world.look()
            world.run("sync", "--yes")
            healthy = self._health()
            final = world.look()
            self._scenes[name] = Scene(name, case, before, ran, after, codes, done, final, self._told(), healthy)
        return self._scenes[name]

    @staticmethod
    def _completing(case: Case) -> Sequence[tuple[str, ...]]:
        return () if case.undoes else case.again or (case.argv,)

    def _taking_back(self, wanted: int) -> Iterator[tuple[str, ...]]:
        """`undo` as often as the log asks for it: to finish one that was cut short, and for what is not taken back."""
        for _ in range(2 * wanted):
            done = self.world.document("log")["operations"]
            undone = sum(one["state"].startswith("undone") for one in done)
            if undone == wanted and all(one["state"] != "interrupted" for one in done):
                return
            yield ("undo", "--yes")

    def _told(self) -> Any:
        document = self.world.document("list") if (self.world.store / "store.json").exists() else {}
        for model in document.get("models", ()):
            for variant in model["variants"]:
                variant["sources"] = len(variant["sources"])
                for provider in variant["providers"].values():
                    provider["paths"], provider["link"] = len(provider["paths"]), None
                    provider["reason"] = ""
        return document.get("models")

    def _health(self) -> tuple[str, ...]:
        """What `verify` and `doctor` complain of."""
        verified = self.world.document("verify")
        checks = self.world.document("doctor")["checks"]
        return (*(f"verify: {issue['kind']} {issue['message']}" for issue in verified.get("issues", ())),
                *(f"{check['name']}: {check['message']}" for check in checks if check["state"] != "ok"))

    def faults(self, name: str, chance: random.Random, killed: int, failed: int) -> Iterator[Fault]:
        """A sample without repetition; 0 or more than there are for all."""
        ran = self.scene(name).ran
        numbers = range(1, ran.changes + 1)
        for at in chance.sample(numbers, min(killed or len(numbers), len(numbers))):
            yield Fault(KILL if chance.random() < 0.8 else TEAR, at)
        every = [(error, keeps, at) for error, keeps in ERRORS for at in range(1, ran.calls[error] + 1)]
        by_error = [ones for kind in ERRORS if (ones := [one for one in every if one[:2] == kind])]
        if 0 < failed < len(by_error):
            by_error = chance.sample(by_error, failed)
        for ones in by_error:
            share = -(-failed // len(by_error)) if failed else len(ones)
            for error, keeps, at in chance.sample(ones, min(share, len(ones))):
                yield Fault(FAIL, at, error, keeps)

    # ---- one trial ---------------------------------------------------------------------------------------------------

    def trial(self, name: str, fault: Fault) -> list[str]:
        """What is wrong after one disturbed run; nothing is as it should be."""
        scene, world = self.scene(name), self.world
        world.environ = self._plain | dict(scene.case.environ)
        self.ground.restore(name)
        ran = world.run(*scene.case.argv, fault=fault)
        if fault.power:
            self.ground.cut()
        seen = world.look()
        self.figures["operations"] += 1
        self.figures["power lost" if fault.power else "killed" if ran.killed else "failed" if ran.hit.strip()
                     else "not reached"] += 1
        wrong = [*self._lost(scene, seen), *self._projected(scene, seen), *self._said(scene, fault, ran, seen)]
        wrong += self._completed(scene, fault, ran)
        if not wrong:
            return []
        last = "\n".join((ran.out + ran.err).splitlines()[-12:])
        return [f"{name}, {fault} ({ran.hit.strip()}), exit {ran.code}", *(f"  {one}" for one in wrong), last]

    # ---- every order of writing ------------------------------------------------------------------------------------

    def reordered(self, name: str, *, flushing: bool = True) -> list[str]:
        """What may be wrong after the power was lost at any instant of an undisturbed run, by `Reordered`.

        `flushing` False: as if nothing had ever been flushed, to see that this is noticed.
        """
        scene, world = self.scene(name), self.world
        world.environ = self._plain | dict(scene.case.environ)
        self.ground.restore(name)
        log = world.run(*scene.case.argv, log=True).log.splitlines()
        log = [line for line in log if flushing or not line.startswith("sync")]
        self.figures["operations"] += 1
        self.figures["instants"] += len(log)
        digests = {f"{status.st_dev}:{status.st_ino}": digest for digest, status in world.files().values()}
        self.ground.restore(name)                               # the same inodes as before the run
        disk = Reordered([disk.point for disk in self.ground.disks], log, digests)
        disk.begin({path: digest for path, (digest, _) in world.files().items()})
        shown = {world.real(path): (scene.before.content.get(path, ""), scene.after.content.get(path, ""))
                 for path in scene.before.content.keys() | scene.after.content.keys()
                 if not path.endswith("/config.toml")}
        wrong: dict[tuple[str, str], str] = {}
        for line in log:
            disk.happen(line)
            for path, allowed in shown.items():
                for found in disk.may_hold(path):
                    if found not in allowed:
                        wrong.setdefault((path, found), line)
            for digest in scene.before.bytes & scene.after.bytes - {"dangling"}:
                if disk.lost(digest):
                    self.figures["contents lost"] += 1
                    wrong.setdefault(("LOST", digest), line)
        return [f"{name}: {path} may be {found} after {line}" for (path, found), line in wrong.items()]

    def _lost(self, scene: Scene, seen: Seen) -> Iterator[str]:
        """Invariant 1: what existed exists; and where the person has it, unless the command is there to move it."""
        lost = scene.before.bytes - seen.bytes - (scene.before.bytes - scene.after.bytes)
        self.figures["contents lost"] += len(lost)
        for path, digest in scene.before.content.items():
            if digest in lost:
                yield f"LOST: {path}"
        for digest in lost - set(scene.before.content.values()):
            yield f"LOST from the store: {digest}"

    def _projected(self, scene: Scene, seen: Seen) -> Iterator[str]:
        """Invariant 3: each path is as it was, as it will be, or not there; where both agree, nothing else."""
        for path in scene.before.content.keys() | scene.after.content.keys() | seen.content.keys():
            was, will, now = (one.content.get(path) for one in (scene.before, scene.after, seen))
            if now in (was, will) or (path.endswith("/config.toml") and now is not None):
                continue                                # of several settings, some may be written
            if was is None and will is None and (_unfinished(path) or now in (None, *scene.after.bytes)):
                continue
            yield f"{path} is {now}, not {was} or {will}"

    def _said(self, scene: Scene, fault: Fault, ran: Ran, seen: Seen) -> Iterator[str]:
        """A failure is told, with what to do."""
        if "Traceback" in ran.err or "unexpected" in ran.err or "unexpected" in ran.out:
            yield "it ends with a traceback"
        if ran.killed:
            return
        if ran.code not in (0, 1, 3) or ran.code < 0:
            yield f"exit status {ran.code}"
        told = ran.out + ran.err
        if ran.code == 1 and len([line for line in ran.err.splitlines() if line.strip()]) < 2:
            yield f"an error without a remedy: {ran.err}"
        if ran.code != scene.ran.code and fault.error == errno.ENOSPC and ran.code == 1 and "space" not in told:
            yield f"it does not say that the disk is full: {ran.err}"
        if ran.code == 0 and scene.ran.code == 0:
            for difference in seen.differences(scene.after, kinds=False):
                if not _ours(difference):
                    yield f"it says that it is done, but {difference}"
        if fault.error == errno.EINTR and ran.code != scene.ran.code:
            yield f"EINTR is not tried again: {told[-300:]}"

    def _completed(self, scene: Scene, fault: Fault, ran: Ran) -> Iterator[str]:
        """The same command again, then all is well and as if nothing had happened."""
        world, case = self.world, scene.case
        for line in self._taking_back(case.undoes) if case.undoes else self._completing(case):
            again = world.run(*line)
            if "Traceback" in again.err or "unexpected" in again.err:
                yield f"{' '.join(line)} ends with a traceback: {again.err}"
            if again.code not in (0, 3, *scene.codes) and not case.again:
                yield f"{' '.join(line)} again: {again.code} {again.err[-400:]}"
        if fault.how != FAIL:
            for difference in world.look().differences(scene.done):
                if not _ours(difference):
                    yield f"repeated, {difference}"
        if re.search("operation [0-9]+ .*was cut short", world.run("doctor").out):
            yield "repeated, there still is an operation that was cut short"
        world.run("sync", "--yes")
        try:
            health = self._health()
            told = self._told()
        except AssertionError as error:
            yield f"afterwards: {error}"
            return
        for complaint in set(health) - set(scene.healthy):
            yield f"afterwards, {complaint}"
        final = world.look()
        for difference in final.differences(scene.final, kinds=fault.how != FAIL):
            if not _ours(difference):
                yield f"in the end, {difference}"
        if final.blobs != scene.final.blobs:
            yield f"blobs in the end: {sorted(final.blobs ^ scene.final.blobs)}"
        for one in sorted(_flat(told) ^ _flat(scene.told)):
            yield f"list in the end: {one}"


#: the judge on a ground of this kind
Judging = Callable[[str], Judge]


def _flat(value: Any, path: str = "") -> set[str]:
    """Every leaf of a document, with where it is."""
    if isinstance(value, dict):
        return {leaf for key, inner in value.items() for leaf in _flat(inner, f"{path}.{key}")}
    if isinstance(value, list):
        return {leaf for at, inner in enumerate(value) for leaf in _flat(inner, f"{path}[{at}]")}
    return {f"{path} = {value}"}


def _ours(difference: str) -> bool:
    """What no program sees: a file that was never finished, a stand-in for a symbolic link where a hard link failed."""
    path = difference.partition(":")[0]
    return _unfinished(path) or re.search("/farms/HOST/[0-9]+/far/", path) is not None


def _unfinished(path: str) -> bool:
    name = os.path.basename(path)
    return (name.startswith(".") and name.endswith(".tmp")) or name.startswith((".helixstore-", "..helixstore-"))
