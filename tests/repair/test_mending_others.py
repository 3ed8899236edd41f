"""Several people, several users, several disks and several stores."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from rot import BIG, DIGEST, SMALL, all_right, blob, flip, part, shown

from helixstore import HelixStore
from helixstore.fs import mending
from helixstore.store.donors import LocalFile
from helixstore.store.hashing import BLOCK, blake3_hex
from helixstore.store.host import Host
from helixstore.store.quarantine import damaged_inodes
from helixstore.store.repair import Mended, mend
from helixstore.store.store import Store
from helixstore.store.verify import verify
from support.disks import Disks, apart, as_root, shared
from support.person import Person
from support.raw import model_gguf

__all__ = ["shared"]

ANA, BEA, STEWARD = 21001, 21002, 21003


def other_home(person: Person, name: str) -> Person:
    """Somebody else's home, over the same store."""
    home = person.home.parent / name
    home.mkdir()
    with person.open() as store:
        where = str(store.folder)
    return Person(home, {"HOME": str(home), "PATH": os.environ["PATH"], "HELIXSTORE_STORE": where})


def test_what_another_linked_reads_right_after_their_next_command(laptop: Person) -> None:
    """Ana mends; Bob's links are names of the damaged inode until his next command."""
    bob = other_home(laptop, "bob")
    bob.put("mine/big-F16.gguf", BIG)
    HelixStore.init(bob.environ["HELIXSTORE_STORE"], every=True, scan=[bob.home / "mine"], environ=bob.environ)
    laptop.put("backup/copy.bin", BIG)
    with bob.open() as store:
        store.sync()
        mine = bob.home / "mine/big-F16.gguf"
        assert mine.samefile(blob(store)), "his copy became a name of the blob"
        programs = shown(store, "big")
        assert programs
    with laptop.open() as store:
        flip(blob(store), 9)
        assert store.verify(repair=True, source=[laptop.home / "backup"]).mended[0].why == ""
    assert mine.read_bytes() != BIG
    with bob.open() as store:
        store.sync()
        assert mine.read_bytes() == BIG
        assert mine.samefile(blob(store))
        assert shown(store, "big") == programs
        assert all(any(Path(path).read_bytes() == BIG for path in paths) for paths in programs.values())
        assert store.sync().nothing
        assert {one.name for one in store.shared_models()} == {"big", "small"}


def test_bobs_links_are_right_again_even_when_the_trash_was_emptied(laptop: Person) -> None:
    """What was made for a blob that has another inode than at the last look is linked anew."""
    bob = other_home(laptop, "bob")
    HelixStore.init(bob.environ["HELIXSTORE_STORE"], every=True, environ=bob.environ)
    laptop.put("backup/copy.bin", BIG)
    with bob.open() as store:
        store.sync()
        programs = shown(store, "big")
        assert programs
    with laptop.open() as store:
        flip(blob(store), 9)
        [mended] = store.verify(repair=True, source=[laptop.home / "backup"]).mended
    shutil.rmtree(Path(mended.kept).parent)
    with bob.open() as store:
        store.sync()
        assert shown(store, "big").keys() == programs.keys()
        assert all(any(Path(path).read_bytes() == BIG for path in paths) for paths in shown(store, "big").values())


def test_another_store_gives_bytes_and_block_list(laptop: Person, tmp_path: Path) -> None:
    """A backup of the store, as docs/backup.md makes one; half of it is rotten too."""
    with laptop.open() as store:
        copy = tmp_path / "backup"
        subprocess.run(["cp", "-a", "--no-preserve=links", str(store.folder), str(copy)], check=True)
        flip(copy / "blobs" / DIGEST[:2] / DIGEST, BLOCK + 1)
        meta = store.folder / "meta" / DIGEST[:2] / f"{DIGEST}.json"
        meta.unlink()
        flip(blob(store), 1)
        before = sorted(path for path in copy.rglob("*"))
        [mended] = store.verify("big", repair=True, source=[copy]).mended
        assert mended.why == ""
        assert [(Path(taken.source).is_relative_to(copy), taken.bytes) for taken in mended.taken] == [(True, BLOCK)]
        assert sorted(path for path in copy.rglob("*")) == before
    all_right(laptop)


@as_root
def test_a_copy_on_another_disk_mends_and_the_damaged_one_there_goes(ana: Person, disks: Disks) -> None:
    far = disks.mount("ext4", 96, "second")
    ana.put("models/big-F16.gguf", BIG)
    HelixStore.init(every=True, scan=[far, ana.home / "models"], environ=ana.environ)
    with ana.open() as store:
        store.sync()
        store.volumes.add(far)
        (far / "big-F16.gguf").write_bytes(BIG)
        os.utime(far / "big-F16.gguf", (1_700_000_000, 1_700_000_000))
        store.sync()
        [there] = (far / "helixstore" / "blobs").rglob(DIGEST)
        store.verify()
        flip(blob(store), 3)
        report = store.verify(repair=True)
        assert [(bad.digest, "another disk" in bad.why) for bad in report.bad] == [(DIGEST, True)]
        assert report.mended == [], "a whole copy is on the other disk: the damaged one is put aside"
        store.sync()
        assert shown(store, "big")
        given = ana.home / "models/big-F16.gguf"
        assert given.read_bytes() == BIG
        assert not given.is_symlink(), "the person's file stays a file on its disk"
        store.verify()
    with ana.open() as store:
        assert there.read_bytes() == BIG
        assert all(any(Path(path).read_bytes() == BIG for path in paths) for paths in shown(store, "big").values())
        assert store.verify().bad == []
    half = ana.put("backup/half.bin", part(BIG, 1))
    with ana.open() as store:
        flip(there, BLOCK + 3)
        report = store.verify("big", repair=True, source=[half])
        assert report.mended[0].why == ""
        assert there.read_bytes() == BIG
        assert Path(report.mended[0].kept).is_relative_to(far), "each disk has its own trash"


