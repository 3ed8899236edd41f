"""What upkeep found, as lines of text, and as issues where a person must act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helixstore.cli.output import count, moment, table
from helixstore.sizes import size
from helixstore.values import Issue

if TYPE_CHECKING:
    from helixstore.index import ReindexReport
    from helixstore.results import Check
    from helixstore.store.gc import CollectReport
    from helixstore.store.verify import VerifyReport

__all__ = ["checks", "collected", "collected_now", "damage", "problems", "reindexed", "restored", "trash", "verified"]


def checks(found: Mapping[str, Any]) -> Iterator[str]:
    """`doctor`: one line for each finding."""
    listed: Sequence[Check] = found["checks"]
    for check in listed:
        yield f"{check.state:8}  {check.name}: {check.message}"
    if all(check.state == "ok" for check in listed):
        yield "Nothing is wrong."


def problems(found: Sequence[Check]) -> list[Issue]:
    """What `doctor` found that is not well; each with the command that mends it."""
    return [Issue(check.state, check.name, check.message, check.remedy) for check in found if check.state != "ok"]


def verified(found: VerifyReport) -> Iterator[str]:
    """`verify`: how much was read, and what came of the repair."""
    left = f"; {count(found.unread, 'file')} left for the next sample" if found.unread else ""
    damaged = len({bad.digest for bad in found.bad} | {one.digest for one in found.mended})
    yield f"{count(found.checked, 'file')} intact, {size(found.bytes)} read{left}; {count(damaged, 'file')} damaged."
    for one in found.mended:
        if not one.why:
            will = "would be mended" if found.dry_run else "mended"
            what = "what was appended is cut off" if not one.taken else ", ".join(
                f"{size(part.bytes)} from {part.source}" for part in one.taken)
            yield f"{one.digest[:16]} {will}: {size(one.bad_bytes)} of {size(one.bytes)} were bad; {what}"
            if one.kept:
                yield f"  the damaged bytes wait in the trash: {one.kept}"
    mended = {one.digest for one in found.mended}
    if intact := [digest for digest in found.repaired if digest not in mended]:
        yield f"{count(len(intact), 'file')} out of quarantine: intact again."


def damage(found: VerifyReport) -> list[Issue]:
    """The files that are still damaged, those that could not be mended, and what else does not fit together."""
    tried = {one.digest: one for one in found.mended}
    issues = []
    for bad in found.bad:
        one = tried.pop(bad.digest, None)
        if one is not None and not one.why:
            continue                                    # of a dry run
        why = bad.why
        if bad.models:
            why += f"; part of {', '.join(bad.models)}"
        if bad.programs:
            why += f", which {' '.join(bad.programs)} cannot show until it is mended"
        if bad.given:
            why += f"; the same file, with the same damage: {', '.join(bad.given)}"
        if one is not None:
            issues.append(Issue("quarantined", bad.path, f"{why}; not mended: {one.why}", one.remedy))
        else:
            issues.append(Issue("quarantined", bad.path, why, "helixstore verify --repair"))
    issues += [Issue("missing" if one.why else "quarantined", one.path, f"not mended: {one.why}" if one.why else
                     "mended, but not handed out yet", one.remedy) for one in tried.values() if one.remedy]
    return [*issues, *found.issues]


def collected(found: CollectReport) -> Iterator[str]:
    """`gc`: how far each file has come on its way out."""
    will = found.dry_run
    steps = [
        (found.condemned, "would be condemned" if will else "condemned",
         f"{size(found.condemned_bytes)} that no model needs, for the trash after the grace"),
        (found.waiting, "waiting", "condemned before; the grace is not over"),
        (found.trashed, "would move to the trash" if will else "moved to the trash", size(found.trashed_bytes)),
        (found.restored, "would come back" if will else "came back", "something needs them again"),
        (found.unlinked, "would be deleted" if will else "deleted", f"{size(found.freed_bytes)} freed"),
    ]
    lines = [f"{count(len(digests), 'file')} {what}: {more}" for digests, what, more in steps if digests]
    if found.cleaned_bytes:
        lines.append(f"{size(found.cleaned_bytes)} left over by interrupted commands "
                     f"{'would be' if will else 'were'} removed")
    if found.settle and found.trashed:
        lines.append("Other computers may see these in their old place for some minutes; anybody's next command after "
                     f"{found.settle / 60:.0f} minutes looks once more whether they are needed")
    if found.undo is not None and found.undo.let_go:
        lines.append(f"{_operations(found)} {'could' if will else 'can'} no longer be undone: "
                     f"{size(found.undo.bytes)} {'is' if will else 'was'} kept only for that")
    yield from lines or ["Nothing to collect."]
    if found.undo is not None and not found.undo.let_go:
        yield (f"{size(found.undo.bytes)} kept so that undo can bring it back, until {moment(found.undo.until)}; "
               f"helixstore gc --now gives that up: {_operations(found)} could then no longer be undone")
    for digest, why in found.kept:
        yield f"kept {digest}: {why}"


def collected_now(found: CollectReport) -> Iterator[str]:
    """`gc --now --dry-run`, and before the question: what moves to the trash is deleted in the same run."""
    gone = len(found.trashed) + len(found.unlinked)
    if found.undo is not None:
        yield (f"{count(len(found.undo.digests), 'file')} would be deleted, too, that nothing but undo keeps, until "
               f"{moment(found.undo.until)}: {size(found.undo.bytes)}. {_operations(found)} could then no longer be "
               "undone")
    if gone and found.settle and found.trashed:
        later = f"{2 * found.settle / 60:.0f} minutes later"
        yield (f"{count(len(found.trashed), 'file')} would move to the trash: {size(found.trashed_bytes)}. Other "
               f"computers may still see them, so they are deleted by gc --now {later}")
    elif gone:
        yield f"{count(gone, 'file')} would be deleted: {size(found.trashed_bytes + found.freed_bytes)} freed"
    elif found.undo is None:
        yield from collected(found)


def _operations(found: CollectReport) -> str:
    """The operations that nothing takes back when what they need is gone, as `log` numbers them."""
    assert found.undo is not None
    first, last = found.undo.operations[0], found.undo.operations[-1]
    return f"operation {last}" if first == last else f"the operations {first} to {last}"


def reindexed(found: ReindexReport) -> Iterator[str]:
    """`reindex`: what the index holds now."""
    held = found.figures
    yield (f"The index was built again in {found.seconds:.1f} s: {count(held.models, 'model')} in "
           f"{count(held.variants, 'variant')}, {count(held.blobs, 'file')}, {size(held.bytes)}.")


def restored(found: Mapping[str, Any]) -> Iterator[str]:
    """`trash restore`."""
    yield f"{count(found['restored'], 'file')} restored."


def trash(found: Mapping[str, Any]) -> Iterator[str]:
    """`trash list`."""
    rows = [(row["digest"][:16], size(row["bytes"]), moment(row["since"]), "damaged" if row["corrupt"] else row["was"])
            for row in found["trash"]]
    yield from table(("file", "size", "since", "part of"), rows, right=(1,)) or ["The trash is empty."]
