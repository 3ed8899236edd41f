"""The suite: every check as a method for pytest, and all of them run without it."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from helixstore.providers.layout import Layout
from helixstore.session import Machine
from helixstore.testing import (  # noqa: F401 - each enters its checks
    answers,
    deleting,
    discovering,
    drifting,
    farming,
    merging,
    naming,
    placing,
    projecting,
)
from helixstore.testing.case import CHECKS, Case, Check, Finding
from helixstore.testing.models import Shelf
from helixstore.values import Variant

__all__ = ["LayoutSuite", "Outcome", "run", "try_check"]


class LayoutSuite:
    """Some forty checks of one layout, for pytest.

    Three lines make them tests, one for each check:

        from helixstore.testing import LayoutSuite
        class TestMine(LayoutSuite):
            layout = MyLayout

    Attributes:
        layout: the layout, its class, or its name if it is installed or lies in the configuration's `layouts` folder.
    """

    layout: ClassVar[type[Layout] | Layout | str]

    def samples(self, shelf: Shelf) -> Sequence[Variant]:
        """More models to ask about, where the program reads something that the assortment lacks; built on `shelf`."""
        return ()


def _method(check: Check) -> Any:
    def test(self: LayoutSuite, tmp_path: Path) -> None:
        check.run(Case(_instance(self.layout), tmp_path, self.samples))

    test.__name__ = f"test_{check.name}"
    test.__qualname__ = f"LayoutSuite.{test.__name__}"
    test.__doc__ = check.run.__doc__
    return test


def _instance(layout: type[Layout] | Layout | str) -> Layout:
    if isinstance(layout, str):
        return Machine(os.environ).layout(layout)
    return layout() if isinstance(layout, type) else layout


for _check in CHECKS.values():
    setattr(LayoutSuite, f"test_{_check.name}", _method(_check))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended: `finding` is what is wrong, or "". `trace` says where, if the layout raised an error."""

    name: str
    group: str
    says: str
    finding: str
    trace: str = ""

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return not self.finding


def run(layout: Layout, names: Sequence[str] | None = None) -> list[Outcome]:
    """Try a layout, without pytest.

    Args:
        layout: the layout.
        names: of these checks only; None for all.
    """
    return [try_check(layout, check) for name, check in CHECKS.items() if names is None or name in names]


def try_check(layout: Layout, check: Check) -> Outcome:
    """One check in a folder of its own, which is removed afterwards; an error in the layout is a finding too."""
    finding = trace = ""
    with tempfile.TemporaryDirectory(prefix="helixstore-check-", ignore_cleanup_errors=True) as folder:
        try:
            check.run(Case(layout, Path(folder)))
        except Finding as error:
            finding = str(error)
        except Exception as error:  # noqa: BLE001 - a layout may fail in any way, and the next check goes on
            finding = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(error, limit=-3))
    return Outcome(check.name, check.group, check.says, finding, trace)
