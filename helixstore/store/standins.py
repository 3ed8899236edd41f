"""Stand-ins: what a symbolic link of ours leads to, instead of the blob itself.

    <volume>/farms/<host>/<uid>/far/<2 hex>/<digest>        a hard link of the blob, on the blob's own disk
    <volume>/farms/<host>/<uid>/far/<2 hex>/<digest>.lent   another, for folders whose programs delete so

Several programs, when they delete a model, resolve its symbolic link and remove what it leads to (huggingface_hub
before 1.32, llama-server). They destroy only the stand-in then: the blob keeps its bytes under its own name, the links
of all other programs lead to the other stand-in, and the next sync makes the lost one again. It costs no bytes, so it
goes only with its blob.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from helixstore.fs import kernel
from helixstore.fs.fingerprint import same_inode
from helixstore.fs.listing import listdir
from helixstore.fs.probe import NO_IDENTITY
from helixstore.store import records
from helixstore.store.host import Host
from helixstore.store.sharing import Sharing

__all__ = ["StandIns", "digest_in", "of_blob"]

_LENT = ".lent"


class StandIns:
    """The stand-ins of one person on one host."""

    def __init__(self, host: Host, sharing: Sharing) -> None:
        self._below = f"farms/{host.id}/{host.uid}/far"
        self._sharing = sharing
        self._uid = host.uid if hasattr(os, "getuid") else -1

    def path(self, volume: str, digest: str, lent: bool = False) -> str:
        """Where the stand-in of a blob lies or would lie on the volume whose folder this is."""
        return f"{volume}/{self._below}/{digest[:2]}/{digest}{_LENT if lent else ''}"

    def paths(self, volume: str, digest: str) -> tuple[str, str]:
        """Both of them."""
        path = self.path(volume, digest)
        return path, path + _LENT

    def possible(self, blob: os.stat_result) -> bool:
        """Whether we may link to that file at all: only to our own (`fs.protected_hardlinks`)."""
        return self._uid in (-1, blob.st_uid)

    def make(self, volume: str, digest: str, blob: str, lent: bool = False) -> str:
        """The path of the stand-in, made if it is missing, and made anew if it is not the blob any more.

        Args:
            volume: the folder of the volume, absolute.
            digest: of the blob.
            blob: its path on that volume.
            lent: for a program that may delete what the link leads to.

        Raises:
            OSError: it cannot be made; ask `kernel.cannot_here`.
        """
        path = self.path(volume, digest, lent)
        try:
            kernel.hard_link(blob, path, plain=True)
        except FileNotFoundError:
            self._sharing.own(os.path.dirname(path), f"{volume}/farms")
            with contextlib.suppress(FileExistsError):
                kernel.hard_link(blob, path, plain=True)
            kernel.sync_folder(os.path.dirname(path))   # the link to it lies on another disk, which may be quicker
        except FileExistsError:
            pass
        else:
            kernel.sync_folder(os.path.dirname(path))
        if not os.path.samestat(os.lstat(path), os.stat(blob)):
            temporary = kernel.temporary_name(path)
            kernel.hard_link(blob, temporary, plain=True)
            kernel.replace(temporary, path)
            if not same_inode(path, blob):
                kernel.unlink(path)
                raise OSError(errno.ENOTSUP, NO_IDENTITY, path)
        return path


def digest_in(name: str) -> str | None:
    """The digest of the blob for which a file of that name stands in; None when it is no stand-in's name."""
    digest = name.removesuffix(_LENT)
    return digest if records.is_digest(digest) else None


def of_blob(volume: str, digest: str) -> list[str]:
    """The stand-ins that anybody on any host has of a blob on that volume."""
    found = []
    for host in _names(f"{volume}/farms"):
        for uid in _names(f"{volume}/farms/{host}"):
            path = f"{volume}/farms/{host}/{uid}/far/{digest[:2]}/{digest}"
            for name in (path, path + _LENT):
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(os.lstat(name).st_mode):
                        found.append(name)
    return found


def _names(folder: str) -> list[str]:
    try:
        return listdir(folder)
    except OSError:
        return []                                       # none yet, or another's
