"""What may be the last there is of its bytes: it is not taken away, whatever the plan says, and is the person's own.

The ledger says which entries are ours, and the names in the store which of them are wanted. After a store was put back
as it was some weeks ago, or when somebody has deleted in it, it knows nothing of what came later, while our links in
the programs' folders still hold those bytes. And a number of an inode is given again: what has the number that the
ledger has is ours only as long as it is the blob's, or has the size and time that it had.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from helixstore.farm.compare import content
from helixstore.farm.ledger import Record
from helixstore.farm.plan import Action
from helixstore.store.blobs import Blobs
from helixstore.store.quarantine import damaged_inodes
from helixstore.values import Key

__all__ = ["LAST", "Last"]

#: what is said of what stays, and what to do
LAST = "the store has these bytes no more, so the file stays and is your own now", "helixstore sync"
_OPS = frozenset({"remove", "replace"})
_COPIES = frozenset({"reflink", "copy"})


class Last:
    """Answers for the actions of one plan.

    Args:
        blobs: the store's.
        actions: all of them, looked through when the first is asked about: a sidecar stays with its weights.
    """

    def __init__(self, blobs: Blobs, actions: Iterable[Action]) -> None:
        self._blobs, self._actions = blobs, actions
        self._lies: dict[str, bool] = {}
        self._stay: set[tuple[str, str, Key | None]] | None = None

    def __call__(self, action: Action) -> bool:
        """Whether to leave what lies there, since it belongs to a model that may be nowhere else."""
        if self._stay is None:
            aside = damaged_inodes(volume.path for volume in self._blobs.volumes.here)
            self._stay = {(one.root, claim.provider, claim.key) for one in self._actions
                          if one.op in _OPS and self._ends(one.was, one.absolute, aside) for claim in one.claims}
        return bool(self._stay and action.claims) and all(
            (action.root, claim.provider, claim.key) in self._stay for claim in action.claims)

    def _ends(self, was: Record | None, path: str, aside: dict[str, set[tuple[int, int]]]) -> bool:
        """Whether taking this entry away could end its bytes. What cannot be looked at is its own step's to say."""
        if was is None:
            return False
        with suppress(OSError):
            if was.kind == "hard":
                status = os.lstat(path)
                if status.st_ino != was.inode or (status.st_dev, status.st_ino) in aside.get(was.digest, ()):
                    return False                        # not ours; or damaged, and in the trash, too
                for place in self._blobs.places(was.digest):
                    with suppress(FileNotFoundError):
                        if os.path.samestat(os.lstat(place.path), status):
                            return False
                if (status.st_size, status.st_mtime_ns) != (was.bytes, was.mtime_ns) and content(path) != was.digest:
                    return True                         # another file that was given the same number
            if was.kind == "hard" or was.kind in _COPIES:
                if was.digest not in self._lies:
                    self._lies[was.digest] = self._blobs.lies(was.digest)
                return not self._lies[was.digest] and os.path.lexists(path)
        return False
