"""What downloads know of the store: which contents are there under any name, and how those that come enter it."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from helixstore.download.partial import Partial
from helixstore.errors import Failed, HelixError, advice
from helixstore.fs import kernel
from helixstore.hub.remote import RemoteFile
from helixstore.index.codec import BlobRow
from helixstore.session import Session
from helixstore.store.blobs import Added
from helixstore.store.hashing import Hashes, hash_bytes
from helixstore.sync.suspects import usable

__all__ = ["StoreShelf", "folders"]


def folders(session: Session) -> tuple[str, str]:
    """Where this person's downloads on this host grow, and where what has come of them is noted: absolute. Both are the
    host's own: a home on a network drive has the notes of several."""
    store, host = session.store, session.store.host
    return (os.path.join(store.path, "hosts", host.id, str(host.uid), "downloads"),
            os.path.join(session.places.state_for(store.id), "downloads", host.id))


class StoreShelf:
    """`fetching.Shelf` of one download. All that it brings is kept, durably, until `done`.

    Args:
        session: whose store.
        operation: the name of the keep; the same for the same download, also when it is begun again.
    """

    def __init__(self, session: Session, operation: str) -> None:
        self._session, self._operation = session, operation
        self._entering = threading.Lock()               # one thread at a time brings files into the store
        self._guard = threading.RLock()                 # of what is known and kept; nobody waits for files in it
        self._hosts = os.path.join(session.store.path, "hosts")
        self._data, self._records = folders(session)
        self._kept = set(session.store.keeps.digests(operation))
        self._before = {alias: digest for digest in self._kept for alias in self._aliases(digest)}

    def _aliases(self, digest: str) -> list[str]:
        """What an earlier part of this download has brought, also where the index is new since; or where the process
        died before it could write them down, which costs a reading."""
        store = self._session.store
        meta = store.blobs.meta(digest)
        if meta.uid is None and self._is_mine(digest):
            with suppress(HelixError):
                hashes, _ = store.blobs.check(digest, sha256=True)
                store.blobs.learn(digest, bytes=hashes.bytes, sha256=hashes.sha256, gitsha1=hashes.gitsha1)
                meta = store.blobs.meta(digest)
        return [alias for alias in (meta.sha256, meta.gitsha1) if alias and meta.uid == store.host.uid]

    def _is_mine(self, digest: str) -> bool:
        store = self._session.store
        try:
            return os.lstat(store.blobs.path(digest)).st_uid == store.host.uid or os.name != "posix"
        except OSError:
            return False

    def held(self, file: RemoteFile) -> str | None:
        """See `Shelf`; a blob of somebody else's is read before it counts."""
        with self._guard:
            digest = self._session.index.aliased(file.digest) or self._before.get(file.digest)
            if digest is None or not usable(self._session, digest):
                return None
            with suppress(FileNotFoundError):
                return digest if os.stat(self._session.store.blobs.path(digest)).st_size == file.bytes else None
            return None

    def arrived(self, file: RemoteFile) -> int:
        """Bytes of a file that an earlier download has left; 0 where another process is at it."""
        name = self._name(file)
        if not os.path.exists(os.path.join(self._records, name)):
            return 0
        try:
            partial = self.partial(file)
        except OSError:
            return 0
        try:
            return partial.arrived_bytes
        finally:
            partial.close()

    def partial(self, file: RemoteFile) -> Partial:
        """See `Shelf`."""
        name = self._name(file)
        with self._guard:
            self._session.store.sharing.own(self._data, self._hosts)
            os.makedirs(self._records, mode=0o700, exist_ok=True)
        return Partial(os.path.join(self._data, name), os.path.join(self._records, name), file.bytes)

    def _name(self, file: RemoteFile) -> str:
        """Its digest and size: what a listing says of either may be wrong, and is then no part of another's file."""
        if not file.digest.isalnum() or len(file.digest) not in (40, 64):
            raise Failed(f"{file.address.name}: {file.digest[:80]!r} is no digest")
        return f"{file.digest}-{file.bytes}"

    def take(self, path: str, hashes: Hashes) -> str:
        """See `Shelf`."""
        with self._entering, _telling(path):
            self.keep({hashes.blake3})
            added = self._session.store.blobs.take(path, hashes)
            self._note([added], [hashes])
        return added.digest

    def take_bytes(self, items: Sequence[bytes]) -> list[str]:
        """See `Shelf`."""
        with self._entering, _telling("a file that came"):
            self.keep({hash_bytes(item).blake3 for item in items})      # before: who dies now finds them next time
            added = self._session.store.blobs.add_many(items, sha256=True)
            self._note(added, [Hashes(one.digest, one.bytes, one.sha256, one.gitsha1) for one in added])
        return [one.digest for one in added]

    def keep(self, digests: Collection[str]) -> None:
        """See `Shelf`: until `done`."""
        with self._guard, _telling("what keeps the files that came"):
            if not self._kept.issuperset(digests):
                self._session.store.keeps.put(self._operation, self._kept | set(digests))
                self._kept |= set(digests)

    def renew(self) -> None:
        """Somebody goes on with it now: what an earlier try has brought is kept as long again."""
        with self._guard, _telling("what keeps the files that came"):
            if self._kept:
                self._session.store.keeps.put(self._operation, self._kept)

    def secured(self, blobs: Mapping[str, str]) -> dict[str, str]:
        """Keep these, and say which are there now that they are kept: a collection may just have let go of others, or
        brought them back.

        Args:
            blobs: digest in a listing -> blob.
        """
        self.keep(set(blobs.values()))
        return {alias: digest for alias, digest in blobs.items() if self._session.store.blobs.ensure(digest)}

    def clear(self, file: RemoteFile) -> None:
        """What an earlier try has left of a file that is in the store is worth nothing; not where somebody is at it."""
        name = self._name(file)
        if any(os.path.lexists(os.path.join(folder, name)) for folder in (self._data, self._records)):
            with suppress(BlockingIOError):
                partial = self.partial(file)
                partial.remove()
                partial.close()

    def done(self) -> None:
        """A ref keeps them now."""
        self._session.store.keeps.drop(self._operation)

    def _note(self, added: Sequence[Added], hashes: Sequence[Hashes]) -> None:
        index, blobs = self._session.index, self._session.store.blobs
        with self._guard:
            index.put_blobs(BlobRow(one.digest, one.bytes, one.sha256, one.gitsha1) for one in added)
            index.remember([(blobs.path(one.digest), kernel.fingerprint(blobs.path(one.digest)), known)
                            for one, known in zip(added, hashes, strict=True)])


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """What the system refuses, as an error of ours."""
    try:
        yield
    except HelixError:
        raise
    except OSError as error:
        raise Failed(f"{what} cannot be brought into the store: {error.strerror}", advice(error),
                     error.filename if isinstance(error.filename, str) else None) from error
