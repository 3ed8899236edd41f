"""Every layout that is installed goes through the whole public suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from helixstore.providers.registry import load_layouts
from helixstore.testing import CHECKS, Case, Check
from support.disks import in_memory  # noqa: F401 - a test's folder in memory

LAYOUTS = load_layouts(None, {"HELIXSTORE_PLUGINS": "none"})


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_conformance(name: str, check: Check, tmp_path: Path) -> None:
    check.run(Case(LAYOUTS[name], tmp_path))
