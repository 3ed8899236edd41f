"""What one run of the command line carries from its options to its end: the store asked for, the output, the code."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import typer

from helixstore.cli.output import Output, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from helixstore.engine import HelixStore
    from helixstore.results import SyncReport
    from helixstore.values import Issue

__all__ = ["Session", "confirm", "interactive", "session"]

T = TypeVar("T")

#: The exit code of a command that did its work and has something to report.
ISSUES = 3


class Session:
    """The options that every command has.

    Attributes:
        store: `--store`, as given, or None.
        issues_ok: exit 0 where issues would give 3.
        declined: a question was answered with no.
        out: where everything is written.
    """

    def __init__(self) -> None:
        self.store: str | None = None
        self.issues_ok = False
        self.declined = False
        self.out = Output()

    def open(self) -> HelixStore:
        """The store that was asked for, with progress shown on stderr.

        Raises:
            HelixError: there is none, or it cannot be used.
        """
        from helixstore.cli.progress import reporter
        from helixstore.engine import HelixStore
        from helixstore.errors import NotFound

        if self.store is not None and not HelixStore.exists(self.store):
            raise NotFound(f"there is no store in {self.store}", f"helixstore init --store {self.store}", self.store)
        store = HelixStore(self.store, progress=reporter(self.out))
        for note in store.notes:
            self.out.note(note)
        return store

    def exists(self) -> bool:
        """Whether there is the store that was asked for, or a configured one."""
        from helixstore.engine import HelixStore

        return self.store is not None or HelixStore.exists()

    def answer(self, value: T, text: Callable[[T], Iterable[str]], issues: Sequence[Issue] = (),
               failed: bool = False) -> None:
        """Give the answer, then end with exit code 3 if there are issues, or 1 if it `failed`.

        Raises:
            typer.Exit: it failed; or there are issues, and `--issues-ok` was not given.
        """
        self.out.answer(value, text)
        self.out.issues(issues)
        if failed:
            raise typer.Exit(1)
        if issues and not self.issues_ok:
            raise typer.Exit(ISSUES)

    def report(self, report: SyncReport, steps: bool = True) -> None:
        """Give the report of a command that changed something, or would with `--dry-run`; then with its `steps`.

        Raises:
            typer.Exit: nothing of it could be done; or it has issues, and `--issues-ok` was not given.
        """
        from helixstore.cli.report import changes

        if self.declined:
            self.out.lines(["Nothing was changed."])
            return
        self.answer(report, partial(changes, steps=steps), report.issues, report.failed)

    def asker(self, yes: bool) -> Callable[[SyncReport], bool] | None:
        """The question before files are replaced; None when nobody is there, and yes to all with `--yes`."""
        if yes:
            return lambda report: True
        if self.out.as_json or not interactive():
            return None

        def ask(report: SyncReport) -> bool:
            from helixstore.cli.report import question

            for line in question(report):
                self.out.note(line)
            self.declined = not confirm(self.out)
            return not self.declined

        return ask


def interactive() -> bool:
    """Whether a person sits at both ends: input and output are a terminal, and this is no automatic run."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")


def confirm(out: Output, text: str = "Go on?") -> bool:
    """Ask yes or no on the terminal; anything but yes, an end of input too, is no."""
    out.stderr.write(f"{printable(text)} [y/N] ")
    out.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def session(context: typer.Context) -> Session:
    """The session of this run."""
    found = context.obj
    if not isinstance(found, Session):
        raise TypeError("the command line was started without a session")
    return found
