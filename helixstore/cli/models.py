"""The commands that find and get models: models list, search, info, download; download-all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli.ask import list_models
from helixstore.cli.options import Called, Context, DryRun, Memory, OneProvider, OnlyFormat, plain
from helixstore.cli.output import count, table
from helixstore.cli.session import session
from helixstore.cli.sizes import memory_of, parameters_of, tokens_of
from helixstore.sizes import parameters, size

if TYPE_CHECKING:
    from helixstore.commands.models.catalogue import CatalogueModel
    from helixstore.commands.models.download_all import AllReport
    from helixstore.download.results import DownloadReport

__all__ = ["download_all", "models"]

_NOTHING = "Nothing was changed."
_UNKNOWN = "not known"          # no public source was found that says it

models = plain(no_args_is_help=True)
models.command("list")(list_models)


@models.callback()
def models_group() -> None:
    """Commands on models: list, search, info, download.

    \b
    Examples:
      helixstore models search qwen --can code
      helixstore models download llama-3-8b-instruct
      helixstore models list
    """


@models.command("search")
def search(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(
        metavar="[WORDS]", show_default=False, help="Of its name; all of them.")] = None,
    can: Annotated[list[str] | None, typer.Option(
        "--can", metavar="WHAT", show_default=False,
        help="chat, code, embedding, reasoning, tools or vision; may be given several times.")] = None,
    most: Annotated[str, typer.Option(
        "--max-parameters", metavar="N", show_default=False, help="At most so many, such as 8B.")] = "",
    format: Annotated[str, typer.Option(
        "--format", metavar="F", show_default=False, help="Published in this format: gguf, hf, awq, mlx, ...")] = "",
    licence: Annotated[str, typer.Option(
        "--licence", metavar="L", show_default=False, help="Whose licence begins so: apache, mit, llama3.")] = "",
) -> None:
    """The well-known models, and which of their forms fit this computer. Asks no network, needs no store.

    \b
    Examples:
      helixstore models search
      helixstore models search qwen --can code --max-parameters 8B
    """
    from helixstore.engine import HelixStore

    current = session(context)
    found = HelixStore.search_models(" ".join(words or ()), can=can or (), format=format, licence=licence,
                                     max_parameters=parameters_of(most))
    current.answer({"models": found}, _found)


@models.command("info")
def info(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="Of a well-known model.")],
    tokens: Context = "",
    memory: Memory = "",
) -> None:
    """One well-known model: what it can do, what it needs, where it is published. Asks no network, needs no store.

    \b
    Examples:
      helixstore models info llama-3-8b-instruct
      helixstore models info qwen3-8b --context 32k --memory 24GB
    """
    from helixstore.engine import HelixStore

    found = HelixStore.describe_model(name, context=tokens_of(tokens), memory=memory_of(memory))
    session(context).answer(found, _described)


@models.command("download")
def download(
    context: typer.Context,
    name: Annotated[str, typer.Argument(
        metavar="MODEL", show_default=False,
        help="A well-known name; or hf:ORG/NAME, with @REVISION and :FILE or :QUANT if you like; ollama:NAME:TAG; "
             "oci://HOST/NAME:TAG; or a link copied from the hub.")],
    provider: OneProvider = None,
    format: OnlyFormat = None,
    quantize: Annotated[str | None, typer.Option(
        "--quantize", metavar="Q", show_default=False,
        help="This quantisation, such as Q4_K_M, or all; else the best that fits this computer.")] = None,
    tokens: Context = "",
    memory: Memory = "",
    called: Called = None,
    dry_run: DryRun = False,
) -> None:
    """Download a model once, and show it to every program that can run it.

    With --provider nothing is fetched unless that program can run it here. What the store has under any name is not
    downloaded again. Cut short by anything, the same command goes on where it was. Tokens and mirrors are the hub
    client's: hf auth login, HF_TOKEN, HF_ENDPOINT.

    \b
    Examples:
      helixstore models download llama-3-8b-instruct --provider vllm
      helixstore models download hf:org/name-GGUF:Q4_K_M
      helixstore models download https://huggingface.co/org/name --dry-run
    """
    current = session(context)
    with current.open() as store:
        found = store.download(name, format=format, quantization=quantize or "", provider=provider or "",
                               context=tokens_of(tokens), memory=memory_of(memory), name=called, dry_run=dry_run)
    current.answer(found, lines, found.sync.issues if found.sync is not None else ())


def download_all(
    context: typer.Context,
    name: Annotated[str, typer.Argument(
        metavar="MODEL", show_default=False, help="As of models download.")],
    format: OnlyFormat = None,
    tokens: Context = "",
    memory: Memory = "",
    dry_run: DryRun = False,
) -> None:
    """Download what serves all programs that are on.

    Of all places and forms that are known, those that together serve all of them with the fewest bytes; it says who is
    left out, and why.

    \b
    Examples:
      helixstore download-all llama-3-8b-instruct --dry-run
      helixstore download-all llama-3-8b-instruct --format gguf
    """
    current = session(context)
    with current.open() as store:
        found = store.download_for_all_providers(name, format, context=tokens_of(tokens), memory=memory_of(memory),
                                                 dry_run=dry_run)
    current.answer(found, _all, found.issues)


def lines(report: DownloadReport) -> Iterator[str]:
    """What was fetched and what was here, and what became of it."""
    yield from _form(report)
    if report.dry_run:
        yield _NOTHING


def _form(report: DownloadReport) -> Iterator[str]:
    """One form of a model."""
    from helixstore.cli.report import changes

    if report.why:
        yield f"{report.why}."
    if report.others:
        yield f"There is also: {', '.join(report.others)}."
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
        return
    here = sum(one.bytes for one in report.files) - report.fetched_bytes
    kept = f"; {size(here)} were here already" if here > 0 else ""
    if report.mirrored_bytes:
        kept = f", {size(report.mirrored_bytes)} of it from the mirror{kept}"
    yield (f"{report.name}, {report.repository}@{report.revision[:8]}: {count(len(report.files), 'file')}, "
           f"{size(report.fetched_bytes)} downloaded{kept}.")
    if report.sync is not None:
        yield from changes(report.sync)


def _here(whole: int, here: int) -> str:
    return "yes" if here == whole else f"{here / whole:.0%}" if here else "no"


def _all(report: AllReport) -> Iterator[str]:
    """Each form, whom it serves, and who is left out."""
    for one in report.downloads:
        yield from _form(one)
        yield ""
    for left in report.left_out:
        into = f"; a conversion to {left.convert_to} would help" if left.convert_to else ""
        yield f"{left.provider} is left out: {left.reason}{into}."
    for note in report.unasked:
        if note.kind == "passed over" and all(note.message not in one.why for one in report.downloads):
            yield f"Passed over: {note.message}{f' ({note.remedy})' if note.remedy else ''}."
    if report.dry_run:
        yield _NOTHING


def _found(found: Mapping[str, Sequence[CatalogueModel]]) -> Iterator[str]:
    if not found["models"]:
        yield "The catalogue has no such model; hf:ORG/NAME names any repository of the hub."
        return
    yield from table(("name", "parameters", "context", "can", "formats", "licence", "fits here"), [
        (one.name, parameters(one.parameters), f"{one.context:,}" if one.context else "", " ".join(one.can),
         " ".join(one.formats), one.licence, _fitting(one)) for one in found["models"]], right=(1, 2))


def _described(one: CatalogueModel) -> Iterator[str]:
    yield one.title
    yield f"  name        {one.name}"
    if one.aliases:
        yield f"  also        {', '.join(one.aliases)}"
    yield f"  can         {', '.join(one.can) or _UNKNOWN}"
    active = f", {parameters(one.active)} for each token" if one.active else ""
    yield f"  parameters  {parameters(one.parameters) or _UNKNOWN}{active}"
    yield f"  context     {f'{one.context:,} tokens' if one.context else _UNKNOWN}"
    yield f"  licence     {one.licence or f'{_UNKNOWN}; the hub says it'}{'; asks for consent' if one.gated else ''}"
    yield ""
    if one.needs:
        yield from table(("quantisation", f"needs with {one.needs[0].context:,} tokens", "fits here"), [
            (need.quantization, size(need.bytes), "yes, the best" if need.best else "yes" if need.fits else "no")
            for need in one.needs], right=(1,))
        yield ""
    yield from table(("format", "where", "quantisations"), [
        (place.format, place.reference, " ".join(place.quantizations)) for place in one.places])


def _fitting(one: CatalogueModel) -> str:
    """The finest quantisation that fits."""
    return next((need.quantization for need in one.needs if need.fits), "no" if one.needs else "")
