"""Checks that a layout keeps its contract: ours and a third party's go through the same ones.

    from helixstore.testing import LayoutSuite
    class TestMine(LayoutSuite):
        layout = MyLayout

gives pytest one test for each check; `helixstore layouts check NAME` runs the same ones without pytest, which nothing
here imports.
"""

from __future__ import annotations

from helixstore.testing.case import CHECKS, Case, Check, Finding
from helixstore.testing.models import Shelf
from helixstore.testing.suite import LayoutSuite, Outcome, run

__all__ = ["CHECKS", "Case", "Check", "Finding", "LayoutSuite", "Outcome", "Shelf", "run"]
