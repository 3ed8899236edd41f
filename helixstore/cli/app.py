"""The application: which commands there are, and how a run begins and ends.

Every command lives in the module that the table names and is imported when it is called, so that `helixstore --help`
costs no more than typer itself. `helix local-llm ...` and `helixstore local-llm ...` are the same application.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup

from helixstore.cli.options import everywhere, plain
from helixstore.cli.session import Session, session
from helixstore.errors import HelixError, advice

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMMANDS", "application", "run"]

#: The other name under which the whole application can be called.
ALIAS = "local-llm"
_INTERRUPTED = "interrupted; what was done is kept, and the same command goes on from there"
HELP: dict[str, Any] = {"help_option_names": ["--help", "-h"]}


class Place(NamedTuple):
    """Where a command is: `module` in helixstore.cli, `attribute` in it, and its line in the list of commands."""

    module: str
    attribute: str
    help: str


COMMANDS: dict[str, dict[str, Place]] = {
    "Begin": {
        "init": Place("setup", "init", "Make the store and the configuration; turn on the programs found."),
        "sync": Place("share", "sync", "Take in new models and show every model to every program that can run it."),
        "status": Place("ask", "status", "How things stand: the store, each program, and what is wrong."),
    },
    "Get": {
        "models": Place("models", "models", "Commands on models: list, search, info, download."),
        "download-all": Place("models", "download_all", "Download what serves all programs that are on."),
        "pull": Place("registry", "pull", "Get a model from a registry."),
        "push": Place("registry", "push", "Put a model into a registry, for other machines."),
        "update": Place("versions", "update", "Bring models to the latest revision of where they came from."),
        "history": Place("versions", "history", "The versions that a model has had here."),
        "rollback": Place("versions", "rollback", "Let a model be what it was before."),
    },
    "Look": {
        "list": Place("ask", "list_models", "The models, and which programs see them."),
        "list-shared": Place("ask", "list_models", "The same as list."),
        "show": Place("ask", "show", "One model: its variants, files, sources, and how each program has it."),
        "path": Place("ask", "path", "Where a model's file or folder lies, to hand to a program."),
        "explain": Place("ask", "explain", "What a path or a model is, and why it is as it is."),
        "du": Place("ask", "du", "What takes the space, who uses it, and what removing it would free."),
        "compat": Place("ask", "compat", "Which programs can run a model, and why others cannot."),
        "log": Place("ask", "log", "What helixstore did, the latest first."),
    },
    "Decide": {
        "share": Place("share", "share", "Show a model, or a file anywhere, to programs."),
        "add": Place("share", "add", "Take a file or folder into the store."),
        "hide": Place("share", "hide", "Do not show a model to one program."),
        "unhide": Place("share", "unhide", "Show a hidden model again."),
        "pin": Place("share", "pin", "Keep a model at its version."),
        "unpin": Place("share", "unpin", "Let a pinned model follow its source again."),
        "link": Place("share", "link", "Put a model's files, as links, into a folder of yours."),
        "remove": Place("upkeep", "remove", "Give up a model: its links go now, its bytes later."),
    },
    "Keep in order": {
        "watch": Place("watch", "watch", "Do what sync does, continuously: a model is in all programs a moment later."),
        "apply": Place("share", "apply", "Run a plan that sync --plan saved."),
        "undo": Place("upkeep", "undo", "Take back the last operations, the latest first."),
        "generations": Place("generations", "generations", "What programs showed after each operation; ways back."),
        "leave": Place("upkeep", "leave", "Turn every link back into an ordinary file in its place."),
        "doctor": Place("upkeep", "doctor", "Find what is wrong, and the command that mends it."),
        "verify": Place("upkeep", "verify", "Read the store's files and compare them with their names."),
        "gc": Place("upkeep", "gc", "Collect what no model needs any more."),
        "trash": Place("upkeep", "trash", "What gc has put aside, and how to get it back."),
        "volume": Place("volume", "volume", "The disks that the store lies on."),
        "host": Place("host", "host", "The computers that use the store."),
        "reindex": Place("upkeep", "reindex", "Build the index again from the store."),
        "providers": Place("providers", "providers", "The programs: which are on, where they look."),
        "layouts": Place("layouts", "layouts", "What is known of each program's folders; add one of your own."),
        "config": Place("setup", "config", "The settings, and where each comes from."),
    },
}
_PLACES = {name: place for section in COMMANDS.values() for name, place in section.items()}


class OnDemand(TyperGroup):
    """The group of all commands: lists them from the table, imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of the table."""
        return list(_PLACES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command itself, or None. The alias is the application again."""
        if cmd_name == ALIAS:
            return self
        place = _PLACES.get(cmd_name)
        if place is None:
            return None
        module = import_module(f"helixstore.cli.{place.module}")
        return _command(cmd_name, getattr(module, place.attribute))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, by section."""
        for section, places in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name, place.help) for name, place in places.items()], col_max=16)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called; an unknown one ends with what it may have been."""
        name = args[0]
        if name not in _PLACES and name != ALIAS and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, _PLACES, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else f" '{ctx.command_path} --help' lists them."
            ctx.fail(f"No such command {name!r}.{meant}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C ends it with one line and exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            session(ctx).out.stderr.write(f"\nhelixstore: {_INTERRUPTED}\n")
            raise typer.Exit(130) from None


def _command(name: str, what: Callable[..., Any] | typer.Typer) -> Any:
    """A function, or a group of them, as a command of that name that also has the options of every command."""
    if not isinstance(what, typer.Typer):
        single = plain()
        single.command(name)(what)
        what = single
    command = typer.main.get_command(what)
    command.name = name
    _complete(command)
    return command


def _complete(command: Any) -> None:
    """Add the options that every command has."""
    common = plain()
    common.command("everywhere")(everywhere)
    command.params.extend(typer.main.get_command(common).params)
    for inner in getattr(command, "commands", {}).values():
        _complete(inner)


def _version(value: bool) -> None:
    if value:
        from helixstore import __version__

        typer.echo(f"helixstore {__version__}")
        raise typer.Exit


def helixstore(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                          help="Print the version.")] = False,
) -> None:
    """One copy of every model on disk, visible to every program that wants it.

    Without a command: before there is a store, what each program holds and how much of it is there twice (nothing is
    written); afterwards, how things stand.

    \b
    Examples:
      helixstore
      helixstore init
      helixstore sync
      helix local-llm status
    """
    if context.invoked_subcommand is None:
        from helixstore.cli.setup import bare

        bare(context)


