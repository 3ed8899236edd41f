"""Whether a touched path is worth a look, and when: what is ours and as we left it is not, nor what is still written.

This only saves work. A path that is let through is judged by the pass, which looks at the file itself; one that is
wrongly held back is found by the next full scan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING

from helixstore.farm.ledger import FOLDER, Record
from helixstore.farm.plan import Look
from helixstore.farm.scan import look_at
from helixstore.formats.names import WEIGHT_EXTENSIONS, extension, is_digest, shard_name, shard_of_name
from helixstore.fs.listing import scandir
from helixstore.fs.locks import Lease, writers_of
from helixstore.fs.names import MARKERS, unfinished
from helixstore.providers.reader import DiskReader
from helixstore.sync.untouched import untouched

if TYPE_CHECKING:
    from helixstore.session import Session

__all__ = ["News", "Sieve"]

_MANY = 10_000                  # judgements that are remembered
_LINKS = frozenset({"symlink", "inner"})


class News(Enum):
    """What a touched path means."""

    NOTHING = "nothing"
    WHOLE = "whole"                     # a file that is finished, as far as can be told
    PART = "part"                       # one file of several that make a model together: more will come
    GONE = "gone"                       # something that we know is not there any more
    WRITTEN = "written"                 # somebody writes it still, or may


class Sieve:
    """See the module.

    Args:
        session: whose ledgers.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._judged: dict[str, Look] = {}
        self._ledgers: list[tuple[str, Mapping[str, Record]]] = []

    def open(self) -> None:
        """Before a batch of questions: read the ledgers as they are now."""
        ledgers = self._session.farm.ledgers
        self._ledgers = [(root + "/" if root else "", ledgers.of(root).records) for root in ledgers.roots()]

    def news(self, path: str, folder: bool) -> News:
        """What an event about a path means.

        Args:
            path: absolute, as settings and layouts name the folder that it is in.
            folder: the event was about a folder.
        """
        beside = next((ending for ending in MARKERS if path.endswith(ending)), "")
        if beside and not os.path.lexists(path):
            path = path.removesuffix(beside)        # what said that this is unfinished is gone, as aria2 leaves it
        if unfinished(os.path.basename(path)):
            return News.NOTHING
        try:
            look = look_at(path)
        except OSError:
            return News.PART            # the pass says what is wrong
        records = self._records(path)
        if look is None:
            self._judged.pop(path, None)
            return News.GONE if records or (folder and self._below(path)) else News.NOTHING
        if look.kind == "folder":
            return News.NOTHING         # what is in it is told one by one, also when it was moved in
        if any(_as_left(look, record) for record in records) or self._judged.get(path) == look:
            return News.NOTHING
        return self._gate(path, known=bool(records))

    def comes(self, path: str) -> bool:
        """Whether a file that is `WHOLE` is a new one, and by its name weights: then nothing else needs a look."""
        return extension(os.path.basename(path)) in WEIGHT_EXTENSIONS and not self._records(path)

    def left(self, root: str) -> bool:
        """Whether a root is as we left it, to the last name; or has nothing in it but other roots, and should not."""
        records = self._session.farm.ledgers.of(root).records
        if any(record.kind != FOLDER for record in records.values()):
            return untouched(root, records, DiskReader(self._session.places.home))
        return not self._filled(root)

    def looks(self, paths: Iterable[str]) -> dict[str, Look | None]:
        """How these paths are before a pass."""
        return {path: _look(path) for path in paths}

    def unsettled(self, before: Mapping[str, Look | None]) -> list[str]:
        """After a pass: the paths that changed while it ran, or that were in use.

        The others need no look as long as they are as they were: what could be done about them was done.
        """
        self.open()
        if len(self._judged) > _MANY:
            self._judged.clear()
        again = []
        for path, look in before.items():
            now = _look(path)
            if any(now is not None and _as_left(now, record) for record in self._records(path)):
                continue
            if now != look or (now is not None and writers_of(os.path.realpath(path)) is Lease.BUSY):
                again.append(path)
            elif now is not None and now.kind != "folder":
                self._judged[path] = now
        return again

    def _gate(self, path: str, known: bool) -> News:
        """Whether a file that is new, or not as we left it, is finished."""
        folder, name = os.path.split(path)
        if is_digest(name) and not known:
            return News.NOTHING         # its program names it in a manifest, when it is whole
        if any(os.path.lexists(path + ending) for ending in MARKERS):
            return News.NOTHING
        shard = shard_of_name(name)
        others = [shard_name(shard, number) for number in range(1, shard.total + 1)] if shard is not None else []
        if not all(os.path.lexists(os.path.join(folder, other)) for other in others):
            return News.NOTHING
        real = os.path.realpath(path)
        state = writers_of(real)
        if state is Lease.BUSY or (state is Lease.UNKNOWN and not self._settled(real)):
            return News.WRITTEN
        several = extension(name) in ("safetensors", "bin", "pt", "json", "model", "txt", "jinja") and (
            name == "config.json" or os.path.lexists(os.path.join(folder, "config.json"))
            or extension(name) == "safetensors")
        return News.PART if several or shard is not None else News.WHOLE

    def _settled(self, path: str) -> bool:
        """Whether a file of which nobody can tell who writes it has been as it is for long enough."""
        try:
            return time.time() - os.stat(path).st_mtime >= self._session.settings.settle
        except OSError:
            return True                 # the pass says what is wrong

    def _filled(self, folder: str) -> bool:
        """Whether a folder has anything in it on no way to a root of ours; a link to one counts as a name."""
        roots = [f"{root}/" for root in self._session.farm.ledgers.roots() if root]
        try:
            with scandir(folder) as entries:
                return any(not any(root.startswith(f"{entry.path}/") for root in roots) for entry in entries)
        except OSError:
            return False

    def _records(self, path: str) -> list[Record]:
        return [record for prefix, records in self._ledgers if path.startswith(prefix)
                and (record := records.get(path[len(prefix):])) is not None]

    def _below(self, folder: str) -> bool:
        """Whether anything of ours lay below a folder that is gone."""
        inside = folder + "/"
        return any(path.startswith(inside[len(prefix):]) for prefix, records in self._ledgers
                   if inside.startswith(prefix) for path in records)


def _as_left(look: Look, record: Record) -> bool:
    """Whether what lies there is what the ledger says."""
    if record.kind == FOLDER:
        return look.kind == "folder"
    if record.kind in _LINKS:
        return look.kind == "link" and look.target == record.target
    return look.inode == record.inode and (
        record.kind == "hard" or (look.bytes, look.mtime_ns) == (record.bytes, record.mtime_ns))


def _look(path: str) -> Look | None:
    """What lies there; None too when it cannot be told."""
    try:
        return look_at(path)
    except OSError:
        return None
