"""A farm on real folders, in memory where it can be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fs"))

from farmland import Land

from support.disks import disk, disks, in_memory, shared  # noqa: F401


@pytest.fixture
def land(tmp_path: Path) -> Land:
    return Land(tmp_path)
