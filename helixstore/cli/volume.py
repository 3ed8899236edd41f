"""The commands for several disks: volume add, list, move, detach, remove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli.options import DryRun, ModelName, group
from helixstore.cli.output import count, homely, table
from helixstore.cli.session import session
from helixstore.sizes import size

if TYPE_CHECKING:
    from helixstore.results import SyncReport, VolumeReport, VolumeView

__all__ = ["volume", "volume_lines"]

volume = group("""The disks that the store lies on.

    \b
    Example:
      helixstore volume list
    """)

VolumeName = Annotated[str, typer.Argument(
    metavar="VOLUME", help="Its name or id as volume list shows it, or its folder; main is the store's own.",
    show_default=False)]


@volume.command("list")
def volume_list(context: typer.Context) -> None:
    """The disks that the store lies on, and what is on each.

    \b
    Example:
      helixstore volume list
    """
    current = session(context)
    with current.open() as store:
        current.answer({"volumes": store.volumes.list()}, lambda found: volume_lines(found["volumes"]))


@volume.command("add")
def volume_add(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A disk, or a folder on it.", show_default=False)],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", show_default=False,
                                             help="What the disk is to be called.")] = None,
    always: Annotated[bool | None, typer.Option(
        "--always/--careful", show_default=False,
        help="Whether links to it may lie in every program's folder, or only where a dangling one does no harm; by "
             "default --careful for what can be unplugged and for the network.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Share files on another disk from where they lie.

    Makes a folder for the store on that disk, or takes up the one that is there: after detach, at another place, on
    another computer. Nothing is copied: sync then takes in what programs and you have on that disk, where it lies.

    \b
    Examples:
      helixstore volume add /mnt/disk2
      helixstore volume add /media/ana/usb --name usb
      helixstore volume add /media/ana/usb --always
    """
    current = session(context)
    with current.open() as store:
        found = store.volumes.add(folder, name=name, always=always, dry_run=dry_run)
    current.answer(found, lambda report: _done(report, "would be a volume" if dry_run else "is a volume of the store"),
                   found.issues)


@volume.command("move")
def volume_move(context: typer.Context, model: ModelName, target: VolumeName, dry_run: DryRun = False) -> None:
    """Move a model to another disk.

    Its weights are copied, read back, linked from there, and only then let go where they were. Your own file of it
    becomes a link. Cut short, nothing is lost, and the same command goes on.

    \b
    Examples:
      helixstore volume move llama-3-8b usb
      helixstore volume move llama-3-8b main
    """
    current = session(context)
    with current.open() as store:
        found = store.volumes.move(model, target, dry_run=dry_run)
    current.answer(found, _moved, found.issues)


@volume.command("detach")
def volume_detach(context: typer.Context, which: VolumeName, dry_run: DryRun = False) -> None:
    """Take every link into a disk down, before it goes away for long.

    Its models are away until the disk is added again. A disk that is only unplugged for a while needs no command: sync
    takes its models out of programs that would stumble over them, and brings them back with it.

    \b
    Example:
      helixstore volume detach usb
    """
    current = session(context)
    with current.open() as store:
        found = store.volumes.detach(which, dry_run=dry_run)
    current.answer(found, lambda report: _done(report, "would be detached" if dry_run else "is detached"), found.issues)


@volume.command("remove")
def volume_remove(
    context: typer.Context, which: VolumeName,
    lost: Annotated[bool, typer.Option("--lost", help="The disk is not here and never comes back.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Give a disk up that holds nothing that is not elsewhere too.

    Refuses while it holds the only copy of something, and says which move would help. One that is broken, or whose
    folder was deleted, is given up with --lost: the models that were only there are named.

    \b
    Examples:
      helixstore volume remove usb
      helixstore volume remove usb --lost
    """
    current = session(context)
    with current.open() as store:
        found = store.volumes.remove(which, lost=lost, dry_run=dry_run)
    current.answer(found, lambda report: _done(report, "would be given up" if dry_run else "is no volume any more"),
                   found.issues)


def volume_lines(found: Sequence[VolumeView]) -> Iterator[str]:
    """One line for each disk, and why one is not here."""
    yield from table(
        ("volume", "state", "models", "size", "free", "links", "folder"),
        [(one.name, one.state, str(one.models), size(one.bytes), size(one.free_bytes) if one.free_bytes else "",
          "refers to files" if one.refers else one.links, homely(one.path)) for one in found], right=(2, 3, 4))
    yield from (f"{one.name}: {one.reason}" for one in found if one.state == "away")


def _done(report: VolumeReport, what: str) -> Iterator[str]:
    yield from report.notes
    one = report.volume
    models = f", with {count(len(report.models), 'model')}" if report.models else ""
    yield f"{one.name} ({homely(one.path)}) {what}{models}."
    if one.refers:
        yield "Its file system has no links: the store refers to files there where they lie, and moves none."
    elif one.links == "careful" and one.state == "here":
        yield "Links to it lie only in the folders of programs that bear it when it is unplugged (--always: in all)."
    yield from _links(report.sync)


def _moved(report: VolumeReport) -> Iterator[str]:
    yield from report.notes
    would = "would be " if report.dry_run else ""
    where = (f"{size(report.copied_bytes)} {would}copied to {report.volume.name}" if report.copied_bytes else
             f"is on {report.volume.name} already")
    freed = f"; {size(report.freed_bytes)} {would}freed elsewhere" if report.freed_bytes else ""
    yield f"{', '.join(report.models)}: {where}{freed}."
    yield from _links(report.sync)


def _links(sync: SyncReport) -> Iterator[str]:
    counted: Mapping[str, int] = {"linked": len(sync.linked), "taken down": len(sync.removed)}
    told = [f"{count(number, 'link')} {what}" for what, number in counted.items() if number]
    if told:
        yield f"{', '.join(told)}."
