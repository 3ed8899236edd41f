"""A disk whose file system has no links (exFAT): the store refers to files there, and moves none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disk_bench import Bench
from shelf import names_below, opens_everywhere, put, scan, states

from helixstore.errors import Failed
from support.person import Person
from support.raw import model_gguf

BIG = model_gguf(seed=51)


def test_files_are_referred_to_where_they_lie(ana: Person, bench: Bench) -> None:
    disk = bench.disk("exfat", "stick")
    mine = put(disk.point / "models/Big-F16.gguf", BIG)
    twice = put(disk.point / "models/more/Big-F16.gguf", BIG)
    before = {path: path.stat().st_mode for path in (mine, twice)}
    scan(ana, disk.point / "models")
    with ana.open() as store:
        added = store.volumes.add(disk.point, always=True).volume
        assert added.refers
        report = store.sync()
        assert report.issues == ()
        assert report.saved_bytes == 0
        assert {path: path.stat().st_mode for path in (mine, twice)} == before
        assert {path.read_bytes() for path in (mine, twice)} == {BIG}
        kinds = opens_everywhere(store, "Big", {BIG})
        assert set(kinds.values()) == {"symlink"}
        assert {"lmstudio", "ollama", "llamacpp"} <= set(kinds)
        targets = {os.readlink(path) for path in names_below(ana.home) if path.is_symlink()
                   and str(disk.point) in os.readlink(path)}
        assert targets <= {str(mine), str(twice)}
        assert not [path for path in names_below(ana.home) if not path.is_symlink()
                    and path.stat().st_size == len(BIG)]
        again = store.sync()
        assert again.nothing, again.actions
        assert store.verify().bad == []
        assert store.verify().issues == []

        disk.unplug()
        assert [issue.kind for issue in store.sync().issues] == ["away"]
        assert states(store, "Big")["lmstudio"] == "away"
        disk.plug()
        assert store.sync().issues == ()
        opens_everywhere(store, "Big", {BIG})
        again = store.sync()
        assert again.nothing, again.actions


def test_a_changed_file_is_not_what_was_referred_to(ana: Person, bench: Bench) -> None:
    disk = bench.disk("exfat", "stick")
    mine = put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        store.sync()
        put(mine, model_gguf(seed=52) + b"more")
        os.utime(mine, (1_700_000_100, 1_700_000_100))
        report = store.sync()
        assert mine.read_bytes() == model_gguf(seed=52) + b"more"
        for path in names_below(ana.home):
            if path.is_symlink() and os.readlink(path) == str(mine):
                assert path.read_bytes() == mine.read_bytes()
        assert not report.adopted or store.show("Big")


def test_rot_under_an_unchanged_time_is_found_by_verify(ana: Person, bench: Bench) -> None:
    disk = bench.disk("exfat", "stick")
    mine = put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        store.sync()
        put(mine, b"rot" + BIG[3:])
        assert [bad.path for bad in store.verify().bad] == [str(mine)]
        assert mine.read_bytes()[:3] == b"rot", "the person's file is never touched"
        assert states(store, "Big")["lmstudio"] == "quarantined"


def test_moving_from_it_copies_and_moving_to_it_is_refused(ana: Person, bench: Bench) -> None:
    disk = bench.disk("exfat", "stick")
    mine = put(disk.point / "models/Big-F16.gguf", BIG)
    ana.put("models/Other-F16.gguf", model_gguf(seed=53))
    scan(ana, disk.point / "models", ana.home / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        store.sync()
        with pytest.raises(Failed, match="without links"):
            store.volumes.move("Other", "stick")
        with pytest.raises(Failed, match="only copy of Big"):
            store.volumes.remove("stick")
        moved = store.volumes.move("Big", "main")
        assert (moved.copied_bytes, moved.issues) == (len(BIG), ())
        assert mine.read_bytes() == BIG, "a file on such a disk is the person's alone"
        assert set(opens_everywhere(store, "Big", {BIG}).values()) == {"hard"}
        store.volumes.remove("stick")
        assert not (disk.point / "helixstore").exists()
        assert mine.read_bytes() == BIG
        opens_everywhere(store, "Big", {BIG})


def test_undo_and_leave_touch_no_file_there(ana: Person, bench: Bench) -> None:
    disk = bench.disk("exfat", "stick")
    mine = put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        store.sync()
        inode = mine.stat().st_ino
        store.undo()
        assert (mine.read_bytes(), mine.stat().st_ino) == (BIG, inode)
        assert store.sync().nothing, "what was taken back is left alone"
        store.sync(restore=True)
        opens_everywhere(store, "Big", {BIG})
        own = Path(store.show("Big").variants[0].providers["lmstudio"].paths[0])
        store.leave()
        assert (mine.read_bytes(), mine.stat().st_ino) == (BIG, inode)
        assert not own.is_symlink()
        assert own.read_bytes() == BIG
        assert set(os.listdir(disk.point / "models")) == {"Big-F16.gguf"}
