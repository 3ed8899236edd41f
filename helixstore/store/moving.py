"""Copies of one blob on several disks: making another, letting one go. At every instant at least one is whole.

A copy counts only once it has been read back from its disk; the old one keeps its name until then, and afterwards loses
only that name: whatever links to it in programs' folders keeps its bytes until it is linked anew.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from helixstore.errors import Busy, Corrupt, Failed, HelixError, NotFound, advice
from helixstore.fs import kernel
from helixstore.fs.listing import walk
from helixstore.store import records
from helixstore.store.hashing import hash_file, hash_open, open_steady
from helixstore.store.standins import digest_in
from helixstore.store.store import Store
from helixstore.store.volumes import MAIN, Place, Volume

__all__ = ["copy_on", "copy_to", "let_go", "orphans"]


def copy_on(store: Store, digest: str, volume: Volume) -> Place | None:
    """The copy of a blob on that volume, if there is one."""
    return next((place for place in store.blobs.places(digest) if place.volume.id == volume.id and place.holds), None)


def copy_to(store: Store, digest: str, volume: Volume, progress: Callable[[int], None] | None = None) -> int:
    """Make a copy of a blob on another volume, and read it back; one that is there already is read, too.

    Returns:
        The bytes that were copied: 0 when it was there.

    Raises:
        NotFound: it is nowhere.
        Corrupt: the bytes that were read, or read back, are not the blob's; what was written is gone again.
        Failed: no space on that disk, or no permission.
    """
    if copy_on(store, digest, volume) is not None:
        store.blobs.check(digest, at=volume.blob(digest))
        return 0
    source = next((place for place in store.blobs.places(digest) if place.holds), None)
    if source is None:
        raise NotFound(f"the blob {digest[:12]} is not here", "helixstore verify", store.blobs.path(digest))
    staging = store.staging if volume.id == MAIN else store.volumes.staging(volume)
    with store.working(), staging.working() as folder:
        staged = os.path.join(folder, secrets.token_hex(8))
        try:
            size = _copy(source.path, staged, digest, progress)
            kernel.try_mode(staged, 0o444)
            if not kernel.publish(staged, volume.blob(digest)):
                store.blobs.check(digest, at=volume.blob(digest))       # another process was faster: it must be good
            kernel.sync_folder(os.path.dirname(volume.blob(digest)))
        except OSError as error:
            if isinstance(error, HelixError):
                raise
            raise _failed(volume, error) from error
        finally:
            with suppress(FileNotFoundError):
                kernel.unlink(staged)
    store.volumes.look(digest)
    return size


def _copy(source: str, staged: str, digest: str, progress: Callable[[int], None] | None) -> int:
    """Copy, flush, and read back from the disk itself; both readings must give the digest."""
    with open_steady(source, lease=False) as file:
        writing = kernel.create(staged)
        try:
            size = kernel.fingerprint(file.descriptor).bytes
            hashes = hash_open(file, size, into=writing, progress=progress)
            kernel.sync_file(writing)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(writing, 0, 0, os.POSIX_FADV_DONTNEED)     # else memory would answer, not the disk
        finally:
            os.close(writing)
    if hashes.blake3 != digest:
        raise Corrupt(f"the blob {digest[:12]} is damaged", "helixstore verify", source)
    if hash_file(staged, lease=False)[0].blake3 != digest:
        raise Corrupt(f"what was written for the blob {digest[:12]} reads back otherwise", "look at that disk", staged)
    return size


def let_go(store: Store, digest: str, keep: Volume, on: Volume | None = None) -> int:
    """Take the blob's name away on one other disk, or on every other; notes of files of the person's stay.

    Args:
        store: whose blob.
        digest: of the blob.
        keep: has the copy that stays.
        on: the disk on which it is let go; None: every one but that of `keep`.

    Returns:
        The bytes that were freed by that; none where another name leads to the same file.

    Raises:
        Failed: `keep` has no copy of it, or the other one belongs to somebody else.
        Busy: somebody else is letting go of copies.
    """
    freed = 0
    with _alone(store):
        store.volumes.look(digest)
        if copy_on(store, digest, keep) is None:
            raise Failed(f"the blob {digest[:12]} is not on {keep.name}", f"helixstore volume move MODEL {keep.name}")
        for place in store.blobs.places(digest):
            if place.volume.id == keep.id or place.volume.refers or (on is not None and place.volume.id != on.id):
                continue
            status = os.stat(place.path)
            try:
                kernel.unlink(place.path)
            except PermissionError as error:
                raise Failed(f"the copy on {place.volume.name} belongs to user {status.st_uid} and stays",
                             "they, or the owner of the store, can let it go", place.path) from error
            kernel.sync_folder(os.path.dirname(place.path))
            freed += status.st_size if status.st_nlink == 1 else 0
    store.volumes.look(digest)
    return freed


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One person at a time lets go of copies: of two, each of whom relies on the other's copy, one finds it gone.

    The sign is a file that is made without replacing one, which holds on every file system; whoever finds their own,
    of a run that was cut short, goes on under it: their farm lock keeps a second process of theirs out.
    """
    sign = f"{store.volumes.registry}/letting-go"
    mine = {"host": store.host.id, "uid": store.host.uid}
    record = records.canonical({"schema": records.SCHEMA, **mine})
    with store.working() as staging:
        while not records.publish_all(staging, [(sign, record)])[0]:
            with suppress(FileNotFoundError):           # gone meanwhile: tried again
                told, status = records.read_record(sign)
                if mine == {key: told.get(key) for key in mine}:
                    break
                raise Busy(f"user {status.st_uid} is letting go of copies", "wait until they are done; if they are "
                           f"not: ask them, or the owner of the store, to remove {sign}", sign)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            kernel.unlink(sign)


def orphans(store: Store, volume: Volume) -> Iterator[str]:
    """This person's stand-ins on a volume whose blob is not there any more."""
    root = os.path.dirname(os.path.dirname(store.blobs.stand_ins.path(volume.path, "0" * 64)))
    for folder, _, names in walk(root):
        for name in names:
            digest = digest_in(name)
            if digest and not volume.refers and not os.path.lexists(volume.blob(digest)):
                yield os.path.join(folder, name)


def _failed(volume: Volume, error: OSError) -> Failed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(f"no space is left on {volume.name}; nothing was let go", advice(error), volume.path)
    return Failed(f"{volume.path} cannot be written to: {error.strerror or error}", advice(error), volume.path)
