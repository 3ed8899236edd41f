"""The index with several processes, threads and forks at once, after a kill, and over files that are damaged."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb
import pytest
from index_support import MEMORY, new_store, publish, settle

from helixstore.errors import IndexUnusable
from helixstore.fs.kernel import Fingerprint, fingerprint
from helixstore.index import FarmRow, Index
from helixstore.index.database import Damaged, Database, Tables
from helixstore.store.hashing import Hashes
from helixstore.store.store import Store
from support.forked import forked

SMALL = 1 << 20             # bytes of a map that must grow


@pytest.fixture(scope="module")
def models() -> Iterator[Store]:
    """A store with three models, which no test changes."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        store = new_store(Path(folder) / "store")
        for name in ("a", "b", "c"):
            publish(store, name)
        settle(store)
        yield store


@pytest.fixture
def index(tmp_path: Path, models: Store) -> Iterator[Index]:
    with Index.open(tmp_path / "index", models) as index:
        index.refresh()
        yield index


def names(index: Index) -> list[str]:
    return [str(row["model"]) for row in index.rows()]


def database(folder: Path, size: int = SMALL) -> Database:
    return Database(str(folder), ("t",), b"test", size)


def fill(folder: str, first: int, count: int, bytes_each: int) -> int:
    """Put rows, one transaction each; the last key that is there."""
    base = database(Path(folder))
    for number in range(first, first + count):
        key = b"%08d" % number
        base.write(lambda tables, key=key: tables.put("t", key, os.urandom(bytes_each)))
        if number % 3 == 0:
            base.close()                                # opening while others grow the map must work as well
    base.close()
    return first + count


def rows_in(folder: Path) -> int:
    base = database(folder)
    try:
        return base.read(lambda tables: sum(1 for _ in tables.items("t")))
    finally:
        base.close()


# ---- growing, several processes


def test_a_full_map_grows_and_loses_nothing(tmp_path: Path) -> None:
    base = database(tmp_path)
    runs = []

    def put(tables: Tables) -> None:
        runs.append(1)
        for number in range(3000):
            tables.put("t", b"%05d" % number, bytes(2000))
    base.write(put)
    assert len(runs) > 1, "the map was large enough at once: the test shows nothing"
    base.write(lambda tables: tables.put("t", b"more", b""))
    base.close()
    assert rows_in(tmp_path) == 3001


def test_two_processes_that_both_grow_the_map(tmp_path: Path) -> None:
    base = database(tmp_path)
    base.write(lambda tables: tables.put("t", b"0", b""))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(fill, [(str(tmp_path), part * 1000, 60, 40_000) for part in range(2)], chunksize=1)
        assert base.read(lambda tables: tables.count("t")) == 121, "the size that others gave it is adopted"
        base.write(lambda tables: tables.put("t", b"1", bytes(3_000_000)))
    base.close()
    assert rows_in(tmp_path) == 122
    assert base.discarded == (0, "")


def test_several_processes_that_open_a_new_index_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(fill, [(str(tmp_path / "new"), part * 10, 5, 10) for part in range(6)], chunksize=1)
    assert rows_in(tmp_path / "new") == 30


