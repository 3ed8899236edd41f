"""Every kind of link, on real file systems, across them, as another user, and on a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from farmland import Land, text, tree

from helixstore.farm.outcome import Outcome
from helixstore.fs import kernel
from helixstore.values import Key, LinkKind, State
from support.disks import SOMEBODY, Disks, apart, as_root

A, B = Key("a", "gguf:Q4_K_M"), Key("b", "gguf:Q8_0")
ALL = (LinkKind.HARD, LinkKind.SYMBOLIC, LinkKind.REFLINK, LinkKind.COPY)


def test_hard_first_on_one_file_system(disk: Path) -> None:
    land = Land(disk)
    land.sync(land.weight("a.gguf", b"A" * 9000, A), land.copy("a.json", b"{}", A), text("a.yml", b"x", A))
    stands = land.farm.states()["p", A]
    assert (stands.state, stands.link, stands.reason) == (State.LINKED, LinkKind.HARD, "")
    assert os.stat(f"{land.root}/a.json").st_nlink == 1
    assert land.farm.plan([land.wanted(land.weight("a.gguf", b"A" * 9000, A), land.copy("a.json", b"{}", A),
                                       text("a.yml", b"x", A))]).empty


@pytest.mark.parametrize("kinds", [(LinkKind.REFLINK,), (LinkKind.REFLINK, LinkKind.COPY)])
def test_reflink_where_it_is_and_a_reason_where_not(disk: Path, kinds: tuple[LinkKind, ...]) -> None:
    land = Land(disk)
    land.sync(land.weight("a.gguf", b"A" * 9000, A, kinds=kinds))
    stands = land.farm.states()["p", A]
    if stands.link is LinkKind.REFLINK:
        assert os.stat(f"{land.root}/a.gguf").st_nlink == 1
    elif LinkKind.COPY in kinds:
        assert stands.link is LinkKind.COPY
        assert "reflink" in stands.reason
    else:
        assert stands.state is State.PENDING
        assert "reflink" in stands.reason
        assert land.tree() == {}


@as_root
def test_across_disks(tmp_path: Path, disks: Disks) -> None:
    land = Land(tmp_path)
    root = str(disks.mount("xfs") / "across")
    entry = land.weight("a.gguf", b"AAAA", A)
    wanted = land.wanted(entry, text("a.yml", b"x", A), root=root)
    land.farm.apply(land.farm.plan([wanted]))
    stands = land.farm.states()["p", A]
    assert stands.link is LinkKind.SYMBOLIC
    assert "another file system" in stands.reason
    assert "/blobs/" not in str(tree(root)["a.gguf"])
    assert os.path.samefile(f"{root}/a.gguf", land.store.blobs.path(entry.body.blob))  # type: ignore[union-attr]
    assert set(os.listdir(root)) == {"a.gguf", "a.yml"}
    assert land.farm.plan([wanted]).empty
    hard_only = land.wanted(land.weight("a.gguf", b"AAAA", A, kinds=(LinkKind.HARD,)), root=root)
    land.farm.apply(land.farm.plan([hard_only]))
    assert land.farm.states()["p", A].state is State.PENDING
    land.farm.apply(land.farm.plan([land.wanted(root=root)]))
    assert not tree(root)


@as_root
def test_bind_mount_of_the_same_file_system(tmp_path: Path, disks: Disks) -> None:
    """link(2) fails between two mounts of one file system although st_dev is the same."""
    base = disks.mount("xfs") / "bound"
    base.mkdir()
    land = Land(base / "land")
    (base / "target").mkdir()
    root = str(disks.bind(base / "target", "bind") / "root")
    land.farm.apply(land.farm.plan([land.wanted(land.weight("a.gguf", b"AAAA", A), text("a.yml", b"x", A), root=root)]))
    assert land.farm.states()["p", A].link is LinkKind.SYMBOLIC
    assert set(os.listdir(root)) == {"a.gguf", "a.yml"}


def failing(kind: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kernel, kind, refuse)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP])
def test_falls_back_on_what_cannot_be(land: Land, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    failing("hard_link", code, monkeypatch)
    land.sync(land.weight("a.gguf", b"AAAA", A))
    assert os.path.islink(f"{land.root}/a.gguf")
    failing("symlink", code, monkeypatch)
    failing("reflink", code, monkeypatch)
    outcome = land.sync(land.weight("a.gguf", b"AAAA", A), land.weight("b.gguf", b"BBBB", B),
                        text("b.yml", b"b", B))
    assert set(land.tree()) == {"a.gguf"}                              # no sidecar without its weights
    stands = land.farm.states()["p", B]
    assert stands.state is State.PENDING
    assert "hard link" in stands.reason
    assert "symlink" in stands.reason
    assert not outcome.issues                                          # pending is a state, not an issue
    assert not land.farm.plan([land.wanted(land.weight("a.gguf", b"AAAA", A))]).issues


def test_a_blob_with_all_the_names_it_can_have_is_linked_by_symbol(disks: Disks) -> None:
    land = Land(disks.mount("ext4") / "land")
    entry = land.weight("a.gguf", b"AAAA", A)
    blob, many = land.store.blobs.path(land.blob(b"AAAA")[0]), land.folder / "many"
    many.mkdir()
    with pytest.raises(OSError, match="Too many links"):
        all(os.link(blob, many / str(number)) is None for number in range(70_000))      # ext4: 65,000
    land.sync(entry)
    assert os.readlink(f"{land.root}/a.gguf") == blob
    stands = land.farm.states()["p", A]
    assert (stands.state, stands.link) == (State.LINKED, LinkKind.SYMBOLIC)
    assert "as many names as the file system allows" in stands.reason
    assert land.farm.plan([land.wanted(entry)]).empty, "and it is not made again and again"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_does_not_fall_back_on_real_errors(land: Land, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    failing("hard_link", code, monkeypatch)
    outcome = land.sync(land.weight("a.gguf", b"AAAA", A), land.weight("b.gguf", b"BBBB", B))
    assert land.tree() == {}
    assert len(outcome.issues) == 1                                    # said once for the root
    assert land.farm.states()["p", A].state is land.farm.states()["p", B].state is State.PENDING


@as_root
def test_disk_full_in_the_middle(tmp_path: Path, disks: Disks) -> None:
    small = disks.mount("tmpfs", 1, "tiny")
    land = Land(tmp_path)
    root = str(small / "root")

    def entries(size: int) -> list:  # type: ignore[type-arg]
        return [e for n in range(6) for e in (
            land.weight(f"{n}/w.gguf", bytes([n]) * size, Key(f"m{n}", "v"), kinds=(LinkKind.COPY,)),
            text(f"{n}/w.yml", b"x", Key(f"m{n}", "v")))]

    def sync(size: int) -> Outcome:
        return land.farm.apply(land.farm.plan([land.wanted(*entries(size), root=root)]))

    outcome = sync(300_000)
    assert outcome.issues
    for n in range(6):                                                 # whole models or nothing of them
        assert not os.path.isdir(f"{root}/{n}") or set(os.listdir(f"{root}/{n}")) in ({"w.gguf", "w.yml"}, set())
    whole = [n for n in range(6) if os.path.exists(f"{root}/{n}/w.gguf")]
    assert 0 < len(whole) < 6
    assert not [name for name in os.listdir(root) if not name.isdigit()]
    states = land.farm.states()
    assert [n for n in range(6) if states["p", Key(f"m{n}", "v")].state is State.LINKED] == whole
    land.farm.apply(land.farm.plan([land.wanted(root=root)]))
    assert tree(root) == {}


@as_root
def test_no_permission_and_somebody_elses_blob(shared: Path) -> None:
    owner = Land(shared / "owner")
    theirs = owner.weight("a.gguf", b"AAAA", A)
    for folder, _, _ in os.walk(shared):
        os.chmod(folder, 0o755)
    closed = shared / "closed"
    closed.mkdir(mode=0o755)
    home = shared / "home"
    home.mkdir()
    os.chown(home, SOMEBODY, SOMEBODY)

    def other() -> tuple[object, ...]:
        land = Land(home)
        path = land.store.blobs.path(theirs.body.blob)                 # type: ignore[union-attr]
        real = owner.store.blobs.path(theirs.body.blob)                # type: ignore[union-attr]
        land.store.blobs.path = lambda digest: real                    # type: ignore[method-assign]
        land.sync(theirs)
        first = land.farm.states()["p", A]
        wanted = land.wanted(text("x", b"x", B), root=str(closed / "root"))
        outcome = land.farm.apply(land.farm.plan([wanted]))
        return path, os.path.islink(land.root + "/a.gguf"), first.reason, [i.message for i in outcome.issues]

    _, linked, reason, messages = apart(other, SOMEBODY)
    assert linked
    assert "hard link" in reason
    assert messages
    assert not os.listdir(closed)
