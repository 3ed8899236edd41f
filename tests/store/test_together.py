"""Several processes at once end as some order of them would have."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

from samples import here, manifest

from helixstore.store.gc import collect
from helixstore.store.refs import claimant_of, heads
from helixstore.store.store import Store
from helixstore.store.trash import trashed
from helixstore.store.verify import verify


def at_once(*works: Callable[[], None]) -> None:
    """Each in a process of its own, started together; all must succeed."""
    reading, writing = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if not child:
            status = 1
            try:
                os.close(writing)
                os.read(reading, 1)                     # until the parent closes its end
                work()
                status = 0
            except BaseException:                       # told here, since the process ends here
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    os.close(reading)
    os.close(writing)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(works)


def test_several_processes_add_the_same_file(disk: Path) -> None:
    Store.create(disk / "store", here())
    data = os.urandom(9 << 20)
    (disk / "model").write_bytes(data)
    (disk / "copy").write_bytes(data)

    def add(name: str, link: bool) -> Callable[[], None]:
        def work() -> None:
            store = Store.open(disk / "store", here())
            for _ in range(3):
                store.blobs.add(disk / name, link=link, sha256=True)
        return work

    at_once(add("model", True), add("model", True), add("copy", True), add("model", False))
    store = Store.open(disk / "store", here())
    [digest] = store.blobs.digests()
    assert Path(store.blobs.path(digest)).read_bytes() == data
    assert (disk / "model").read_bytes() == (disk / "copy").read_bytes() == data
    assert os.listdir(store.path / "staging") == []
    assert trashed(store) == []
    assert verify(store).checked == 1
    assert (disk / "model").stat().st_nlink + (disk / "copy").stat().st_nlink <= 3


def test_several_processes_make_one_store(tmp_path: Path) -> None:
    at_once(*[lambda: Store.create(tmp_path / "store", here()).blobs.add_bytes(b"x")] * 3)  # type: ignore[list-item]
    store = Store.open(tmp_path / "store", here())
    assert len(list(store.blobs.digests())) == 1
    assert os.listdir(store.path / "staging") == []


def test_adding_against_collecting_out_of_turn(store: Store) -> None:
    """Whatever the order, a model whose ref is durable has its bytes, also when its blob was there unreferenced."""
    rounds = 25

    def adder(name: str) -> Callable[[], None]:
        def work() -> None:
            own = Store.open(store.path, here(name=name))
            for number in range(rounds):
                with own.working():
                    data = b"%d" % number               # both add the same: one makes it, the other reuses it
                    added = own.blobs.add_bytes(data)
                    written = own.manifests.write(manifest(added.digest, size=added.bytes))
                    own.refs.publish(f"m{number}", "gguf:Q4", written)
                    if not own.blobs.ensure(added.digest):
                        assert own.blobs.add_bytes(data).digest == added.digest
        return work

    def collector() -> None:
        from helixstore.errors import Busy

        own = Store.open(store.path, here(name="host3"))
        for _ in range(rounds):
            try:
                collect(own, now=True)
            except Busy:
                collect(own, grace=0, undo_window=0)

    at_once(adder("host1"), adder("host2"), collector)
    refs, issues = store.refs.scan()
    assert issues == []
    assert len(heads(refs, claimant_of(store.host))[0]) == rounds
    report = verify(store)
    assert report.bad == []
    assert report.issues == []
    assert report.checked == rounds
