"""The commands for generations of the whole farm: generations list, diff, back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli.ask import whole
from helixstore.cli.options import DryRun, Yes, group
from helixstore.cli.output import local_time, table
from helixstore.cli.session import session

if TYPE_CHECKING:
    from helixstore.results import Difference, Generation

__all__ = ["generations"]

generations = group("""What programs showed after each operation; ways back.

    \b
    Example:
      helixstore generations list
    """)
Number = Annotated[str, typer.Argument(metavar="N", help="As generations list shows it; 0 is before everything.",
                                       show_default=False)]


@generations.command("list")
def generations_list(context: typer.Context) -> None:
    """Every generation that can be compared or gone back to, the latest first.

    \b
    Example:
      helixstore generations list
    """
    current = session(context)
    with current.open() as store:
        current.answer({"generations": store.generations()}, _listed)


@generations.command("diff")
def generations_diff(
    context: typer.Context, first: Number,
    second: Annotated[str, typer.Argument(metavar="[M]", help="Another one; else now.", show_default=False)] = "",
) -> None:
    """What programs show in one generation other than in another.

    \b
    Examples:
      helixstore generations diff 3
      helixstore generations diff 3 5
    """
    numbers = [_number(one) for one in (first, second) if one]
    current = session(context)
    with current.open() as store:
        current.answer({"differences": store.difference(*numbers)}, _differences)


@generations.command("back")
def generations_back(context: typer.Context, number: Number, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Show what programs showed after an operation, be it before or after what they show now.

    Every operation after it is taken back, the latest first; those up to it that were taken back since are done again.
    What was changed by hand since is left alone and reported, as undo does it.

    \b
    Examples:
      helixstore generations back 3 --dry-run
      helixstore generations back 3
      helixstore generations back 5
    """
    current = session(context)
    with current.open() as store:
        current.report(store.go_back(_number(number), dry_run=dry_run, ask=current.asker(yes)))


def _number(text: str) -> int:
    return 0 if text == "0" else whole(text, "N")


def _listed(found: Mapping[str, Sequence[Generation]]) -> Iterator[str]:
    yield from table(("n", "time", "command", "did", ""), [
        (str(one.n), local_time(one.time), one.command, one.summary, "now" if one.current else "")
        for one in found["generations"]], right=(0,))


def _differences(found: Mapping[str, Sequence[Difference]]) -> Iterator[str]:
    if not found["differences"]:
        yield "Every program shows the same."
    yield from table(("program", "model", "variant", ""), [
        (one.provider, one.model, one.variant, one.change) for one in found["differences"]])
