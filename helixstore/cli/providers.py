"""The commands about programs: which there are, which are on, where they look, what a container needs of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli import describe
from helixstore.cli.options import DryRun, complete_providers, group
from helixstore.cli.session import session

if TYPE_CHECKING:
    from helixstore.cli.session import Session
    from helixstore.engine import HelixStore

__all__ = ["providers"]

providers = group("""The programs: which are on, where they look.

    \b
    Examples:
      helixstore providers
      helixstore providers show ollama
      helixstore providers on jan
      helixstore providers set llamacpp --root ~/gguf
    """)
Name = Annotated[str, typer.Argument(metavar="P", help="The program's name here, such as ollama.",
                                     autocompletion=complete_providers)]


@providers.command("list")
def providers_list(context: typer.Context) -> None:
    """All programs that helixstore knows.

    \b
    Example:
      helixstore providers list
    """
    current = session(context)
    with current.open() as store:
        current.answer({"providers": store.providers()}, describe.providers)


@providers.command("show")
def providers_show(
    context: typer.Context,
    name: Name,
    mounts: Annotated[bool, typer.Option(
        "--mounts", help="The options that give a container the same models, for docker and podman.",
    )] = False,
) -> None:
    """One program: its folders, how they are known, how they stand and by which links; how it sees new models.

    With --mounts, what a container needs to see of them: the same folders, read only, in the same places.

    \b
    Examples:
      helixstore providers show ollama
      helixstore providers show llamacpp --mounts
    """
    current = session(context)
    with current.open() as store:
        if mounts:
            current.answer(store.mounts(name), describe.mounts)
        else:
            current.answer(store.provider(name), describe.provider)


@providers.command("on")
def providers_on(context: typer.Context, name: Name, dry_run: DryRun = False) -> None:
    """Show models to this program from the next sync on.

    \b
    Example:
      helixstore providers on jan
    """
    current = session(context)
    with current.open() as store:
        _switch(current, store, name, dry_run, on=True)


@providers.command("off")
def providers_off(context: typer.Context, name: Name, dry_run: DryRun = False) -> None:
    """Show nothing more to this program: the next sync takes down the links that were made for it.

    \b
    Example:
      helixstore providers off jan
    """
    current = session(context)
    with current.open() as store:
        _switch(current, store, name, dry_run, on=False)


@providers.command("set")
def providers_set(
    context: typer.Context,
    name: Name,
    root: Annotated[str, typer.Option("--root", metavar="DIR", help="The folder in which it looks.")],
    dry_run: DryRun = False,
) -> None:
    """Say where this program looks for models.

    \b
    Example:
      helixstore providers set llamacpp --root ~/gguf
    """
    current = session(context)
    with current.open() as store:
        _switch(current, store, name, dry_run, root=Path(root).expanduser().absolute())


def _switch(
    current: Session, store: HelixStore, name: str, dry_run: bool, on: bool | None = None, root: Path | None = None
) -> None:
    store.provider(name)
    if not dry_run:
        store.set_provider(name, on=on, root=root)
    current.answer({"name": name, "on": on, "root": root, "dry_run": dry_run}, describe.was_switched)
