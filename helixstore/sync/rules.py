"""What may be adopted, and on which disk a file becomes a blob."""

from __future__ import annotations

import os
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.fs import kernel
from helixstore.fs.access import user_name
from helixstore.fs.holes import has_hole
from helixstore.fs.locks import Lease, writers_of
from helixstore.fs.mounts import mount_of
from helixstore.store.volumes import MAIN

if TYPE_CHECKING:
    from helixstore.store.blobs import Blobs
    from helixstore.store.hashing import Hashes
    from helixstore.sync.naming import Known

__all__ = ["Rules", "writable_near"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be adopted.

    Attributes:
        store: the store's folder; files on other file systems stay where they are.
        uid: files of other people stay theirs.
        sha256: compute SHA-256 in the same pass.
        share: "all", "duplicates" or "chosen".
        copy: content from elsewhere may be copied into the store (`add` of a path that the person named).
        name: the model name that the person gave.
        blobs: the store's, if it may lie on several disks.
        settle: seconds that a file must be unchanged where nobody can tell who writes it, unless the person named it.
        admit: which of the candidates with their digests may enter by themselves, given what is known; None: all.
    """

    store: Path
    uid: int
    sha256: bool
    share: str = "all"
    copy: bool = False
    name: str | None = None
    blobs: Blobs | None = None
    admit: Callable[[Any, Sequence[Known], Any], Any] | None = None
    settle: float = 0.0

    def unsettled(self, location: str) -> bool:
        """Whether a file has changed so lately that it may still be being written, and nobody can tell."""
        return time.time() - os.stat(location).st_mtime < self.settle and writers_of(location) is Lease.UNKNOWN

    def hollow(self, location: str, size: int) -> bool:
        """Whether a part of a file was never written, and nobody has it open who might be about to."""
        return has_hole(location, size) and writers_of(location) is not Lease.BUSY

    def anothers(self, owner: int) -> bool:
        """Whether a file of that owner stays theirs. Root, and who copies, may take anybody's."""
        return os.name == "posix" and not self.copy and self.uid not in (0, owner)

    def left_to_others(self, files: Sequence[tuple[str, Hashes]], asked: bool, has_blob: Callable[[str], bool]) -> str:
        """Why files of another user are left alone, with what would share or free their bytes; "" when they need not
        be: the person named them, and a clone shares their blocks without touching them.

        Args:
            files: where they lie, and what they hold.
            asked: the person named them.
            has_blob: whether a digest is in the store.
        """
        if not files or (asked and all(self._clones(location) for location, _ in files)):
            return ""
        owner = user_name(os.stat(files[0][0]).st_uid)
        size = sum(hashes.bytes for _, hashes in files)
        if self.blobs is not None and all(has_blob(hashes.blake3) for _, hashes in files):
            commands = "; ".join(shlex.join(["sudo", "ln", "-sfT", self.blobs.path(hashes.blake3), location])
                                 for location, hashes in files)
            return f"belongs to {owner} and stays theirs; {size:,} bytes would be freed by: {commands}"
        where = shlex.quote(os.path.commonpath([os.path.dirname(files[0][0]), *(place for place, _ in files)])
                            if len(files) > 1 else files[0][0])
        return (f"belongs to {owner} and stays theirs; they share its {size:,} bytes by: helixstore share {where}; a "
                f"copy for you: helixstore add {where}")

    def _clones(self, location: str) -> bool:
        """Whether the store's file system can share the blocks of a file; found out by doing it."""
        target = os.path.join(self.store, "staging", f"clone-{secrets.token_hex(8)}")
        try:
            kernel.reflink(location, target)
        except OSError:
            return False
        kernel.unlink(target)
        return True

    def home(self, location: str) -> str | None:
        """The id of the volume whose disk a file lies on; None when there is none there."""
        if self.blobs is not None and self.blobs.volumes.attached:
            near = self.blobs.volumes.near(location)
            return near.id if near is not None else None
        return MAIN if mount_of(location).id == mount_of(self.store).id else None

    def refers(self, home: str | None) -> bool:
        """Whether that volume's file system has no links."""
        return self.blobs is not None and any(v.id == home and v.refers for v in self.blobs.volumes.attached)

    def held(self, digest: str, home: str | None, has_blob: Callable[[str], bool]) -> bool:
        """Whether that volume has the blob."""
        if self.blobs is None or not self.blobs.volumes.attached:
            return has_blob(digest)
        return has_blob(digest) and any(place.volume.id == home and place.holds for place in self.blobs.places(digest))


def writable_near(location: str) -> str:
    """The highest folder on the disk of a file in which this person may make another."""
    point = mount_of(location).point
    parts = os.path.relpath(os.path.dirname(location), point).split(os.sep)
    folders = [os.path.normpath(os.path.join(point, *parts[:count])) for count in range(len(parts) + 1)]
    return next((folder for folder in folders if os.access(folder, os.W_OK | os.X_OK)), point)
