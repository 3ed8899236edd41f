"""What was done, or would be, as lines of text: for the report of a command and for the question before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helixstore.cli.output import count, homely, table
from helixstore.sizes import size

if TYPE_CHECKING:
    from helixstore.results import Adopted, SyncReport

__all__ = ["changes", "programs", "question"]

#: Lines of one kind before the rest is only counted; --json has all.
_SHOWN = 20
#: Whose the links of `link MODEL DIR` are, in place of a program.
_LINKED_BY_HAND = "link"
_OWN_FOLDERS = "(your own folders)"
#: A link becomes a file that takes space.
_OWN = ("own",)
#: Empty folders around the links; --json has them.
_FOLDERS = ("folder", "unfolder")
_OPS = {
    "remove": "remove", "intake": "take in", "swap": "replace by a link", "decline": "leave alone from now on",
    "restore": "give back", "own": "make a file of its own",
}
_MADE = {"weight": "link", "inner": "link", "copy": "copy to", "text": "write"}


def changes(report: SyncReport, steps: bool = True) -> Iterator[str]:
    """A finished report; of a dry run, with `steps`, every step as well."""
    yield from report.notes
    if report.failed:
        yield "Nothing of this could be done."
        return
    if report.nothing:
        right = f": {count(report.unchanged, 'file is', 'files are')} as they should be" if report.unchanged else ""
        yield f"Nothing to do{right}."
        return
    if report.dry_run and steps:
        yield from _steps(report.actions)
        yield ""
    yield from _adopted(report.adopted, "Would take in:" if report.dry_run else "Taken into the store:")
    if figures := list(programs(report)):
        yield from [*figures, ""]
    if report.dry_run:
        yield from _space(report)
        yield f"Nothing was changed{'' if steps else '; --json lists every step'}."
    else:
        freed = f"Freed {size(report.saved_bytes)}. " if report.saved_bytes else ""
        yield f"{freed}Done; `helixstore log` has it." if report.operation is not None else f"{freed}Done."


def question(report: SyncReport) -> Iterator[str]:
    """What a person should know before they say yes."""
    yield from _adopted(report.adopted, "These files are taken into the store and become read-only:")
    yield from programs(report)
    yield from _space(report)


def _space(report: SyncReport) -> Iterator[str]:
    if report.saved_bytes:
        yield f"This frees {size(report.saved_bytes)}."
    needed = sum(action["bytes"] for action in report.actions if action["op"] in _OWN)
    if needed:
        yield f"Links become files of their own, which takes {size(needed)} of space."


def programs(report: SyncReport) -> Iterator[str]:
    """One line for each program: how many models it gets and loses, in bytes, and what its folder frees."""
    from helixstore.farm.library import Library

    freed = {adopted.path: adopted.freed for adopted in report.adopted}
    sums: dict[str, _Sum] = {}
    for action in report.actions:
        for provider in action["providers"]:
            if provider == Library.name:
                continue                # where `path` leads to, and no program
            name = "" if provider == _LINKED_BY_HAND else provider
            sums.setdefault(name, _Sum()).take(action, freed.get(action["path"], 0))
    listed = [(name or _OWN_FOLDERS, *sums[name].cells()) for name in sorted(sums, key=lambda n: (not n, n))]
    rows = [row for row in listed if any(row[1:])]
    headers = ("program", "models", "linked", "small files", "removed", "own files", "frees")
    used = [i for i in range(len(headers)) if any(row[i] for row in rows)]
    yield from table([headers[i] for i in used], [[row[i] for i in used] for row in rows], right=range(1, len(used)))


class _Sum:
    """What happens in one program's folders."""

    def __init__(self) -> None:
        self.models: set[str] = set()
        self.shown: set[str] = set()
        self.linked = self.small = self.removed = self.own = self.freed = 0

    def take(self, action: Mapping[str, Any], freed: int) -> None:
        """Count one action."""
        self.freed += freed
        if action["op"] in ("make", "replace", "intake", "swap"):
            self.models.update(action["models"])
        if action["op"] in ("make", "replace"):
            if action["what"] == "weight":
                self.linked += action["bytes"] if action["blake3"] not in self.shown else 0     # of several names one
                self.shown.add(action["blake3"])
            else:
                self.small += 1
        elif action["op"] == "remove":
            self.removed += 1
        elif action["op"] in _OWN:
            self.own += 1

    def cells(self) -> tuple[str, ...]:
        """As cells of the table; what is nothing is left empty."""
        return (str(len(self.models) or ""), size(self.linked) if self.linked else "", str(self.small or ""),
                str(self.removed or ""), str(self.own or ""), size(self.freed) if self.freed else "")


def _steps(actions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for action in actions:
        if action["op"] in ("hide", "unhide"):
            yield f"{action['op']} {', '.join(action['models'])} in {homely(action['path'])}"
        elif action["op"] not in _FOLDERS:
            note = f"  ({action['note']})" if action["note"] else ""
            verb = _OPS.get(action["op"]) or _MADE.get(action["what"], action["op"])
            yield f"{verb} {homely(action['path'])}{note}"


def _adopted(adopted: Sequence[Adopted], title: str) -> Iterator[str]:
    if not adopted:
        return
    yield title
    listed = sorted(adopted, key=lambda one: (-one.freed, -one.bytes, one.path))
    for line in table(("model", "variant", "size", "frees", "path"), [
        (one.model, one.variant, size(one.bytes), size(one.freed) if one.freed else "", homely(one.path))
        for one in listed[:_SHOWN]
    ], right=(2, 3)):
        yield f"  {line}"
    if len(listed) > _SHOWN:
        yield f"  and {len(listed) - _SHOWN:,} more (--json lists all)"
    yield ""
