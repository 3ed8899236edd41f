"""A hub on loopback in a process of its own, for the benchmark: prints its address, and serves until its input ends.

    downloading.py FOLDER [--commit SHA]        org/bench with all files of FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.hub import Repository, hub

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    served = Repository.of("org/bench", COMMIT, parser.parse_args().folder)
    for path in served.files:
        served.etag(path)
    with hub(served) as address:
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
