from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3
from samples import every_file, here

from helixstore.errors import Busy, Corrupt, Failed, Unreadable, UnsafeName
from helixstore.fs import kernel
from helixstore.fs.probe import probe
from helixstore.store import adding
from helixstore.store.hashing import Hashes, hash_open
from helixstore.store.store import Store
from helixstore.store.trash import trashed
from helixstore.values import LinkKind
from support.disks import SOMEBODY, Disks, apart, as_root

MIB = 1 << 20


def make(folder: Path, size: int = 5 * MIB, name: str = "model.gguf") -> tuple[Path, bytes]:
    path, data = folder / name, os.urandom(size)
    path.write_bytes(data)
    path.chmod(0o640)
    return path, data


def check_clean(store: Store) -> None:
    assert os.listdir(store.path / "staging") == []


@pytest.mark.parametrize("size", [0, 10, 5 * MIB])
def test_a_file_of_ours_becomes_a_blob_by_a_hard_link(disk: Path, size: int) -> None:
    store = Store.create(disk / "store", here())
    path, data = make(disk, size)
    added = store.blobs.add(path, sha256=True)
    blob = Path(store.blobs.path(added.digest))
    assert added.how == "linked"
    assert added.digest == blake3(data).hexdigest() == blob.name
    assert blob.stat().st_ino == path.stat().st_ino
    assert blob.stat().st_mode & 0o777 == 0o444
    assert added.fingerprint == kernel.fingerprint(path)
    assert store.blobs.meta(added.digest).sha256 == added.sha256
    again = store.blobs.add(path)
    assert again.how == "known"
    assert again.fingerprint == kernel.fingerprint(path)
    assert path.stat().st_nlink == 2
    check_clean(store)


def test_what_shall_not_share_the_inode_is_reflinked_or_copied(disk: Path) -> None:
    store = Store.create(disk / "store", here())
    path, data = make(disk)
    added = store.blobs.add(path, link=False)
    assert added.how == ("reflinked" if LinkKind.REFLINK in probe(disk, disk).works else "copied")
    blob = Path(store.blobs.path(added.digest))
    assert blob.read_bytes() == data
    assert blob.stat().st_ino != path.stat().st_ino
    assert blob.stat().st_mode & 0o777 == 0o444
    assert path.stat().st_mode & 0o777 == 0o640, "the person's file was made read-only"
    assert added.fingerprint == kernel.fingerprint(path)
    check_clean(store)


def test_from_another_file_system_it_is_copied_only_if_allowed(store: Store, disk: Path) -> None:
    path, data = make(disk)
    if LinkKind.HARD in probe(disk, store.path).works:
        pytest.skip("the same file system")
    with pytest.raises(Failed, match="cannot be linked"):
        store.blobs.add(path, copy=False)
    assert list(store.blobs.digests()) == []
    added = store.blobs.add(path, sha256=True)
    assert added.how == "copied"
    assert Path(store.blobs.path(added.digest)).read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o640
    check_clean(store)


