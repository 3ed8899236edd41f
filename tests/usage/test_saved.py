"""What was saved is written down once, whoever dies when, and given back figures are taken off again."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "farm"))

from farmland import Land

from helixstore import HelixStore
from helixstore.farm.plan import Adoption
from helixstore.fs import kernel
from helixstore.store.hashing import hash_file
from helixstore.store.host import Host
from helixstore.store.saved import Freed
from helixstore.store.store import Store
from helixstore.values import Key
from support.disks import dying_at
from support.person import GGUF, Person

A = Key("a", "gguf:Q4_K_M")
DATA = b"A" * 1000
CALLS = (*((kernel, name) for name in ("hard_link", "replace", "replace_file", "publish", "unlink", "sync_folder")),
         (os, "mkdir"))


def copy(land: Land, name: str) -> Adoption:
    path = land.folder / name
    path.write_bytes(DATA)
    hashes, expect = hash_file(path)
    return Adoption(str(path), hashes.blake3, expect, True, A, None, True, ("p",))


def saved(land: Land) -> int:
    return saved_by(land.store, land.store.host)


def saved_by(store: Store, host: Host) -> int:
    return sum(one.freed.bytes * one.freed.copies for one in store.saved.of(host.id, host.uid)[1])


def test_what_is_given_back_is_taken_off_again(tmp_path: Path) -> None:
    land = Land(tmp_path / "land")
    land.blob(DATA)
    for number in (1, 2, 3):
        land.farm.apply(land.farm.plan([], adoptions=[copy(land, f"{number}.gguf")]))
        assert saved(land) == number * len(DATA)
    land.farm.undo()
    assert saved(land) == 2 * len(DATA)
    land.farm.apply(land.farm.leave_plan())
    assert saved(land) == 0
    land.farm.apply(land.farm.plan([], adoptions=[copy(land, "4.gguf")]))
    assert saved(land) == len(DATA), "what was given back before is not taken off twice"


def test_killed_anywhere_it_is_counted_once(tmp_path: Path) -> None:
    Store.create(tmp_path / "store", Host("h0", os.geteuid(), "b0"))
    number = 0
    while True:
        number += 1
        store = Store.open(tmp_path / "store", Host(f"h{number}", os.geteuid(), "b0"))
        land = Land(tmp_path / f"at{number}", store=store)
        blob = store.blobs.path(land.blob(DATA)[0])
        plan = land.farm.plan([], adoptions=[copy(land, "1.gguf")])
        lived = not dying_at(number, lambda land=land, plan=plan: land.another().apply(plan), CALLS)
        land.another().recover()
        done = os.path.samefile(land.folder / "1.gguf", blob)
        assert saved(land) == done * len(DATA), number
        if lived:
            assert done
            break
    assert number > 10


def test_nobody_else_can_say_what_a_person_saved(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files of another user")
    store = Store.create(tmp_path / "store", Host("h0", 0, "b0"))
    person = Host("h1", 1234, "b1")
    theirs = Store.open(tmp_path / "store", person)
    theirs.saved.put("1-1", [Freed("0" * 64, 7, 1, ("p",))], {})
    theirs.saved.put("2-1", [Freed("1" * 64, 5, 2, ("p",))], {})
    folder = tmp_path / "store/hosts/h1/1234/saved"
    os.chown(folder / "1-1.json", 1234, -1)
    assert saved_by(store, person) == 17, "written by themselves, or by the store's owner"
    os.chown(folder / "2-1.json", 4321, -1)
    assert saved_by(store, person) == 7
    (folder / "3-1.json").write_text("{")
    (folder / "4-1.json").write_text('{"freed": [{"blake3": "x", "bytes": -1}, 7], "given_back": {"a": 1}}')
    (folder / "5-1.json").symlink_to("/etc/passwd")
    assert saved_by(store, person) == 7


def test_what_downloads_spared_is_summed_for_each_person_and_told_by_nobody_else(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", Host("h0", os.geteuid(), "b0"))
    host = store.host
    store.saved.not_fetched("1-1", 70)
    store.saved.not_fetched("1-1", 70)
    store.saved.not_fetched("2-9", 5)
    store.saved.put("2-9", [Freed("0" * 64, 7, 1, ("p",))], {})
    assert store.saved.of(host.id, host.uid)[0].not_fetched_bytes == 75
    assert saved_by(store, host) == 7
    folder = tmp_path / f"store/hosts/h0/{host.uid}/saved"
    (folder / "3-1.download.json").write_text('{"not_fetched_bytes": -4}')
    (folder / "4-1.download.json").write_text('{"not_fetched_bytes": "4"}')
    (folder / "5-1.download.json").symlink_to(folder / "1-1.download.json")
    assert store.saved.of(host.id, host.uid)[0].not_fetched_bytes == 75


def test_a_journal_that_is_begun_anew_counts_on(tmp_path: Path) -> None:
    land = Land(tmp_path / "land")
    land.blob(DATA)
    land.farm.apply(land.farm.plan([], adoptions=[copy(land, "1.gguf")]))
    land.now += 1
    os.rename(land.folder / "state", land.folder / "lost")
    farm = land.another()
    farm.apply(farm.plan([], adoptions=[copy(land, "2.gguf")]))
    assert farm.journal.numbers() == [1]
    assert saved(land) == 2 * len(DATA)


def test_status_has_the_figure_after_undo_and_leave(home: Path) -> None:
    person = Person(home, {"HOME": str(home), "PATH": os.environ["PATH"]})
    person.put(".lmstudio/models/acme/Small-GGUF/Small-F16.gguf", GGUF)
    person.put("models/copy-of-small.gguf", GGUF)
    HelixStore.init(every=True, scan=[home / "models"], environ=person.environ)
    with person.open() as store:
        store.sync()
        assert store.status().store.saved_bytes == len(GGUF)
        [row] = [row for row in store.du("provider").usage if row.saved_bytes]
        assert row.label in ("lmstudio", "(no program)"), "whichever copy gave way"
        store.undo()
        assert store.status().store.saved_bytes == 0
        store.sync(restore=True)
        assert store.status().store.saved_bytes == len(GGUF)
        store.leave("jan")
        assert store.status().store.saved_bytes == len(GGUF)
        store.leave()
        assert store.status().store.saved_bytes == 0
        assert store.status().store.copies_avoided_bytes == 0


def test_what_undo_leaves_in_the_store_is_no_duplicate_that_was_saved(tmp_path: Path) -> None:
    """Two copies; one is taken in, one replaced. Undone there are three, with the blob, and merged again one."""
    land = Land(tmp_path / "land")
    first, second = copy(land, "1.gguf"), copy(land, "2.gguf")

    def adopt() -> None:
        there = os.path.exists(land.store.blobs.path(first.digest))
        land.farm.apply(land.farm.plan([], restore=True, adoptions=[
            replace(one, expect=hash_file(one.path)[1], replace=there or one is second) for one in (first, second)]))

    adopt()
    assert saved(land) == len(DATA)
    land.farm.undo()
    assert saved(land) == 0
    adopt()
    assert saved(land) == len(DATA)
    land.farm.undo()
    os.unlink(land.store.blobs.path(first.digest))          # collected meanwhile
    adopt()
    assert saved(land) == len(DATA)