def application() -> Any:
    """The whole command line as one command object."""
    app = plain(cls=OnDemand, add_completion=True, invoke_without_command=True,
                 context_settings=HELP)
    app.callback()(helixstore)
    command = typer.main.get_command(app)
    _complete(command)
    return command


def run() -> NoReturn:
    """Run the command line on this process's arguments, and end the process with its exit code.

    This is the one place where errors become text: an error of ours as its message and remedy, any other as its name
    and where to report it, with the traceback only if HELIXSTORE_DEBUG is set.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    current = Session()
    try:
        code = _run(current)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())     # what is left must not fail again at exit
        code = 141
    sys.exit(code)


def _run(current: Session) -> int:
    name = os.path.basename(sys.argv[0]).removesuffix(".exe")
    name = name if name in ("helixstore", "helix") else "helixstore"
    try:
        application().main(prog_name=name, obj=current)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:
        raise
    except HelixError as error:
        _trace()
        return current.out.failure(error)
    except Exception as error:      # noqa: BLE001 # nobody is to see a traceback
        _trace()
        return _unexpected(current, error)
    return 0


def _unexpected(current: Session, error: Exception) -> int:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        current.out.error(f"{error.strerror.lower()}{where}", advice(error), "system", None)
        return 1
    current.out.error(
        f"unexpected {type(error).__name__}: {error}",
        "This is a fault of helixstore: please report it to the project, with what the same command prints under "
        "HELIXSTORE_DEBUG=1", "unexpected",
    )
    return 1


def _trace() -> None:
    if os.environ.get("HELIXSTORE_DEBUG"):
        import traceback

        traceback.print_exc()
