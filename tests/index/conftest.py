"""Stores and indexes of these tests lie in memory where possible: a store has 800 folders to make and delete."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from index_support import MEMORY


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """An empty folder."""
    with tempfile.TemporaryDirectory(prefix="helixstore-test-", dir=MEMORY) as folder:
        yield Path(folder)
