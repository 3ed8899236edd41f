"""The command that stays: watch, and the service that runs it."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixstore.cli.options import DryRun
from helixstore.cli.session import session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from helixstore.cli.session import Session
    from helixstore.watch.service import Service
    from helixstore.watch.told import Told

__all__ = ["watch"]

#: Events that are told even with --quiet.
_WRONG = frozenset({"failed", "damaged", "lost"})


def watch(
    context: typer.Context,
    install: Annotated[bool, typer.Option("--install", help="Have the system run it from login on.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Stop that, and remove the service.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Do what sync does, continuously: a model is in all programs a moment later.

    Starts with a full scan and works until it is stopped (Ctrl-C, SIGTERM). Tells what it does, a line or with --json
    an object for each event. --install sets up a service of your own (systemd or launchd) that runs it; --dry-run says
    what that would write.

    \b
    Examples:
      helixstore watch
      helixstore watch --json
      helixstore watch --install
      helixstore watch --uninstall
    """
    if install and uninstall:
        raise typer.BadParameter("one or the other", param_hint="--install, --uninstall")
    current = session(context)
    if install or uninstall:
        with current.open() as store:
            done = store.watch_service(install, dry_run=dry_run)
        current.answer({"installed": install, "dry_run": dry_run, "path": str(done.path), "changed": done.changed,
                        "running": done.running, "command": done.command}, lambda _: _service(done, install, dry_run))
        return
    if dry_run:
        raise typer.BadParameter("only with --install or --uninstall; else see `helixstore sync --dry-run`",
                                 param_hint="--dry-run")
    _work(current)


def _work(current: Session) -> None:
    """Watch until a signal says to stop."""
    with current.open() as store:
        watching = store.watch(_teller(current))
        wanted: Mapping[Any, Callable[[], None]] = {
            signal.SIGTERM: watching.stop, signal.SIGINT: watching.stop,
            **({signal.SIGHUP: watching.rescan} if hasattr(signal, "SIGHUP") else {})}
        before = {number: signal.signal(number, lambda *_, act=act: act()) for number, act in wanted.items()}
        try:
            watching.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _teller(current: Session) -> Callable[[Told], None]:
    out, lock = current.out, threading.Lock()

    def tell(told: Told) -> None:
        with lock:
            if out.as_json:
                out.stdout.write(told.document() + "\n")
                out.stdout.flush()
            elif not out.quiet or told.event in _WRONG:
                out.lines([told.line()])
                out.stdout.flush()

    return tell


def _service(done: Service, install: bool, dry_run: bool) -> Iterable[str]:
    if dry_run:
        yield f"Would {'write' if install else 'remove'} {done.path}." if done.changed else f"{done.path} is as it " \
            "should be."
        return
    if install:
        yield f"{done.path} is {'written' if done.changed else 'as it should be'}."
        yield "It runs now, and from your next login on." if done.running else f"To start it: {done.command}"
    elif not done.changed:
        yield f"There is no {done.path}."
    else:
        yield f"{done.path} is removed{', and it is stopped' if done.running else ''}."
