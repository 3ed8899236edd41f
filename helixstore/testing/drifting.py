"""Checks of what a layout says of a folder that may not be the one it knows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from helixstore.fs import kernel
from helixstore.testing.case import Case, Projected, check, require
from helixstore.testing.ground import ConfinedReader, EmptyReader, GarbageReader, blind


@check
def its_own_folder_has_not_drifted(case: Case) -> None:
    """A folder that is missing, empty, as it wants it itself, or with a person's file too, is the one it knows."""
    for symbolic in (False, True):
        own = type(case)(case.layout, case.home / ("symbolic" if symbolic else "hard"))
        own.home.mkdir()
        projected = own.farm()
        _sound(own, projected, "is missing")
        for each in projected:
            each.root.path.mkdir(parents=True)
        _sound(own, projected, "is empty")
        own.make(projected, symbolic=symbolic)
        _sound(own, projected, "holds what it wanted itself")
        for each in projected:
            for name in (".DS_Store", "notes.txt"):
                kernel.write_new(each.root.path / name, b"mine", durable=False)
            (each.root.path / "a folder of mine").mkdir()
        _sound(own, projected, "holds a file and a folder of the person's too")


@check
def whatever_lies_there_it_says_why_in_one_clause(case: Case) -> None:
    """Of any folder it says in one clause why it is not the one it knows, or nothing; it raises nothing."""
    projected = case.farm()
    readers = [GarbageReader(""), GarbageReader("{")]
    for each in projected:
        for reader in readers:
            _clause(case.layout.drifted(each.root, reader))
        with blind("drifted"):
            _clause(case.layout.drifted(each.root, EmptyReader()))
    case.make(projected)
    for each in projected:
        for path in sorted(each.root.path.iterdir()):
            _turn(path)
        _clause(case.layout.drifted(each.root, ConfinedReader(case.home)))
        shutil.rmtree(each.root.path)
        kernel.write_new(each.root.path, b"no folder", durable=False)
        _clause(case.layout.drifted(each.root, ConfinedReader(case.home)))


def _sound(case: Case, projected: Sequence[Projected], what: str) -> None:
    for each in projected:
        why = case.layout.drifted(each.root, ConfinedReader(case.home))
        require(why == "", f"its root {what}, and it says that the folder has drifted: {why!r}")


def _clause(why: object) -> None:
    require(isinstance(why, str), f"drifted gives {why!r}: a clause or \"\" it must be")
    assert isinstance(why, str)
    require(why == why.strip() and "\n" not in why and not why.endswith((".", "!")),
            f"drifted gives no single clause without a full stop: {why!r}")


def _turn(path: Path) -> None:
    """A folder becomes a file, a file a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        kernel.write_new(path, b"a file now", durable=False)
    else:
        kernel.unlink(path)
        path.mkdir()
