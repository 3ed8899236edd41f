"""The store on two disks: nothing moves, every program reads, and what is unplugged is away and comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disk_bench import Bench
from shelf import LISTS_BREAK, dangling, inodes, into_blobs, names_below, opens_everywhere, put, scan, states

from helixstore.errors import NotFound
from support.models import tiny_hf
from support.person import Person
from support.raw import model_gguf

BIG = model_gguf(seed=31)


def test_a_file_on_a_disk_without_a_volume_stays_and_the_command_is_named(ana: Person, bench: Bench) -> None:
    disk = bench.disk()
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        report = store.sync()
        assert not report.adopted
        assert any(f"helixstore volume add {disk.point}" in note for note in report.notes)
        assert os.stat(disk.point / "models/Big-F16.gguf").st_nlink == 1


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_adoption_moves_no_bytes(ana: Person, bench: Bench, kind: str) -> None:
    disk = bench.disk(kind)
    big = put(disk.point / "models/Big-F16.gguf", BIG * 40)
    twice = put(disk.point / "models/copy/Big-F16.gguf", BIG * 40)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        before = inodes(big)
        volume = store.volumes.add(disk.point).volume
        assert (volume.state, volume.refers, volume.path) == ("here", False, str(disk.point / "helixstore"))
        os.sync()
        free = disk.free()
        report = store.sync()
        assert report.issues == ()
        os.sync()
        assert inodes(big) == before
        assert os.path.samefile(big, twice), "a second copy on one disk is replaced by a link"
        assert disk.free() - free > len(BIG) * 39 * 0.5 or report.saved_bytes == len(BIG) * 40
        assert not [path for path in names_below(ana.home) if path.lstat().st_size == len(BIG) * 40]
        assert not into_blobs(ana.home / ".lmstudio")
        kinds = opens_everywhere(store, "Big", {BIG * 40})
        assert kinds["lmstudio"] == kinds["llamacpp"] == kinds["ollama"] == "symlink"
        again = store.sync()
        assert again.nothing, again.actions
        assert store.verify().bad == []
        [on_disk] = store.volumes.list()[1:]
        assert (on_disk.models, on_disk.blobs, on_disk.bytes) == (1, 1, len(BIG) * 40)


def two_disk_model(ana: Person, one: Path, other: Path) -> set[bytes]:
    """A Hugging Face model of two shards: one lies on each disk, joined by a link as people do it."""
    folder = tiny_hf(one / "models/tiny-llama", shards=2)
    shards = sorted(folder.glob("*.safetensors"))
    contents = {shard.read_bytes() for shard in shards}
    target = put(other / "overflow" / shards[1].name, shards[1].read_bytes())
    shards[1].unlink()
    shards[1].symlink_to(target)
    scan(ana, one / "models")
    return contents


def test_a_model_on_two_disks_works_in_every_program(ana: Person, bench: Bench) -> None:
    one, other = bench.disk("ext4", "one"), bench.disk("xfs", "other")
    contents = two_disk_model(ana, one.point, other.point)
    with ana.open() as store:
        store.volumes.add(one.point)
        store.volumes.add(other.point)
        report = store.sync()
        assert report.issues == ()
        kinds = opens_everywhere(store, "tiny-llama", contents)
        assert set(kinds) >= {"vllm", "mlx", "mistralrs", "fastchat", "textgen", "localai"}
        assert {path.stat().st_dev for path in names_below(one.point / "models") if path.suffix == ".safetensors"} == {
            one.point.stat().st_dev, other.point.stat().st_dev}
        assert not into_blobs(ana.home)
        again = store.sync()
        assert again.nothing, again.actions


def test_unplugged_it_is_away_and_returns_with_its_disk(ana: Person, bench: Bench) -> None:
    disk = bench.disk()
    put(disk.point / "models/Big-F16.gguf", BIG)
    tiny_hf(disk.point / "models/tiny-llama")
    ana.put(".lmstudio/models/acme/Near-GGUF/Near-F16.gguf", model_gguf(seed=32))
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        assert store.sync().issues == ()
        before = {path: os.readlink(path) for path in names_below(ana.home) if path.is_symlink()}
        assert any(str(path).startswith(str(ana.home / ".lmstudio")) for path in before)
        disk.unplug()
        assert dangling(ana.home / ".lmstudio"), "until the next sync: --always allows it"
        status = store.status()                     # says so at once, without a sync
        assert [issue.kind for issue in status.issues] == ["away"]
        assert states(store, "Big")["lmstudio"] == "away"
        report = store.sync()
        assert [issue.kind for issue in report.issues] == ["away"], report.issues
        for name in LISTS_BREAK:
            root = Path(next(p.root for p in store.status().providers if p.name == name))
            assert not dangling(root), name
        assert {state for name, state in states(store, "Big").items() if name in ("ollama", "gpt4all")} == {"away"}
        assert set(states(store, "tiny-llama").values()) <= {"away", "incompatible", "convertible"}
        assert states(store, "Near")["ollama"] == "linked"
        again = store.sync()
        assert again.nothing
        assert [issue.kind for issue in again.issues] == ["away"]
        assert store.verify().bad == []
        assert [issue.kind for issue in store.verify().issues] == []
        collected = store.gc(now=True)
        assert (collected.condemned, collected.trashed, collected.unlinked) == ((), (), ())
        assert store.status().only_in_store == (), "what is away is not unused"
        assert store.remove(unused=True).nothing
        for ask in (lambda: store.path("Big"), lambda: store.link("Big", ana.home / "by-hand")):
            with pytest.raises(NotFound, match=f"not here: {disk.point.name}"):
                ask()
        disk.plug()
        assert store.sync().issues == ()
        assert states(store, "Big")["lmstudio"] == states(store, "tiny-llama")["vllm"] == "linked"
        assert {path: os.readlink(path) for path in names_below(ana.home) if path.is_symlink()} == before
        again = store.sync()
        assert again.nothing, again.actions


def test_another_disk_at_the_same_place_is_not_the_volume(ana: Person, bench: Bench) -> None:
    disk = bench.disk()
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point)
        store.sync()
        disk.unplug()
        wrong = bench.disk("ext4", "wrong")
        wrong.unplug()
        wrong.point = disk.point
        wrong.plug()
        (disk.point / "helixstore").mkdir()
        put(disk.point / "helixstore/volume.json", b'{"schema":1,"store_id":"another","volume_id":"x"}')
        report = store.sync()
        assert [issue.kind for issue in report.issues] == ["away"], report.issues
        assert "another store" in report.issues[0].message
        assert set(os.listdir(disk.point / "helixstore")) == {"volume.json"}
        wrong.unplug()
        disk.plug()
        assert store.sync().issues == ()
        assert opens_everywhere(store, "Big", {BIG})


def test_an_index_made_anew_while_a_disk_is_away_learns_its_models_when_it_is_back(ana: Person, bench: Bench) -> None:
    disk = bench.disk()
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point)
        store.sync()
        disk.unplug()
        store.reindex()
        [variant] = store.show("Big").variants
        assert variant.architecture is None
        disk.plug()
        store.sync()
        [variant] = store.show("Big").variants
        assert variant.architecture == "llama"
        assert store.sync().nothing


def test_what_is_new_while_a_disk_is_away_is_everywhere_at_once(ana: Person, bench: Bench) -> None:
    disk = bench.disk()
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models", ana.home / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        assert store.sync().issues == ()
        disk.unplug()
        ana.put("models/Fresh-F16.gguf", model_gguf(seed=33))
        tiny_hf(ana.home / "models/fresh-llama", seed=34)
        [issue] = store.sync().issues
        assert issue.message.endswith("away with it: Big"), issue
        assert states(store, "Fresh")["ollama"] == states(store, "fresh-llama")["vllm"] == "linked"
        assert store.sync().nothing
        disk.plug()
