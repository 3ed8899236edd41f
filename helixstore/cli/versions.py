"""The commands for versions of models: history, rollback, update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixstore.cli.options import DryRun, ModelName, complete_models
from helixstore.cli.output import count, local_time, table
from helixstore.cli.session import session
from helixstore.sizes import size

if TYPE_CHECKING:
    from helixstore.download.results import Update, UpdateReport, Version

__all__ = ["history", "rollback", "update"]

_STATES = {"current": "the latest", "new": "there is a later one", "updated": "updated", "pinned": "pinned; there is a "
           "later one", "gone": "the later one is without it", "failed": "could not be asked"}


def history(context: typer.Context, model: ModelName) -> None:
    """The versions that a model has had here.

    A version that is still here can be gone back to without downloading: gc keeps what nobody claims for a day, and
    for a week after that in the trash.

    \b
    Examples:
      helixstore history llama-3-8b
      helixstore history llama-3-8b:Q4_K_M
    """
    current = session(context)
    with current.open() as store:
        current.answer({"versions": store.history(model)}, _versions)


def rollback(
    context: typer.Context, model: ModelName,
    to: Annotated[str, typer.Option("--to", metavar="VERSION", show_default=False,
                                    help="The beginning of a version or revision, as history shows it.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Let a model be what it was before.

    Only the name moves: nothing is downloaded, and programs show the old version at once. pin keeps it there.

    \b
    Examples:
      helixstore rollback llama-3-8b
      helixstore rollback llama-3-8b:Q4_K_M --to 1edfc51f
    """
    current = session(context)
    with current.open() as store:
        current.report(store.rollback(model, to, dry_run=dry_run), steps=False)


def update(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="[MODEL]", show_default=False, autocompletion=complete_models,
                                         help="Only this one; else all that came from the hub or a registry.")] = "",
    check: Annotated[bool, typer.Option("--check", "--dry-run", "-n", help="Only say what there is.")] = False,
) -> None:
    """Bring models to the latest revision of where they came from.

    That is the hub, or a registry's tag. Only files that changed are downloaded. A pinned model stays; rollback goes
    back.

    \b
    Examples:
      helixstore update --check
      helixstore update llama-3-8b
    """
    current = session(context)
    with current.open() as store:
        found = store.update(model, check=check)
    current.answer(found, _updates, found.issues)


def _versions(found: Mapping[str, Sequence[Version]]) -> Iterator[str]:
    rows = [(one.model, one.variant, local_time(one.since), one.manifest[:8], one.revision[:8],
             size(one.bytes) if one.bytes >= 0 else "?", "now" if one.current else "here" if one.here else "gone")
            for one in found["versions"]]
    yield from table(("model", "variant", "since", "version", "revision", "size", ""), rows, right=(5,))


def _updates(found: UpdateReport) -> Iterator[str]:
    from helixstore.cli.report import changes

    rows: list[tuple[Any, ...]] = [_row(one) for one in found.updates]
    if not rows:
        yield "No model here came from the hub or a registry."
        return
    yield from table(("model", "variant", "repository", "here", "there", "to fetch", ""), rows, right=(5,))
    for one in found.updates:
        if one.state == "gone":
            yield f"{one.model} ({one.variant}): {one.why}."
            yield f"  {one.remedy}"
    later = [one for one in found.updates if one.state == "new"]
    if later:
        yield ""
        yield f"{count(len(later), 'variant')} can be updated: helixstore update"
    for sync in found.syncs:
        yield ""
        yield from changes(sync)


def _row(one: Update) -> tuple[str, ...]:
    fetch = size(one.fetch_bytes) if one.fetch_bytes else ""
    state = _STATES[one.state]
    if one.state == "current" and one.revision != one.latest:
        state += ": later commits change no file of the model"
    return one.model, one.variant, one.repository, one.revision[:8], one.latest[:8], fetch, state
