"""How large the samples are, and what came of them: each test adds a line to the file that FAULTS_FIGURES names.

    python figures.py FILE      prints the sums
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

__all__ = ["SOAK", "note", "sample"]

#: "": as in `make test`; "1": large samples; "5": five times as large; "all": every system call
SOAK = os.environ.get("SOAK", "")


def sample(daily: int, large: int) -> int:
    """How many; 0 means all that there are."""
    return 0 if SOAK == "all" else large * int(SOAK) if SOAK else daily


def note(what: str, figures: Mapping[str, int]) -> None:
    """Keep what one test counted."""
    if file := os.environ.get("FAULTS_FIGURES"):
        with open(file, "a") as opened:
            opened.write(json.dumps({"what": what, **figures}) + "\n")


def main() -> None:
    """Print the sums, by what was done and over all."""
    by_kind: dict[str, Counter[str]] = {}
    for line in Path(sys.argv[1]).read_text().splitlines():
        row = json.loads(line)
        by_kind.setdefault(row.pop("what"), Counter()).update(row)
    total: Counter[str] = Counter()
    for what, counted in sorted(by_kind.items()):
        print(f"{what}: {', '.join(f'{number:,} {name}' for name, number in sorted(counted.items()))}")
        total.update(counted)
    injected = sum(total[name] for name in ("killed", "failed", "power lost"))
    print(f"\noperations tried: {total['operations']:,}\nfaults injected: {injected:,}\n"
          f"contents lost: {total['contents lost']:,}")


if __name__ == "__main__":
    main()
