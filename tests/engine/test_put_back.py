"""An older copy of the store's records is put back: what came since is claimed anew, and stays in every program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.person import Person
from support.raw import model_gguf


def stored(person: Person) -> Path:
    with person.open() as store:
        return Path(store.folder)


def put_back(store: Path, copy: Path, *folders: str) -> None:
    """The folders are as they were, times and all."""
    for name in folders:
        shutil.rmtree(store / name)
        shutil.copytree(copy / name, store / name)


def older(person: Person) -> Path:
    copy = person.home.parent / "backup"
    for name in ("refs", "manifests"):
        shutil.copytree(stored(person) / name, copy / name)
    return copy


def shown(person: Person) -> dict[str, tuple[str, int]]:
    return {path: what for path, what in person.tree(own=False).items() if path.endswith(".gguf")}


@pytest.mark.parametrize("between", ["", "status", "reindex", "dry run"])
@pytest.mark.parametrize("folders", [("refs",), ("refs", "manifests")], ids="+".join)
def test_what_came_after_the_backup_is_claimed_anew(synced: Person, folders: tuple[str, ...], between: str) -> None:
    copy = older(synced)
    synced.put("models/new-F16.gguf", model_gguf(seed=3))
    with synced.open() as store:
        store.sync()
        new = store.path("new")
    before = shown(synced)
    put_back(stored(synced), copy, *folders)
    with synced.open() as store:
        if between == "status":
            store.status()
        if between == "reindex":
            store.reindex()
        if between == "dry run":
            store.sync(dry_run=True)
            assert any("older than they were: new" in note for note in store.notes)
    with synced.open() as store:
        report = store.sync()
        assert report.issues == ()
        assert report.removed == ()
        assert any("claimed anew: new" in note for note in store.notes)
        assert store.path("new").samefile(new)
    assert shown(synced) == before
    with synced.open() as store:
        assert store.sync().nothing
        assert store.notes == []


def test_a_name_leads_to_its_latest_version_again(synced: Person) -> None:
    copy = older(synced)
    path = synced.home / "models/other-F16.gguf"
    path.unlink()
    path.write_bytes(model_gguf(seed=9))
    with synced.open() as store:
        store.sync()
        assert store.path("other").read_bytes() == model_gguf(seed=9)
    put_back(stored(synced), copy, "refs", "manifests")
    with synced.open() as store:
        assert store.sync().issues == ()
        assert store.path("other").read_bytes() == model_gguf(seed=9)
        assert store.sync().nothing


def test_what_is_gone_from_the_store_is_told_once(synced: Person) -> None:
    copy = older(synced)
    path = synced.put("models/new-F16.gguf", model_gguf(seed=3))
    with synced.open() as store:
        store.sync()
        blob = Path(store.path("new"))
    put_back(stored(synced), copy, "refs", "manifests")
    for file in (stored(synced) / "blobs").rglob("*"):
        if file.is_file() and file.samefile(blob):
            os.unlink(file)
    with synced.open() as store:
        assert [(one.kind, one.path) for one in store.sync().issues if one.kind == "lost"] == [("lost", "new")]
    assert path.read_bytes() == model_gguf(seed=3)
    with synced.open() as store:
        assert [one for one in store.sync().issues if one.kind == "lost"] == []
    assert path.read_bytes() == model_gguf(seed=3)


def test_what_was_removed_since_is_not_claimed(synced: Person) -> None:
    """A claim that was withdrawn by another index of the same person has its tombstone, and stays withdrawn."""
    index = Path(synced.home, ".cache/helixstore")
    before = synced.home.parent / "index"
    shutil.copytree(index, before)
    with synced.open() as store:
        store.remove("other")
    shutil.rmtree(index)
    shutil.copytree(before, index)
    with synced.open() as store:
        store.sync()
        assert "other" not in [model.name for model in store.shared_models()]
        assert store.notes == []
