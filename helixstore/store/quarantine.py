"""Quarantine is a marker, `quarantine/<digest>.json`: the blob stays where it is, since moving it would dangle other
people's symbolic links and leave their hard links serving it. A marked blob is not handed out, only replaced.

What was replaced lies in the trash of its disk, `trash/corrupt-<random>/<digest>.corrupt`, for as long as everything
else stays there; by that name its inode is known to everybody who has links to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

from helixstore.fs import kernel
from helixstore.store import records

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
            for epoch in os.listdir(f"{root}/trash"):
                if not epoch.startswith(CORRUPT):
                    continue
                with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{root}/trash/{epoch}") as entries:
                    for entry in entries:
                        digest = entry.name.removesuffix(f".{CORRUPT}")
                        if records.is_digest(digest) and digest != entry.name:
                            status = entry.stat(follow_symlinks=False)
                            found.setdefault(digest, set()).add((status.st_dev, status.st_ino))
    return found


class Quarantine:
    """The markers of one store."""

    def __init__(self, root: str, working: Callable[[], AbstractContextManager[str]]) -> None:
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
        with self._working() as staging:
            records.publish_all(staging, [(self._path(digest), record)])

    def lift(self, digest: str) -> bool:
        """Take a marker away: the bytes are right again.

        Returns:
            False where it stays, being somebody else's in a store that a group fills: they, or the owner of the store,
            lift it at their next sync, which looks again at what is marked and has been replaced.
        """
        try:
            kernel.unlink(self._path(digest))
            kernel.sync_folder(self._root)
        except FileNotFoundError:
            return True
        except PermissionError:
            return False
        return True

    def __contains__(self, digest: str) -> bool:
        return os.path.lexists(self._path(digest))

    def all(self) -> set[str]:
        """The digests of all marked blobs. A marker that cannot be read counts: its name is enough."""
        return {name[:-5] for name in os.listdir(self._root) if name.endswith(".json") and records.is_digest(name[:-5])}

    def _path(self, digest: str) -> str:
        return f"{self._root}/{records.check_digest(digest)}.json"
