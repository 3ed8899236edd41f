"""What the tests of layouts share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.layouts import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Models whose blobs lie in a folder of the test's."""
    return Shelf(tmp_path / "blobs")
