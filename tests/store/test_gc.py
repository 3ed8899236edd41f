from __future__ import annotations

import os
from pathlib import Path

import pytest
from samples import every_file, here, manifest, model

from helixstore.errors import Busy, NotFound, StoreError
from helixstore.fs import locks
from helixstore.store import gc_disk
from helixstore.store.alive import Alive
from helixstore.store.gc import collect
from helixstore.store.store import Store
from helixstore.store.trash import restore, trashed
from support.disks import SOMEBODY, apart, as_root

NEVER = 10**6


def withdraw(store: Store, ref_uuid: str, name: str = "m") -> str:
    return store.refs.publish(name, "gguf:Q4_K_M", None, supersedes=[ref_uuid]).uuid


def age(store: Store, seconds: int = 100_000) -> None:
    """Let everything that collectors have noted be older: the store's clock is its files' mtime."""
    for entry in os.scandir(store.path / "condemned"):
        time = entry.stat().st_mtime_ns - seconds * 10**9
        os.utime(entry.path, ns=(time, time))


def test_a_blob_without_reference_goes_step_by_step(disk: Path) -> None:
    store = Store.create(disk / "store", here())
    digest, ref = model(store, "m", b"weights")
    kept, _ = model(store, "n", b"other weights")
    assert collect(store).condemned == ()
    withdraw(store, ref.uuid)
    first = collect(store)
    assert (first.condemned, first.trashed, first.condemned_bytes) == ((digest,), (), 7)
    again = collect(store)
    assert (again.condemned, again.waiting) == ((), (digest,))
    assert store.blobs.exists(digest)
    age(store)
    moved = collect(store)
    assert (moved.trashed, moved.trashed_bytes, moved.unlinked) == ((digest,), 7, ())
    assert not store.blobs.exists(digest)
    assert [item.digest for item in trashed(store)] == [digest]
    assert collect(store).unlinked == ()
    age(store, 8 * 86_400)
    done = collect(store)
    assert (done.unlinked, done.freed_bytes) == ((digest,), 7)
    assert os.listdir(store.path / "trash") == os.listdir(store.path / "condemned") == []
    assert not (store.path / "meta" / digest[:2] / f"{digest}.json").exists()
    assert store.blobs.exists(kept)
    idle = collect(store)
    assert {idle.condemned, idle.trashed, idle.unlinked, idle.waiting, idle.kept, idle.issues} == {()}
    assert os.listdir(store.path / "condemned") == []


@pytest.mark.parametrize("stage", ["condemned", "trash"])
def test_what_is_referenced_again_stays_or_comes_back(store: Store, stage: str) -> None:
    digest, ref = model(store, "m", b"weights")
    gone = withdraw(store, ref.uuid)
    collect(store)
    age(store)
    if stage == "trash":
        assert collect(store).trashed == (digest,)
    assert ref.manifest is not None
    store.refs.publish("m", "gguf:Q4_K_M", ref.manifest, supersedes=[gone])
    report = collect(store)
    assert report.restored == ((digest,) if stage == "trash" else ())
    assert store.blobs.exists(digest)
    age(store, 8 * 86_400)
    assert collect(store).unlinked == ()
    assert Path(store.blobs.path(digest)).read_bytes() == b"weights"


def test_a_keep_is_enough(store: Store) -> None:
    digest = store.blobs.add_bytes(b"adding").digest
    other = Store.open(store.path, here(name="host2"))
    other.keeps.put("sync-7", [digest])
    assert collect(store, grace=0, undo_window=0).condemned == ()
    assert collect(store, now=True).unlinked == ()
    other.keeps.drop("sync-7")
    assert collect(store, now=True).unlinked == (digest,)


@pytest.mark.parametrize("illness", ["ref", "ref from later", "manifest missing", "manifest damaged", "keep", "hosts",
                                     "folder"])
