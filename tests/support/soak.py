"""How large the samples are, and what came of them: each test adds a line to the file that FAULTS_FIGURES names, and
tests/faults/figures.py sums them up."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

__all__ = ["SOAK", "many", "note", "sample"]

#: "": as in `make test`; "1": large samples; "5": five times as large; "all": every system call
SOAK = os.environ.get("SOAK", "")
_ALL = 20


def sample(daily: int, large: int) -> int:
    """How many of those that there are; 0 means all."""
    return 0 if SOAK == "all" else many(daily, large)


def many(daily: int, large: int) -> int:
    """How many of what has no end, examples of hypothesis for one."""
    return large * (_ALL if SOAK == "all" else int(SOAK)) if SOAK else daily


def note(what: str, figures: Mapping[str, int]) -> None:
    """Keep what one test counted."""
    if file := os.environ.get("FAULTS_FIGURES"):
        with open(file, "a") as opened:
            opened.write(json.dumps({"what": what, **figures}) + "\n")
