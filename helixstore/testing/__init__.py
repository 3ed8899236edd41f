"""Checks that a layout keeps its contract: ours and a third party's go through the same ones.

    from helixstore.testing import LayoutSuite
    class TestMine(LayoutSuite):
        layout = MyLayout

gives pytest one test for each check; `helixstore layouts check NAME` runs the same ones without pytest, which nothing
here imports.

    suite                           the checks, for pytest and without it
    case, ground, estate            what a check works with: a sandbox, and one with a store and a farm
    models, samples                 small real models, and an assortment with names that go wrong
    answers, naming, placing        checks of what a layout says: of itself, of names, of where it looks
    projecting, merging, drifting   of entries, of merged sidecars, of folders that may not be the one it knows
    discovering, farming, deleting  on real folders: what it finds, what the engine makes of it, what is deleted
"""

from __future__ import annotations

from helixstore.testing.case import CHECKS, Case, Check, Finding
from helixstore.testing.models import Shelf
from helixstore.testing.suite import LayoutSuite, Outcome, run

__all__ = ["CHECKS", "Case", "Check", "Finding", "LayoutSuite", "Outcome", "Shelf", "run"]
