"""The commands for registries: pull, push."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli.models import lines
from helixstore.cli.options import Called, DryRun, ModelName
from helixstore.cli.output import count, table
from helixstore.cli.session import session
from helixstore.sizes import size

if TYPE_CHECKING:
    from helixstore.commands.models.push import PushReport

__all__ = ["pull", "push"]


def pull(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(
        metavar="REFERENCE", show_default=False,
        help="oci://HOST/NAME:TAG, with @sha256:... if you like; or ollama:NAME:TAG.")],
    called: Called = None,
    dry_run: DryRun = False,
) -> None:
    """Get a model from a registry.

    It is the same as models download: every program that can run the model sees it. What the store has under any name
    is not fetched again. Cut short by anything, the same command goes on where it was. Logins are Docker's and
    Podman's: docker login HOST.

    \b
    Examples:
      helixstore pull oci://registry.example/team/llama-3-8b:q4_k_m
      helixstore pull ollama:llama3.2:1b --dry-run
    """
    current = session(context)
    with current.open() as store:
        found = store.download(reference, name=called, dry_run=dry_run)
    current.answer(found, lines, found.sync.issues if found.sync is not None else ())


def push(
    context: typer.Context, model: ModelName,
    target: Annotated[str, typer.Argument(
        metavar="[TARGET]", show_default=False,
        help="oci://HOST/NAME:TAG; without the tag each variant goes under its quantisation; none: the mirror.")] = "",
    form: Annotated[str, typer.Option(
        "--for", metavar="PROGRAM", help="Of which form: all (ModelPack), or docker (Docker Model Runner's own).",
    )] = "all",
    dry_run: DryRun = False,
) -> None:
    """Put a model into a registry, for other machines.

    Files go as they are, and only those that the registry lacks; other programs that read ModelPack can pull them, too.
    Cut short by anything, the same command goes on.

    \b
    Examples:
      helixstore push llama-3-8b:Q4_K_M oci://registry.example/team/llama-3-8b:q4_k_m
      helixstore push llama-3-8b oci://registry.example/team/llama-3-8b --dry-run
      helixstore push gemma-3-4b oci://registry.example/team/gemma:docker --for docker
    """
    current = session(context)
    with current.open() as store:
        found = store.push(model, target, form=form, dry_run=dry_run)
    current.answer(found, _lines)


def _lines(report: PushReport) -> Iterator[str]:
    """What went where."""
    for one in report.pushed:
        if report.dry_run:
            yield from table(("file", "size", ""), [(file.path, size(file.bytes), file.how) for file in one.files],
                             right=(1,))
            lacking = sum({file.sha256: file.bytes for file in one.files if file.how == "missing"}.values())
            yield f"{one.model} ({one.variant}): {size(lacking)} would be sent to {one.reference}."
        else:
            kept = sum(file.how != "sent" for file in one.files)
            there = f"; the registry had {count(kept, 'file')} already" if kept else ""
            yield f"{one.model} ({one.variant}): {size(one.sent_bytes)} sent{there}."
            yield f"helixstore pull {one.reference}"
    if report.dry_run:
        yield "Nothing was changed."
