"""A store and a farm of their own, in which the engine carries out what a layout wants, and trees to be compared."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from helixstore.farm.desired import WantedRoot, join
from helixstore.farm.farm import Farm
from helixstore.farm.outcome import Outcome
from helixstore.fs import kernel
from helixstore.providers.layout import Copy, Weight
from helixstore.store.host import Host
from helixstore.store.store import Store
from helixstore.sync.projection import left_of
from helixstore.testing.case import Case, Projected, require
from helixstore.testing.ground import ConfinedReader
from helixstore.values import LinkKind

__all__ = ["Estate", "dangling", "person_puts", "tree"]

#: Path relative to a folder -> (mode, digest of the bytes, or the text of a link; "" for a folder)
Tree = dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class _Settings:
    undo_window: float = 7 * 86400.0


class Estate:
    """A store with the blobs of a case, and one farm over it, in the case's home.

    Args:
        case: the layout on trial.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self._stocked: set[str] = set()

    @cached_property
    def store(self) -> Store:
        """The store: one for all checks of this process, since making it takes longer than most of them."""
        here = os.stat(self.case.home).st_dev
        usual = tempfile.gettempdir()
        return _store(usual if os.stat(usual).st_dev == here else os.fspath(self.case.home.parent))

    @cached_property
    def farm(self) -> Farm:
        """The farm."""
        farm = Farm(self.store, None, self.case.home / "state", _Settings())
        farm.needed = lambda root, providers: self.case.layout.needed(Path(root), ConfinedReader(self.case.home))
        return farm

    def stock(self, projected: Iterable[Projected]) -> None:
        """Put every blob that is wanted into the store."""
        wanted = {entry.body.blob for each in projected for entry in each.entries
                  if isinstance(entry.body, Weight | Copy)} - self._stocked
        self.store.blobs.add_many([self.case.content(digest) for digest in sorted(wanted)])
        self._stocked |= wanted

    def sync(
        self, projected: Sequence[Projected], *, kind: LinkKind | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Outcome:
        """Plan and apply what is wanted.

        Args:
            projected: one for each root.
            kind: weights by this kind of link wherever the layout allows it.
            progress: told after each step.
        """
        self.stock(projected)
        plan = self.farm.plan([self._wanted(each, kind) for each in projected])
        require(not plan.issues, f"{plan.issues[0].path}: {plan.issues[0].message}" if plan.issues else "")
        outcome = self.farm.apply(plan, progress=progress)
        require(not outcome.issues, f"{outcome.issues[0].path}: {outcome.issues[0].message}" if outcome.issues else "")
        return outcome

    def _wanted(self, projected: Projected, kind: LinkKind | None) -> WantedRoot:
        entries = [
            replace(entry, body=replace(entry.body, kinds=(kind,)))
            if isinstance(entry.body, Weight) and kind in entry.body.kinds else entry
            for entry in projected.entries]
        root, issues = join(str(projected.root.path), [(self.case.layout.name, entries)], projected.root.owned)
        require(not issues, f"{issues[0].path}: {issues[0].message}" if issues else "")
        return replace(root, left_of=left_of([self.case.layout]))


@lru_cache(maxsize=8)
def _store(parent: str) -> Store:
    """A store in a new folder of `parent`, which goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="helixstore-kept-", dir=parent))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    uid = os.getuid() if hasattr(os, "getuid") else 0
    return Store.create(folder / "store", Host("h0", uid, "b0", False))


def tree(folder: Path) -> Tree:
    """Everything below a folder, and the folder itself as "."; {} when it is not there."""
    found: Tree = {}
    if not folder.is_dir():
        return found
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files, *([""] if where == str(folder) else [])):
            path = os.path.join(where, name) if name else where
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                said = os.readlink(path)
            elif stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    said = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                said = ""
            found[os.path.relpath(path, folder)] = (stat.S_IMODE(mode), said)
    return found


def dangling(folder: Path) -> list[str]:
    """The symbolic links below a folder that lead nowhere, relative to it."""
    return [os.path.relpath(path, folder) for where, folders, files in os.walk(folder) for name in (*folders, *files)
            if os.path.islink(path := os.path.join(where, name)) and not os.path.exists(path)]


def person_puts(projected: Sequence[Projected]) -> list[Path]:
    """Files of the person's in each root: at its top, and in each folder in which the layout wants files too."""
    made = []
    for each in projected:
        folders = {each.root.path, *(each.root.path.joinpath(entry.path).parent for entry in each.entries)}
        for number, folder in enumerate(sorted(folders)):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"notes of the person {number}.txt"
            kernel.write_new(path, f"mine, {number}".encode(), 0o640, durable=False)
            made.append(path)
    return made
