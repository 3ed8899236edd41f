"""Links in the place of the person's own files: what they lead to is kept, whatever becomes of models and disks."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from disk_bench import Bench, Disk
from shelf import dangling, opens_everywhere, put, scan, states

from helixstore import HelixStore
from helixstore.errors import Failed
from support.person import Person
from support.raw import model_gguf

BIG, OTHER = model_gguf(seed=41), model_gguf(seed=42)
LOOSE, OWN = "models/Big-F16.gguf", ".lmstudio/models/acme/Big-GGUF/Big-F16.gguf"


def moved(ana: Person, bench: Bench) -> tuple[Disk, list[Path]]:
    """A model that lies on another disk by now; the person's two files of it are links to there."""
    mine = [ana.put(LOOSE, BIG), ana.put(OWN, BIG)]
    scan(ana, ana.home / "models")
    disk = bench.disk("ext4", "disk")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        store.sync()
        store.volumes.move("Big-GGUF", "disk")
    assert all(path.is_symlink() for path in mine)
    return disk, mine


def later(ana: Person) -> HelixStore:
    """The store when nothing can be undone any more: the next operation lets go of the plans before it."""
    ana.environ["HELIXSTORE_UNDO_WINDOW"] = "0s"
    return ana.open()


def removed(ana: Person, disk: Disk) -> None:
    with ana.open() as store:
        store.remove("Big-GGUF")


def undone_without_the_disk(ana: Person, disk: Disk) -> None:
    disk.unplug()
    with ana.open() as store, contextlib.suppress(Failed):
        store.undo(9)
    disk.plug()


@pytest.mark.parametrize("how", [removed, undone_without_the_disk])
def test_the_persons_files_open_when_nobody_claims_the_model(
    ana: Person, bench: Bench, how: Callable[[Person, Disk], None]
) -> None:
    disk, mine = moved(ana, bench)
    how(ana, disk)
    ana.put("models/Other-F16.gguf", OTHER)
    with later(ana) as store:
        store.sync()
        store.gc(now=True)
        assert [path.read_bytes() for path in mine] == [BIG, BIG]
        store.leave()
        assert not any(path.is_symlink() for path in mine)
        assert [path.read_bytes() for path in mine] == [BIG, BIG]


def test_what_the_person_deleted_is_kept_no_longer(ana: Person, bench: Bench) -> None:
    _, mine = moved(ana, bench)
    for path in mine:
        path.unlink()
    with later(ana) as store:
        store.remove("Big-GGUF")
        assert len(store.gc(now=True).unlinked) == 1
        assert dangling(ana.home) == []


@pytest.mark.parametrize("place", ["models/Mine.gguf", f"{os.path.dirname(OWN)}/Mine.gguf"])
def test_moved_it_is_the_persons_still(ana: Person, bench: Bench, place: str) -> None:
    _, mine = moved(ana, bench)
    now = ana.home / place
    os.rename(mine[0], now)
    with later(ana) as store:
        store.remove("Big-GGUF")
        store.gc(now=True)
        assert now.read_bytes() == BIG
        store.leave()
        assert not now.is_symlink()
        assert now.read_bytes() == BIG


def test_undo_and_leave_wait_for_the_disk(ana: Person, bench: Bench) -> None:
    disk, mine = moved(ana, bench)
    disk.unplug()
    with ana.open() as store:
        store.sync()                                    # links in programs' folders are withdrawn
        for way in (store.leave, lambda: store.undo(9)):
            with pytest.raises(Failed, match="which is not here"):
                way()
        disk.plug()
        store.leave()
        assert not any(path.is_symlink() for path in mine)
        assert [path.read_bytes() for path in mine] == [BIG, BIG]


def test_a_stand_in_goes_only_when_nothing_leads_to_it(ana: Person, bench: Bench) -> None:
    disk, mine = moved(ana, bench)
    ana.put("models/Other-F16.gguf", OTHER)
    for blob in (disk.point / "helixstore/blobs").glob("*/*"):
        blob.unlink()                                   # as when another process moves it at the same time
    with ana.open() as store:
        store.sync()
        store.volumes.move("Other", "disk")
        assert [path.read_bytes() for path in mine] == [BIG, BIG]


