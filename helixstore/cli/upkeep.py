"""The commands that keep a store in order: remove, undo, leave, trash, gc, verify, reindex, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from helixstore.cli import findings
from helixstore.cli.ask import whole
from helixstore.cli.options import DryRun, OneProvider, Yes, group
from helixstore.cli.session import confirm, interactive, session

if TYPE_CHECKING:
    from helixstore.cli.session import Session
    from helixstore.engine import HelixStore

__all__ = ["doctor", "gc", "leave", "reindex", "remove", "trash", "undo", "verify"]

trash = group("""What gc has put aside, and how to get it back.

    \b
    Example:
      helixstore trash list
    """)


def remove(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", show_default=False,
                                                help="Any name a program uses for it.")] = None,
    unused: Annotated[bool, typer.Option("--unused", help="All models that only the store holds.")] = False,
    everyone: Annotated[bool, typer.Option("--everyone", help="For all people; the store's owner only.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Give up a model: its links go now, its bytes later.

    Takes down the links that helixstore made and drops your claim. Files that you gave a path to stay where they are.
    The bytes are freed later, by gc, when neither another model, another person nor undo needs them.

    \b
    Examples:
      helixstore remove llama-3-8b
      helixstore remove llama-3-8b:Q4_K_M --dry-run
      helixstore remove --unused
    """
    if (model is None) != unused:
        raise typer.BadParameter("name a model, or give --unused", param_hint="MODEL")
    current = session(context)
    with current.open() as store:
        current.report(store.remove(model, unused=unused, everyone=everyone, dry_run=dry_run, ask=current.asker(yes)))


def undo(
    context: typer.Context,
    n: Annotated[str, typer.Argument(metavar="N", help="How many operations.", show_default=False)] = "1",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take back the last operations, the latest first.

    A file that was replaced by a link becomes a file of its own again, which takes its space again. What has changed
    since is left alone and reported.

    \b
    Examples:
      helixstore undo
      helixstore undo 3 --dry-run
    """
    wanted = whole(n, "N")
    current = session(context)
    with current.open() as store:
        current.report(store.undo(wanted, dry_run=dry_run, ask=current.asker(yes)))


def leave(context: typer.Context, provider: OneProvider = None, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Turn every link back into an ordinary file in its place.

    Afterwards nothing depends on helixstore, and the store can be deleted. Needs the space of all the copies, and
    refuses before it begins when that is missing. Works years later too.

    \b
    Examples:
      helixstore leave --dry-run
      helixstore leave --provider ollama
      helixstore leave --yes
    """
    current = session(context)
    with current.open() as store:
        current.report(store.leave(provider, dry_run=dry_run, ask=current.asker(yes)))


@trash.command("list")
def trash_list(context: typer.Context) -> None:
    """What gc has put aside and not yet deleted.

    \b
    Example:
      helixstore trash list
    """
    current = session(context)
    with current.open() as store:
        current.answer({"trash": store.trash()}, findings.trash)


@trash.command("restore")
def trash_restore(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="FILE", help="A digest as trash list shows it, or its start.")],
    dry_run: DryRun = False,
) -> None:
    """Take a file out of the trash, back into the store.

    \b
    Example:
      helixstore trash restore 1f3a9c02
    """
    current = session(context)
    with current.open() as store:
        restored = 0 if dry_run else store.restore_from_trash(which)
        current.answer({"restored": restored, "dry_run": dry_run}, findings.restored)


def gc(
    context: typer.Context,
    now: Annotated[bool, typer.Option("--now", help="Do not wait out the day of grace and the week of trash.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Collect what no model needs any more.

    A file without a claim is marked, a day later moved to the trash, and a week after that deleted. --now asks, and
    then deletes at once what is yours alone, and what only undo keeps for you.

    \b
    Examples:
      helixstore gc
      helixstore gc --dry-run
      helixstore gc --now
    """
    current = session(context)
    with current.open() as store:
        if now and not (yes or dry_run) and not _sure(current, store):
            return
        found = store.gc(now=now, dry_run=dry_run)
    current.answer(found, findings.collected_now if now and dry_run else findings.collected, found.issues)


def _sure(current: Session, store: HelixStore) -> bool:
    """Show on a terminal what would be deleted, and ask; True where nobody is there to answer."""
    if current.out.as_json or not interactive():
        return True
    preview = store.gc(now=True, dry_run=True)
    if not (preview.trashed or preview.unlinked or preview.undo):
        return True
    for line in findings.collected_now(preview):
        current.out.note(line)
    return confirm(current.out, "Delete this for good?")


def verify(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", show_default=False,
                                                help="Only this model; else the whole store.")] = None,
    sample: Annotated[str | None, typer.Option(
        "--sample", metavar="AMOUNT", show_default=False,
        help="Only 5%, 20GB or 100 (files): first what was not read for the longest time.")] = None,
    repair: Annotated[bool, typer.Option(
        "--repair", help="Bring damaged and missing files back from other copies, or from where they came.")] = False,
    sources: Annotated[list[str] | None, typer.Option(
        "--from", metavar="PATH", show_default=False,
        help="With --repair: a file, folder or store that may have them; may be given several times.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Read the store's files and compare them with their names.

    A file whose bytes are not what its name says is put in quarantine and reported, and is not handed out again.
    --repair looks for its bytes: in other copies on this computer, and in the repository that it came from. Only the
    ranges that are damaged are taken, and the whole is proven before it takes the place of the damaged file, which
    waits in the trash.

    \b
    Examples:
      helixstore verify
      helixstore verify --sample 5%
      helixstore verify --repair --dry-run
      helixstore verify --repair --from /mnt/backup/store
    """
    if sources and not repair:
        raise typer.BadParameter("it goes with --repair", param_hint="--from")
    current = session(context)
    with current.open() as store:
        found = store.verify(model, sample=sample, repair=repair, source=sources or (), dry_run=dry_run)
    current.answer(found, findings.verified, findings.damage(found))


def reindex(context: typer.Context) -> None:
    """Build the index again from the store.

    The index only answers faster what the store's files say; it can be deleted at any time.

    \b
    Example:
      helixstore reindex
    """
    current = session(context)
    with current.open() as store:
        found = store.reindex()
    current.answer(found, findings.reindexed, found.issues)


def doctor(
    context: typer.Context,
    mount: Annotated[str | None, typer.Option(
        "--mount", metavar="DIR", show_default=False,
        help="Try what the file system under this folder can do; needs no store.")] = None,
    with_other_host: Annotated[bool, typer.Option(
        "--with-other-host", help="With --mount, on two hosts at once: what each sees of the other.")] = False,
) -> None:
    """Find what is wrong, and the command that mends it.

    Tries which links work between the store and each program's folder, and looks at the configuration, the index and
    whatever an interrupted command left. Changes nothing. Exit code 3 when it finds a problem.

    With --mount it tries a folder instead: whether a store, programs' folders or the index can be on that file system,
    and what the programs there will see of each other. It leaves nothing behind.

    \b
    Examples:
      helixstore doctor
      helixstore doctor --mount /mnt/nas
      helixstore doctor --mount /mnt/nas --with-other-host
    """
    current = session(context)
    if mount is not None:
        from helixstore.cli.trial import refused, tried
        from helixstore.engine import HelixStore

        report = HelixStore.try_mount(mount, with_other_host=with_other_host, note=current.out.note)
        current.answer(report, tried, refused(report))
        return
    if with_other_host:
        raise typer.BadParameter("name the folder that both hosts have mounted", param_hint="--mount")
    with current.open() as store:
        found = store.doctor()
    current.answer({"checks": found}, findings.checks, findings.problems(found))
