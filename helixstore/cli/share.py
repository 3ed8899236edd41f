"""The commands that decide who sees what: sync, apply, share, add, hide, unhide, pin, unpin, link."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli import describe
from helixstore.cli.options import Called, DryRun, ModelName, NeededProvider, OneProvider, Providers, Yes
from helixstore.cli.session import session

if TYPE_CHECKING:
    from helixstore.cli.session import Session
    from helixstore.engine import HelixStore

__all__ = ["add", "apply", "hide", "link", "pin", "share", "sync", "unhide", "unpin"]


def sync(
    context: typer.Context,
    dry_run: DryRun = False,
    yes: Yes = False,
    provider: Providers = None,
    restore: Annotated[bool, typer.Option(
        "--restore", help="Also bring back what you deleted in a program or took back with undo.")] = False,
    plan: Annotated[str | None, typer.Option(
        "--plan", metavar="FILE", show_default=False,
        help="Save the plan to FILE instead of running it; apply FILE runs it.")] = None,
    across_disks: Annotated[bool, typer.Option(
        "--across-disks", help="Of files that are on several disks, keep one copy: that on --keep DISK.")] = False,
    keep: Annotated[str | None, typer.Option(
        "--keep", metavar="DISK", show_default=False, help="A volume's name; main is the store's own disk.")] = None,
) -> None:
    """Take in new models and show every model to every program that can run it.

    Looks into the folders of all programs and those named with init --scan. A model that is new is taken into the
    store where it lies; a second copy of a file is replaced by a link, which frees its space. On a terminal it first
    shows what changes for each program and asks.

    \b
    Examples:
      helixstore sync
      helixstore sync --dry-run
      helixstore sync --provider ollama --yes
      helixstore sync --plan plan.json && helixstore apply plan.json
      helixstore sync --across-disks --keep main
    """
    if plan == "":
        raise typer.BadParameter("the file's name is empty", param_hint="--plan")
    if across_disks != (keep is not None):
        raise typer.BadParameter("give both or neither", param_hint="--across-disks, --keep")
    if across_disks and plan:
        raise typer.BadParameter("copies across disks are not merged by a saved plan", param_hint="--plan")
    current = session(context)
    with current.open() as store:
        saved = Path(plan) if plan and not dry_run else None
        found = store.sync(providers=provider or None, restore=restore, save_plan=saved, keep=keep, dry_run=dry_run,
                           ask=current.asker(yes))
    if saved is not None:
        current.out.note(f"The plan is in {saved}; `helixstore apply {saved}` runs it.")
    current.report(found)


def apply(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What sync --plan wrote.")],
    dry_run: DryRun = False,
) -> None:
    """Run a plan that sync --plan saved.

    Refuses, before its first step, if anything that the plan relies on has changed since.

    \b
    Example:
      helixstore apply plan.json
    """
    current = session(context)
    with current.open() as store:
        current.report(store.apply_file(Path(file), dry_run=dry_run))


def share(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="PATH|MODEL", help="A file or folder, or a model of the store.")],
    provider: OneProvider = None,
    name: Called = None,
    dry_run: DryRun = False,
) -> None:
    """Show a model, or a file anywhere, to programs.

    A path stays where it is and is never taken away; on the store's disk it becomes one more name of the same bytes.
    Without --provider it is shown to every program that is on and can run it.

    \b
    Examples:
      helixstore share ./models/llama-3-8b.gguf
      helixstore share ./models/llama-3-8b.gguf --provider vllm
      helixstore share llama-3-8b --provider ollama
    """
    current = session(context)
    with current.open() as store:
        current.report(store.share(target, provider=provider, name=name, dry_run=dry_run))


def add(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A model's file or folder.")],
    name: Called = None,
    dry_run: DryRun = False,
) -> None:
    """Take a file or folder into the store.

    From another disk too, by copying. The path stays where it is; programs that can run the model see it.

    \b
    Example:
      helixstore add ./qwen2.5-0.5b-instruct --name qwen2.5-0.5b
    """
    current = session(context)
    with current.open() as store:
        current.report(store.add(Path(path), name=name, dry_run=dry_run))


def hide(context: typer.Context, model: ModelName, provider: NeededProvider, dry_run: DryRun = False) -> None:
    """Do not show a model to one program.

    Takes the model's links out of that program's folder; other programs keep theirs, and sync does not bring it back.

    \b
    Example:
      helixstore hide llama-3-8b --provider ollama
    """
    current = session(context)
    with current.open() as store:
        current.report(store.hide(model, provider, dry_run=dry_run))


def unhide(context: typer.Context, model: ModelName, provider: OneProvider = None, dry_run: DryRun = False) -> None:
    """Show a hidden model again.

    Also for what you deleted inside a program, which hides it there. Without --provider: in every program.

    \b
    Example:
      helixstore unhide llama-3-8b --provider ollama
    """
    current = session(context)
    with current.open() as store:
        current.report(store.unhide(model, provider, dry_run=dry_run))


def pin(context: typer.Context, model: ModelName, dry_run: DryRun = False) -> None:
    """Keep a model at its version.

    New content under the same name in a program is then a conflict, and is reported, instead of a new version.

    \b
    Example:
      helixstore pin llama-3-8b
    """
    current = session(context)
    with current.open() as store:
        _pin(current, store, model, dry_run, pinned=True)


def unpin(context: typer.Context, model: ModelName, dry_run: DryRun = False) -> None:
    """Let a pinned model follow its source again.

    \b
    Example:
      helixstore unpin llama-3-8b
    """
    current = session(context)
    with current.open() as store:
        _pin(current, store, model, dry_run, pinned=False)


def _pin(current: Session, store: HelixStore, model: str, dry_run: bool, *, pinned: bool) -> None:
    name = store.show(model).name
    if not dry_run:
        store.pin(model, pinned)
    current.answer({"model": name, "pinned": pinned, "dry_run": dry_run}, describe.was_pinned)


def link(
    context: typer.Context,
    model: ModelName,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Made if it is missing; nothing in it is replaced.")],
    dry_run: DryRun = False,
) -> None:
    """Put a model's files, as links, into a folder of yours.

    Under their real names, for a program that helixstore does not know.

    \b
    Example:
      helixstore link llama-3-8b ~/my-server/models
    """
    current = session(context)
    with current.open() as store:
        current.report(store.link(model, Path(folder), dry_run=dry_run))
