"""The commands for those who write layouts: list, new, check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixstore.cli.options import DryRun, complete_providers, group
from helixstore.cli.output import count, homely, table
from helixstore.cli.session import session

if TYPE_CHECKING:
    from helixstore.commands.authoring import Checked, LayoutView, Scaffold

__all__ = ["layouts"]

layouts = group("""What is known of each program's folders; add one of your own.

    \b
    Examples:
      helixstore layouts
      helixstore layouts new inhouse
      helixstore layouts check inhouse
    """)


@layouts.command("list")
def layouts_list(context: typer.Context) -> None:
    """Every layout: whose it is, and which versions of the program it was checked against.

    \b
    Example:
      helixstore layouts list
    """
    from helixstore.engine import HelixStore

    found, issues = HelixStore.layouts()
    session(context).answer({"layouts": found}, _listed, issues)


@layouts.command("new")
def layouts_new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the program is to be called.")],
    dry_run: DryRun = False,
) -> None:
    """Write a first layout of your own: one file that works at once, for you to change.

    It lies in `layouts/` of your configuration. What is printed beside it is its test for pytest: three lines.

    \b
    Example:
      helixstore layouts new inhouse
    """
    from helixstore.engine import HelixStore

    session(context).answer(HelixStore.new_layout(name, dry_run=dry_run), _written)


@layouts.command("check")
def layouts_check(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The program.", autocompletion=complete_providers)],
    only: Annotated[list[str] | None, typer.Option("--only", metavar="CHECK", show_default=False,
                                                   help="Only this check; may be given several times.")] = None,
) -> None:
    """Try a layout with every check that the built-in ones pass. Exit code 1 when one fails.

    Works in temporary folders; nothing of yours is looked at or changed.

    \b
    Examples:
      helixstore layouts check inhouse
      helixstore layouts check inhouse --only paths_are_safe
    """
    from helixstore.engine import HelixStore

    found = HelixStore.check_layout(name, only)
    session(context).answer(found, _checked)
    if found.failed:
        raise typer.Exit(1)


def _listed(found: Mapping[str, Any]) -> Iterator[str]:
    views: Sequence[LayoutView] = found["layouts"]
    yield from table(("name", "program", "checked against", "from"), [
        (view.name, view.title, " ".join(view.checked), homely(view.origin)) for view in views])


def _written(found: Scaffold) -> Iterator[str]:
    would = "would be written to" if found.dry_run else "is in"
    yield f"A first layout {would} {homely(str(found.path))}; change it until it is true."
    yield f"helixstore layouts check {found.name} tries it. Its test for pytest:"
    yield ""
    yield from (f"    {line}" for line in found.test.splitlines())


def _checked(found: Checked) -> Iterator[str]:
    yield from table(("check", "", "what must hold"), [
        (outcome.name, "ok" if outcome.passed else "FAILED", outcome.says) for outcome in found.checks])
    yield ""
    for outcome in found.checks:
        if not outcome.passed:
            yield f"{outcome.name}: {outcome.finding}"
            yield from (f"    {line}" for line in outcome.trace.splitlines())
    yield f"{found.title}: {count(found.passed, 'check')} passed, {found.failed} failed."
