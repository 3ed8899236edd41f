"""In part, and in the background: everything comes round, rot is found, and nobody is in anybody's way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rot import DIGEST, blob, flip, shown

from helixstore import HelixStore
from helixstore.session import Session
from helixstore.store.hashing import blake3_hex
from helixstore.store.verified import Sample
from helixstore.sync.patrol import Patrol
from helixstore.watch.rounds import reading
from helixstore.watch.told import Told
from support.person import Person
from support.raw import model_gguf

HOLD = """
import sys
from helixstore import HelixStore
with HelixStore() as store, store._session.store.working():
    print("at work", flush=True)
    sys.stdin.read()
"""


def calm() -> bool:
    return False


def session(person: Person) -> Session:
    return Session(dict(person.environ))


def readings(person: Person) -> list[str]:
    """The digests that were read, in order."""
    [file] = (person.home / ".local/state/helixstore").glob("*/verified")
    return [line.split()[0] for line in file.read_text().splitlines()]


@pytest.fixture
def shelf(ana: Person) -> Person:
    """Ten small models."""
    for number in range(10):
        ana.put(f"models/m{number}-F16.gguf", model_gguf(seed=number))
    HelixStore.init(scan=[ana.home / "models"], environ=ana.environ)
    with ana.open() as store:
        store.sync()
    return ana


@pytest.mark.parametrize(("sample", "runs"), [("3", 4), ("25%", 4), ("12kB", 4), ("100%", 1), ("1", 10), ("1TB", 1)])
def test_samples_come_round_to_everything(shelf: Person, sample: str, runs: int) -> None:
    digests = {blake3_hex(model_gguf(seed=number)) for number in range(10)}
    with shelf.open() as store:
        for _ in range(runs):
            report = store.verify(sample=sample)
            assert report.checked + report.unread == 10
            assert report.bad == report.issues == []
        assert set(readings(shelf)) == digests
        assert store.verify("m3", sample="5").checked == 1, "of one model"


def test_a_sample_takes_first_what_was_not_read_for_the_longest() -> None:
    sizes = {"a": 10, "b": 10, "c": 10, "d": 70}
    read = {"a": 300.0, "b": 100.0, "d": 200.0}
    assert Sample.of("2").choose(sizes, read) == ["c", "b"]
    assert Sample.of("20%").choose(sizes, read) == ["c", "b"]
    assert Sample.of("21B").choose(sizes, read) == ["c", "b", "d"]
    assert Sample.of("1%").choose(sizes, read) == ["c"], "one at least"
    assert Sample.of("0.5 GiB").bytes == 1 << 29


def test_a_sample_finds_rot_when_its_turn_comes(shelf: Person) -> None:
    digest = blake3_hex(model_gguf(seed=4))
    with shelf.open() as store:
        store.verify()
        flip(blob(store, digest), 900)
        found = [store.verify(sample="2") for _ in range(5)]
        assert [bad.models for report in found for bad in report.bad] == [("m4",)]
        assert shown(store, "m4") == {}


def test_what_a_power_cut_left_of_the_list_is_no_obstacle(shelf: Person) -> None:
    with shelf.open() as store:
        store.verify(sample="4")
        [file] = (shelf.home / ".local/state/helixstore").glob("*/verified")
        file.write_bytes(file.read_bytes()[:-30] + b"\n\xff\xfe garbage 12\n" + b"0" * 64 + b" x\n")
        for _ in range(3):
            assert store.verify(sample="4").issues == []


def test_the_patrol_stops_in_the_middle_and_goes_on_there(laptop: Person) -> None:
    """Its rate holds, and what it reads in pieces has the right digest."""
    with laptop.open() as store:
        (laptop.home / ".local/state/helixstore" / store.id / "verified").unlink()
    one = session(laptop)
    patrol = Patrol(one, bytes_per_second=8 << 20, busy=calm)
    began, pieces, checked = time.monotonic(), 0, list[str]()
    while len(checked) < 2:
        report = patrol.some(0.4)
        assert report.bytes <= (8 << 20) * 0.4 + (2 << 20)
        assert report.bad == []
        assert report.skipped == {}
        checked += report.checked
        pieces += 1
        if pieces == 3:                             # then as fast as it can
            assert time.monotonic() - began > 0.7
            patrol._rate = 1e12
    assert DIGEST in checked
    assert patrol.some(5).due_in > 0, "nothing is due for a while, and it says so at once"
    assert patrol.some(5).bytes == 0
    patrol.close()
    one.close()


def test_the_patrol_quarantines_withdraws_and_takes_back(laptop: Person) -> None:
    one = session(laptop)
    with laptop.open() as store:
        before = shown(store, "big")
        flip(blob(store), 77)
    patrol = Patrol(one, bytes_per_second=1e12, every=-1, busy=calm)
    report = patrol.some(30)
    assert report.bad == [DIGEST]
    assert len(report.checked) == 1
    with laptop.open() as store:
        assert shown(store, "big") == {}
        assert not any(os.path.lexists(path) for paths in before.values() for path in paths
                       if path != str(laptop.home / "models/big-F16.gguf") and path.endswith("big-F16.gguf"))
        assert any(issue.kind == "quarantined" for issue in store.status().issues)
        flip(blob(store), 77)
    patrol = Patrol(one, bytes_per_second=1e12, every=-1, busy=calm)
    assert DIGEST in patrol.some(30).checked
    with laptop.open() as store:
        assert shown(store, "big") == before
    one.close()


def test_the_patrol_stands_back_for_writers_and_for_load(shelf: Person) -> None:
    one = session(shelf)
    writer = subprocess.Popen([sys.executable, "-c", HOLD], env=shelf.environ, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert writer.stdout is not None
    assert writer.stdin is not None
    try:
        assert writer.stdout.readline() == b"at work\n"
        report = Patrol(one, every=-1, busy=calm).some(0.3)
        assert (report.bytes, report.checked) == (0, [])
        assert report.paused > 0.2
    finally:
        writer.stdin.close()
        writer.stdout.close()
        writer.wait(30)
    assert Patrol(one, every=-1, busy=lambda: True).some(0.3).bytes == 0
    report = Patrol(one, every=-1, busy=lambda: True).some(1.5)
    assert 0 < report.bytes < 5 * len(model_gguf()), "for ever busy is not never"
    assert Patrol(one, every=-1, busy=calm, bytes_per_second=1e12).some(30).bytes == 10 * len(model_gguf())
    one.close()


def test_the_patrol_ends_at_once_when_it_is_told_to(shelf: Person) -> None:
    one, stop = session(shelf), threading.Event()
    patrol = Patrol(one, bytes_per_second=1, every=-1, busy=calm)
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    began = time.monotonic()
    patrol.some(600, stop)
    assert time.monotonic() - began < 30
    patrol.close()
    one.close()


def test_watch_reads_in_a_thread_of_its_own_and_tells_of_damage(laptop: Person) -> None:
    """And withdraws what is damaged; the person's settings turn it off."""
    with laptop.open() as store:
        (laptop.home / ".local/state/helixstore" / store.id / "verified").unlink()
        flip(blob(store), 5)
        told: list[Told] = []
        found = threading.Event()

        def tell(one: Told) -> None:
            told.append(one)
            if one.event == "damaged":
                found.set()

        with reading(session(laptop), tell, first=0.0, busy=calm):
            assert found.wait(60)
        assert [one.facts["digest"] for one in told if one.event == "damaged"] == [DIGEST]
        assert shown(store, "big") == {}
        store.set_config("verify", 0)
        told.clear()
        flip(blob(store), 5)
        (laptop.home / ".local/state/helixstore" / store.id / "verified").unlink()
        with reading(session(laptop), tell, first=0.0, busy=calm):
            pass
        assert told == []
        assert not (laptop.home / ".local/state/helixstore" / store.id / "verified").exists()
