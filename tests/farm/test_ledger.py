"""What is ours survives cut lines, other processes, and being rewritten; a hundred thousand records load at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

from farmland import Land
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.farm.desired import Claim
from helixstore.farm.ledger import Ledger, Ledgers, Record
from helixstore.farm.plan import Action, Look, Plan
from helixstore.values import Issue, Key
from support.soak import SOAK


def record(path: str, target: str = "", inode: int = 7) -> Record:
    claims = (Claim("p", Key("a", "v"), True), Claim("q", None, False))
    return Record(path, "hard", "d" * 64, inode, 4, 5, target, "", claims, "why", "made", 0)


def test_appends_supersedes_and_drops(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "l"), "/root")
    ledger.identify(("uuid:1", 42))
    ledger.put(record("a"))
    ledger.put(record("b"))
    ledger.put(record("a", inode=8))
    ledger.drop("b")
    ledger.flush(durable=True)
    again = Ledger(str(tmp_path / "l"), "/root")
    assert again.records == {"a": record("a", inode=8)}
    assert again.identity == ("uuid:1", 42)
    ledger.drop("a")
    ledger.compact()
    assert not (tmp_path / "l").exists()
    again.reload()
    assert not again.records


def test_every_cut_loses_at_most_the_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "l"
    ledger = Ledger(str(file), "/root")
    for name in "abc":
        ledger.put(record(name))
        ledger.flush()
    data = file.read_bytes()
    for size in range(len(data) + 1):
        file.write_bytes(data[:size])
        cut = Ledger(str(file), "/root")
        whole = data[:size].count(b"\n") - 1                            # the first line is about the root
        assert list(cut.records) == list("abc")[:max(whole, 0)]
        cut.put(record("new"))
        cut.flush()
        assert "new" in Ledger(str(file), "/root").records
        assert len(Ledger(str(file), "/root").records) == len(cut.records)


def test_noise_in_the_middle_ends_the_ledger_there(tmp_path: Path) -> None:
    file = tmp_path / "l"
    ledger = Ledger(str(file), "/root")
    for name in "abc":
        ledger.put(record(name))
    ledger.flush()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], b"\0" * 40 + b"\n", *lines[2:]]))
    cut = Ledger(str(file), "/root")
    assert list(cut.records) == ["a"]
    cut.put(record("z"))
    cut.flush()
    assert list(Ledger(str(file), "/root").records) == ["a", "z"]


def test_is_rewritten_when_most_of_it_is_history(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "l"), "/root")
    for number in range(1200):
        ledger.put(record("a", inode=number))
    ledger.flush()
    before = (tmp_path / "l").stat().st_size
    ledger.compact()
    assert (tmp_path / "l").stat().st_size < before / 100
    assert Ledger(str(tmp_path / "l"), "/root").records == {"a": record("a", inode=1199)}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.text(min_size=1).filter(lambda s: "\0" not in s), st.text()), max_size=5))
def test_any_name_comes_back(pairs: list[tuple[str, str]]) -> None:
    rows = [record(path, target) for path, target in pairs]
    actions = tuple(Action("make", path, target, ("inner", target), Look("link", 1, 0, 2, target), row.claims, 0, row,
                           path) for (path, target), row in zip(pairs, rows, strict=True))
    plan = Plan("sync", actions, {"x": b"\xff\0", "y": "ü".encode()}, issues=(Issue("a", "b", "c", "d"),))
    assert Plan.decode(plan.encode()) == plan


def test_many_load_quickly(tmp_path: Path) -> None:
    count = 100_000 if SOAK else 20_000
    ledger = Ledger(str(tmp_path / "l"), "/root")
    for number in range(count):
        ledger.put(record(f"models/{number // 10}/file-{number}.gguf"))
    ledger.flush()
    begun = time.process_time()
    again = Ledger(str(tmp_path / "l"), "/root")
    assert len(again.records) == count
    assert time.process_time() - begun < count / 50_000


def test_roots_are_known_by_their_ledgers(land: Land) -> None:
    ledgers = Ledgers(os.path.join(land.folder, "ledgers"))
    for root in ("/one", "", "/t\u00fco/\udcff"):
        ledger = ledgers.of(root)
        ledger.put(record("x"))
        ledger.flush()
    assert set(ledgers.roots()) == {"/one", "", "/t\u00fco/\udcff"}
