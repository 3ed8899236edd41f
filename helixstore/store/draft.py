"""The mended file while it grows in staging, and how it takes the place of the damaged one.

The blob's path leads to the damaged bytes or to the right ones at every instant, never to none. The damaged inode keeps
a name in the trash, `corrupt-<random>/<digest>.corrupt`, by which everybody who has hard links to it knows it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from helixstore.errors import Busy, Failed
from helixstore.fs import kernel, mending
from helixstore.fs.mounts import mount_of
from helixstore.store.donors import open_itself
from helixstore.store.hashing import BLOCK, Hashes, hash_file
from helixstore.store.store import Store
from helixstore.store.volumes import MAIN, Volume

__all__ = ["Draft"]

#: file systems that share ranges instead of copying them: the mended file takes only what was bad
_SHARING = frozenset({"btrfs", "xfs", "bcachefs", "ocfs2"})


class Draft:
    """The mended file while it grows in staging, on the blob's own disk; made when something is first written."""

    def __init__(self, store: Store, volume: Volume, target: str, size: int, needed: int) -> None:
        self.path = ""
        self._store, self._volume, self._target, self._size, self._needed = store, volume, target, size, needed
        self.damaged: os.stat_result | None = None
        self._descriptor: int | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        with suppress(FileNotFoundError):
            if self.path:
                kernel.unlink(self.path)
        self._stack.close()

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes where they belong."""
        descriptor = self._open()
        os.lseek(descriptor, offset, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view):]

    def fill(self, source: str, blocks: Sequence[int]) -> None:
        """Take these blocks from the damaged file."""
        writing = self._open()
        if blocks:
            with open(source, "rb", buffering=0, opener=open_itself) as file:
                for number in blocks:
                    length = min(BLOCK, self._size - number * BLOCK)
                    mending.copy_range(file.fileno(), writing, number * BLOCK, length)

    def proven(self, progress: Callable[[int], None]) -> Hashes:
        """Flush it, and read it back from the disk itself; `progress` is told the bytes since its last call."""
        descriptor = self._open()
        kernel.sync_file(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)      # else memory would answer, not the disk
        self._close()
        return hash_file(self.path, blocks=True, progress=progress, lease=False)[0]

    def take_place(self, digest: str) -> str:
        """Let the proven file be the blob; returns where what it replaced lies now, "" where there was nothing.

        Raises:
            Busy: the blob has been replaced since this was begun.
            OSError: nothing was replaced.
        """
        store, path, damaged = self._store, self._target, self.damaged
        store.sharing.admit(self.path, damaged.st_mode if damaged is not None else 0o444)
        if damaged is not None and hasattr(os, "chown") and os.geteuid() != damaged.st_uid:
            with suppress(PermissionError):             # only root can give a file away: then it is ours
                os.chown(self.path, damaged.st_uid, damaged.st_gid)
        kernel.sync_file(self.path)
        kept = ""
        if damaged is None:
            if not kernel.publish(self.path, path):
                raise Busy("somebody has brought the blob back meanwhile", "helixstore verify", path)
        else:
            if not os.path.samestat(os.lstat(path), damaged):
                raise Busy("somebody has replaced the blob meanwhile", "helixstore verify", path)
            kept = self._replace(f"{self._volume.path}/trash/corrupt-{secrets.token_hex(6)}", digest)
        kernel.sync_folder(os.path.dirname(path))
        return kept

    def _replace(self, folder: str, digest: str) -> str:
        """Put the damaged file into that folder of the trash and this one in its place, which is never empty."""
        kept, path = f"{folder}/{digest}.corrupt", self._target
        self._store.sharing.common(folder)
        try:
            kernel.hard_link(path, kept, plain=True)
        except OSError as error:
            if not kernel.cannot_here(error):
                raise
            self._exchange(kept)                        # another's file, which we may not link to
            kernel.sync_folder(folder)
            return kept
        kernel.sync_folder(folder)
        kernel.sync_folder(os.path.dirname(folder))     # the damaged bytes have two names before they lose one
        kernel.replace(self.path, path)
        return kept

    def _exchange(self, kept: str) -> None:
        """The same without a second name for the damaged file; where the system cannot swap two names, there is an
        instant without one."""
        kernel.replace(self.path, kept)
        try:
            mending.exchange(kept, self._target)
        except OSError as error:
            kernel.replace(kept, self.path)
            if not kernel.cannot_here(error):
                raise
            kernel.rename_new(self._target, kept)
            kernel.replace(self.path, self._target)

    def _open(self) -> int:
        if self._descriptor is None:
            main = self._volume.id == MAIN
            staging = self._store.staging if main else self._store.volumes.staging(self._volume)
            folder = self._stack.enter_context(staging.working())
            with suppress(FileNotFoundError):
                self.damaged = os.lstat(self._target)
            self._check_space(folder)
            self.path = os.path.join(folder, secrets.token_hex(8))
            self._descriptor = kernel.create(self.path)
        return self._descriptor

    def _check_space(self, folder: str) -> None:
        """Refuse before the first byte where the file cannot fit."""
        needed = self._needed if mount_of(folder).kind in _SHARING else self._size
        if hasattr(os, "statvfs"):
            status = os.statvfs(folder)
            free = status.f_bavail * status.f_frsize
            if needed > free:
                raise Failed(f"a mended copy needs {needed:,} bytes beside the damaged one, where {free:,} are free",
                             f"free {needed - free:,} bytes on that disk; nothing was changed", self._target)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
