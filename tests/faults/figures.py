"""The sums of what `support.soak.note` kept, by what was done and over all.

    python figures.py FILE
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path


def main() -> None:
    """Print them."""
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
