"""Killed before any call that changes something, at every one of them in turn: recovery ends where the plan would."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from farmland import Land, add_lines, inner, text, tree

from helixstore.farm.plan import Adoption
from helixstore.fs import kernel
from helixstore.providers.layout import Entry
from helixstore.store.hashing import hash_file
from helixstore.values import Key
from support.disks import dying_at

A, B = Key("a", "gguf:Q4_K_M"), Key("b", "gguf:Q8_0")
CALLS = (*((kernel, name) for name in (
    "hard_link", "symlink", "reflink", "copy", "replace", "replace_file", "publish", "write_new", "unlink",
    "sync_folder", "sync_file")), (os, "mkdir"), (os, "rmdir"))


def nothing_dangles(root: str) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            assert os.path.exists(os.path.join(folder, name)), f"{name} leads nowhere"


def before(land: Land) -> list[Entry]:
    """What there is before the operation that dies."""
    return [land.weight("a/a.gguf", b"AAAA", A), text("a/a.yml", b"a1", A), inner("a/now", "a.gguf", A),
            text("list.ini", b"a\n", None, add_lines, order=2)]


def after(land: Land) -> list[Entry]:
    """A new version of a, and b besides."""
    return [land.weight("a/a2.gguf", b"A2A2", A), text("a/a.yml", b"a2", A), inner("a/now", "a2.gguf", A),
            land.weight("b/b.gguf", b"BBBB", B), land.copy("b/b.json", b"{}", B),
            text("list.ini", b"a\nb\n", None, add_lines, order=2)]


def person_file(land: Land) -> Path:
    path = land.folder / "mine.gguf"
    path.write_bytes(b"AAAA")
    return path


def adoption(path: Path) -> Adoption:
    hashes, expect = hash_file(path)
    return Adoption(str(path), hashes.blake3, expect, True, A, None, True, ("p",))


def sync(land: Land, path: Path) -> None:
    farm = land.another()
    adoptions = [adoption(path)] if path.stat().st_nlink == 1 else []
    farm.apply(farm.plan([land.wanted(*after(land))], adoptions=adoptions))


def undo(land: Land, path: Path) -> None:
    land.another().undo()


def leave(land: Land, path: Path) -> None:
    farm = land.another()
    farm.apply(farm.leave_plan())


@pytest.mark.parametrize("work", [sync, undo, leave])
def test_killed_anywhere_and_recovered(tmp_path: Path, work: Callable[[Land, Path], None]) -> None:
    store = Land(tmp_path / "first").store

    def fresh(name: str) -> tuple[Land, Path]:
        land = Land(tmp_path / name, store=store)
        path = person_file(land)
        land.sync(*before(land))
        if work is not sync:
            sync(land, path)
        return land, path

    model, model_path = fresh("model")
    work(model, model_path)
    wished = tree(model.root)
    number = 0
    while True:
        number += 1
        land, path = fresh(f"at{number}")
        lived = not dying_at(number, lambda land=land, path=path: work(land, path), CALLS)
        nothing_dangles(land.root)
        assert path.read_bytes() == b"AAAA"
        farm = land.another()
        began = bool(list(farm.journal.unfinished()))
        issues = farm.recover()
        assert not issues, issues
        assert not list(farm.journal.unfinished())
        if not began and not lived and tree(land.root) != wished:
            work(land, path)                                           # it died before the plan was written down
        assert tree(land.root) == wished, number
        nothing_dangles(land.root)
        assert path.read_bytes() == b"AAAA"
        if work is sync:
            entries = after(land)
            assert land.another().plan([land.wanted(*entries)]).empty, number
            while land.another().journal.undoable(0):
                land.another().undo()
            assert tree(land.root) == {}
            assert path.read_bytes() == b"AAAA"
            assert path.stat().st_nlink == 1
        if lived:
            break
    assert number > 20


def test_nothing_is_left_waiting_in_a_root_on_another_disk(tmp_path: Path, shared: Path) -> None:
    """Without a rename from the store's staging, files wait in the root itself."""
    store = Land(tmp_path / "first").store
    number, waited = 0, False
    while True:
        number += 1
        land = Land(tmp_path / f"at{number}", store=store)
        land.root = str(shared / f"at{number}")
        entries = [text("a.yml", b"a", A), land.copy("漢" * 80, b"{}", A)]
        plan = land.another().plan([land.wanted(*entries)])
        lived = not dying_at(number, lambda land=land, plan=plan: land.another().apply(plan), CALLS)
        waited = waited or any(".helixstore-" in name for name in tree(land.root))
        assert not land.another().recover()
        assert not any(".helixstore-" in name for name in tree(land.root)), number
        if lived:
            break
        assert land.sync(*entries).issues == []
        assert sorted(tree(land.root)) == ["a.yml", "漢" * 80]
    assert waited or os.stat(tmp_path).st_dev == os.stat(shared).st_dev
