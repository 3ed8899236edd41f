"""Checks with the whole engine in a sandbox: what a person or the program deletes, and what lay there before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from helixstore.fs import kernel
from helixstore.providers.layout import Entry, Env, Facts, Inner, Layout, Reader, Root, Text, Weight
from helixstore.providers.reader import DiskReader
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.settings import set_value
from helixstore.store.store import Store
from helixstore.sync.change import change
from helixstore.sync.wanted import Change
from helixstore.testing.case import Case, Projected, check, require
from helixstore.testing.estate import tree
from helixstore.testing.ground import once
from helixstore.values import Key, Variant


@dataclass
class House(Session):
    """A person's whole helixstore over one layout, as if on another kind of machine.

    Args:
        layout: the only one there is.
        machine: the machine it believes to be on.
    """

    layout_on_trial: Layout | None = None
    machine: Facts | None = None

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """The one."""
        assert self.layout_on_trial is not None
        return {self.layout_on_trial.name: self.layout_on_trial}

    @cached_property
    def facts(self) -> Facts:
        """The machine."""
        assert self.machine is not None
        return self.machine

    def env(self, provider: str, reader: Reader, farms: Path) -> Env:
        """Of that machine, with what the reader sees of the home."""
        return Env(self.places.home, self.environ, self.facts.platform, farms, reader, None)

    def sync(self, **options: bool) -> SyncReport:
        """A sync, which must do its work without an issue."""
        report = change(self, Change(**options))     # type: ignore[arg-type]
        require(not report.issues, f"{report.issues[0].path}: {report.issues[0].message}" if report.issues else "")
        return report

    def projected(self) -> list[Projected]:
        """What the layout wants now, of everything that is in the store."""
        self.index.refresh()
        layout = next(iter(self.layouts.values()))
        variants = [v for v in self.index.variants() if layout.accepts(v, self.facts) is None]
        return [Projected(self.facts, placed.root, tuple(variants),
                          tuple(layout.project(variants, placed.root, self.facts)))
                for placed in self.roots(DiskReader(self.places.home), self.farms) if not placed.root.forbid]


@check
def what_the_program_deletes_stays_deleted(case: Case) -> None:
    """Deleted as the program does it, a model is hidden there, alone; the store is whole; it can come back."""
    with _house(case, _some(case)) as house:
        _deleted(house, as_program=True)


@check
def what_the_person_deletes_stays_deleted(case: Case) -> None:
    """When only its witness is removed, a model is hidden there, and nothing else changes; it can come back."""
    with _house(case, _some(case)) as house:
        _deleted(house, as_program=False)


@check
def what_lies_there_keeps_its_place(case: Case) -> None:
    """A sync over models that lie in the folder already takes them in where they are: no path, no byte changes."""
    some = case.one_of_each(case.machine)
    with _house(case, ()) as house:
        placed = [one.root for one in house.roots(DiskReader(case.home), house.farms)]
        roots = [root for root in placed if not root.forbid and not root.cache]
        projected = [case.project(some, root, case.machine) for root in roots]
        _put_as_files(case, projected)
        before = [_contents(root) for root in roots]
        house.sync()
        for root, was in zip(roots, before, strict=True):
            now = _contents(root)
            other = sorted(path for path in was.keys() | now.keys() if was.get(path) != now.get(path))
            require(not other, f"a sync over what lay in {root.path} changes {', '.join(other[:3])}")
        house.index.refresh()
        known = {file.blake3 for variant in house.index.variants() for file in variant.files}
        for variant in some if roots else ():
            lost = {file.blake3 for file in variant.weights} - known
            require(not lost, f"{variant.key} lay in its folder, and a sync does not take it in")
        report = house.sync()
        require(report.nothing, f"a second sync has {len(report.actions)} steps, such as "
                                f"{report.actions[0] if report.actions else ''}")


@contextmanager
def _house(case: Case, loose: Sequence[Variant]) -> Iterator[House]:
    """A helixstore in the case's home, with these models in a folder of the person's."""
    environ = {"HOME": str(case.home), "USERPROFILE": str(case.home), "PATH": os.defpath}
    house = House(environ, folder=case.home / "helixstore", layout_on_trial=case.layout, machine=case.machine)
    models = case.home / "loose"
    for variant in loose:
        for file in variant.files:
            path = models / f"{variant.key.model}-{variant.quantization}" / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(case.content(file.blake3))
            os.utime(path, (1_700_000_000, 1_700_000_000))
    models.mkdir(exist_ok=True)
    Store.create(case.home / "helixstore", house.places.host())
    set_value(house.places, f"providers.{case.layout.name}.on", True)
    set_value(house.places, "scan", [str(models)])
    set_value(house.places, "local_namespace", case.machine.namespace)
    try:
        yield house
    finally:
        house.close()


def _some(case: Case) -> list[Variant]:
    """One of each kind, and one more of the first: enough to see that the others stay."""
    some = case.one_of_each(case.machine)
    more = [variant for variant in case.accepted(case.machine) if variant not in some and not variant.hub]
    return [*some, *more[:2]]


def _deleted(house: House, *, as_program: bool) -> None:
    house.sync()
    before = house.projected()
    require(any(each.entries for each in before), "after a sync of models that it accepts it wants nothing")
    victims = _victims(before)
    for each, victim in victims:
        _delete(house, each, victim, as_program)
    gone = {(each.root.path, victim.key) for each, victim in victims}
    paths = [each.root.path / entry.path for each, victim in victims for entry in each.of(victim.key) if entry.witness]
    require(not any(os.path.lexists(path) for path in paths), "its delete leaves the model's witness")
    for digest in house.store.blobs.digests():
        house.store.blobs.check(digest)
    house.sync()
    require(not any(os.path.lexists(path) for path in paths), "a sync brings back what was deleted")
    _others_are_whole(before, gone)
    report = house.sync()
    require(report.nothing, f"after a deletion every sync has {len(report.actions)} steps, such as "
                            f"{report.actions[0] if report.actions else ''}")
    house.sync(restore=True)
    require(all(os.path.lexists(path) for path in paths), "sync --restore does not bring back what was deleted")
    _others_are_whole(before, set())


def _victims(projected: Sequence[Projected]) -> list[tuple[Projected, Variant]]:
    """In each root one model, and if there are more than two another of another format."""
    chosen = []
    for each in projected:
        here = each.here
        families = {variant.format.family: variant for variant in reversed(here)}
        few = list(families.values())[:1] if len(here) < 3 else list(families.values())
        chosen += [(each, variant) for variant in few]
    return chosen


def _delete(house: House, each: Projected, victim: Variant, as_program: bool) -> None:
    layout = next(iter(house.layouts.values()))
    if as_program:
        try:
            layout.delete_as_program_does(each.root.path, victim, each.entries)
        except LookupError:
            pass                        # the program has none of its own: then only a person deletes
        else:
            return
    for entry in once(entry for entry in each.of(victim.key) if entry.witness).values():
        kernel.unlink(each.root.path / entry.path)


def _others_are_whole(projected: Sequence[Projected], gone: set[tuple[Path, Key]]) -> None:
    for each in projected:
        for entry in each.entries:
            if entry.key is None or (each.root.path, entry.key) in gone or not isinstance(entry.body, Weight | Inner):
                continue
            path = each.root.path / entry.path
            require(path.is_file(), f"{entry.path} of {entry.key}, which nobody deleted, is gone")
            require(not isinstance(entry.body, Weight) or path.stat().st_size == entry.body.bytes,
                    f"{entry.path} of {entry.key}, which nobody deleted, is cut")


def _put_as_files(case: Case, projected: Sequence[Projected]) -> None:
    """All that is wanted, as a program or a person has it: files of their own, old ones."""
    for each in projected:
        each.root.path.mkdir(parents=True, exist_ok=True)
        for entry in sorted(once(each.entries).values(), key=lambda entry: entry.order):
            _put(case, each.root.path / entry.path, entry)


def _put(case: Case, path: Path, entry: Entry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = entry.body
    if isinstance(body, Inner):
        kernel.symlink(body.target, path)
        return
    path.write_bytes(body.data if isinstance(body, Text) else case.content(body.blob))
    os.utime(path, (1_700_000_000, 1_700_000_000))


def _contents(root: Root) -> dict[str, str]:
    """Path -> bytes or text of a link; what is adopted is read-only afterwards, so modes may differ."""
    return {path: said for path, (_, said) in tree(root.path).items()}
