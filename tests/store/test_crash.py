"""Killed between any two calls of the kernel, at every one of them in turn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3
from samples import here, manifest, model

from helixstore.fs import kernel, locks
from helixstore.store.gc import collect
from helixstore.store.refs import claimant_of, heads
from helixstore.store.store import Store
from helixstore.store.trash import trashed
from helixstore.store.verify import verify
from support.disks import dying_at

CALLS = (*((kernel, name) for name in (
    "create", "hard_link", "publish", "rename_new", "replace", "replace_file", "sync_file", "sync_folder", "try_mode",
    "unlink", "copy_bytes")), (locks, "lock_folder"))


def check(store: Store) -> None:
    """What must hold after any death: every blob is what its name says, and nothing promised is missing."""
    report = verify(store)
    assert report.bad == []
    assert [issue for issue in report.issues if issue.kind != "suspicious"] == []
    collect(store)
    assert os.listdir(store.path / "staging") == []


@pytest.mark.parametrize("link", [True, False])
def test_adding(store: Store, tmp_path: Path, link: bool) -> None:
    data = os.urandom(5 << 20)
    number = 0
    while True:
        number += 1
        path = tmp_path / f"model-{number}"
        path.write_bytes(data + bytes([number]))
        digest = blake3(path.read_bytes()).hexdigest()

        def work(path: Path = path) -> None:
            added = store.blobs.add(path, link=link)
            store.refs.publish(path.name, "gguf:Q4", store.manifests.write(manifest(added.digest, size=added.bytes)))

        died = dying_at(number, work, CALLS)
        assert blake3(path.read_bytes()).hexdigest() == digest, "the person's file is not what it was"
        refs, issues = store.refs.scan()
        assert issues == []
        for ref in refs:
            assert ref.manifest is not None
            assert all(store.blobs.exists(blob) for blob in store.manifests.blobs(ref.manifest))
        if not died:
            break
    assert number > 15
    check(store)
    assert (f"model-{number}", "gguf:Q4") in heads(store.refs.scan()[0], claimant_of(store.host))[0]


def test_a_batch_of_small_files(store: Store) -> None:
    number = 0
    while True:
        number += 1
        items = [f"{number} {at}".encode() for at in range(3)]
        if not dying_at(number, lambda items=items: store.blobs.add_many(items), CALLS):  # type: ignore[misc]
            break
    check(store)
    assert all(store.blobs.exists(blake3(item).hexdigest()) for item in items)


def test_collecting(store: Store) -> None:
    """At no instant are a model's bytes gone while it has a ref, and what is in the trash is whole."""
    kept, _ = model(store, "kept", b"kept")
    number = 0
    while True:
        number += 1
        digest, ref = model(store, "m", b"%d" % number)
        store.refs.publish("m", "gguf:Q4_K_M", None, supersedes=[ref.uuid])
        collect(store)
        for entry in os.scandir(store.path / "condemned"):
            os.utime(entry.path, (1, 1))
        died = dying_at(number, lambda: collect(store), CALLS)
        assert store.blobs.exists(kept)
        assert store.blobs.ensure(digest), "neither a blob nor in the trash"
        check(store)
        if not died:
            break
    assert number > 8


def test_collecting_out_of_turn(store: Store) -> None:
    kept, _ = model(store, "kept", b"kept")
    number = 0
    while True:
        number += 1
        digest = store.blobs.add_bytes(b"%d" % number).digest
        died = dying_at(number, lambda: collect(store, now=True), CALLS)
        assert store.blobs.exists(kept)
        collect(store, now=True)
        assert not store.blobs.exists(digest)
        assert trashed(store) == []
        check(store)
        if not died:
            break
    assert number > 8


def test_making_a_store(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        if not dying_at(number, lambda: Store.create(tmp_path / "store", here()), CALLS):
            break
    check(Store.open(tmp_path / "store", here()))