def test_anything_unreadable_keeps_everything_and_says_why(store: Store, illness: str) -> None:
    _, alive = model(store, "alive", b"alive")
    doomed, ref = model(store, "m", b"weights")
    withdraw(store, ref.uuid)
    condemned = store.blobs.add_bytes(b"loose").digest
    collect(store)
    age(store)
    assert alive.manifest is not None
    uid = str(os.geteuid())
    sick = {"ref": store.path / alive.path, "ref from later": store.path / alive.path,
            "manifest missing": Path(store.manifests.path(alive.manifest)),
            "manifest damaged": Path(store.manifests.path(alive.manifest)),
            "keep": store.path / "hosts" / "host9" / uid / "keeps" / "x.json",
            "hosts": store.path / "hosts" / "host9" / uid / "keeps",
            "folder": store.path / "refs" / "host9" / "77" / "x.json"}[illness]
    sick.parent.mkdir(parents=True, exist_ok=True)
    sick.unlink(missing_ok=True)
    if illness in ("ref", "manifest damaged", "keep", "hosts"):
        sick.write_text("{")
    elif illness == "ref from later":
        sick.write_text('{"schema": 2}')
    elif illness == "folder":
        os.mkfifo(sick)
    before = every_file(store.path)
    for now in (False, True):
        report = collect(store, now=now, grace=0, undo_window=0)
        assert report.issues
        assert all("nothing is deleted" in issue.message for issue in report.issues)
        assert every_file(store.path) == before
    assert store.blobs.exists(doomed)
    assert store.blobs.exists(condemned)


