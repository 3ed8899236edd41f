"""The trash: blobs that nothing refers to, `trash/<epoch>/<digest>` on their own disk, until the undo window ends."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from helixstore.errors import NotFound
from helixstore.fs import kernel
from helixstore.fs.listing import listdir, scandir
from helixstore.store import records
from helixstore.store.gc_notes import write_note
from helixstore.store.store import Store

__all__ = ["Trashed", "move_in", "restore", "trashed"]

_CORRUPT = ".corrupt"


@dataclass(frozen=True, slots=True)
class Trashed:
    """One file in the trash.

    Attributes:
        digest: what the blob was called.
        epoch: the folder it lies in.
        bytes: its size.
        since_ns: when something was last put into or taken from that folder, on the store's clock; for people.
        uid: its owner.
        nlink: how many names its bytes have.
        corrupt: it was replaced because its bytes had another digest; it is never restored.
        root: the folder of the store or of the volume whose trash it is in.
    """

    digest: str
    epoch: str
    bytes: int
    since_ns: int
    uid: int
    nlink: int
    corrupt: bool
    root: str

    @property
    def path(self) -> str:
        """Where it lies, absolute."""
        return f"{self.root}/trash/{self.epoch}/{self.digest}{_CORRUPT if self.corrupt else ''}"


def trashed(store: Store) -> list[Trashed]:
    """Everything in the trash of every disk that is here, the oldest first."""
    found = (item for volume in store.volumes.here for item in _scan(volume.path))
    return sorted(found, key=lambda item: (item.since_ns, item.epoch, item.digest))


def _scan(root: str) -> Iterator[Trashed]:
    for epoch in listdir(f"{root}/trash"):
        with suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISDIR((above := os.lstat(f"{root}/trash/{epoch}")).st_mode):
                continue                                # a link, whose files are none of the trash
            since = above.st_mtime_ns
            with scandir(f"{root}/trash/{epoch}") as entries:
                for entry in entries:
                    digest = entry.name.removesuffix(_CORRUPT)
                    if records.is_digest(digest):
                        status = entry.stat(follow_symlinks=False)
                        yield Trashed(digest, epoch, status.st_size, since, status.st_uid, status.st_nlink,
                                      digest != entry.name, root)


def restore(store: Store, digests: Collection[str] | None = None) -> list[str]:
    """Bring blobs back from the trash; what is in their place already stays.

    Args:
        store: may be written to.
        digests: which; None for all. Nothing refers to them yet: publish a ref within the grace, which begins anew, or
            they go again.

    Returns:
        The digests that are blobs again.

    Raises:
        NotFound: one of them is neither in the trash nor a blob.
    """
    wanted = list(digests) if digests is not None else [item.digest for item in trashed(store) if not item.corrupt]
    with store.working():
        for digest in wanted:
            if not store.blobs.ensure(digest):
                raise NotFound(f"{digest[:12]} is not in the trash", "see: helixstore trash list")
        if wanted:
            write_note(store, absolved=wanted)
    return wanted


def move_in(store: Store, digests: Collection[str], epoch: str) -> dict[str, str]:
    """Move blobs into one folder of the trash of their disk, durably. Their stand-ins stay until they are deleted, so
    that links through these go on leading to the bytes.

    Of a file that a volume only refers to, the note goes; the file is the person's.

    Returns:
        For each that could not be moved, why: another's blob can be moved by its owner or the store's only.
    """
    failed = {}
    touched = set()
    for digest in digests:
        for volume, source, *_ in store.blobs.places(digest):
            folder = f"{volume.path}/trash/{epoch}"
            try:
                if volume.refers:
                    kernel.unlink(volume.blob(digest))
                    continue
                store.sharing.common(folder)
                kernel.rename_new(source, f"{folder}/{digest}")
            except FileNotFoundError:
                continue
            except OSError as error:
                failed[digest] = f"cannot be moved: {error.strerror or error}"
            touched |= {folder, os.path.dirname(source)}
        if store.volumes.attached:
            store.volumes.look(digest)
    for folder in touched:
        with suppress(FileNotFoundError):               # empty again, and swept
            kernel.sync_folder(folder)
    return failed
