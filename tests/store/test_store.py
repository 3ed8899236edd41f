from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from samples import every_file, here, manifest, model

from helixstore.errors import NotFound, StoreError, StoreTooNew, UnsafeName
from helixstore.store.store import Store
from support.disks import SOMEBODY, apart, as_root


def edit(store: Store, **changes: object) -> None:
    path = store.path / "store.json"
    record = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps(record | changes))


def test_a_new_store_is_as_written_down(disk: Path) -> None:
    store = Store.create(disk / "a" / "store", here())
    for kind in ("blobs", "meta", "manifests"):
        assert sorted(os.listdir(store.path / kind)) == [f"{number:02x}" for number in range(256)]
    assert sorted(os.listdir(store.path)) == sorted([
        "README", "store.json", "blobs", "meta", "manifests", "refs", "hosts", "forgotten", "condemned", "trash",
        "quarantine", "staging"])
    record = json.loads((store.path / "store.json").read_text())
    assert record["features"] == {"compat": {}, "ro_compat": {}, "incompat": {}}
    assert (store.path / "hosts" / "host1" / "host.json").exists()
    assert (store.path / "hosts" / "host1" / str(os.geteuid()) / "roots").is_dir()
    assert "delete" in (store.path / "README").read_text()
    assert Store.create(store.path, here()).id == Store.open(store.path, here()).id == store.id
    assert not store.read_only
    assert os.listdir(store.path / "staging") == []


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        Store.create(tmp_path, here())
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(NotFound) as raised:
        Store.open(tmp_path, here())
    assert "mount its disk" in str(raised.value.remedy), "what is only unplugged is not to be made anew"
    with pytest.raises(StoreError):
        Store.create(tmp_path / "thesis.tex", here())


def test_an_interrupted_creation_is_finished(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", here())
    (store.path / "store.json").unlink()
    (store.path / "blobs" / "00").rmdir()
    (store.path / "lost+found").mkdir()
    with pytest.raises(NotFound):
        Store.open(store.path, here())
    assert (Store.create(store.path, here()).path / "blobs" / "00").is_dir()


def test_an_unknown_incompat_feature_refuses_and_names_it(store: Store) -> None:
    edit(store, features={"compat": {"x": "1"}, "ro_compat": {}, "incompat": {"packed blobs": "0.9"}})
    with pytest.raises(StoreTooNew, match=r"packed blobs \(helixstore 0\.9 or later\)"):
        Store.open(store.path, here())
    edit(store, features={"incompat": ["shards"]})
    with pytest.raises(StoreTooNew, match="shards"):
        Store.create(store.path, here())
    edit(store, features={}, format=2)
    with pytest.raises(StoreTooNew, match="format 2"):
        Store.open(store.path, here())


def test_an_unknown_ro_compat_feature_means_read_only(store: Store, tmp_path: Path) -> None:
    digest, ref = model(store, "m", b"weights")
    edit(store, features={"compat": {"new": ""}, "ro_compat": {"quotas": "2.0"}})
    reader = Store.open(store.path, here())
    assert reader.read_only
    assert "quotas" in reader.read_only_reason
    assert reader.blobs.exists(digest)
    assert reader.refs.scan() == ([ref], [])
    (tmp_path / "new").write_bytes(b"new")
    before = every_file(store.path)
    for change in (lambda: reader.blobs.add(tmp_path / "new"), lambda: reader.blobs.add_bytes(b"y"),
                   lambda: reader.manifests.write(manifest("1" * 64)), lambda: reader.keeps.put("x", []),
                   lambda: reader.refs.publish("m", "v", None), lambda: reader.roots.claim("/x"),
                   lambda: reader.quarantine.mark(digest, "why"), reader.clock_ns, reader.register):
        with pytest.raises(StoreError, match="read only"):
            change()
    assert every_file(store.path) == before


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"store_id": 7, "format": 1}', '{"schema": 2}'])
def test_a_damaged_description_is_told(store: Store, text: str) -> None:
    (store.path / "store.json").unlink()
    (store.path / "store.json").write_text(text)
    with pytest.raises(StoreError):
        Store.open(store.path, here())


def test_keeps_of_everybody_are_read(store: Store) -> None:
    other = Store.open(store.path, here(name="host2"))
    store.keeps.put("sync-1", ["1" * 64, "2" * 64])
    other.keeps.put("undo.7", ["3" * 64])
    store.keeps.put("sync-1", ["1" * 64])
    assert store.keeps.all() == other.keeps.all() == ({"1" * 64, "3" * 64}, [])
    other.keeps.drop("undo.7")
    other.keeps.drop("undo.7")
    assert store.keeps.all() == ({"1" * 64}, [])
    for name in ("../x", "", ".x", "a/b", "x" * 200):
        with pytest.raises(UnsafeName):
            store.keeps.put(name, [])
    (store.path / "hosts" / "host1" / str(os.geteuid()) / "keeps" / "odd").write_text("?")
    digests, issues = store.keeps.all()
    assert digests == {"1" * 64}
    assert len(issues) == 1


@as_root
def test_two_people_never_both_own_a_root(store: Store) -> None:
    mine, theirs = Store.open(store.path, here(0)), Store.open(store.path, here(SOMEBODY))
    assert mine.roots.owner("/models") is None
    assert mine.roots.claim("/models") == 0
    assert mine.roots.claim("/models") == 0
    assert theirs.roots.claim("/models") == 0
    assert theirs.roots.owner("/models") == 0
    assert theirs.roots.claim("/other\udcff") == SOMEBODY
    mine.roots.release("/models")
    assert theirs.roots.claim("/models") == SOMEBODY
    assert mine.roots.claim("/models") == SOMEBODY
    elsewhere = Store.open(store.path, here(0, "host2"))
    assert elsewhere.roots.claim("/models") == 0, "another machine's /models is another folder"


def test_the_staging_folder_is_shared_nested_and_removed(store: Store) -> None:
    with store.working() as outer:
        with store.working() as inner:
            assert inner == outer
        assert os.path.isdir(outer)
        assert store.staging.others() == []
        second = Store.open(store.path, here())
        assert second.staging.others() == [os.path.basename(outer)]
        assert second.staging.clean() == 0
        assert apart(second.staging.clean) == 0
        assert os.path.isdir(outer)
    assert os.listdir(store.path / "staging") == []


def test_after_fork_each_process_has_its_own_staging(store: Store) -> None:
    with store.working() as outer:
        def child() -> tuple[str, str]:
            with store.working() as folder:
                return folder, store.blobs.add_bytes(b"child").digest

        folder, digest = apart(child)
        assert folder != outer
        assert store.blobs.exists(digest)
        assert os.listdir(store.path / "staging") == [os.path.basename(outer)]


def test_a_file_that_vanishes_while_a_folder_is_looked_at_is_a_sign_of_life(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host's process finishes a file between the listing of its folder and the look at the file."""
    other = Store.open(store.path, here(name="host2"))
    listing = os.scandir
    with other.working() as folder:
        vanishing = Path(folder, "x")
        vanishing.write_bytes(b"")

        @contextmanager
        def finished_meanwhile(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
            with listing(path) as entries:
                found = list(entries)
            if path == folder:
                vanishing.unlink(missing_ok=True)
            yield iter(found)

        monkeypatch.setattr(os, "scandir", finished_meanwhile)
        assert store.staging.clean() == 0
        monkeypatch.undo()
        assert os.path.isdir(folder)
