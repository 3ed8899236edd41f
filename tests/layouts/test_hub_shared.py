"""The shared store of the Hugging Face cache against its contract, and as the hub's own client reads and sweeps it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub.utils import _shared_blobs as client
from huggingface_hub.utils._cache_manager import scan_cache_dir

from helixstore.layouts.huggingface import HubShared
from helixstore.providers.layout import Entry, Root, Text, Weight
from helixstore.providers.reader import DiskReader
from helixstore.store.xet import XetHasher
from helixstore.values import LinkKind, Variant
from support.layouts import FACTS, PlainReader, Shelf, hub, materialise, sandbox

MARK = ".huggingface-shared-blobs"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home/.cache/huggingface/hub"


def known(shelf: Shelf, variant: Variant) -> Variant:
    """The variant with the true Xet hashes of its weights, as the engine gives it to the layout."""
    large = {file.blake3 for file in (*variant.weights, *variant.projectors)}
    with XetHasher() as hasher:
        return replace(variant, files=tuple(
            replace(file, xet=hasher.hash(str(shelf.blobs[file.blake3])) if file.blake3 in large else None)
            for file in variant.files))


def root_of(cache: Path, environ: dict[str, str] | None = None, platform: str = "linux") -> Root:
    root, = HubShared().roots(sandbox(cache.parents[2], environ, platform))
    return root


def lay(cache: Path, shelf: Shelf, *variants: Variant) -> list[Entry]:
    root = root_of(cache)
    assert root.forbid == ""
    entries = list(HubShared().project(variants, root, FACTS))
    materialise(root.path, entries, shelf.blobs)
    return entries


def weights_of(variant: Variant) -> tuple[str, int]:
    """Xet hash and size of the first weights."""
    file = variant.weights[0]
    assert file.xet is not None
    return file.xet, file.bytes


def use(cache: Path, variant: Variant, repository: str = "somebody/else") -> Path:
    """The client asks for the content under a name of its own; the link that it makes."""
    xet, size = weights_of(variant)
    blob = cache / f"models--{repository.replace('/', '--')}" / "blobs" / str(variant.weights[0].sha256)
    blob.parent.mkdir(parents=True)
    assert client.try_link_from_shared_store(blob_path=str(blob), xet_hash=xet, cache_dir=cache, expected_size=size)
    return blob


class TestProjection:
    def test_each_hash_is_one_hard_link_behind_the_mark(self, shelf: Shelf, cache: Path) -> None:
        variant = known(shelf, shelf.gguf("m", shards=2, projector=True))
        entries = {entry.path: entry for entry in HubShared().project([variant], root_of(cache), FACTS)}
        assert entries[MARK].body == Text(b"1\n")
        assert entries[MARK].key is None
        hashes = {file.xet: file for file in variant.files}
        assert len(hashes) == 3
        for xet, file in hashes.items():
            entry = entries[f"{str(xet)[:2]}/{xet}"]
            assert entry.body == Weight(file.blake3, file.bytes, (LinkKind.HARD,))
            assert entry.order > entries[MARK].order, "the client must never see content in an unmarked folder"
            assert not entry.witness
        assert len(entries) == 4

    def test_nothing_to_share_means_no_mark(self, shelf: Shelf, cache: Path) -> None:
        assert list(HubShared().project([], root_of(cache), FACTS)) == []
        bare = shelf.gguf("m")
        bare = replace(bare, files=tuple(replace(file, xet=None) for file in bare.files))
        assert list(HubShared().project([bare], root_of(cache), FACTS)) == [], "its hash is not known"

    def test_variants_of_one_content_agree(self, shelf: Shelf, cache: Path) -> None:
        one = known(shelf, shelf.gguf("m"))
        other = replace(one, key=one.key._replace(model="n"), sources=(hub("a/n"),))
        entries = [entry for entry in HubShared().project([one, other], root_of(cache), FACTS) if entry.key]
        assert len({(entry.path, entry.body) for entry in entries}) == 1
        assert {entry.key for entry in entries} == {one.key, other.key}

    def test_small_files_are_the_hubs_own_business(self, shelf: Shelf, cache: Path) -> None:
        variant = known(shelf, shelf.hf("m", shards=2))
        digests = {entry.body.blob for entry in lay(cache, shelf, variant) if isinstance(entry.body, Weight)}
        assert digests == {file.blake3 for file in variant.weights}


class TestTheHubsOwnClient:
    def test_it_takes_the_folder_for_its_own(self, shelf: Shelf, cache: Path) -> None:
        lay(cache, shelf, known(shelf, shelf.gguf("m")))
        assert client.is_shared_blobs_dir(cache / "blobs")
        assert client._ensure_shared_blobs_dir(cache)
        assert scan_cache_dir(cache).warnings == []

    def test_it_links_what_it_is_asked_for(self, shelf: Shelf, cache: Path) -> None:
        variant = known(shelf, shelf.gguf("m"))
        lay(cache, shelf, variant)
        xet, size = weights_of(variant)
        assert client.has_shared_blob(xet_hash=xet, cache_dir=cache, expected_size=size)
        assert not client.has_shared_blob(xet_hash=xet, cache_dir=cache, expected_size=size + 1)
        assert use(cache, variant).samefile(shelf.blobs[variant.weights[0].blake3])

    def test_it_refuses_a_symbolic_link(self, shelf: Shelf, cache: Path) -> None:
        """Why there is no second kind of link to fall back on."""
        variant = known(shelf, shelf.gguf("m"))
        entries = HubShared().project([variant], root_of(cache), FACTS)
        materialise(cache / "blobs", entries, shelf.blobs, symbolic=True)
        xet, size = weights_of(variant)
        assert not client.has_shared_blob(xet_hash=xet, cache_dir=cache, expected_size=size)

    def test_it_sweeps_what_it_used_and_nothing_else(self, shelf: Shelf, cache: Path) -> None:
        variant, other = known(shelf, shelf.gguf("m")), known(shelf, shelf.gguf("n", seed=7))
        lay(cache, shelf, variant, other)
        blob = use(cache, variant)
        blob.unlink()
        assert set(client.unreferenced_shared_blobs(cache)) == {client.shared_blob_path(cache, weights_of(variant)[0])}
        for path in client.shared_store_blob_paths(cache):
            client.sweep_shared_blob(path, cache_dir=cache)
        assert client.shared_store_blob_paths(cache) == {client.shared_blob_path(cache, weights_of(other)[0])}
        blob = shelf.blobs[variant.weights[0].blake3]
        assert blob.stat().st_size == variant.weights[0].bytes
        assert blob.stat().st_mode & 0o777 == 0o444


class TestInUse:
    def asked(self, path: Path) -> bool:
        return HubShared().in_use(path, DiskReader(path.parent))

    def test_an_entry_is_in_use_while_a_link_of_a_repository_leads_to_it(self, shelf: Shelf, cache: Path) -> None:
        variant = known(shelf, shelf.gguf("m"))
        lay(cache, shelf, variant)
        path = client.shared_blob_path(cache, weights_of(variant)[0])
        assert not self.asked(path)
        first, second = use(cache, variant, "a/one"), use(cache, variant, "b/two")
        assert self.asked(path)
        first.unlink()
        assert self.asked(path)
        second.unlink()
        assert not self.asked(path)
        second.symlink_to("../../blobs/00/" + "0" * 64)
        assert not self.asked(path), "it leads elsewhere now"

    @pytest.mark.parametrize("line", ["", "\0", "../../../etc/passwd", "/etc/passwd", "models--a--b/blobs", "x" * 5000])
    def test_a_note_that_makes_no_sense_is_no_use(self, shelf: Shelf, cache: Path, line: str) -> None:
        variant = known(shelf, shelf.gguf("m"))
        lay(cache, shelf, variant)
        path = client.shared_blob_path(cache, weights_of(variant)[0])
        path.with_name(f"{path.name}.refs").write_text(f"{line}\n")
        assert not self.asked(path)

    def test_the_mark_goes_last(self, shelf: Shelf, cache: Path) -> None:
        lay(cache, shelf, known(shelf, shelf.gguf("m")))
        mark = cache / "blobs" / MARK
        assert self.asked(mark)
        for path in client.shared_store_blob_paths(cache):
            path.unlink()
            path.with_name(f"{path.name}.lock").touch()
        assert self.asked(mark), "the client's lock lies there still"
        for path in (cache / "blobs").glob("??/*"):
            path.unlink()
        assert not self.asked(mark)


class TestRoots:
    def test_it_lies_in_the_cache_that_the_client_uses(self, cache: Path, tmp_path: Path) -> None:
        assert root_of(cache).path == cache / "blobs"
        assert root_of(cache).cache
        assert root_of(cache, {"HF_HOME": str(tmp_path / "hf")}).path == tmp_path / "hf/hub/blobs"
        named, = HubShared().roots(sandbox(cache.parents[2], setting=tmp_path / "mine"))
        assert named.path == tmp_path / "mine/blobs"

    @pytest.mark.parametrize(("environ", "platform"), [
        ({"HF_HUB_DISABLE_SHARED_BLOBS": "1"}, "linux"), ({"HF_HUB_DISABLE_XET": "true"}, "linux"),
        ({"HF_HUB_DISABLE_SYMLINKS": "YES"}, "darwin"), ({}, "win32")])
    def test_off_where_the_client_would_not_look(self, cache: Path, environ: dict[str, str], platform: str) -> None:
        assert root_of(cache, environ, platform).forbid

    def test_off_means_what_it_means_to_the_client(self, cache: Path) -> None:
        assert not root_of(cache, {"HF_HUB_DISABLE_XET": "0", "HF_HUB_DISABLE_SHARED_BLOBS": ""}).forbid

    def test_off_where_somebody_else_uses_the_name(self, cache: Path) -> None:
        (cache / "blobs").mkdir(parents=True)
        assert not root_of(cache).forbid, "an empty folder is anybody's, for the client too"
        (cache / "blobs/mine.txt").touch()
        assert "mark" in root_of(cache).forbid
        assert not client._ensure_shared_blobs_dir(cache)

    def test_off_where_the_client_is_newer_than_what_is_known(self, cache: Path) -> None:
        (cache / "blobs").mkdir(parents=True)
        (cache / "blobs" / MARK).write_text("2\n")
        assert "newer" in root_of(cache).forbid

    def test_off_while_only_an_older_client_has_downloaded_here(self, cache: Path) -> None:
        (cache / ".locks/models--a--b").mkdir(parents=True)
        assert "1.32" in root_of(cache).forbid
        assert client._ensure_shared_blobs_dir(cache), "the first shared download of a newer one"
        assert root_of(cache).forbid == ""

    def test_off_without_hf_xet(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import importlib.util

        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert "pip install hf_xet" in root_of(cache).forbid

    def test_a_cache_that_is_not_there_is_no_installed_client(self, cache: Path) -> None:
        assert root_of(cache).present == (cache,)

    def test_looking_needs_the_reader_alone(self, cache: Path) -> None:
        reader = PlainReader()
        list(HubShared().discover(root_of(cache), reader))
        assert reader.issues == []


def test_the_hash_is_the_clients_and_takes_no_trace(tmp_path: Path) -> None:
    """Nothing is written anywhere, and the process ends."""
    (tmp_path / "hello").write_bytes(b"hello")
    (tmp_path / "empty").touch()
    (tmp_path / "a\nname").write_bytes(b"hello")
    before = sorted(os.walk(tmp_path))
    with XetHasher() as hasher:
        five = hasher.hash(str(tmp_path / "hello"))
        assert five == "48a3213a086cad271381aafe47232eb5df291a963cebbfec071972eff45eb422"
        assert hasher.hash(str(tmp_path / "a\nname")) == five
        assert hasher.hash(str(tmp_path / "empty")) is None
        assert hasher.hash(str(tmp_path / "missing")) is None
        assert hasher.hash(str(tmp_path)) is None
        process = hasher._process
    assert process is not None
    assert process.poll() is not None
    assert sorted(os.walk(tmp_path)) == before
