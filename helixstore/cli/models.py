"""The commands that get models: models list, download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli.ask import list_models
from helixstore.cli.options import DryRun, plain
from helixstore.cli.output import count, size, table
from helixstore.cli.session import session

if TYPE_CHECKING:
    from helixstore.download.results import DownloadReport

__all__ = ["models"]

models = plain(no_args_is_help=True)
models.command("list")(list_models)


@models.callback()
def models_group() -> None:
    """Commands on models: list, download.

    \b
    Examples:
      helixstore models list
      helixstore models download hf:org/name
    """


@models.command("download")
def download(
    context: typer.Context,
    name: Annotated[str, typer.Argument(
        metavar="MODEL", show_default=False,
        help="hf:ORG/NAME, with @REVISION and :FILE or :QUANT if you like; or a link copied from the hub.")],
    format: Annotated[str | None, typer.Option(
        "--format", metavar="F", show_default=False, help="Only gguf, or only safetensors.")] = None,
    quantize: Annotated[str | None, typer.Option(
        "--quantize", metavar="Q", show_default=False, help="Only this quantisation, such as Q4_K_M.")] = None,
    called: Annotated[str | None, typer.Option(
        "--name", metavar="NAME", show_default=False, help="What the model is to be called.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Download a model once, and show it to every program that can run it.

    What the store has under any name is not downloaded again. Cut short by anything, the same command goes on where
    it was. Tokens and mirrors are the hub client's: hf auth login, HF_TOKEN, HF_ENDPOINT.

    \b
    Examples:
      helixstore models download hf:org/name --dry-run
      helixstore models download hf:org/name-GGUF:Q4_K_M
      helixstore models download https://huggingface.co/org/name
    """
    current = session(context)
    with current.open() as store:
        found = store.download(name, format=format, quantization=quantize or "", name=called, dry_run=dry_run)
    current.answer(found, lines, found.sync.issues if found.sync is not None else ())


def lines(report: DownloadReport) -> Iterator[str]:
    """What was fetched and what was here, and what became of it."""
    from helixstore.cli.report import changes

    if report.dry_run:
        yield from table(("file", "size", "here"), [(one.path, size(one.bytes), _here(one.bytes, one.here_bytes))
                                                    for one in report.files], right=(1,))
        missing = sum(one.bytes - one.here_bytes for one in report.files)
        yield ""
        yield (f"{report.name}, {report.repository}@{report.revision[:8]}: {size(missing)} of "
               f"{size(sum(one.bytes for one in report.files))} would be downloaded.")
        if report.free_bytes is not None:
            over = missing - report.free_bytes
            free = f"{size(report.free_bytes)} are free where the store lies"
            yield f"It does not fit: {free}, {size(over)} more are needed." if over > 0 else f"{free}."
        yield "Nothing was changed."
        return
    here = sum(one.bytes for one in report.files) - report.fetched_bytes
    kept = f"; {size(here)} were here already" if here > 0 else ""
    yield (f"{report.name}, {report.repository}@{report.revision[:8]}: {count(len(report.files), 'file')}, "
           f"{size(report.fetched_bytes)} downloaded{kept}.")
    if report.sync is not None:
        yield from changes(report.sync)


def _here(whole: int, here: int) -> str:
    return "yes" if here == whole else f"{here / whole:.0%}" if here else "no"