def test_now_empties_at_once_but_only_what_is_ones_own(store: Store) -> None:
    digest, ref = model(store, "m", b"weights")
    kept, _ = model(store, "n", b"kept")
    withdraw(store, ref.uuid)
    preview = collect(store, now=True, dry_run=True)
    assert preview.dry_run
    assert preview.trashed == (digest,)
    assert store.blobs.exists(digest)
    report = collect(store, now=True)
    assert (report.unlinked, report.trashed, report.freed_bytes) == ((digest,), (), 7)
    assert store.blobs.exists(kept)
    if os.geteuid() == 0:
        theirs = store.blobs.add_bytes(b"theirs").digest
        os.chown(store.blobs.path(theirs), SOMEBODY, SOMEBODY)
        assert collect(store, now=True).condemned == (theirs,)
        assert store.blobs.exists(theirs)


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_now_waits_for_whoever_is_at_work(store: Store, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adder that finds an unreferenced blob and is about to publish its ref must not lose it."""
    digest = store.blobs.add_bytes(b"weights").digest
    adder = Store.open(store.path, here())
    written = adder.manifests.write(manifest(digest))
    if moment == "before":
        with adder.working():
            with pytest.raises(Busy, match="at work"):
                collect(store, now=True)
            assert adder.blobs.exists(digest)
        return
    work = adder.working()
    real = gc_disk.move_in

    def move_in(*arguments: object) -> dict[str, str]:
        work.__enter__()
        assert adder.blobs.exists(digest)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(gc_disk, "move_in", move_in)
    assert collect(store, now=True).unlinked == ()
    adder.refs.publish("m", "gguf:Q4", written)
    assert adder.blobs.ensure(digest), "the reused blob is gone for good"
    work.__exit__(None, None, None)
    assert Path(store.blobs.path(digest)).read_bytes() == b"weights"


def test_another_thread_at_work_counts_too(store: Store) -> None:
    import threading

    started, stop = threading.Event(), threading.Event()

    def adding() -> None:
        with store.working():
            started.set()
            stop.wait(10)

    thread = threading.Thread(target=adding)
    thread.start()
    started.wait(10)
    with pytest.raises(Busy):
        collect(store, now=True)
    stop.set()
    thread.join()
    collect(store, now=True)


@pytest.mark.parametrize("reading", [1, 2])
def test_a_ref_that_appears_between_any_two_readings_saves_its_blob(store: Store, reading: int,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.blobs.add_bytes(b"weights").digest
    written = store.manifests.write(manifest(digest))
    collect(store)
    age(store)
    real = Alive.read
    count = 0

    def read(self: Alive) -> object:
        nonlocal count
        count += 1
        if count == reading:
            Store.open(store.path, here(name="host2")).refs.publish("m", "gguf:Q4", written)
        return real(self)

    monkeypatch.setattr(Alive, "read", read)
    report = collect(store, grace=0, undo_window=0)
    assert report.unlinked == ()
    assert report.restored == ((digest,) if reading == 2 else ())
    assert Path(store.blobs.path(digest)).read_bytes() == b"weights"


def test_a_blob_with_another_name_or_an_open_reader_is_kept_and_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"a person's file")
    shared = store.blobs.add(tmp_path / "mine.gguf").digest
    busy = store.blobs.add_bytes(b"loaded").digest
    with open(store.blobs.path(busy), "rb"):
        report = collect(store, now=True)
    assert {digest for digest, _ in report.kept} == {shared, busy}
    assert report.unlinked == ()
    (tmp_path / "mine.gguf").unlink()
    assert set(collect(store, now=True).unlinked) == {shared, busy}


def test_one_collection_at_a_time(store: Store) -> None:
    lock = locks.lock_folder(store.path / "condemned")
    assert lock is not None
    with pytest.raises(Busy, match="another collection"):
        collect(store)
    os.close(lock)
    collect(store)


def test_dry_run_changes_nothing(store: Store) -> None:
    digest, ref = model(store, "m", b"weights")
    withdraw(store, ref.uuid)
    before = every_file(store.path)
    assert collect(store, dry_run=True).condemned == (digest,)
    assert every_file(store.path) == before
    collect(store)
    age(store)
    assert collect(store, dry_run=True).trashed == (digest,)
    collect(store)
    age(store, NEVER)
    assert collect(store, dry_run=True).unlinked == (digest,)
    assert [item.digest for item in trashed(store)] == [digest]


def test_a_read_only_store_is_looked_at_but_not_collected(store: Store) -> None:
    digest, ref = model(store, "m", b"weights")
    withdraw(store, ref.uuid)
    store.read_only_reason = "a test"
    assert collect(store, dry_run=True).condemned == (digest,)
    with pytest.raises(StoreError):
        collect(store)


def test_restore_brings_back_what_is_asked_for(store: Store) -> None:
    one, two = (store.blobs.add_bytes(data).digest for data in (b"one", b"two"))
    collect(store)
    age(store)
    collect(store)
    assert {item.digest for item in trashed(store)} == {one, two}
    assert restore(store, [one]) == [one]
    assert store.blobs.exists(one)
    with pytest.raises(NotFound):
        restore(store, ["0" * 64])
    assert restore(store) == [two]
    assert trashed(store) == []


def test_adding_again_what_is_in_the_trash(store: Store) -> None:
    digest = store.blobs.add_bytes(b"weights").digest
    collect(store)
    age(store)
    collect(store)
    assert store.blobs.add_bytes(b"weights").how == "copied"
    assert store.blobs.exists(digest)
    age(store, NEVER)
    assert collect(store).unlinked == (digest,)
    assert store.blobs.exists(digest), "the blob that was added again went with the old one"
    assert store.blobs.meta(digest).uid is not None


def test_staging_of_the_dead_is_cleaned_and_of_the_living_is_not(store: Store) -> None:
    staging = store.path / "staging"
    for name in ("host1-boot1-1-aa", "host1-boot0-1-bb", "host2-boot1-1-cc"):
        (staging / name).mkdir()
        (staging / name / "half a blob").write_bytes(b"12345")
    with Store.open(store.path, here()).working() as folder:
        report = collect(store)
        assert set(os.listdir(staging)) == {"host2-boot1-1-cc", os.path.basename(folder)}
    assert report.cleaned_bytes == 10


@as_root
def test_a_members_collection_moves_only_what_it_may(shared: Path) -> None:
    store = Store.create(shared / "store", here())
    digest = store.blobs.add_bytes(b"root's").digest
    for folder in ("staging", "condemned", "trash"):
        (store.path / folder).chmod(0o1777)
    collect(store)
    age(store)

    def member() -> tuple[object, ...]:
        report = collect(Store.open(store.path, here(SOMEBODY)))
        return report.trashed, [kept for kept, _ in report.kept]

    assert apart(member, SOMEBODY) == ((), [digest])
    assert store.blobs.exists(digest)