def test_a_symlink_is_followed_to_the_bytes(store: Store, tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    (tmp_path / "way").symlink_to(path)
    added = store.blobs.add(tmp_path / "way")
    assert Path(store.blobs.path(added.digest)).stat().st_ino == path.stat().st_ino
    assert not Path(store.blobs.path(added.digest)).is_symlink()


@pytest.mark.parametrize("link", [True, False])
def test_known_hashes_are_used_without_reading(store: Store, tmp_path: Path, link: bool,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = make(tmp_path)
    known, before = Hashes(blake3(data).hexdigest(), len(data)), kernel.fingerprint(path)
    read: list[int] = []
    monkeypatch.setattr(adding, "hash_open", partial(hash_open, progress=read.append))
    added = store.blobs.add(path, known=known, expect=before, link=link)
    assert added.digest == known.blake3
    assert not read or not link                         # a copy has to be read, and is hashed on the way
    path.chmod(0o600)
    path.write_bytes(os.urandom(len(data)))
    with pytest.raises(Unreadable):
        store.blobs.add(path, known=known, expect=before, link=link)


def test_a_copy_that_is_not_what_was_known_is_refused(store: Store, tmp_path: Path) -> None:
    path, data = make(tmp_path)
    with pytest.raises(Unreadable):
        store.blobs.add(path, known=Hashes("0" * 64, len(data)), link=False)
    assert list(store.blobs.digests()) == []
    check_clean(store)


@pytest.mark.parametrize("link", [True, False])
def test_nothing_is_published_of_a_file_that_changes(store: Store, tmp_path: Path, link: bool,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens between two calls of the kernel, the blob's bytes are those of its name or there is none."""
    path, data = make(tmp_path)
    (tmp_path / "new").write_bytes(os.urandom(len(data)))

    def swap(_: int) -> None:
        if (tmp_path / "new").exists():
            os.replace(tmp_path / "new", path)

    monkeypatch.setattr(adding, "hash_open", partial(hash_open, progress=swap))
    with pytest.raises(Unreadable):
        store.blobs.add(path, link=link)
    assert list(store.blobs.digests()) == []
    check_clean(store)
    with path.open("r+b"), pytest.raises(Busy):
        store.blobs.add(path, link=link)
    assert list(store.blobs.digests()) == []
    check_clean(store)


@pytest.mark.parametrize("bad", [Path("nothing"), Path("/dev/null"), Path("/")])
def test_what_is_no_file_is_refused(store: Store, tmp_path: Path, bad: Path) -> None:
    before = every_file(store.path)
    with pytest.raises(Unreadable):
        store.blobs.add(tmp_path / bad)
    assert every_file(store.path) == before


def test_many_small_texts_in_one_batch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[str] = []
    sync_folder = kernel.sync_folder
    monkeypatch.setattr(kernel, "sync_folder", lambda path: (folders.append(str(path)), sync_folder(path))[1])
    added = store.blobs.add_many([b"%d" % (number % 40) for number in range(50)], sha256=True)
    assert [a.how for a in added] == ["copied"] * 40 + ["known"] * 10
    assert [a.fingerprint for a in added] == [kernel.fingerprint(store.blobs.path(a.digest)) for a in added]
    assert len(folders) == len(set(folders)), "a folder was flushed more than once"
    assert [a.how for a in store.blobs.add_many([b"1", b"new", b"new"])] == ["known", "copied", "known"]
    assert store.blobs.meta(added[0].digest).gitsha1 == added[0].gitsha1
    check_clean(store)


def test_names_that_are_no_digest_never_become_paths(store: Store) -> None:
    for name in ("", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "g" * 64):
        for call in (store.blobs.path, store.blobs.exists, store.blobs.meta, store.manifests.read,
                     store.quarantine.lift):
            with pytest.raises(UnsafeName):
                call(name)


def test_a_rotten_blob_is_replaced_by_the_good_copy(store: Store, tmp_path: Path) -> None:
    path, data = make(tmp_path)
    digest = store.blobs.add(path, link=False).digest
    blob = Path(store.blobs.path(digest))
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"rot")
    with pytest.raises(Corrupt):
        store.blobs.check(digest)
    assert digest in store.quarantine
    assert store.blobs.add(path).how == "linked"
    assert blob.read_bytes() == data
    assert digest not in store.quarantine
    [item] = trashed(store)
    assert item.corrupt
    assert Path(item.path).read_bytes()[:3] == b"rot"
    assert not store.blobs.revive("0" * 64)


def test_a_rotten_blob_of_other_size_is_noticed_without_quarantine(store: Store, tmp_path: Path) -> None:
    path, data = make(tmp_path)
    digest = store.blobs.add(path, link=False).digest
    os.truncate(store.blobs.path(digest), 10)
    assert store.blobs.add(path).how == "linked"
    assert Path(store.blobs.path(digest)).read_bytes() == data


def test_small_bytes_replace_a_rotten_blob_too(store: Store) -> None:
    digest = store.blobs.add_bytes(b"settings").digest
    Path(store.blobs.path(digest)).unlink()
    Path(store.blobs.path(digest)).write_bytes(b"sett!ngs")
    assert store.blobs.add_bytes(b"settings").how == "copied"
    assert Path(store.blobs.path(digest)).read_bytes() == b"settings"


@as_root
def test_anothers_blob_is_hashed_before_it_is_believed(store: Store, tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    digest = store.blobs.add(path, link=False).digest
    blob = Path(store.blobs.path(digest))
    os.chown(blob, SOMEBODY, SOMEBODY)
    assert store.blobs.add(path).how == "known"
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"evil")
    assert store.blobs.add(path).how == "linked"


@as_root
def test_a_file_of_another_user_is_never_hard_linked(store: Store, tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    os.chown(path, SOMEBODY, SOMEBODY)
    with pytest.raises(Failed, match="another user"):
        store.blobs.add(path, copy=False)
    assert store.blobs.add(path).how == "copied"
    assert path.stat().st_nlink == 1
    assert path.stat().st_mode & 0o777 == 0o640


@as_root
def test_an_ordinary_user_adds_and_a_stranger_may_not(shared: Path) -> None:
    shared.chmod(0o777)

    def work() -> str:
        store = Store.create(shared / "store", here(SOMEBODY))
        (shared / "mine").write_bytes(b"weights")
        return store.blobs.add(shared / "mine").how

    assert apart(work, SOMEBODY) == "linked"

    def intrude() -> str:
        store = Store.open(shared / "store", here(SOMEBODY + 1))
        assert store.read_only
        with pytest.raises(Exception, match="read only") as caught:
            store.blobs.add_bytes(b"x")
        return str(caught.value)

    assert "no permission" in apart(intrude, SOMEBODY + 1)


@as_root
def test_a_full_disk_is_told_and_leaves_nothing(disks: Disks, tmp_path: Path) -> None:
    store = Store.create(disks.mount("tmpfs", 8, "full") / "store", here())
    digest = store.blobs.add_bytes(b"before").digest
    before = every_file(store.path)
    path, data = make(tmp_path, 12 * MIB)
    for attempt in (lambda: store.blobs.add(path), lambda: store.blobs.add_bytes(data)):
        with pytest.raises(Failed, match="no space"):
            attempt()
        assert every_file(store.path) == before
    check_clean(store)
    assert store.blobs.exists(digest)
    assert path.read_bytes() == data


def test_what_is_learnt_adds_up_and_foreign_keys_stay(store: Store) -> None:
    digest = store.blobs.add_bytes(b"x").digest
    path = store.path / "meta" / digest[:2] / f"{digest}.json"
    record = path.read_text()
    path.unlink()
    path.write_text(record.replace('"bytes"', '"later": {"a": 1}, "bytes"'))
    assert store.blobs.learn(digest, xet="a" * 64)
    assert '"later"' in path.read_text()
    meta = store.blobs.meta(digest)
    assert (meta.xet, meta.gitsha1 is not None, meta.bytes) == ("a" * 64, True, 1)
    path.unlink()
    path.write_text('{"sha256": "../../x", "blocks": [1], "bytes": -4')
    assert store.blobs.meta(digest).sha256 is None
    store.blobs.learn(digest, sha256="b" * 64)
    assert store.blobs.meta(digest).sha256 == "b" * 64


@as_root
def test_anothers_meta_is_not_overwritten(store: Store) -> None:
    digest = store.blobs.add_bytes(b"x").digest
    path = store.path / "meta" / digest[:2] / f"{digest}.json"
    os.chown(path, SOMEBODY, SOMEBODY)
    assert not store.blobs.learn(digest, sha256="b" * 64)
    assert store.blobs.meta(digest).sha256 is None
    assert store.blobs.meta(digest).uid == SOMEBODY
