"""The command line, killed just before its n-th call that changes something on disk.

    python mortal.py N ARGUMENT ...

Without such a call it lives, and says on standard error how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

CALLS = ("link", "symlink", "rename", "replace", "unlink", "mkdir", "rmdir", "chmod", "fsync", "write", "utime")


def main() -> None:
    """Arm the calls, then do what `helixstore` does."""
    fatal, count = int(sys.argv.pop(1)), 0

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **named)
        return counted

    for name in CALLS:
        setattr(os, name, mortal(getattr(os, name)))
    from helixstore.cli import main as helixstore

    try:
        helixstore()
    finally:
        print(f"calls: {count}", file=sys.stderr)


if __name__ == "__main__":
    main()
