"""Stores on real file systems."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fs"))

from samples import here

from helixstore.store.store import Store
from support.disks import disk, disks, in_memory, shared  # noqa: F401


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", here())


