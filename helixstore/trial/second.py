"""The second process of a trial on one host: `python -m helixstore.trial.second FOLDER`."""

from __future__ import annotations

import os
import sys

from helixstore.trial.meeting import Meeting
from helixstore.trial.together import follow

__all__: list[str] = []


def main() -> None:
    """Follow the process that started this one, for as long as it is there."""
    parent = os.getppid()
    follow(Meeting(sys.argv[1], "b", lambda: os.getppid() == parent))


if __name__ == "__main__":
    main()