def test_giving_a_disk_up_takes_nothing_from_a_third(ana: Person, bench: Bench) -> None:
    first, second = bench.disk("ext4", "first"), bench.disk("ext4", "second")
    copies = [put(disk.point / "models/Big-F16.gguf", BIG) for disk in (first, second)]
    scan(ana, ana.home / "models", *(path.parent for path in copies))
    ana.put(LOOSE, BIG)
    with ana.open() as store:
        for disk in (first, second):
            store.volumes.add(disk.point, always=True)
        store.sync()
        assert [one.blobs for one in store.volumes.list()] == [1, 1, 1]
        store.volumes.remove("first")
        assert [(one.name, one.blobs) for one in store.volumes.list()] == [("main", 1), ("second", 1)]


def test_a_disk_that_is_away_is_not_given_up_with_what_only_it_holds(
    ana: Person, bench: Bench, tmp_path: Path
) -> None:
    disk = bench.disk("ext4", "disk")
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        store.sync(save_plan=tmp_path / "plan")
        store.apply_file(tmp_path / "plan")
        for note in (store.folder / "volumes").glob("*.blobs"):
            note.unlink()                               # it is a hint, and may be missing
    disk.unplug()
    with ana.open() as store, pytest.raises(Failed, match="would be lost"):
        store.volumes.remove("disk")
    with later(ana) as store:
        store.remove("Big")
        store.volumes.remove("disk")                    # nobody needs anything of it any more


def test_a_file_that_is_only_referred_to_is_no_copy(ana: Person, bench: Bench) -> None:
    card, disk = bench.disk("exfat", "card"), bench.disk("ext4", "disk")
    put(card.point / "models/Big-F16.gguf", BIG)
    scan(ana, card.point / "models")
    with ana.open() as store:
        for one in (card, disk):
            store.volumes.add(one.point, always=True)
        store.sync()
        store.volumes.move("Big", "disk")
        with pytest.raises(Failed, match="only copy of Big"):
            store.volumes.remove("disk")


def test_one_of_two_copies_that_becomes_another_model_leaves_the_other(ana: Person) -> None:
    copies = [ana.put(f"{folder}/Big-F16.gguf", BIG) for folder in ("models", "archive")]
    scan(ana, *(path.parent for path in copies))
    with ana.open() as store:
        store.sync()
        copies[0].unlink()
        ana.put("models/Big-F16.gguf", OTHER)
        store.sync()
        contents = {Path(path).read_bytes() for model in store.shared_models() for variant in model.variants
                    for path in variant.providers["llamacpp"].paths}
        assert contents == {BIG, OTHER}


def test_a_disk_whose_folder_was_deleted_is_given_up_as_lost_and_its_files_come_back_from_a_backup(
    ana: Person, bench: Bench
) -> None:
    disk = bench.disk("ext4", "disk")
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")
    with ana.open() as store:
        store.volumes.add(disk.point, always=True)
        store.sync()
        [_, volume] = store.volumes.list()
    shutil.rmtree(volume.path)
    (disk.point / "models/Big-F16.gguf").unlink()
    with later(ana) as store:
        again = store.volumes.add(disk.point, always=True, name="again")
        assert again.volume.id != volume.id
        with pytest.raises(Failed, match="would be lost") as refused:
            store.volumes.remove(volume.id)
        assert "--lost" in refused.value.remedy
        assert store.volumes.remove(volume.id, lost=True, dry_run=True).models == ("Big",)
        assert len(store.volumes.list()) == 3
        gone = store.volumes.remove(volume.id, lost=True)
        assert gone.models == ("Big",)
        assert any("Big was only there" in note for note in gone.notes)
        assert [one.id for one in store.volumes.list()] == ["main", again.volume.id]
        assert not {"away", "linked"} & set(states(store, "Big").values())
    put(disk.point / "models/Big-F16.gguf", BIG)
    with later(ana) as store:
        store.sync(restore=True)
        assert "linked" in states(store, "Big").values()
        opens_everywhere(store, "Big", {BIG})
