"""A folder in a program's root becomes a link to elsewhere just before any call that changes something, at every one of
them in turn: nothing is made, replaced or removed elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from farmland import Land, add_lines, inner, text, tree

from helixstore.errors import Failed, HelixError
from helixstore.farm.plan import Adoption
from helixstore.fs import kernel
from helixstore.fs.inside import Inside
from helixstore.providers.layout import Entry
from helixstore.store.hashing import hash_file
from helixstore.values import Key
from support.disks import apart, in_memory  # noqa: F401

A, B = Key("a", "gguf:Q4_K_M"), Key("b", "gguf:Q8_0")
CALLS = ("link", "symlink", "rename", "replace", "unlink", "mkdir", "rmdir", "open")
STEP = 1 if os.environ.get("SOAK") else 11


def first(land: Land) -> list[Entry]:
    return [land.weight("in/a/a.gguf", b"AAAA", A), text("in/a/a.yml", b"a1", A), inner("in/a/now", "a.gguf", A),
            text("in/list.ini", b"a\n", None, add_lines, order=2)]


def second(land: Land) -> list[Entry]:
    return [land.weight("in/a/a2.gguf", b"A2A2", A), text("in/a/a.yml", b"a2", A), inner("in/a/now", "a2.gguf", A),
            land.weight("in/b/b.gguf", b"BBBB", B), land.copy("in/b/b.json", b"{}", B),
            text("in/list.ini", b"a\nb\n", None, add_lines, order=2)]


def makes(land: Land) -> None:
    land.sync(*first(land))


def changes(land: Land) -> None:
    land.sync(*second(land))


def removes(land: Land) -> None:
    land.sync()


def leaves(land: Land) -> None:
    land.farm.apply(land.farm.leave_plan())


def adopts(land: Land) -> None:
    path = Path(land.root, "in/a/mine.gguf")
    hashes, expect = hash_file(path)
    land.farm.apply(land.farm.plan([land.wanted(*first(land))], adoptions=[
        Adoption(str(path), hashes.blake3, expect, True, A, land.root, True, ("p",))]))


@pytest.mark.parametrize("work", [makes, changes, removes, leaves, adopts], ids=lambda work: work.__name__)
@pytest.mark.parametrize("part", ["in", "in/a"])
def test_nothing_is_done_behind_a_link_that_appears_meanwhile(
    tmp_path: Path, work: Callable[[Land], None], part: str,
) -> None:
    number, swapped = 1, True
    while swapped:
        land = Land(tmp_path / str(number))
        if work is not makes:
            makes(land)
        if work is adopts:
            Path(land.root, "in/a/mine.gguf").write_bytes(b"AAAA")
        elsewhere = bait(land, part, empty=work is makes)
        before = tree(str(elsewhere))
        swapped = apart(lambda land=land, number=number, elsewhere=elsewhere: attacked(
            lambda: work(land), number, Path(land.root, part), elsewhere, land))
        assert tree(str(elsewhere)) == before, f"call {number}"
        assert stat_of(elsewhere) == {path: (mode, links) for path, mode, links in BAITED[str(elsewhere)]}
        number += STEP
    assert number > 4


BAITED: dict[str, list[tuple[str, int, int]]] = {}


def bait(land: Land, part: str, empty: bool) -> Path:
    """Elsewhere there are the same folders, and unless `empty` files of the names that ours have."""
    elsewhere = land.folder / "elsewhere"
    for name in ("a/a.gguf", "a/a2.gguf", "a/a.yml", "a/now", "a/mine.gguf", "b/b.gguf", "b/b.json", "list.ini"):
        name = name if part == "in" else name.rpartition("/")[2]
        path = elsewhere / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not empty:
            path.write_bytes(b"mine")
    (elsewhere / "c").mkdir()
    BAITED[str(elsewhere)] = [(path, *values) for path, values in stat_of(elsewhere).items()]
    return elsewhere


def stat_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mode, path.lstat().st_nlink) for path in folder.rglob("*")}


def attacked(work: Callable[[], object], number: int, victim: Path, elsewhere: Path, land: Land) -> bool:
    """Do the work; before its n-th call `victim` becomes a link. Whether it came to that."""
    land.farm = land.another()
    count, swapped, busy = 0, False, False

    def watching(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            nonlocal count, swapped, busy
            if not busy and not swapped:
                count += 1
                if count >= number and victim.is_dir():
                    busy = True
                    os.rename(victim, f"{victim}.moved")
                    os.symlink(elsewhere, victim)
                    busy, swapped = False, True
            return call(*args, **named)
        return called

    for name in CALLS:
        setattr(os, name, watching(getattr(os, name)))
    with contextlib.suppress(HelixError, OSError):          # it may well fail: what matters is what it did
        work()
    return swapped


def test_a_link_on_the_way_is_said_and_not_followed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "real").mkdir(parents=True)
    (elsewhere / "deep").mkdir(parents=True)
    (root / "link").symlink_to(elsewhere)
    inside = Inside(str(root))
    for path in ("link/x", "link/deep/x"):
        with pytest.raises(Failed, match="a link"):
            inside.at(f"{root}/{path}")
    kernel.symlink("y", inside.at(f"{root}/real/x"))
    assert (root / "real/x").is_symlink()
    assert not os.path.lexists(inside.at(f"{root}/missing/x"))
    assert inside.at(f"{elsewhere}/x") == f"{elsewhere}/x"
    outside = tmp_path / "home"
    outside.symlink_to(root)                    # the person's own link to the root is theirs
    assert os.path.islink(Inside(str(outside)).at(f"{outside}/real/x"))


def test_a_folder_is_held_open_for_all_that_lies_in_it(tmp_path: Path) -> None:
    """One descriptor for a folder, sixteen at most, none left behind."""
    opened = set(os.listdir("/proc/self/fd"))
    inside = Inside(str(tmp_path))
    for number in range(40):
        (tmp_path / f"{number}").mkdir()
        for name in range(50):
            inside.at(f"{tmp_path}/{number}/{name}")
    assert len(os.listdir("/proc/self/fd")) - len(opened) <= 17
    del inside
    assert set(os.listdir("/proc/self/fd")) == opened
