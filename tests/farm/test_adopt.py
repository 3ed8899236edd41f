"""Files of the person: taken in where they lie, swapped for links, given back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from farmland import Land, text

from helixstore.errors import Failed
from helixstore.farm.plan import Adoption, Plan
from helixstore.fs import locks
from helixstore.store.hashing import hash_file
from helixstore.values import Issue, Key

A, B = Key("a", "gguf:Q4_K_M"), Key("b", "gguf:Q8_0")


def person(land: Land, name: str, data: bytes) -> Path:
    path = land.folder / "home" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o640)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def adoption(path: Path, replace: bool, root: str | None = None) -> Adoption:
    hashes, expect = hash_file(path)
    return Adoption(str(path), hashes.blake3, expect, replace, A, root, True, ("p",), hashes.sha256)


def adopt(land: Land, *adoptions: Adoption):  # type: ignore[no-untyped-def]
    return land.farm.apply(land.farm.plan([], adoptions=adoptions))


def test_taken_in_where_it_lies_and_given_back(land: Land) -> None:
    path = person(land, "model.gguf", b"weights")
    inode = path.stat().st_ino
    outcome = adopt(land, one := adoption(path, False))
    assert outcome.adopted == [str(path)]
    assert path.stat().st_ino == inode == os.stat(land.store.blobs.path(one.digest)).st_ino
    assert not path.stat().st_mode & 0o222
    assert land.farm.adopted_as(path) == A
    land.farm.undo()
    assert path.read_bytes() == b"weights"
    assert path.stat().st_ino != inode                                 # the blob stays, the path has its own inode
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_mtime == 1_600_000_000
    assert land.farm.intent.is_declined(path)
    assert land.farm.adopted_as(path) is None


def test_second_copy_is_swapped_and_counted_once(land: Land) -> None:
    first, second = person(land, "one.gguf", b"weights"), person(land, "two.gguf", b"weights")
    outcome = adopt(land, adoption(first, False), adoption(second, True))
    assert os.path.samefile(first, second)
    assert outcome.freed == 7
    assert not outcome.issues
    land.farm.undo()
    assert first.read_bytes() == second.read_bytes() == b"weights"
    assert not os.path.samefile(first, second)
    assert second.stat().st_mode & 0o777 == 0o640
    assert second.stat().st_mtime == 1_600_000_000


def test_what_it_was_like_at_first_outlives_a_second_adoption(land: Land) -> None:
    first, second = person(land, "one.gguf", b"weights"), person(land, "two.gguf", b"weights")
    adopt(land, adoption(first, False))
    again = replace(adoption(second, True), keep="main")            # a link to another disk is symbolic
    adopt(land, again)
    assert second.is_symlink()
    adopt(land, again)                                              # another process was faster
    land.farm.apply(land.farm.leave_plan())
    assert second.stat().st_mode & 0o777 == 0o640


def test_a_copy_with_another_name_frees_nothing(land: Land) -> None:
    first, second = person(land, "one.gguf", b"weights"), person(land, "two.gguf", b"weights")
    os.link(second, second.parent / "three.gguf")
    assert adopt(land, adoption(first, False), adoption(second, True)).freed == 0
    assert (second.parent / "three.gguf").read_bytes() == b"weights"


@pytest.mark.parametrize("replace", [False, True])
def test_changed_since_it_was_hashed_is_left(land: Land, replace: bool) -> None:
    path = person(land, "model.gguf", b"weights")
    if replace:
        land.blob(b"weights")
    plan = land.farm.plan([], adoptions=[adoption(path, replace)])
    path.write_bytes(b"changed")
    outcome = land.farm.apply(plan)
    assert path.read_bytes() == b"changed"
    assert path.stat().st_nlink == 1
    assert [issue.path for issue in outcome.issues] == [str(path)]


def test_open_for_writing_is_left(land: Land) -> None:
    path = person(land, "model.gguf", b"weights")
    land.blob(b"weights")
    plan = land.farm.plan([], adoptions=[adoption(path, True)])
    with path.open("ab"):
        outcome = land.farm.apply(plan)
    assert path.stat().st_nlink == 1
    assert outcome.issues


def test_a_rotten_blob_does_not_destroy_the_last_good_copy(land: Land) -> None:
    path = person(land, "model.gguf", b"weights")
    blob = land.store.blobs.path(land.blob(b"weights")[0])
    os.chmod(blob, 0o644)
    Path(blob).write_bytes(b"rotten!")
    outcome = adopt(land, adoption(path, True))
    assert path.read_bytes() == b"weights"
    assert path.stat().st_nlink == 1
    assert outcome.issues


def test_no_lease_means_quiet_and_parked(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib
    from collections.abc import Iterator

    @contextlib.contextmanager
    def unknown(descriptor: int) -> Iterator[locks.LeaseWatch]:
        yield locks.LeaseWatch(descriptor, locks.Lease.UNKNOWN)

    path = person(land, "model.gguf", b"weights")
    land.blob(b"weights")
    one = adoption(path, True)
    monkeypatch.setattr(locks, "read_lease", unknown)
    land.now = path.stat().st_ctime + 599
    assert adopt(land, one).issues
    assert path.stat().st_nlink == 1
    land.now = path.stat().st_ctime + 601
    outcome = adopt(land, one)
    assert (outcome.freed, outcome.freed_later) == (0, 7)
    parked = land.store.path / "hosts" / "h0" / str(os.getuid()) / "parked"
    (waiting,) = parked.iterdir()
    assert waiting.read_bytes() == b"weights"
    land.now += 25 * 3600
    land.sync(text("x", b"x", B))
    assert not list(parked.iterdir())


def test_adopted_in_a_root_is_linked_and_stays_for_ever(land: Land) -> None:
    os.mkdir(land.root)
    path = Path(land.root, "model.gguf")
    path.write_bytes(b"weights")
    one = adoption(path, False, land.root)
    entry = land.weight("model.gguf", b"other", A)
    wanted = land.wanted(type(entry)(entry.path, type(entry.body)(one.digest, 7), A, True))  # type: ignore[call-arg]
    land.farm.apply(land.farm.plan([wanted], adoptions=[one]))
    assert land.farm.states()["p", A].paths == (str(path),)
    assert land.farm.plan([wanted]).empty
    land.farm.apply(land.farm.plan([land.wanted()]))                   # the model is removed: the file stays
    assert path.read_bytes() == b"weights"


def test_leave_gives_every_file_its_own_inode(land: Land) -> None:
    loose = person(land, "model.gguf", b"weights")
    one = adoption(loose, False)
    adopt(land, one)
    land.sync(land.weight("m.gguf", b"other", A), text("m.json", b"{}", A))
    plan = land.farm.leave_plan()
    assert sum(plan.space.values()) == 12 or not plan.space
    land.farm.apply(plan, command="leave")
    for path in (loose, Path(land.root, "m.gguf")):
        assert path.stat().st_nlink == 1
        assert path.stat().st_mode & 0o200
    assert loose.stat().st_mode & 0o777 == 0o640
    assert land.tree() == {"m.gguf": b"other", "m.json": b"{}"}
    assert not land.farm.roots()
    assert land.farm.adopted_as(loose) is None


def test_leave_one_provider_keeps_what_others_use(land: Land) -> None:
    land.sync(land.weight("m.gguf", b"other", A))
    land.farm.apply(land.farm.plan([land.wanted(land.weight("q.gguf", b"more", B), root=land.root + "2",
                                                provider="q")]))
    land.farm.apply(land.farm.leave_plan("q"))
    assert os.stat(f"{land.root}2/q.gguf").st_nlink == 1
    assert os.stat(f"{land.root}/m.gguf").st_nlink == 2
    assert land.farm.roots() == [land.root]


def test_no_space_refuses_before_the_first_change(land: Land) -> None:
    plan = Plan("leave", land.farm.plan([land.wanted(text("x", b"x", A))]).actions, {}, space={"/": 1 << 62})
    with pytest.raises(Failed, match="bytes"):
        land.farm.apply(plan)
    assert land.tree() == {}
    assert not land.farm.operations()


def test_undo_walks_back_and_skips_what_has_changed(land: Land) -> None:
    one, two = land.weight("a.gguf", b"AAAA", A), land.weight("b.gguf", b"BBBB", B)
    land.sync(one)
    land.sync(one, two)
    land.sync(two)                                                     # a is removed
    os.unlink(f"{land.root}/b.gguf")
    Path(land.root, "b.gguf").write_bytes(b"the person's")
    outcome = land.farm.undo(2)
    assert land.tree() == {"a.gguf": b"AAAA", "b.gguf": b"the person's"}
    assert not outcome.issues
    assert [o.undone is not None for o in land.farm.operations() if o.kind == "sync"] == [True, True, False]
    land.farm.undo()
    assert land.tree() == {"b.gguf": b"the person's"}
    with pytest.raises(Failed):
        land.farm.undo()


def test_undo_after_the_window_is_refused(land: Land) -> None:
    land.sync(land.weight("a.gguf", b"AAAA", A))
    land.now += 8 * 86400
    with pytest.raises(Failed):
        land.farm.undo()


def test_undo_keeps_the_blobs_it_needs(land: Land) -> None:
    one = land.weight("a.gguf", b"AAAA", A)
    land.sync(one)
    land.farm.apply(land.farm.plan([land.wanted()]))
    assert land.store.keeps.all()[0] == {one.body.blob}                # type: ignore[union-attr]
    land.farm.undo()
    assert land.tree() == {"a.gguf": b"AAAA"}
    assert not land.store.keeps.all()[0]


def test_extra_records_are_carried_out_and_reverted(land: Land) -> None:
    class Published:
        def __init__(self) -> None:
            self.names: list[str] = []

        def apply(self, record, failed):  # type: ignore[no-untyped-def]
            assert not os.path.exists(land.root)                       # before the first link
            self.names.append(record["name"])
            return {"uuid": record["name"] + "-ref"}

        def revert(self, record) -> list[Issue]:  # type: ignore[no-untyped-def]
            self.names.remove(record["uuid"].removesuffix("-ref"))
            return []

    land.farm.handlers["refs"] = handler = Published()
    land.sync(land.weight("a.gguf", b"AAAA", A), extra=[{"kind": "refs", "name": "a"}])
    assert handler.names == ["a"]
    land.farm.undo()
    assert handler.names == []
