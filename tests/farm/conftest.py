"""A farm on real folders, in memory where it can be."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fs"))

from disks import disk, disks, fresh_folder, shared  # noqa: F401
from farmland import Land


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    folder = fresh_folder(Path("/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def land(tmp_path: Path) -> Land:
    return Land(tmp_path)
