"""The commands for the computers that use the store: host list, forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli.options import DryRun, Yes, group
from helixstore.cli.output import count, moment, table
from helixstore.cli.session import confirm, interactive, session
from helixstore.sizes import size

if TYPE_CHECKING:
    from helixstore.cli.session import Session
    from helixstore.results import ForgetReport, HostView

__all__ = ["host"]

host = group("""The computers that use the store.

    \b
    Example:
      helixstore host list
    """)


@host.command("list")
def host_list(context: typer.Context) -> None:
    """Who uses the store, from which computer, and what they claim.

    What somebody claims is never deleted, also while their computer is off.

    \b
    Example:
      helixstore host list
    """
    current = session(context)
    with current.open() as store:
        current.answer({"hosts": store.hosts.list()}, lambda found: _lines(found["hosts"]))


@host.command("forget")
def host_forget(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="HOST", show_default=False,
                                         help="Its id as host list shows it, the beginning, or its name.")],
    user: Annotated[int | None, typer.Option("--user", metavar="UID", show_default=False,
                                             help="Only what this person claims there, by number.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """End what a computer that is gone for good has claimed.

    What nobody else claims goes then, step by step, by gc. Should the computer come back after all, it claims anew what
    it uses, and is told what is gone. Ending the claims of others is for the owner of the store.

    \b
    Examples:
      helixstore host forget 8d2f1c03 --dry-run
      helixstore host forget old-laptop
    """
    current = session(context)
    with current.open() as store:
        found = store.hosts.forget(which, uid=user, dry_run=dry_run, ask=_asker(current, yes))
    current.answer(found, lambda report: _told(report, dry_run))


def _asker(current: Session, yes: bool) -> Callable[[ForgetReport], bool] | None:
    """The question before claims are ended; None when nobody is there to answer."""
    if yes or current.out.as_json or not interactive():
        return None

    def ask(report: ForgetReport) -> bool:
        for line in _meaning(report):
            current.out.note(line)
        return confirm(current.out, "End these claims?")

    return ask


def _lines(found: Sequence[HostView]) -> Iterator[str]:
    rows = [(one.id, one.name, one.user, _when(one.seen), str(one.models), size(one.bytes), _state(one))
            for one in found]
    yield from table(("host", "name", "user", "last seen", "models", "size", ""), rows, right=(4, 5))


def _state(one: HostView) -> str:
    if one.here:
        return "this one"
    if one.forgotten is not None:
        return f"forgotten {_when(one.forgotten)}"
    return f"ephemeral, until {_when(one.lease_ends)}" if one.ephemeral else ""


def _when(seconds: float | None) -> str:
    return moment(seconds) if seconds is not None else "not known"


def _meaning(report: ForgetReport) -> Iterator[str]:
    for one in report.hosts:
        yield (f"{one.name or one.id}, {one.user}: last seen {_when(one.seen)}, claims {count(one.models, 'model')}, "
               f"{size(one.bytes)}")
    if report.models or report.frees_bytes:
        shown = ", ".join(report.models[:5]) + (" and more" if len(report.models) > 5 else "")
        yield f"Nobody else claims {shown or 'files that undo there still needs'}: {size(report.frees_bytes)}"
    else:
        yield "Everything that they claim is claimed by others too."


def _told(report: ForgetReport, dry_run: bool) -> Iterator[str]:
    if report.ended or dry_run:
        yield from _meaning(report)
        yield "These claims would be ended." if dry_run else "These claims are ended; helixstore gc does the rest."
    else:
        yield "Nothing was changed."
