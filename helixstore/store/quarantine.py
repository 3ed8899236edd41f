"""Quarantine is a marker, `quarantine/<digest>.json`: the blob stays where it is, since moving it would dangle other
people's symbolic links and leave their hard links serving it. A marked blob is not handed out, only replaced.

What was replaced lies in the trash of its disk, `trash/corrupt-<random>/<digest>.corrupt`, for as long as everything
else stays there; by that name its inode is known to everybody who has links to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

from helixstore.fs import kernel
from helixstore.fs.listing import listdir, scandir
from helixstore.store import records
from helixstore.store.trust import believed, steward_of

__all__ = ["CORRUPT", "Quarantine", "damaged_inodes"]

#: the end of the name of what was replaced, in a folder of the trash whose name begins with it
CORRUPT = "corrupt"


def damaged_inodes(roots: Iterable[str]) -> dict[str, set[tuple[int, int]]]:
    """Digest -> (device, inode) of every file that was replaced since it had other bytes, and lies in the trash still.

    Args:
        roots: the folders of the store and of its volumes.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for root in roots:
        with suppress(FileNotFoundError):
            for epoch in listdir(f"{root}/trash"):
                if not epoch.startswith(CORRUPT) or os.path.islink(f"{root}/trash/{epoch}"):
                    continue
                with suppress(FileNotFoundError, NotADirectoryError), scandir(f"{root}/trash/{epoch}") as entries:
                    for entry in entries:
                        digest = entry.name.removesuffix(f".{CORRUPT}")
                        if records.is_digest(digest) and digest != entry.name:
                            status = entry.stat(follow_symlinks=False)
                            found.setdefault(digest, set()).add((status.st_dev, status.st_ino))
    return found


def _me() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


class Quarantine:
    """The markers of one store."""

    def __init__(self, root: str, working: Callable[[], AbstractContextManager[str]]) -> None:
        self._store = root
        self._root = os.path.join(root, "quarantine")
        self._working = working

    def mark(self, digest: str, why: str, **facts: Any) -> None:
        """Say durably that this blob is not what its name says; marking it again does nothing.

        Args:
            digest: of the blob.
            why: one clause.
            facts: JSON values: what was found instead, which 16 MiB blocks differ.
        """
        record = records.canonical({"schema": records.SCHEMA, "digest": digest, "why": why, **facts})
        own = f"{self._root}/{records.check_digest(digest)}.{_me()}.json"
        with self._working() as staging:
            records.publish_all(staging, [(self._path(digest), record)])
            if digest not in self:                      # there is one already, of somebody who is not believed
                records.publish_all(staging, [(own, record)])

    def lift(self, digest: str) -> bool:
        """Take a marker away: the bytes are right again.

        Returns:
            False where it stays, being somebody else's in a store that a group fills: they, or the owner of the store,
            lift it at their next sync, which looks again at what is marked and has been replaced.
        """
        lifted = True
        for path in (self._path(digest), f"{self._root}/{digest}.{_me()}.json"):
            try:
                kernel.unlink(path)
                kernel.sync_folder(self._root)
            except FileNotFoundError:
                continue
            except PermissionError:
                lifted = not self._counts(digest, os.path.basename(path))
        return lifted

    def __contains__(self, digest: str) -> bool:
        ends = ("", f".{_me()}", f".{steward_of(self._store)}")
        return any(self._counts(digest, f"{records.check_digest(digest)}{end}.json") for end in ends)

    def all(self) -> set[str]:
        """The digests of all marked blobs. A marker that cannot be read counts: its name is enough.

        One that belongs neither to this person, nor to the blob's owner or the store's, does not: see `doubted`.
        """
        return {digest for digest, name in self._markers() if self._counts(digest, name)}

    def doubted(self) -> dict[str, int]:
        """Blobs that only somebody else says to be damaged, with the time of what says so, in nanoseconds: read each
        once, and it is known."""
        every = list(self._markers())
        marked = {digest for digest, name in every if self._counts(digest, name)}
        found = {}
        for digest, name in every:
            if digest not in marked:
                with suppress(FileNotFoundError):
                    found[digest] = os.lstat(f"{self._root}/{name}").st_ctime_ns
        return found

    def _markers(self) -> Iterator[tuple[str, str]]:
        """Digest and name of each file that is called as a marker is."""
        for name in listdir(self._root):
            if name.endswith(".json") and records.is_digest(digest := name.partition(".")[0]):
                yield digest, name

    def _counts(self, digest: str, name: str) -> bool:
        """Whether a marker is there, and believed."""
        try:
            status = os.lstat(f"{self._root}/{name}")
        except FileNotFoundError:
            return False
        steward = steward_of(self._store)
        if believed(status, steward, _me()):
            return True
        with suppress(OSError):
            return believed(status, steward, os.lstat(f"{self._store}/blobs/{digest[:2]}/{digest}").st_uid)
        return False

    def _path(self, digest: str) -> str:
        return f"{self._root}/{records.check_digest(digest)}.json"
