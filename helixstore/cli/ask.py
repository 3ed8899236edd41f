"""The commands that only look: status, list, show, path, explain, du, compat, log."""

from __future__ import annotations

from typing import Annotated

import typer

from helixstore.cli import describe
from helixstore.cli.options import Context, Memory, ModelName, OneProvider
from helixstore.cli.session import session
from helixstore.cli.sizes import memory_of, tokens_of
from helixstore.values import Format

__all__ = ["compat", "du", "explain", "list_models", "log", "path", "show", "status"]


def status(context: typer.Context) -> None:
    """How things stand: the store, each program, and what is wrong.

    \b
    Examples:
      helixstore status
      helixstore status --json
    """
    current = session(context)
    with current.open() as store:
        report = store.status()
    current.answer(report, describe.status, report.issues)


def list_models(context: typer.Context) -> None:
    """The models, and which programs see them.

    \b
    Examples:
      helixstore list
      helixstore list --json
    """
    current = session(context)
    with current.open() as store:
        if current.out.as_json:
            current.answer({"models": store.shared_models()}, lambda _: ())
        else:
            current.answer(store.rows(), describe.rows)


def show(context: typer.Context, model: ModelName) -> None:
    """One model: its variants, files, sources, and how each program has it.

    \b
    Examples:
      helixstore show llama-3-8b
      helixstore show llama3:8b --json
    """
    current = session(context)
    with current.open() as store:
        current.answer(store.show(model), describe.model)


def path(
    context: typer.Context,
    model: ModelName,
    format: Annotated[str | None, typer.Option(
        "--format", metavar="F", show_default=False, help="Only a variant of this format: gguf, hf, awq, ...")] = None,
) -> None:
    """Where a model's file or folder lies, to hand to a program.

    Prints the path and nothing else: the GGUF file (of several shards the first), or the model's folder.

    \b
    Examples:
      llama-server -m "$(helixstore path llama-3-8b --format gguf)"
      helixstore path llama-3-8b:Q4_K_M
    """
    format = format and format.lower()
    if format is not None and format not in list(Format):
        raise typer.BadParameter(f"{format!r} is none of {', '.join(Format)}", param_hint="--format")
    current = session(context)
    with current.open() as store:
        current.out.path(store.path(model, format))


def explain(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="PATH|MODEL", help="Any file or folder, or a model.")],
) -> None:
    """What a path or a model is, and why it is as it is.

    Says of a file whether helixstore made it, from which model, by which kind of link and why not a better one; of a
    model, how each program has it and why not.

    \b
    Examples:
      helixstore explain ~/.lmstudio/models/org/repo/model.gguf
      helixstore explain llama-3-8b
    """
    current = session(context)
    with current.open() as store:
        current.answer(store.explain(subject), lambda found: found.lines)


def du(
    context: typer.Context,
    by: Annotated[str, typer.Option("--by", metavar="WHAT", autocompletion=describe.usages,
                                    help="model, provider, user or month.")] = "model",
    csv: Annotated[bool, typer.Option("--csv", help="Lines for a spreadsheet, sizes in bytes.")] = False,
) -> None:
    """What takes the space, who uses it, and what removing it would free.

    Each file counts once in a row, however many names it has, and once in the total; what several rows use is divided
    among them under "share".

    \b
    Examples:
      helixstore du
      helixstore du --by user
      helixstore du --by user --csv
    """
    if by not in describe.USAGES:
        raise typer.BadParameter(f"{by!r} is none of {', '.join(describe.USAGES)}", param_hint="--by")
    current = session(context)
    if csv and current.out.as_json:
        raise typer.BadParameter("--csv and --json are two answers", param_hint="--csv")
    with current.open() as store:
        found = store.du(by)
    if csv:
        current.out.csv(describe.usage_csv(found))
    else:
        current.answer(found, describe.usage)


def compat(
    context: typer.Context,
    model: Annotated[str, typer.Argument(
        metavar="MODEL|PATH", help="A model of the store, a file or folder; or what could be downloaded: a well-known "
                                   "name, hf:ORG/NAME[:QUANT], ...")],
    provider: OneProvider = None,
    tokens: Context = "",
    memory: Memory = "",
) -> None:
    """Which programs can run a model, and why others cannot.

    Of what is not here it reads the headers over the network, a few MB at most, and says what fits this computer. It
    answers before there is a store, too.

    \b
    Examples:
      helixstore compat llama-3-8b-instruct
      helixstore compat hf:org/name-GGUF:Q4_K_M --memory 16GB
      helixstore compat ./model.gguf --provider vllm
    """
    current, context_, room = session(context), tokens_of(tokens), memory_of(memory)
    if not current.exists():
        from helixstore.engine import HelixStore

        found = HelixStore.compat_of(model, provider, context=context_, memory=room)
        current.answer({"verdicts": found}, describe.verdicts)
        return
    with current.open() as store:
        current.answer({"verdicts": store.compat(model, provider, context=context_, memory=room)}, describe.verdicts)


def log(
    context: typer.Context,
    limit: Annotated[str, typer.Option("--limit", "-n", metavar="N", help="How many operations.")] = "20",
) -> None:
    """What helixstore did, the latest first.

    \b
    Examples:
      helixstore log
      helixstore log --limit 100
    """
    wanted = whole(limit, "--limit")
    current = session(context)
    with current.open() as store:
        current.answer({"operations": store.log(wanted)}, describe.operations)


def whole(text: str, hint: str) -> int:
    """A number from 1 on, as typed.

    Raises:
        typer.BadParameter: it is none.
    """
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise typer.BadParameter(f"{text!r} is not a number from 1 on", param_hint=hint)
    return int(text[:9])
