"""Whatever the order of what is wanted and what the person does: it ends as the rules say, and theirs is not lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from farmland import Land, text
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helixstore.errors import Failed
from helixstore.providers.layout import Entry
from helixstore.store.store import Store
from helixstore.values import Key
from support.disks import fresh_folder

NAMES = ("a", "b", "c")
PARTS = ("w.gguf", "p.gguf", "s.yml")                   # the witness, another link, a sidecar
names, parts, versions = st.sampled_from(NAMES), st.sampled_from(PARTS), st.sampled_from((b"1", b"2"))
_base = fresh_folder(Path("/dev/shm") if os.path.isdir("/dev/shm") else None)
_store: list[Store] = []


def teardown_module() -> None:
    shutil.rmtree(_base)


class Sequences(RuleBasedStateMachine):
    """The model: which versions are wanted, which are hidden, and every path that is the person's with its bytes."""

    def __init__(self) -> None:
        super().__init__()
        folder = fresh_folder(_base)
        if not _store:
            _store.append(Land(_base / "first").store)
        self.land = Land(folder, store=_store[0])
        self.wanted: dict[str, bytes] = {}
        self.hidden: set[str] = set()
        self.theirs: dict[str, bytes] = {}
        self.away = False
        self.settled = False

    def teardown(self) -> None:
        shutil.rmtree(self.land.folder)

    def entries(self) -> list[Entry]:
        found = []
        for name, version in self.wanted.items():
            key = Key(name, "v")
            found += [self.land.weight(f"{name}/w.gguf", name.encode() + version, key),
                      self.land.weight(f"{name}/p.gguf", b"p" + version, key, witness=False),
                      text(f"{name}/s.yml", b"s" + version, key)]
        return found

    def path(self, name: str, part: str) -> Path:
        return Path(self.land.root, name, part)

    def ledger(self) -> set[str]:
        return set(self.land.farm.ledgers.of(self.land.root).records)

    @rule(name=names, version=versions)
    def want(self, name: str, version: bytes) -> None:
        self.wanted[name] = version
        self.settled = False

    @rule(name=names)
    def drop(self, name: str) -> None:
        self.settled = self.settled and name not in self.wanted
        self.wanted.pop(name, None)

    @rule()
    def sync(self) -> None:
        if not self.away:
            self.hidden |= {path.split("/")[0] for path in self.ledger()
                            if path.endswith("w.gguf") and not os.path.lexists(f"{self.land.root}/{path}")}
        known, before = bool(self.ledger()), sorted(os.listdir(self.land.folder))
        self.land.sync(*self.entries())
        if self.away:
            assert not known or sorted(os.listdir(self.land.folder)) == before
            self.settled = False
        else:
            self.settled = True

    @precondition(lambda self: not self.away)
    @rule(name=names, part=parts)
    def person_deletes(self, name: str, part: str) -> None:
        path = self.path(name, part)
        if path.exists():
            path.unlink()
            self.theirs.pop(f"{name}/{part}", None)
            self.settled = False

    @precondition(lambda self: not self.away)
    @rule(name=names, part=parts, data=st.binary(min_size=1, max_size=3))
    def person_writes(self, name: str, part: str, data: bytes) -> None:
        """As a program does: a new file in place of what was there."""
        path = self.path(name, part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(b"mine " + data)
        self.theirs[f"{name}/{part}"] = b"mine " + data
        self.settled = False

    @precondition(lambda self: not self.away and self.ledger())
    @rule()
    def disk_goes(self) -> None:
        os.rename(self.land.root, self.land.root + ".away")
        self.away, self.settled = True, False

    @precondition(lambda self: self.away)
    @rule()
    def disk_returns(self) -> None:
        os.rename(self.land.root + ".away", self.land.root)
        self.away = False

    @precondition(lambda self: not self.away)
    @rule()
    def undo(self) -> None:
        try:
            self.land.farm.undo()
        except Failed:
            return
        self.hidden = {row["model"] for row in self.land.farm.intent.hidden()}
        self.settled = False

    @precondition(lambda self: not self.away)
    @rule()
    def leave(self) -> None:
        held = self.land.tree()
        self.land.farm.apply(self.land.farm.leave_plan())
        assert self.land.tree() == held
        assert not self.ledger()
        for name in held:
            path = Path(self.land.root, name)
            assert path.stat().st_nlink == 1
            self.theirs[name] = path.read_bytes()
        self.settled = False

    @invariant()
    def what_is_the_persons_is_untouched(self) -> None:
        if not self.away:
            tree = self.land.tree()
            for path, data in self.theirs.items():
                assert tree.get(path) == data, path

    @invariant()
    def blobs_hold_their_bytes(self) -> None:
        for version in (b"1", b"2"):
            for data in (b"a" + version, b"p" + version):
                path = self.land.store.blobs.path(self.land.blob(data)[0])
                assert Path(path).read_bytes() == data

    @invariant()
    def as_wanted_after_a_sync(self) -> None:
        if not self.settled:
            return
        tree = self.land.tree()
        for name in NAMES:
            foreign = {path for path in self.theirs if path.startswith(f"{name}/")}
            ours = {path for path in tree if path.startswith(f"{name}/")} - foreign
            if name in self.hidden or name not in self.wanted:
                assert not ours, (name, ours)
            elif not foreign:
                version = self.wanted[name]
                assert {part: tree.get(f"{name}/{part}") for part in PARTS} == {
                    "w.gguf": name.encode() + version, "p.gguf": b"p" + version, "s.yml": b"s" + version}
        assert self.land.farm.plan([self.land.wanted(*self.entries())]).empty
        assert self.land.another().plan([self.land.wanted(*self.entries())]).empty


Sequences.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None, database=None,
                                       suppress_health_check=list(HealthCheck))
TestSequences = Sequences.TestCase
