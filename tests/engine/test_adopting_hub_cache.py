"""A cache that the hub's own client filled is adopted under its repository and commit, whatever its version."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.store.xet import XetHasher
from support.models import tiny_hf
from support.person import Person

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


def filled(person: Person, shared: bool) -> Path:
    """A repository as the client leaves it; `shared`: as from 1.32 on, after a transfer by Xet."""
    source = tiny_hf(person.home / "source")
    cache = person.home / ".cache/huggingface/hub"
    repository = cache / "models--acme--tiny"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    (cache / ".locks/models--acme--tiny").mkdir(parents=True)
    for file in sorted(source.iterdir()):
        data = file.read_bytes()
        large = file.suffix == ".safetensors"
        name = hashlib.sha256(data).hexdigest() if large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        blob = repository / "blobs" / name
        if large and shared:
            with XetHasher() as hasher:
                xet = hasher.hash(str(file)) or ""
            kept = cache / "blobs" / xet[:2] / xet
            kept.parent.mkdir(parents=True)
            (cache / "blobs/.huggingface-shared-blobs").write_bytes(b"1\n")
            kept.write_bytes(data)
            (kept.parent / f"{kept.name}.refs").write_text(f"models--acme--tiny/blobs/{name}\n")
            blob.symlink_to(f"../../blobs/{xet[:2]}/{xet}")
        else:
            blob.write_bytes(data)
        (snapshot / file.name).symlink_to(f"../../blobs/{name}")
    for path in cache.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    return cache


@pytest.mark.parametrize("shared", [False, True], ids=["own blobs", "shared store"])
def test_it_is_adopted_in_place_and_nothing_is_added(person: Person, shared: bool) -> None:
    cache = filled(person, shared)
    before = {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        report = store.sync()
        assert report.issues == ()
        assert report.saved_bytes == 0
        [variant] = store.show("tiny").variants
        assert [(s["kind"], s["repository"], s["revision"]) for s in variant.sources] == [("hub", "acme/tiny", COMMIT)]
        assert {name for name, one in variant.providers.items() if one.state == "linked"} >= {
            "vllm", "mlx", "mistralrs", "fastchat", "localai", "textgen"}
        after = {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}
        assert after == before, "the cache is as it was: nothing there twice, nothing missing"
        weights = cache / "models--acme--tiny/snapshots" / COMMIT / "model.safetensors"
        assert weights.samefile(store.folder / "blobs" / _digest(variant)[:2] / _digest(variant))
        assert store.sync().nothing
        store.remove("tiny")
        after = {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}
        assert after == before, "what the client made is not taken away"


@pytest.mark.parametrize("shared", [False, True], ids=["own blobs", "shared store"])
def test_undo_gives_the_cache_back(person: Person, shared: bool) -> None:
    filled(person, shared)
    before = person.tree(own=False)
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        store.sync()
        store.undo()
    assert person.tree(own=False) == before


def test_a_name_that_its_content_belies_is_not_taken_for_the_hubs(person: Person) -> None:
    cache = filled(person, shared=False)
    weights = (cache / "models--acme--tiny/snapshots" / COMMIT / "model.safetensors").resolve()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        store.sync()
        [model] = store.shared_models()
        assert all(source["kind"] != "hub" for source in model.variants[0].sources)


def _digest(variant: object) -> str:
    return next(f.blake3 for f in variant.files if f.path.endswith(".safetensors"))  # type: ignore[attr-defined]
