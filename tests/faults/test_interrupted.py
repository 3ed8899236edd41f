"""A signal that comes in while a folder is opened is no error: Python tries all other calls again, but not that one."""

from __future__ import annotations

import ast
import errno
import random
from pathlib import Path

import pytest
from armed import FAIL, Fault
from judge import Judging

import helixstore
from support.soak import note, sample

PACKAGE = Path(helixstore.__file__).parent
#: what tries a mount out, or a layout, wants to hear what the system says
_RAW = ("testing", "trial")


def test_the_opening_of_a_folder_is_tried_again(judging: Judging) -> None:
    judge, name = judging("ext4"), "sync of changes"
    judge.scene(name)
    judge.ground.restore(name)
    opened = judge.world.run(*judge.scene(name).case.argv, fault=Fault(FAIL, 1 << 30, errno.EINTR, where="opendir /"))
    numbers = range(1, opened.calls[errno.EINTR] + 1)
    assert len(numbers) > 20, "folders are opened"
    wrong = [judge.trial(name, Fault(FAIL, at, errno.EINTR, where="opendir /"))
             for at in random.Random(name).sample(numbers, min(sample(3, 40) or len(numbers), len(numbers)))]
    note("interrupted", judge.take_figures())
    assert not any(wrong), "\n\n".join("\n".join(one) for one in wrong if one)


@pytest.mark.parametrize("file", ["lock.mdb", "data.mdb"])
def test_the_opening_of_the_index_is_tried_again(judging: Judging, file: str) -> None:
    judge, name = judging("ext4"), "sync of changes"
    judge.scene(name)
    assert judge.trial(name, Fault(FAIL, 1, errno.EINTR, where=file)) == []


def test_one_place_opens_folders() -> None:
    """fs/listing.py, which tries again, and the removal of a folder in fs/kernel.py, which needs descriptors."""
    allowed = {PACKAGE / "fs/listing.py", PACKAGE / "fs/kernel.py"}
    files = [path for path in PACKAGE.rglob("*.py")
             if path not in allowed and path.relative_to(PACKAGE).parts[0] not in _RAW]
    wrong = [f"{path.relative_to(PACKAGE)}:{node.lineno}" for path in files
             for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
             and node.attr in ("listdir", "scandir", "walk", "fwalk")]
    assert wrong == [], "use helixstore.fs.listing"
