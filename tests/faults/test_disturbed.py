"""Every command, killed or failed at its system calls: no bytes are lost, nothing wrong is shown, and the same command
typed again completes it."""

from __future__ import annotations

import random

import pytest
from armed import KILL, Fault
from cases import CASES, DAILY, ELSEWHERE, POWER, leaves
from judge import Judging

from support.soak import SOAK, note, sample


def test_every_command_is_disturbed() -> None:
    tried = {case.command for case in CASES.values()}
    assert set(leaves()) - tried - ELSEWHERE.keys() == set(), "commands without a case in cases.py"
    assert (tried | ELSEWHERE.keys()) - set(leaves()) == set(), "cases of no command"


@pytest.mark.timeout(7200 if SOAK else 180)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in ("ext4", "xfs") for name in CASES]
                         if SOAK else [("ext4", name) for name in DAILY])
def test_killed_or_failed_at_a_system_call(kind: str, name: str, judging: Judging) -> None:
    """On XFS, where files are cloned, a third as often."""
    judge = judging(kind)
    killed, failed = (6, 7) if kind == "ext4" else (2, 2)
    wrong = [judge.trial(name, fault)
             for fault in judge.faults(name, random.Random(f"{kind} {name}"), sample(2, killed), sample(2, failed))]
    note(f"killed or failed on {kind}", judge.take_figures())
    assert not any(wrong), "\n\n".join("\n".join(one) for one in wrong if one)


@pytest.mark.timeout(7200 if SOAK else 180)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in ("ext4", "xfs", "btrfs") for name in POWER]
                         if SOAK else [("ext4", "sync of changes")])
def test_the_power_is_lost(kind: str, name: str, judging: Judging) -> None:
    """The disk is looked at as it is at that moment, with what its file system had flushed and no more."""
    judge = judging(f"{kind}, flushing")
    numbers = range(1, judge.scene(name).ran.changes + 1)
    wrong = [judge.trial(name, Fault(KILL, at, power=True))
             for at in random.Random(name).sample(numbers, min(sample(2, 6) or len(numbers), len(numbers)))]
    note(f"power lost on {kind}", judge.take_figures())
    assert not any(wrong), "\n\n".join("\n".join(one) for one in wrong if one)