def test_threads_share_one_environment(index: Index, models: Store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with Index.open(index.path, models) as mine:
                for turn in range(15):
                    mine.put_state(f"{number}", b"%d" % turn)
                    assert names(mine) == ["a", "b", "c"]
        except BaseException as error:                  # a thread must not hide it
            errors.append(error)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [index.state(str(number)) for number in range(4)] == [b"14"] * 4


_WRITER = """
import sys
from helixstore.index.database import Database
base = Database(sys.argv[1], ("t",), b"test")
base.write(lambda tables: tables.put("t", b"whole", b"1"))
def stop(tables):
    for number in range(5000):
        tables.put("t", b"half%d" % number, bytes(500))
    print("in", flush=True)
    sys.stdin.read()
base.write(stop)
"""


def test_a_writer_that_is_killed_leaves_what_was_whole_and_no_lock(tmp_path: Path) -> None:
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"in\n"
            process.send_signal(signal.SIGKILL)
        base = database(tmp_path)
        base.write(lambda tables: tables.put("t", b"after", b""))
        assert base.read(lambda tables: [key for key, _ in tables.items("t")]) == [b"after", b"whole"]
        assert base.discarded == (0, "")
        base.close()


# ---- fork and spawn


def _in_child(index: Index) -> list[str]:
    index.put_state("child", b"was here")
    return names(index)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_with_the_index_open(index: Index) -> None:
    assert names(index) == ["a", "b", "c"]
    assert forked(lambda: (_in_child(index), _in_child(index))) == (["a", "b", "c"], ["a", "b", "c"])
    assert index.state("child") == b"was here", "parent and child see one file"
    index.put_state("parent", b"too")
    assert names(index) == ["a", "b", "c"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forks_while_threads_write(index: Index) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            index.put_state("thread", os.urandom(2000))
    thread = threading.Thread(target=work)
    thread.start()
    try:
        children = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                os._exit(0 if _in_child(index) == ["a", "b", "c"] else 1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    finally:
        over.set()
        thread.join()
    assert index.discarded == (0, "")


def test_an_index_can_be_handed_to_a_spawned_process(index: Index) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_in_child, (index,)) == ["a", "b", "c"]
    assert index.state("child") == b"was here"


# ---- damaged and foreign files


def damage_cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 4096 // 2 * 4096)


def damage_text(file: Path) -> None:
    file.write_bytes(b"this is no database\n" * 1000)


def damage_empty(file: Path) -> None:
    os.truncate(file, 0)


def damage_pages(file: Path) -> None:
    data = bytearray(file.read_bytes())
    chance = random.Random(7)
    for _ in range(3000):
        data[chance.randrange(8192, len(data))] = chance.randrange(256)
    file.write_bytes(data)


def damage_heads(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[0:8192] = random.Random(3).randbytes(8192)
    file.write_bytes(data)


def damage_other_store(file: Path) -> None:
    _foreign(file, b"helixstore index 1 another store", {})


def damage_other_format(file: Path) -> None:
    _foreign(file, b"helixstore index 999", {})


def damage_other_engine(file: Path) -> None:
    if int(lmdb.__version__.split(".")[0]) < 3:
        pytest.skip("this LMDB has one engine only")
    _foreign(file, b"helixstore index 1", {"lib_version": 1})


def damage_foreign_database(file: Path) -> None:
    _foreign(file, b"", {})


def _foreign(file: Path, stamp: bytes, options: dict[str, Any]) -> None:
    for name in ("data.mdb", "lock.mdb"):
        file.with_name(name).unlink(missing_ok=True)
    with lmdb.open(str(file.parent), max_dbs=3, **options) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"stamp" if stamp else b"other", stamp or b"x")


@pytest.mark.parametrize("damage", [
    damage_cut, damage_text, damage_empty, damage_pages, damage_heads, damage_other_store, damage_other_format,
    damage_other_engine, damage_foreign_database,
])
def test_a_damaged_or_foreign_file_is_made_anew(index: Index, models: Store, damage: Any) -> None:
    index.put_farm("/root", [FarmRow(f"{number}", "hard") for number in range(3000)])
    index.close()
    damage(Path(index.path) / "data.mdb")
    with Index.open(index.path, models) as again:
        again.farm_at("/root/77")
        again.refresh()
        assert names(again) == ["a", "b", "c"]
        assert len(again.variants()) == 3
        assert again.issues == []
        if damage is not damage_empty:
            assert again.discarded[0] == 1
            assert again.discarded[1]


def test_damage_that_shows_only_when_a_row_is_read(index: Index) -> None:
    index._write(lambda tables: tables.put("rows", next(tables.items("rows"))[0], b'{"model":'))
    assert names(index) == ["a", "b", "c"]
    index._write(lambda tables: tables.put("variants", next(tables.items("variants"))[0], b"[1,2]"))
    assert len(index.variants()) == 3
    assert index.discarded[0] == 2
    assert "row" in index.discarded[1]


def test_random_bytes_anywhere_never_end_the_process(index: Index, models: Store, tmp_path: Path) -> None:
    index.put_farm("/root", [FarmRow(f"{number}", "hard") for number in range(500)])
    index.close()
    file = Path(index.path) / "data.mdb"
    good = file.read_bytes()
    script = (
        "import sys\nfrom pathlib import Path\nfrom index_support import HOST\nfrom helixstore.index import Index\n"
        "from helixstore.store.store import Store\nimport random\n"
        "file, store = Path(sys.argv[1]), Store.open(Path(sys.argv[2]), HOST)\ngood = file.read_bytes()\n"
        "for seed in range(40):\n"
        "    chance, data = random.Random(seed), bytearray(good)\n"
        "    for _ in range(1 << seed % 9):\n"
        "        data[chance.randrange(len(data))] = chance.randrange(256)\n"
        "    if seed % 4 == 0:\n"
        "        del data[chance.randrange(len(data)):]\n"
        "    file.write_bytes(data)\n"
        "    with Index.open(file.parent, store) as index:\n"
        "        index.refresh(), index.variants(), list(index.rows()), index.figures(), index.farm_at('/root/7')\n"
        "        index.rebuild()\n"
        "        assert len(index.variants()) == len(list(index.rows())) == 3, seed\n"
        "print('done')\n")
    assert good
    done = subprocess.run([sys.executable, "-c", script, str(file), str(models.path)], capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]


def test_an_index_that_is_deleted_under_an_open_one(index: Index) -> None:
    for name in ("data.mdb", "lock.mdb"):
        (Path(index.path) / name).unlink()
    index.refresh()
    assert names(index) == ["a", "b", "c"]
    assert (Path(index.path) / "data.mdb").exists()


def test_damage_is_not_repaired_for_ever(tmp_path: Path) -> None:
    base = database(tmp_path)

    def broken(tables: Tables) -> None:
        raise Damaged("still")
    with pytest.raises(Damaged):
        base.read(broken)
    base.discard("first")
    base.read(lambda tables: None)
    base.discard("second")
    assert base.discarded == (2, "second")
    base.close()


# ---- where it may lie


def test_a_network_file_system_is_refused_with_the_remedy(
    models: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helixstore.fs import mounts

    share = SimpleNamespace(network=True, kind="nfs4", point="/home")   # none can be mounted here
    monkeypatch.setattr(mounts, "mount_of", lambda path: share)
    with pytest.raises(IndexUnusable) as caught:
        Index.open(tmp_path / "index", models)
    assert "/home is a network file system (nfs4)" in str(caught.value)
    assert "HELIXSTORE_INDEX" in caught.value.remedy
    assert not (tmp_path / "index").exists()


def test_a_folder_that_cannot_be_used_is_named(models: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IndexUnusable) as caught:
        Index.open(tmp_path / "file" / "index", models)
    assert str(tmp_path / "file") in str(caught.value)


def test_only_the_person_can_read_it(index: Index) -> None:
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(index.path)}
    assert os.stat(index.path).st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}


# ---- path -> digest


def hashes(number: int = 1) -> Hashes:
    return Hashes(f"{number:064x}", 10, f"{number + 1:064x}", None)


def old(path: Path, age: float = 60.0) -> Fingerprint:
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(0, time.time_ns() - int(age * 1e9)))
    return fingerprint(path)


