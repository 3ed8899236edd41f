"""The commands around a store: the bare command, init, config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixstore.cli import describe
from helixstore.cli.options import DryRun, Providers, Yes, group
from helixstore.cli.session import interactive, session

if TYPE_CHECKING:
    from helixstore.cli.session import Session

__all__ = ["bare", "config", "init"]

config = group("""The settings, and where each comes from.

    \b
    Examples:
      helixstore config
      helixstore config get share
      helixstore config set share duplicates
    """)

_SHARED = {
    "all": "every model, with every program that can run it",
    "duplicates": "only models that several programs have",
    "chosen": "only what you name with `helixstore share`",
}


def bare(context: typer.Context) -> None:
    """No command: the survey before there is a store, else status."""
    from helixstore.engine import HelixStore

    current = session(context)
    if HelixStore.exists(current.store):
        with current.open() as store:
            found = store.status()
        current.answer(found, describe.status, found.issues)
    else:
        seen = HelixStore.survey()
        current.answer(seen, describe.survey, seen.issues)


def init(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Turn on all programs, and share every model.")] = False,
    provider: Providers = None,
    scan: Annotated[list[str] | None, typer.Option(
        "--scan", metavar="DIR", show_default=False,
        help="Also look for models here; may be given several times.")] = None,
    share: Annotated[str | None, typer.Option(
        "--share", metavar="WHAT", show_default=False, help="What is to be shared: all, duplicates or chosen.")] = None,
    group: Annotated[str, typer.Option(
        "--group", "--shared", metavar="G", show_default=False,
        help="Make a store that the members of this group fill together.")] = "",
    site: Annotated[bool, typer.Option(
        "--site", help="Write the store into the site's settings: the others need no init of their own.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make the store and the configuration; turn on the programs found.

    The store is put on the disk that holds most of your models, unless --store names a folder. No model is touched:
    `sync` does that. Called again, it adds what it is told to the configuration.

    \b
    Examples:
      helixstore init
      helixstore init --all --scan ~/models
      helixstore init --store /data/models --provider ollama --provider lmstudio
      helixstore init --store /srv/models --group models --site
    """
    from helixstore.engine import HelixStore

    current = session(context)
    if share is not None and share not in _SHARED:
        raise typer.BadParameter(f"{share!r} is none of {', '.join(_SHARED)}", param_hint="--share")
    if dry_run:
        current.answer(HelixStore.propose(), describe.proposed)
        return
    if share is None:
        share = "all" if every else _asked(current, yes)
    made = HelixStore.init(
        current.store, providers=provider or None, every=every, scan=[Path(folder) for folder in scan or ()],
        share=share, group=group, site=site,
    )
    current.answer(made, describe.made)


def _asked(current: Session, yes: bool) -> str | None:
    """What is to be shared, asked on a terminal; None, for the engine's own default, elsewhere."""
    if yes or current.out.as_json or not interactive():
        return None
    from helixstore.engine import HelixStore

    for line in describe.proposed(HelixStore.propose()):
        current.out.note(line)
    return current.out.choose("What is to be shared?", _SHARED)


def _settings() -> list[dict[str, Any]]:
    """From the files themselves: settings can be read and mended before there is a store."""
    from helixstore.session import Machine
    from helixstore.settings import listing

    return [setting._asdict() for setting in listing(Machine(os.environ).settings)]


def _setting(key: str) -> dict[str, Any]:
    from helixstore.errors import Usage

    for setting in _settings():
        if setting["key"] == key:
            return setting
    raise Usage(f"there is no setting {key}", "`helixstore config list` shows them all")


@config.command("list")
def config_list(context: typer.Context) -> None:
    """Every setting with its value and its origin.

    \b
    Example:
      helixstore config list
    """
    current = session(context)
    current.answer({"settings": _settings()}, describe.settings)


@config.command("get")
def config_get(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="As config list shows it.")],
) -> None:
    """The value of one setting.

    \b
    Example:
      helixstore config get store
    """
    current = session(context)
    current.answer(_setting(key), describe.setting)


@config.command("set")
def config_set(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="As config list shows it.")],
    value: Annotated[list[str], typer.Argument(
        metavar="VALUE...", help='Of a list several, or with commas between (folders: colons), or ["a", "b"].')],
    dry_run: DryRun = False,
) -> None:
    """Change one setting in your own configuration file; comments in it stay.

    \b
    Example:
      helixstore config set adopt ask
      helixstore config set scan ~/models /big/models
    """
    from helixstore.session import Session

    current = session(context)
    now = Session(os.environ).set_value(key, value[0] if len(value) == 1 else value, dry_run=dry_run)
    current.answer({"key": key, "value": now, "dry_run": dry_run}, describe.was_set)
