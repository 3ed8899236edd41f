"""The trash: blobs that nothing refers to, `trash/<epoch>/<digest>`, until the undo window ends."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from helixstore.errors import NotFound
from helixstore.fs import kernel
from helixstore.store import records
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
        since_ns: when something was last put into or taken from that folder, on the store's clock; the undo window
            runs from there.
        uid: its owner.
        nlink: how many names its bytes have.
        corrupt: it was replaced because its bytes had another digest; it is never restored.
    """

    digest: str
    epoch: str
    bytes: int
    since_ns: int
    uid: int
    nlink: int
    corrupt: bool

    @property
    def name(self) -> str:
        """Relative to the trash."""
        return f"{self.epoch}/{self.digest}{_CORRUPT if self.corrupt else ''}"


def trashed(store: Store) -> list[Trashed]:
    """Everything in the trash, the oldest first."""
    return sorted(_scan(f"{store.path}/trash"), key=lambda item: (item.since_ns, item.epoch, item.digest))


def _scan(root: str) -> Iterator[Trashed]:
    for epoch in os.listdir(root):
        with suppress(FileNotFoundError, NotADirectoryError):
            since = os.stat(f"{root}/{epoch}").st_mtime_ns
            with os.scandir(f"{root}/{epoch}") as entries:
                for entry in entries:
                    digest = entry.name.removesuffix(_CORRUPT)
                    if records.is_digest(digest):
                        status = entry.stat(follow_symlinks=False)
                        yield Trashed(digest, epoch, status.st_size, since, status.st_uid, status.st_nlink,
                                      digest != entry.name)


def restore(store: Store, digests: Collection[str] | None = None) -> list[str]:
    """Bring blobs back from the trash; what is in their place already stays.

    Args:
        store: may be written to.
        digests: which; None for all. Nothing refers to them yet: publish a ref within the grace, or they go again.

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
    return wanted


def move_in(store: Store, digests: Collection[str], epoch: str) -> dict[str, str]:
    """Move blobs into one folder of the trash, durably.

    Returns:
        For each that could not be moved, why: another's blob can be moved by its owner or the store's only.
    """
    folder = f"{store.path}/trash/{epoch}"
    failed = {}
    os.makedirs(folder, exist_ok=True)
    for digest in digests:
        source = store.blobs.path(digest)
        try:
            if not kernel.rename_new(source, f"{folder}/{digest}"):
                kernel.unlink(source)                   # the same bytes are there from a run that was interrupted
        except FileNotFoundError:
            continue
        except OSError as error:
            failed[digest] = f"cannot be moved: {error.strerror or error}"
    kernel.sync_folder(folder)
    for prefix in {digest[:2] for digest in digests}:
        kernel.sync_folder(f"{store.path}/blobs/{prefix}")
    return failed