def test_a_hash_is_trusted_only_while_nothing_changed(index: Index, tmp_path: Path) -> None:
    file = tmp_path / ("long" * 60)
    mark = old(file)
    index.remember([(str(file), mark, hashes())])
    assert index.digest_at(str(file), mark) == hashes().blake3
    for change in ({"inode": 1}, {"bytes": 11}, {"mtime_ns": mark.mtime_ns + 1}, {"ctime_ns": mark.ctime_ns + 1}):
        assert index.digest_at(str(file), mark._replace(**change)) is None, change
    assert index.digest_at(str(file), mark._replace(device=99)) == hashes().blake3, "st_dev is not stable"
    assert index.digest_at(str(file) + "2", mark) is None
    assert index.hashes(hashes().blake3) == hashes()


@pytest.mark.parametrize("age", [0.0, 1.9, -100.0])
def test_a_file_that_was_just_written_is_not_trusted(index: Index, tmp_path: Path, age: float) -> None:
    file = tmp_path / "file"
    mark = old(file, age)
    index.remember([(str(file), mark, hashes())])
    assert index.digest_at(str(file), mark) is None
    assert index.hashes(hashes().blake3) == hashes(), "what the content hashes to is true all the same"


def test_the_age_counts_from_when_hashing_began(index: Index, tmp_path: Path) -> None:
    file = tmp_path / "file"
    mark = old(file, 60)
    index.remember([(str(file), mark, hashes())], began_ns=mark.mtime_ns + 1_000_000_000)
    assert index.digest_at(str(file), mark) is None
    index.remember([(str(file), mark, hashes())], began_ns=mark.mtime_ns + 3_000_000_000)
    assert index.digest_at(str(file), mark) == hashes().blake3


def test_a_younger_look_takes_back_what_an_older_one_said(index: Index, models: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    mark = old(file)
    index.remember([(str(file), mark, hashes())])
    index.close()
    assert index.digest_at(str(file), mark) == hashes().blake3, "close wrote it"
    fresh = mark._replace(mtime_ns=time.time_ns())
    index.remember([(str(file), fresh, hashes(5))])
    index.close()
    assert index.digest_at(str(file), mark) is None
    index.remember([(str(file), mark, hashes())])
    index.forget([str(file)])
    index.close()
    assert index.digest_at(str(file), mark) is None


def test_large_files_are_written_at_once(index: Index, models: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    mark = old(file)._replace(bytes=4 << 30)
    index.remember([(str(file), mark, hashes()._replace(bytes=4 << 30))])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(Index.digest_at, (index, str(file), mark)) == hashes().blake3


def test_what_was_learnt_adds_up(index: Index, tmp_path: Path) -> None:
    mark = old(tmp_path / "file")
    for known in (hashes(), hashes()._replace(sha256=None, gitsha1="a" * 40)):
        index.remember([("/x", mark, known)])
        index.close()
    assert index.hashes(hashes().blake3) == hashes()._replace(gitsha1="a" * 40)
