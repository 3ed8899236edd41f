"""Single faults that did harm once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from armed import FAIL, KILL, TEAR, Fault
from blake3 import blake3
from cases import NEW
from judge import Judging

_META = f"{blake3(NEW).hexdigest()}.json"
_ENDED = Fault(KILL, 1, where="/result.json")           # all is done but the last line of the journal

FAULTS = {
    "a deletion that could not be noted was forgotten, and the model came back": (
        "sync of changes", Fault(FAIL, 1, errno.EXDEV, where="/hidden")),
    "what failed was told for ever": ("unhide", Fault(FAIL, 1, errno.ENOSPC, where="/.hidden.")),
    "an alias that could not be written was never learnt": ("add", Fault(FAIL, 1, errno.ENOSPC, where=_META)),
    "pin did not finish its own interrupted run": ("pin", _ENDED),
    "link did not finish its own interrupted run": ("link", _ENDED),
    "remove found no such name, and finished nothing": ("remove", _ENDED),
    "an index that was cut short while it was made counted as damaged": (
        "sync", Fault(TEAR, 1, where="/data.mdb")),
    "an index whose disk was full was thrown away": ("doctor", Fault(FAIL, 1, errno.ENOSPC, where="/data.mdb")),
    "what undo could not look at was taken for gone": ("undo", Fault(FAIL, 4, errno.EACCES, where="/model.yml")),
}


@pytest.mark.parametrize(("name", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_did_harm(name: str, fault: Fault, judging: Judging) -> None:
    wrong = judging("ext4").trial(name, fault)
    assert not wrong, "\n".join(wrong)


def test_power_lost_before_what_is_known_of_small_files_was_flushed(judging: Judging) -> None:
    """The index read empty records then, and the hub cache got each small file twice."""
    wrong = judging("ext4, flushing").trial("sync", Fault(KILL, 1, where="/ledger/", power=True))
    assert not wrong, "\n".join(wrong)


def test_power_lost_in_undo_after_the_names_were_taken_back(judging: Judging) -> None:
    """They were said to have changed since."""
    wrong = judging("ext4, flushing").trial("undo", Fault(KILL, 1, where="/result.json", power=True))
    assert not wrong, "\n".join(wrong)


def test_what_undo_took_back_can_be_added_again(judging: Judging) -> None:
    """It stayed hidden from every program, and `path` said that a sync would help."""
    judge = judging("ext4")
    judge.begin("synced")
    world = judge.world
    for line in ("add ~/elsewhere/new.gguf --name fresh", "undo --yes", "add ~/elsewhere/new.gguf --name fresh"):
        world.must(*line.split())
    assert Path(world.must("path", "fresh").out.strip()).read_bytes() == NEW
