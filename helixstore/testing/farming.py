"""Checks on real folders: what the engine makes of a layout's entries, step by step, and that all of it goes again."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from helixstore.providers.layout import Copy, Entry, Text, Weight
from helixstore.testing.case import Case, Projected, check, require, texts
from helixstore.testing.estate import Estate, dangling, person_puts, tree
from helixstore.testing.ground import once
from helixstore.testing.projecting import named_in
from helixstore.values import LinkKind

_KINDS = (LinkKind.HARD, LinkKind.SYMBOLIC)


@check
def every_path_reads_the_right_bytes(case: Case) -> None:
    """After a sync, by hard links and by symbolic ones, each path opens and reads what it should; folders are real."""
    for kind in _KINDS:
        with _estate(case, kind) as (estate, projected):
            estate.sync(projected, kind=kind)
            for each in projected:
                for entry in once(each.entries).values():
                    _reads_right(case, each, entry)


@check
def a_second_sync_does_nothing(case: Case) -> None:
    """When nothing has changed, there is nothing to do."""
    for kind in _KINDS:
        with _estate(case, kind) as (estate, projected):
            estate.sync(projected, kind=kind)
            again = [estate.case.project(each.variants, each.root, each.facts) for each in projected]
            outcome = estate.sync(again, kind=kind)
            steps = [step["path"] for step in outcome.plan.describe()] if outcome.plan else []
            require(not steps, f"a second sync has {len(steps)} steps, such as {steps[0] if steps else ''}")


@check
def removal_leaves_no_trace(case: Case) -> None:
    """Turned on and off again, the folder is what it was before: every file, every mode, every folder."""
    for kind in _KINDS:
        with _estate(case, kind) as (estate, projected):
            person_puts(projected[:1])
            before = [tree(each.root.path) for each in projected]
            estate.sync(projected, kind=kind)
            _gives_up(estate, projected, kind)
            for each, was in zip(projected, before, strict=True):
                now = tree(each.root.path)
                other = sorted(path for path in was.keys() | now.keys() if was.get(path) != now.get(path))
                other = other if was else [path for path in other if path != "."]     # the root itself may stay
                require(not other, f"after removal {', '.join(other[:3])} in {each.root.path} is not as it was before")


@check
def taking_one_away_leaves_the_others(case: Case) -> None:
    """When one model goes, every other one still reads the right bytes, sidecars and all."""
    with _estate(case, LinkKind.HARD) as (estate, projected):
        estate.sync(projected)
        for gone in case.shapes(case.machine):
            rest = [case.project([v for v in each.variants if v is not gone], each.root, each.facts)
                    for each in projected]
            estate.sync(rest)
            for each, less in zip(projected, rest, strict=True):
                others = [entry for entry in each.entries if entry.key not in (None, gone.key)]
                for entry in once([*others, *less.of(None)]).values():
                    _reads_right(case, each, entry)


@check
def nothing_dangles_on_the_way(case: Case) -> None:
    """After each single step of making and of removing, no link leads nowhere and no sidecar names a missing file."""
    for kind in _KINDS:
        with _estate(case, kind) as (estate, projected):
            looked = _watch(projected)
            estate.sync(projected, kind=kind, progress=looked)
            _gives_up(estate, projected, kind, looked)


@contextmanager
def _estate(case: Case, kind: LinkKind) -> Iterator[tuple[Estate, list[Projected]]]:
    """A store and farm over a home that is used for this kind of link alone."""
    own = type(case)(case.layout, case.home / kind.value, case._samples)
    own.home.mkdir()
    projected = own.farm(own.one_of_each(own.machine))
    require(projected, "all its roots forbid to put anything there")
    yield Estate(own), projected


def _gives_up(
    estate: Estate, projected: Sequence[Projected], kind: LinkKind, progress: Callable[[int, int], None] | None = None
) -> None:
    """The layout is turned off."""
    estate.sync([replace(each, entries=(), variants=()) for each in projected], kind=kind, progress=progress)


def _reads_right(case: Case, projected: Projected, entry: Entry) -> None:
    path = projected.root.path / entry.path
    for folder in path.parents:
        if folder == projected.root.path:
            break
        require(not folder.is_symlink(), f"the folder {folder} is a link")
    require(path.is_file(), f"{entry.path} is not there, or leads nowhere")
    data, mode = path.read_bytes(), os.lstat(path).st_mode
    match entry.body:
        case Weight(blob, _, _):
            require(data == case.content(blob), f"{entry.path} reads other bytes than its blob has")
        case Copy(blob, _):
            require(data == case.content(blob), f"{entry.path} reads other bytes than its blob has")
            require(stat.S_ISREG(mode) and os.stat(path).st_nlink == 1, f"{entry.path} is no file of its own")
        case Text(text):
            require(data == text and stat.S_ISREG(mode), f"the sidecar {entry.path} is no regular file with its text")
        case _:
            pass


def _watch(projected: Sequence[Projected]) -> Callable[[int, int], None]:
    """Looks at the folders after each step; what it finds wrong it raises."""
    sidecars = [
        (each.root.path, entry, named)
        for each in projected for entry, text in texts(once(each.entries).values())
        if (named := named_in(text.data, [
            other for other in each.entries if other.path != entry.path and entry.key in (None, other.key)]))]

    def look(done: int, total: int) -> None:
        for each in projected:
            lost = dangling(each.root.path)
            require(not lost, f"after step {done} of {total} the link {lost[0] if lost else ''} leads nowhere")
        for root, entry, named in sidecars:
            if (root / entry.path).exists():
                lost = [path for path in named if not (root / path).exists()]
                require(not lost, f"after step {done} of {total} {entry.path} names {lost[0] if lost else ''}, "
                                  "which is not there")

    return look
