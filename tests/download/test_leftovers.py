"""What downloads leave in the person's own folder: nothing once they are done, and gc removes what a dead one left."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from helixstore.download.partial import PIECE, Partial
from helixstore.download.storing import folders
from helixstore.errors import HelixError
from helixstore.fs import locks
from helixstore.places import Places
from support.hub import Repository, Trouble
from support.person import Person
from support.typist import typed

REPOSITORY, BIG = "hf:acme/small-GGUF", "small-F16.gguf"


def left(person: Person) -> list[Path]:
    return sorted(path for path in person.home.glob(".local/state/helixstore/*/downloads/**/*") if path.is_file())


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
        data, records = map(Path, folders(store._session))
        elsewhere = records.parent / ("5" * 16)                 # of the same home on another computer
        for folder in (data, records, elsewhere):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = [f"{digit * 64}-{PIECE}" for digit in "abc"]
        for name in names:
            Partial(str(data / name), str(records / name), PIECE).close()
        (elsewhere / names[0]).touch()
        (records / "something.else").touch()
        at_it = Partial(str(data / names[2]), str(records / names[2]), PIECE)
        (data / names[0]).unlink()
        (data / names[2]).unlink()
        store.gc()
        assert {path.name for path in records.iterdir()} == {names[1], names[2], "something.else"}
        at_it.close()
        store.gc()
        assert {path.name for path in records.iterdir()} == {names[1], "something.else"}
        assert list(elsewhere.iterdir())


def test_two_computers_with_one_home_note_what_they_have_each_by_itself(
    online: Person, served: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who begins on the other what this one had half of does not make it begin anew."""
    def broken(pieces: int) -> None:
        served.trouble = lambda path, number: Trouble(404) if number % 2 else Trouble(cut=pieces * PIECE)
        with online.open() as store, pytest.raises(HelixError):
            store.download(f"{REPOSITORY}:{BIG}")

    with online.open() as store:
        store.sync()
        here = store._session.places.host()
    broken(12)
    with monkeypatch.context() as other:
        other.setattr(Places, "host", lambda self: replace(here, id="5" * 16))
        broken(2)
    served.trouble = lambda path, number: None
    served.sent.clear()
    with online.open() as store:
        store.download(f"{REPOSITORY}:{BIG}")
    assert served.sent[BIG] <= served.files[BIG].stat().st_size - 11 * PIECE


def test_status_tells_what_waits_and_gc_now_lets_go_of_it(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: (
        (Trouble(404) if number else Trouble(cut=3 * PIECE)) if path == BIG else None)
    with online.open() as store, pytest.raises(HelixError):
        store.download(f"{REPOSITORY}:F16")
    with online.open() as store:
        waits = store.status().unfinished_bytes
        assert waits >= PIECE
        assert store.du().unfinished_bytes == waits
        told = typed("du", environ=online.environ).stdout
        assert told.startswith("No model is in the store.\n\n")
        assert "of downloads that are not finished: the same command goes on" in told
        assert store.gc().cleaned_bytes == 0
        assert store.gc(now=True, dry_run=True).cleaned_bytes == waits == store.status().unfinished_bytes
        assert store.gc(now=True).cleaned_bytes == waits
        assert store.status().unfinished_bytes == 0
    served.trouble = lambda path, number: None
    with online.open() as store:
        assert store.download(f"{REPOSITORY}:F16").fetched_bytes >= served.files[BIG].stat().st_size


def test_whole_files_of_a_download_that_was_cut_short_are_told_and_let_go_of_too(
    online: Person, served: Repository,
) -> None:
    """They are in the store, for whoever goes on; until then no model has them."""
    served.trouble = lambda path, number: Trouble(404) if path == BIG else None
    with online.open() as store, pytest.raises(HelixError):
        store.download(REPOSITORY, quantization="all")
    [came] = [file.stat().st_size for name, file in served.files.items() if name.endswith("Q8_0.gguf")]
    with online.open() as store:
        waits = store.status().unfinished_bytes
        assert came <= waits < came + PIECE
        assert store.gc(now=True, dry_run=True).cleaned_bytes == waits == store.status().unfinished_bytes
        store.gc()
        assert store.status().unfinished_bytes == waits
        assert store.gc(now=True).freed_bytes == came
        assert store.status().unfinished_bytes == 0
        assert not [path for path in Path(store.folder, "blobs").rglob("*") if path.is_file()]
    served.trouble = lambda path, number: None
    with online.open() as store:
        store.download(REPOSITORY, quantization="all")
        assert store.status().unfinished_bytes == 0
        assert store.verify().bad == []
