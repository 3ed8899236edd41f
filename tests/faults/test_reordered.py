"""The power is lost at every instant, and the disk had written in any order: no bytes are lost, and every path shows
what it showed, what it was to show, or nothing."""

from __future__ import annotations

import pytest
from cases import POWER
from judge import Judging

from support.soak import SOAK, note


@pytest.mark.parametrize("name", POWER if SOAK else ("sync", "undo"))
def test_any_order_of_writing(name: str, judging: Judging) -> None:
    judge = judging("ext4")
    wrong = judge.reordered(name)
    note("any order of writing", judge.take_figures())
    assert not wrong, "\n".join(wrong)


def test_without_flushing_bytes_would_be_lost(judging: Judging) -> None:
    judge = judging("ext4")
    wrong = judge.reordered("volume move back", flushing=False)
    judge.take_figures()
    assert any("LOST" in one for one in wrong)
    assert any("garbage" in one for one in wrong)