def make(shared: Path, owner: int) -> Path:
    """A store that a group fills: its folders are sticky and everybody's."""
    shared.chmod(0o777)
    folder = shared / "store"
    apart(lambda: Store.create(folder, Host("h1", owner, "boot")).id, owner)
    for place in [folder, *folder.rglob("*")]:
        if place.is_dir():
            place.chmod(0o1777)
    return folder


def as_user(folder: Path, uid: int, copy: Path) -> Mended:
    """Mend as that user, with one donor."""
    def work() -> Mended:
        store = Store.open(folder, Host("h1", uid, "boot"))
        assert verify(store).bad
        return mend(store, blake3_hex(SMALL), len(SMALL), [LocalFile(str(copy))])[0]

    found = apart(work, uid)
    assert isinstance(found, Mended)
    return found


@as_root
def test_anothers_blob_is_mended_by_its_owner_and_by_the_steward_only(shared: Path) -> None:
    folder = make(shared, STEWARD)
    digest, copy = blake3_hex(SMALL), shared / "copy.bin"
    copy.write_bytes(SMALL)
    copy.chmod(0o444)
    apart(lambda: Store.open(folder, Host("h1", ANA, "boot")).blobs.add_bytes(SMALL).digest, ANA)
    path = folder / "blobs" / digest[:2] / digest
    assert path.stat().st_uid == ANA

    flip(path, 7)
    damaged = path.read_bytes()
    refused = as_user(folder, BEA, copy)
    assert str(ANA) in refused.why
    assert str(STEWARD) in refused.why
    assert "verify --repair" in refused.remedy
    assert path.read_bytes() == damaged

    mended = as_user(folder, STEWARD, copy)         # who may not link to Ana's file: the two names change places
    assert mended.why == ""
    assert path.read_bytes() == SMALL
    assert Path(mended.kept).read_bytes() == damaged
    assert Path(mended.kept).stat().st_uid == ANA
    kept = Path(mended.kept).stat()
    assert damaged_inodes([str(folder)]) == {digest: {(kept.st_dev, kept.st_ino)}}

    for uid in (ANA, 0):                            # her own, as root
        flip(path, 8)
        os.chown(path, ANA, ANA)
        assert as_user(folder, uid, copy).why == ""
        assert path.read_bytes() == SMALL
        assert path.stat().st_uid == ANA, "root gives it back to whose it was"


@as_root
def test_what_somebody_else_marked_counts_for_them_until_they_look_again(shared: Path) -> None:
    folder = make(shared, STEWARD)
    digest, copy = blake3_hex(SMALL), shared / "copy.bin"
    copy.write_bytes(SMALL)
    copy.chmod(0o444)

    def open_as(uid: int) -> Store:
        return Store.open(folder, Host("h1", uid, "boot"))

    apart(lambda: open_as(ANA).blobs.add_bytes(SMALL).digest, ANA)
    flip(folder / "blobs" / digest[:2] / digest, 7)
    assert apart(lambda: len(verify(open_as(BEA)).bad), BEA) == 1
    assert as_user(folder, ANA, copy).why == ""
    assert not apart(lambda: digest in open_as(ANA).quarantine, ANA)
    assert apart(lambda: digest in open_as(BEA).quarantine, BEA)
    assert apart(lambda: verify(open_as(BEA)).repaired, BEA) == [digest]
    assert not apart(lambda: digest in open_as(BEA).quarantine, BEA)
    assert not list((folder / "quarantine").iterdir())


@as_root
def test_a_store_that_may_only_be_read_is_told_and_left(shared: Path) -> None:
    folder = make(shared, STEWARD)
    digest, copy = blake3_hex(SMALL), shared / "copy.bin"
    copy.write_bytes(SMALL)
    apart(lambda: Store.open(folder, Host("h1", STEWARD, "boot")).blobs.add_bytes(SMALL).digest, STEWARD)
    flip(folder / "blobs" / digest[:2] / digest, 7)
    for place in [folder, *folder.rglob("*")]:
        if place.is_dir():
            place.chmod(0o755)
    before = sorted(folder.rglob("*"))
    found = as_user(folder, BEA, copy)
    assert "read only" in found.why
    assert "owner" in found.remedy
    assert sorted(folder.rglob("*")) == before


def test_two_names_change_places_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    mending.exchange(tmp_path / "one", tmp_path / "two")
    assert ((tmp_path / "one").read_bytes(), (tmp_path / "two").read_bytes()) == (b"2", b"1")
    with pytest.raises(FileNotFoundError):
        mending.exchange(tmp_path / "one", tmp_path / "three")


def test_a_range_is_copied_to_its_own_place(disk: Path) -> None:
    where = 5000
    data = model_gguf(seed=9) * 4
    (disk / "from").write_bytes(data)
    reading, writing = os.open(disk / "from", os.O_RDONLY), os.open(disk / "to", os.O_RDWR | os.O_CREAT)
    try:
        mending.copy_range(reading, writing, where, 6000)
        assert os.pread(writing, 6000, where) == data[where:where + 6000]
        with pytest.raises(OSError, match="ends") as caught:
            mending.copy_range(reading, writing, len(data) - 10, 20)
        assert caught.value.errno == errno.ENODATA
    finally:
        os.close(reading)
        os.close(writing)
