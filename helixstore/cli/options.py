"""The options that every command has, and what several commands share of their own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from helixstore.cli.session import session

__all__ = [
    "Called", "Context", "DryRun", "Memory", "ModelName", "NeededProvider", "OneProvider", "OnlyFormat", "Providers",
    "Yes", "complete_providers", "everywhere", "group", "plain",
]


def plain(**options: Any) -> typer.Typer:
    """An application or group of commands with plain text for help and errors: rich takes longer to import than we run.

    Args:
        options: as for `typer.Typer`.
    """
    options.setdefault("add_completion", False)
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, **options)


def group(text: str) -> typer.Typer:
    """Commands on one kind of thing, of which `list` is meant where none is named.

    Args:
        text: the help.
    """
    def begin(context: typer.Context) -> None:
        commands: Any = context.command
        if context.invoked_subcommand is None:
            commands.get_command(context, "list").callback()

    return plain(help=text, callback=begin, invoke_without_command=True)


def complete_providers(incomplete: str) -> list[str]:
    """Provider names for the shell's completion."""
    from helixstore.cli.completion import providers

    return [name for name in providers() if name.startswith(incomplete)]


def complete_models(context: typer.Context, incomplete: str) -> list[str]:
    """Model names for the shell's completion."""
    from helixstore.cli.completion import models

    return [name for name in models(session(context)) if name.startswith(incomplete)]


DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ModelName = Annotated[str, typer.Argument(
    metavar="MODEL", help="Any name a program uses for it, a unique prefix, or a digest; NAME:QUANT picks a variant.",
    autocompletion=complete_models, show_default=False,
)]
Providers = Annotated[list[str] | None, typer.Option(
    "--provider", "-p", metavar="P", help="Only this program; may be given several times.",
    autocompletion=complete_providers, show_default=False,
)]
OneProvider = Annotated[str | None, typer.Option(
    "--provider", "-p", metavar="P", help="Only this program.", autocompletion=complete_providers, show_default=False,
)]
NeededProvider = Annotated[str, typer.Option(
    "--provider", "-p", metavar="P", help="The program.", autocompletion=complete_providers, show_default=False,
)]
Called = Annotated[str | None, typer.Option(
    "--name", metavar="NAME", help="What the model is to be called.", show_default=False,
)]
OnlyFormat = Annotated[str | None, typer.Option(
    "--format", metavar="F", help="Only gguf, hf (safetensors), awq, mlx, ...", show_default=False,
)]
Context = Annotated[str, typer.Option(
    "--context", metavar="TOKENS", show_default=False,
    help="How much it is to keep in mind, which takes memory too: 8192, 32k.")]
Memory = Annotated[str, typer.Option(
    "--memory", metavar="SIZE", show_default=False,
    help="What it may take when it runs, such as 16GB; else what this computer has.")]


def _store(context: typer.Context, value: str | None) -> str | None:
    if value is not None and not context.resilient_parsing:
        if not value:
            raise typer.BadParameter("the folder's name is empty", ctx=context)
        session(context).store = value
    return value


def _json(context: typer.Context, value: bool) -> bool:
    if value and not context.resilient_parsing:
        session(context).out.as_json = True
    return value


def _quiet(context: typer.Context, value: bool) -> bool:
    if value and not context.resilient_parsing:
        session(context).out.quiet = True
    return value


def _issues_ok(context: typer.Context, value: bool) -> bool:
    if value and not context.resilient_parsing:
        session(context).issues_ok = True
    return value


def everywhere(
    store: Annotated[str | None, typer.Option(
        "--store", metavar="DIR", callback=_store, expose_value=False, show_default=False,
        help="The store to use; else HELIXSTORE_STORE, else the configuration.")] = None,
    json: Annotated[bool, typer.Option(
        "--json", callback=_json, expose_value=False, help="Answer as JSON (docs/json.md).")] = False,
    quiet: Annotated[bool, typer.Option(
        "--quiet", "-q", callback=_quiet, expose_value=False, help="Print only what went wrong.")] = False,
    issues_ok: Annotated[bool, typer.Option(
        "--issues-ok", callback=_issues_ok, expose_value=False,
        help="Exit 0 instead of 3 when done with issues.")] = False,
) -> None:
    """The parameters of this function are given to every command; it is never called."""
