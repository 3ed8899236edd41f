"""Whatever was published in whatever order, by whomever: the index is what one made from nothing would be."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from index_support import HOST, MEMORY, new_store, publish, settle

from helixstore.index import Index, path_from_refs
from helixstore.index.tables import FROM_STORE
from helixstore.store.store import Store
from helixstore.values import Source

NAMES = ("m", "M", "größe", "m~2", "long name")
CONTENTS = ("one", "two", "three", None)
VARIANTS = ("gguf:F32", "gguf:F32@12345678")


def dump(index: Index) -> dict[str, list[Any]]:
    return index._read(lambda tables: {table: list(tables.items(table)) for table in FROM_STORE})


class Follows(RuleBasedStateMachine):
    """One index follows all along, now and then; at each check it is compared with one that is made anew."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        path = Path(self.folder.name)
        self.store = new_store(path / "store")
        other = replace(HOST, id="ffffffff00000000")
        self.stores = [self.store, Store.open(self.store.path, other)]
        self.stores[1].register()
        self.index = Index.open(path / "index", self.store)
        self.numbers = itertools.count()
        self.uuids: list[str] = []
        self.files: list[Path] = []

    @rule(who=st.integers(0, 1), name=st.sampled_from(NAMES), variant=st.sampled_from(VARIANTS),
          content=st.sampled_from(CONTENTS), old=st.integers(0, 20), pinned=st.booleans())
    def say(self, who: int, name: str, variant: str, content: str | None, old: int, pinned: bool) -> None:
        sources = (Source("program", program="jan", name=f"{name}-{next(self.numbers) % 3}"),)
        supersedes = tuple(self.uuids[-old:]) if old <= 3 and old else ()
        ref = publish(self.stores[who], name, variant, content, sources=sources, supersedes=supersedes, pinned=pinned)
        self.uuids.append(ref.uuid)
        self.files.append(self.store.path / ref.path)

    @rule()
    def follow(self) -> None:
        self.index.refresh()

    @rule()
    def time_passes(self) -> None:
        settle(self.store)

    @rule()
    def close(self) -> None:
        self.index.close()

    @precondition(lambda self: self.files)
    @rule(number=st.integers(0, 100))
    def forget_a_ref(self, number: int) -> None:
        self.files.pop(number % len(self.files)).unlink()

    @rule(number=st.integers(0, 5))
    def learn(self, number: int) -> None:
        self.index.refresh()
        blobs = sorted({file.blake3 for variant in self.index.variants() for file in variant.files})
        if blobs:
            digest = blobs[number % len(blobs)]
            known = self.index.blob(digest)
            assert known is not None
            self.store.blobs.learn(digest, bytes=known.bytes, sha256=digest[::-1])
            self.index.learn(digest, sha256=digest[::-1])

    @invariant()
    def equals_one_made_anew(self) -> None:
        if next(self.numbers) % 4:
            return
        self.index.refresh()
        assert self.index.refresh() is False
        with Index.open(Path(self.folder.name) / f"new{next(self.numbers)}", self.store) as new:
            new.refresh()
            assert dump(self.index) == dump(new)
        for variant in self.index.variants():
            for query in (f"{variant.key.model}:{variant.key.variant}", variant.manifest):
                try:
                    found = [(one.key, one.manifest) for one in self.index.find(query)]
                except LookupError as error:
                    raise AssertionError(query) from error
                except Exception as error:      # ambiguous: so it must be without the index
                    assert "fits" in str(error)     # noqa: PT017
                    continue
                assert [(one.key, one.manifest) for one in path_from_refs(self.store, query)] == found

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
            self.folder.cleanup()


Follows.TestCase.settings = settings(
    max_examples=6, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
TestFollows = Follows.TestCase


def _publish_and_follow(store: str, index: str, first: int) -> None:
    opened = Store.open(Path(store), HOST)
    with Index.open(index, opened) as mine:
        for number in range(first, first + 6):
            publish(opened, f"model {number}")
            mine.refresh()


def test_processes_that_publish_and_follow_at_once(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(_publish_and_follow, [(str(store.path), str(tmp_path / "index"), part * 10) for part in range(3)],
                     chunksize=1)
    with Index.open(tmp_path / "index", store) as index, Index.open(tmp_path / "new", store) as new:
        index.refresh()
        new.refresh()
        assert len(index.variants()) == 18
        assert dump(index) == dump(new)


def test_rebuilding_gives_the_same_and_says_how_much(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    for name in NAMES[1:]:
        publish(store, name)
    with Index.open(tmp_path / "index", store) as index:
        index.refresh()
        before = dump(index)
        index.put_state("gone", b"1")
        steps: list[tuple[int, int]] = []
        report = index.rebuild(lambda done, total: steps.append((done, total)))
        assert dump(index) == before
        assert index.state("gone") is None
        assert (report.figures.models, report.figures.variants, report.refs, report.issues) == (4, 4, 4, ())
        assert steps[-1][1] == 4


def test_nothing_new_costs_no_listing(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    publish(store, "m")
    settle(store)
    with Index.open(tmp_path / "index", store) as index:
        index.refresh()
        refs = store.path / "refs"
        (folder,) = [path for path in refs.glob("*/*") if path.is_dir()]
        times = folder.stat()
        hidden = next(folder.iterdir())
        data = hidden.read_bytes()
        hidden.unlink()
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert index.refresh() is False, "the folder's time is as it was, so it is not listed"
        assert len(index.variants()) == 1
        hidden.write_bytes(data)
        index.refresh()
        assert len(index.variants()) == 1


def test_a_refs_folder_that_cannot_be_listed_drops_nothing(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    publish(store, "m")
    with Index.open(tmp_path / "index", store) as index:
        index.refresh()
        refs = store.path / "refs" / HOST.id / str(HOST.uid)
        refs.rename(tmp_path / "taken")
        refs.write_text("a file in its place")
        index.refresh()
        refs.unlink()
        (tmp_path / "taken").rename(refs)
        index.refresh()
        assert [str(variant.key) for variant in index.variants()] == ["m (gguf:F32)"]
