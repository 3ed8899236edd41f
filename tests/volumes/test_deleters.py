"""Programs that delete what a link leads to: they destroy a stand-in, and the blob keeps its bytes."""

from __future__ import annotations

import os
from pathlib import Path

from disk_bench import Bench
from huggingface_hub import scan_cache_dir
from shelf import into_blobs, names_below, opens_everywhere, put, scan, states

from helixstore.store import attach
from helixstore.store.gc import collect
from helixstore.store.host import Host
from helixstore.store.store import Store
from helixstore.values import State
from support.models import tiny_hf
from support.person import Person
from support.raw import model_gguf

BIG = model_gguf(seed=61)


def far_away(ana: Person, bench: Bench) -> Path:
    """A GGUF and a Hugging Face model on another disk, shared with every program."""
    disk = bench.disk("ext4", "disk")
    put(disk.point / "models/Big-F16.gguf", BIG)
    tiny_hf(disk.point / "models/tiny-llama")
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        assert store.sync().issues == ()
    return disk.point


def test_one_that_resolves_and_unlinks_leaves_the_blob_whole(ana: Person, bench: Bench) -> None:
    disk = far_away(ana, bench)
    with ana.open() as store:
        before = {path: os.readlink(path) for path in names_below(ana.home) if path.is_symlink()}
        assert not into_blobs(ana.home)
        victims = [path for path in before if path.exists() and str(disk) in str(path.resolve())]
        assert victims
        for path in victims:
            path.resolve().unlink(missing_ok=True)
        assert (disk / "models/Big-F16.gguf").read_bytes() == BIG
        assert store.verify().bad == []
        assert store.verify().issues == []
        report = store.sync()
        assert report.issues == ()
        assert {path: os.readlink(path) for path in names_below(ana.home) if path.is_symlink()} == before
        assert all(path.exists() for path in victims)
        opens_everywhere(store, "Big", {BIG})
        again = store.sync()
        assert again.nothing, again.actions


def test_a_delete_through_the_links_of_one_program_takes_no_other_programs_link(ana: Person, bench: Bench) -> None:
    """As huggingface_hub before 1.32: each snapshot's link to its end, and the end removed."""
    far_away(ana, bench)
    cache = ana.home / ".cache/huggingface/hub"
    weights = list(cache.glob("models--*/snapshots/*/*.safetensors"))
    assert weights
    for path in weights:
        path.resolve().unlink()
    others = [path for path in names_below(ana.home) if path.is_symlink() and cache not in path.parents]
    assert others
    assert all(path.exists() for path in others)


def test_the_hubs_own_delete_leaves_the_blob_whole_and_hides_the_model(ana: Person, bench: Bench) -> None:
    disk = far_away(ana, bench)
    weights = (disk / "models/tiny-llama/model.safetensors").read_bytes()
    cache = ana.home / ".cache/huggingface/hub"
    found = scan_cache_dir(cache)
    assert not found.warnings or all("blobs" in str(warning) for warning in found.warnings)
    revisions = [revision.commit_hash for repo in found.repos for revision in repo.revisions]
    assert revisions
    scan_cache_dir(cache).delete_revisions(*revisions).execute()
    with ana.open() as store:
        assert store.verify().bad == []
        assert (disk / "models/tiny-llama/model.safetensors").read_bytes() == weights
        store.sync()
        assert states(store, "tiny-llama")["vllm"] == State.HIDDEN
        opens_everywhere(store, "tiny-llama", {weights})
        again = store.sync()
        assert again.nothing, again.actions


def test_gc_takes_the_stand_ins_with_the_blob(tmp_path: Path, bench: Bench) -> None:
    disk = bench.disk("ext4", "disk")
    store = Store.create(tmp_path / "store", Host("h1", os.geteuid(), "b1"))
    volume = attach.attach(store, attach.prospect(store, str(disk.point), always=True))
    added = store.blobs.add(put(disk.point / "big.gguf", BIG))
    (disk.point / "big.gguf").unlink()
    blob = volume.blob(added.digest)
    assert store.blobs.path(added.digest) == blob
    stand_in = Path(store.blobs.stand_ins.make(volume.path, added.digest, blob))
    assert collect(store).condemned == (added.digest,)
    assert stand_in.exists()
    kept = put(disk.point / "other", b"x")
    os.unlink(kept)
    os.link(blob, kept)
    assert [digest for digest, _ in collect(store, now=True).kept] == [added.digest], "a person's name keeps it"
    kept.unlink()
    assert collect(store, now=True).unlinked == (added.digest,)
    assert not [path for path in names_below(disk.point) if path.stat().st_size == len(BIG)]
