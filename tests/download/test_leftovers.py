"""What downloads leave in the person's own folder: nothing once they are done, and gc removes what a dead one left."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helixstore.download.partial import PIECE, Partial
from helixstore.errors import HelixError
from helixstore.fs import locks
from support.hub import Repository, Trouble
from support.person import Person

REPOSITORY, BIG = "hf:acme/small-GGUF", "small-F16.gguf"


def left(person: Person) -> list[Path]:
    return sorted(person.home.glob(".local/state/helixstore/*/downloads/*"))


def test_a_download_that_is_done_leaves_nothing(online: Person) -> None:
    with online.open() as store:
        store.download(REPOSITORY, quantization="all")
        assert left(online) == []
        store.download(REPOSITORY, quantization="all")
    assert left(online) == []


def test_two_at_a_time_fetch_it_once_though_each_removes_its_lock(online: Person, served: Repository) -> None:
    command = [sys.executable, "-m", "helixstore", "models", "download", REPOSITORY, "--quantize", "all"]
    running = [subprocess.Popen(command, env=online.environ, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert served.sent[BIG] == served.files[BIG].stat().st_size
    assert left(online) == []


def test_the_lock_of_a_download_that_failed_is_gone_after_gc_unless_somebody_holds_it(
    online: Person, served: Repository,
) -> None:
    served.trouble = lambda path, number: Trouble(404) if path == BIG else None
    with online.open() as store:
        with pytest.raises(HelixError):
            store.download(REPOSITORY, quantization="all")
        [lock] = [path for path in left(online) if path.suffix == ".lock"]
        with locks.lock_file(lock):
            store.gc()
            assert lock.exists(), "somebody downloads"
        store.gc(dry_run=True)
        assert lock.exists()
        store.gc()
    assert not lock.exists()


def test_notes_of_a_file_that_is_gone_are_removed_and_no_others(online: Person) -> None:
    with online.open() as store:
        store.sync()
        records = online.home / ".local/state/helixstore" / store.id / "downloads"
        records.mkdir(mode=0o700, parents=True)
        [mine] = store.folder.glob("hosts/*/*/")
        data, beside = mine / "downloads", mine.parents[1] / ("5" * 16) / mine.name / "downloads"
        for folder in (data, beside):
            folder.mkdir(parents=True)
        names = [f"{digit * 64}-{PIECE}" for digit in "abcd"]
        for name, folder in zip(names, (data, data, beside, data), strict=True):
            Partial(str(folder / name), str(records / name), PIECE).close()
        (data / names[0]).unlink()                      # of `b` the file is here, of `c` on the person's other computer
        (records / "something.else").touch()
        at_it = Partial(str(data / names[3]), str(records / names[3]), PIECE)
        (data / names[3]).unlink()
        store.gc()
        assert {path.name for path in left(online)} == {*names[1:], "something.else"}
        at_it.close()
        shutil.rmtree(mine.parents[1] / ("5" * 16))
        store.gc()
    assert {path.name for path in left(online)} == {names[1], "something.else"}


def test_a_folder_that_cannot_be_read_may_have_it(online: Person) -> None:
    with online.open() as store:
        store.sync()
        [mine] = store.folder.glob("hosts/*/*/")
        records = online.home / ".local/state/helixstore" / store.id / "downloads"
        records.mkdir(mode=0o700, parents=True)
        (records / f"{'a' * 64}-{PIECE}").touch()
        closed = mine.parents[1] / ("5" * 16) / mine.name / "downloads"
        closed.parent.mkdir(parents=True)
        closed.touch()
        store.gc()
    assert len(left(online)) == 1


def test_status_tells_what_waits_and_gc_now_lets_go_of_it(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: (
        (Trouble(404) if number else Trouble(cut=3 * PIECE)) if path == BIG else None)
    with online.open() as store, pytest.raises(HelixError):
        store.download(f"{REPOSITORY}:F16")
    with online.open() as store:
        waits = store.status().unfinished_bytes
        assert waits >= PIECE
        assert store.gc().cleaned_bytes == 0
        assert store.gc(now=True, dry_run=True).cleaned_bytes == waits == store.status().unfinished_bytes
        assert store.gc(now=True).cleaned_bytes == waits
        assert store.status().unfinished_bytes == 0
    served.trouble = lambda path, number: None
    with online.open() as store:
        assert store.download(f"{REPOSITORY}:F16").fetched_bytes >= served.files[BIG].stat().st_size
