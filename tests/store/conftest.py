"""Stores on real file systems."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fs"))

from disks import disk, disks, fresh_folder, shared  # noqa: F401
from samples import here

from helixstore.store.store import Store


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where it can be: what kill -9 leaves is the same there, and flushing costs nothing.

    Tests that are about file systems ask for `disk`.
    """
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    folder = fresh_folder(Path("/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", here())


