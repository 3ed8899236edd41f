"""A server's folders, and hosts that see them through caches: the model's file system.

A host believes a folder's listing for up to `STALE` seconds, with what it has done there itself; whatever it knows of a
name it believes for as long. A file that it knows opens by its handle, wherever it was moved, until the server has
deleted it. Names are given and taken on the server, at once. There is no rename that refuses to replace: who wants one
looks first, through the cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from actors import current

from helixstore.store.gc_rules import Claims, Lying, Note
from helixstore.store.hosts import SETTLE, Expiry, Forgotten, LastSeen
from helixstore.store.refs import Ref
from helixstore.store.refs import current as current_refs

__all__ = ["LEASE", "SECOND", "STALE", "File", "Item", "Seat", "Server"]

SECOND = 10**9
STALE = SETTLE * SECOND // 2 - 10 * SECOND
LEASE = 6 * 3600 * SECOND


@dataclass(eq=False)
class File:
    """One inode. `says`: what is in it; `names`: how many names it has."""

    says: object
    mtime: int
    names: int = 0


@dataclass
class Server:
    """What really is. Times in nanoseconds on its clock."""

    now: int = 10**18
    folders: dict[str, dict[str, File]] = field(default_factory=dict)
    serial: int = 0

    def fresh(self) -> int:
        self.serial += 1
        return self.serial

    def of(self, folder: str) -> dict[str, File]:
        return self.folders.setdefault(folder, {})

    def holds(self, digest: str) -> str:
        """Where the bytes are: "blobs", "trash" or ""."""
        if digest in self.of("blobs"):
            return "blobs"
        return "trash" if any(digest in files for folder, files in self.folders.items()
                              if folder.startswith("trash/")) else ""


class Item(NamedTuple):
    """What lies in the trash."""

    digest: str
    epoch: str
    corrupt: bool = False


class Seat:
    """A host with its caches, as a process on it sees the store; a `World` for collections.

    Args:
        server: the truth.
        name: of the host.
        ephemeral: its claims end with its lease.
    """

    def __init__(self, server: Server, name: str, ephemeral: bool = False) -> None:
        self.server, self.name, self.ephemeral = server, name, ephemeral
        self._cache: dict[str, tuple[int, dict[str, File]]] = {}
        self.deleted: Callable[[str], None] = lambda digest: None
        self.alone = False
        self.busy_with = ""

    def process(self) -> Seat:
        """Another process on the same host: the caches are common."""
        return copy.copy(self)

    def pause(self, where: str) -> None:
        actor = current()
        if actor is not None:
            actor.pause(where)

    # ---- the file system -------------------------------------------------------------------------------------------

    def forget_cache(self) -> None:
        self._cache.clear()

    def look_everywhere(self) -> None:
        """Believe what is there now, for as long as caches do."""
        for folder, files in self.server.folders.items():
            self._cache[folder] = (self.server.now, dict(files))

    def list(self, folder: str) -> dict[str, File]:
        self.pause(f"list {folder}")
        return dict(self._view(folder))

    def _view(self, folder: str) -> dict[str, File]:
        known = self._cache.get(folder)
        if known is None or self.server.now - known[0] > STALE:
            known = self._cache[folder] = (self.server.now, dict(self.server.of(folder)))
        return known[1]

    def open(self, folder: str, name: str) -> File | None:
        """The file, as the host finds it; None when it believes that there is none."""
        self.pause(f"open {folder}/{name}")
        file = self._view(folder).get(name)
        if file is not None and file.names == 0:            # a stale handle: the server is asked
            self._cache.pop(folder, None)
            file = self._view(folder).get(name)
        return file

    def create(self, folder: str, name: str, file: File) -> bool:
        self.pause(f"create {folder}/{name}")
        if name in self.server.of(folder):
            self._view(folder)[name] = self.server.of(folder)[name]
            return False
        self._put(folder, name, file)
        return True

    def replace(self, folder: str, name: str, file: File) -> None:
        self.pause(f"replace {folder}/{name}")
        if (old := self.server.of(folder).pop(name, None)) is not None:
            old.names -= 1
        self._put(folder, name, file)

    def _put(self, folder: str, name: str, file: File) -> None:
        self.server.of(folder)[name] = self._view(folder)[name] = file
        file.names += 1
        parent, _, last = folder.rpartition("/")
        if parent and last not in self.server.of(parent):
            self.server.of(parent)[last] = self._view(parent)[last] = File(None, self.server.now, 1)

    def unlink(self, folder: str, name: str) -> bool:
        self.pause(f"unlink {folder}/{name}")
        self._view(folder).pop(name, None)
        file = self.server.of(folder).pop(name, None)
        if file is not None:
            file.names -= 1
        return file is not None

    def rename_new(self, folder: str, name: str, target: str) -> bool:
        """False when something is in the way, as far as is seen; FileNotFoundError when there is no such file."""
        if name in self._view(target):
            return False
        self.pause(f"rename {folder}/{name} to {target}")
        file = self.server.of(folder).pop(name, None)
        self._view(folder).pop(name, None)
        if file is None:
            raise FileNotFoundError(f"{folder}/{name}")
        if (old := self.server.of(target).get(name)) is not None:
            old.names -= 1
        file.names -= 1
        self._put(target, name, file)
        return True

    def write(self, says: object) -> File:
        """A file in staging: its time is that of its writing, which may be long before it gets a name."""
        self.pause("write")
        return File(says, self.server.now)

    # ---- what anybody does -----------------------------------------------------------------------------------------

    def claim(self, digest: str | None, supersedes: Collection[str] = ()) -> str:
        """Publish a ref; its name."""
        name = f"{self.name}-{self.server.fresh()}"
        file = self.write((digest, tuple(supersedes)))
        self.create(f"refs/{self.name}", name, file)
        return name

    def keep(self, operation: str, digests: Collection[str]) -> None:
        self.replace(f"keeps/{self.name}", operation, self.write(frozenset(digests)))

    def drop(self, operation: str) -> None:
        self.unlink(f"keeps/{self.name}", operation)

    def ensure(self, digest: str) -> bool:
        """As `Blobs.ensure`."""
        return self.open("blobs", digest) is not None or self.revive(digest)

    def revive(self, digest: str) -> bool:
        """As `Blobs.revive`."""
        for epoch in sorted(self.list("trash"), reverse=True):
            try:
                if self.rename_new(f"trash/{epoch}", digest, "blobs"):
                    return True
            except FileNotFoundError:
                continue
        return self.open("blobs", digest) is not None

    # ---- a `World` -------------------------------------------------------------------------------------------------

    def blobs(self) -> set[str]:
        return set(self.list("blobs"))

    def trash(self) -> Sequence[Item]:
        return [Item(digest, epoch) for epoch in self.list("trash") for digest in self.list(f"trash/{epoch}")]

    def notes(self) -> list[Note]:
        found = []
        for name, file in self.list("condemned").items():
            assert isinstance(file.says, dict)
            found.append(Note(name, file.mtime, **file.says))
        return found

    def refs(self) -> Iterator[Ref]:
        for host in self.list("refs"):
            for name, file in self.list(f"refs/{host}").items():
                digest, supersedes = file.says  # type: ignore[misc]
                yield Ref(name, host, 0, digest or "", "", digest, (), False, supersedes, file.mtime)

    def expiry(self) -> Expiry:
        forgotten = tuple(Forgotten(name, str(file.says), None, file.mtime)
                          for name, file in self.list("forgotten").items())
        seen = tuple(LastSeen(host, 0, file.mtime, "", "", int(str(file.says)))
                     for host, file in self.list("seen").items())
        return Expiry(forgotten, seen, self.server.now)

    def claims(self) -> Claims:
        expiry = self.expiry()
        alive: set[str] = set()
        for host in self.list("keeps"):
            for file in self.list(f"keeps/{host}").values():
                if not expiry.over(host, 0, file.mtime):
                    alive |= file.says  # type: ignore[arg-type]
        alive |= {ref.manifest for ref in current_refs(self.refs())
                  if ref.manifest is not None and not expiry.over(ref.host, 0, ref.mtime_ns)}
        return Claims(alive, True)

    def clock_ns(self) -> int:
        self.pause("clock")
        return self.server.now

    def why_keep(self, digest: str) -> str:
        file = self.open("blobs", digest)
        return "another name" if file is not None and file.names > 1 else ""

    def move(self, digests: Sequence[str], epoch: str) -> None:
        for digest in digests:
            try:
                self.rename_new("blobs", digest, f"trash/{epoch}")
            except FileNotFoundError:
                continue

    def bring_back(self, digest: str) -> None:
        self.revive(digest)

    def delete(self, one: Lying) -> None:
        if self.alone and self.others():
            return
        if self.unlink(f"trash/{one.epoch}", one.digest):
            self.deleted(one.digest)

    def note(self, *, condemned: Collection[str] = (), absolved: Collection[str] = (),
             trashed: Collection[tuple[str, str]] = (), settled: Collection[tuple[str, str]] = ()) -> None:
        says = {"condemned": frozenset(condemned), "absolved": frozenset(absolved), "trashed": frozenset(trashed),
                "settled": frozenset(settled)}
        self.create("condemned", f"{self.name}-{self.server.fresh()}", self.write(says))

    def forget(self, notes: Sequence[str]) -> None:
        for name in notes:
            self.unlink("condemned", name)

    def others(self) -> list[str]:
        return [name for name in self.list("staging") if name != self.busy_with]
