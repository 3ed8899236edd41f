"""Killed at any of its calls, a repair leaves nothing worse than it found, and the next one completes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rot import BIG, SMALL, blob, flip, shown

from helixstore import HelixStore
from helixstore.store.hashing import blake3_hex
from support.disks import Disks, as_root, dying_at
from support.person import Person
from support.soak import SOAK, note

CALLS = [(os, name) for name in ("link", "symlink", "rename", "replace", "unlink", "mkdir", "rmdir", "chmod", "fsync",
                                 "write", "utime", "copy_file_range", "lseek")]
DIGEST = blake3_hex(SMALL)
STEP = 1 if SOAK else 13


@pytest.fixture
def desk(ana: Person) -> Person:
    """One small model, shared from the person's folder and linked into every program, and a copy of it far away."""
    ana.put("models/small-F16.gguf", SMALL)
    ana.put("backup/copy.bin", SMALL)
    HelixStore.init(every=True, scan=[ana.home / "models"], environ=ana.environ)
    with ana.open() as store:
        store.sync()
        store.verify()
    return ana


def mend(person: Person) -> Callable[[], object]:
    def work() -> None:
        with person.open() as store:
            store.verify("small", repair=True, source=[person.home / "backup"])
    return work


def nothing_is_worse(person: Person, damaged: bytes) -> None:
    """Each name that was there reads the damaged bytes or the right ones, and both are kept."""
    given = person.home / "models/small-F16.gguf"
    assert given.read_bytes() in (damaged, SMALL)
    assert (person.home / "backup/copy.bin").read_bytes() == SMALL
    path = person.home / ".local/share/helixstore/store/blobs" / DIGEST[:2] / DIGEST
    assert path.read_bytes() in (damaged, SMALL)
    if path.read_bytes() == SMALL:
        trash = path.parents[2] / "trash"
        assert damaged in {file.read_bytes() for file in trash.glob(f"corrupt-*/{DIGEST}.corrupt")}


def test_a_repair_that_is_killed_anywhere(desk: Person) -> None:
    given = desk.home / "models/small-F16.gguf"
    number, died = 1, 0
    while True:
        with desk.open() as store:
            before = shown(store, "small")
            path = blob(store, DIGEST)
        flip(path, 200 + number)
        damaged = path.read_bytes()
        if not dying_at(number, mend(desk), CALLS):
            break
        died += 1
        nothing_is_worse(desk, damaged)
        with desk.open() as store:
            if number % 2:                      # a sync comes first: damage must not be taken for a model
                report = store.sync()
                assert not any(adopted.path == str(given) for adopted in report.adopted)
                assert [one.name for one in store.shared_models()] == ["small"]
                nothing_is_worse(desk, damaged)
            again = store.verify("small", repair=True, source=[desk.home / "backup"])
            assert again.bad == []
            assert [one.why for one in again.mended] in ([], [""])
            store.sync()
            assert given.read_bytes() == SMALL
            assert given.samefile(path)
            assert shown(store, "small") == before
            assert not list((store.folder / "quarantine").iterdir())
            assert not [file for file in (store.folder / "staging").rglob("*") if file.stat().st_size >= len(SMALL)]
            assert not [check for check in store.doctor() if check.name in ("store", "operations")
                        and check.state != "ok"]
        number += STEP
    note("repair killed", {"operations": died, "killed": died})
    assert died > 5, "it was killed at several calls"
    assert given.read_bytes() == SMALL


@as_root
def test_a_full_disk_is_told_and_nothing_changes(tmp_path: Path, disks: Disks) -> None:
    point = disks.mount("tmpfs", 44, "narrow")
    person = Person(tmp_path / "home", {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]})
    person.put("far/copy.bin", BIG)
    (point / "big-F16.gguf").write_bytes(BIG)
    HelixStore.init(point / "store", scan=[point], environ=person.environ)
    with person.open() as store:
        store.sync()
        store.verify()
        path = blob(store)
        flip(path, 5)
        damaged = path.read_bytes()
        filler = point / "filler"
        with filler.open("wb") as file:
            free = os.statvfs(point)
            file.truncate(0)
            file.write(bytes(free.f_bavail * free.f_frsize - (4 << 20)))
        [mended] = store.verify(repair=True, source=[person.home / "far"]).mended
        assert "bytes" in mended.why
        assert "free" in mended.remedy
        assert path.read_bytes() == damaged == (point / "big-F16.gguf").read_bytes()
        assert not list((store.folder / "staging").iterdir())
        filler.unlink()
        assert store.verify(repair=True, source=[person.home / "far"]).mended[0].why == ""
        assert path.read_bytes() == BIG == (point / "big-F16.gguf").read_bytes()
