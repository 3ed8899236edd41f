"""The command line: parse, call the engine, print.

The commands, by the pages of `helixstore --help`:

    setup, ask, share, upkeep           the store; looking; who sees what; keeping it in order
    models, registry, versions          getting models; `push` and `pull`; the versions that models have had
    volume, host, providers, layouts, generations   groups of commands of their own
    watch                               the one that stays

What they share:

    app, session                    which commands there are, and how a run begins and ends; one run
    options, sizes, completion      options of several commands; sizes as people type them; what the shell completes
    output, progress                all printing; bars
    describe, report, findings, trial   answers as text: questions; what was done; what upkeep and a mount's trial found
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """The entry point of `helixstore` and `helix`; ends the process with the exit code (0, 1, 2, 3, or 130)."""
    from helixstore.cli.app import run

    run()
