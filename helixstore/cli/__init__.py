"""The command line: parse, call the engine, print."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """The entry point of `helixstore` and `helix`; ends the process with the exit code (0, 1, 2, 3, or 130)."""
    from helixstore.cli.app import run

    run()
