"""Quarantine is a marker, `quarantine/<digest>.json`: the blob stays where it is, since moving it would dangle other
people's symbolic links and leave their hard links serving it. A marked blob is not handed out, only replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from helixstore.fs import kernel
from helixstore.store import records

__all__ = ["Quarantine"]


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
