"""What downloads know of the store: which contents are there under any name, and how those that come enter it."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence

from helixstore.download.partial import Partial
from helixstore.errors import Failed, HelixError, advice
from helixstore.fs import kernel
from helixstore.hub.remote import RemoteFile
from helixstore.index.codec import BlobRow
from helixstore.session import Session
from helixstore.store.blobs import Added
from helixstore.store.hashing import Hashes
from helixstore.sync.suspects import usable

__all__ = ["StoreShelf"]


class StoreShelf:
    """`fetching.Shelf` of one download. All that it brings is kept, durably, until `done`.

    Args:
        session: whose store.
        operation: the name of the keep; the same for the same download, also when it is begun again.
    """

    def __init__(self, session: Session, operation: str) -> None:
        self._session, self._operation = session, operation
        self._guard = threading.RLock()
        host = session.store.host
        self._hosts = os.path.join(session.store.path, "hosts")
        self._data = os.path.join(self._hosts, host.id, str(host.uid), "downloads")
        self._records = os.path.join(session.places.state_for(session.store.id), "downloads")
        self._kept = set(session.store.keeps.digests(operation))
        self._before = {alias: digest for digest in self._kept for alias in self._aliases(digest)}

    def _aliases(self, digest: str) -> list[str]:
        """What an earlier part of this download has brought, also where the index is new since."""
        meta = self._session.store.blobs.meta(digest)
        return [alias for alias in (meta.sha256, meta.gitsha1) if alias and meta.uid == self._session.store.host.uid]

    def held(self, file: RemoteFile) -> str | None:
        """See `Shelf`; a blob of somebody else's is read before it counts."""
        with self._guard:
            digest = self._session.index.aliased(file.digest) or self._before.get(file.digest)
            if digest is None or not usable(self._session, digest):
                return None
            return digest if os.stat(self._session.store.blobs.path(digest)).st_size == file.bytes else None

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
        with self._guard:
            self.keep({hashes.blake3})
            try:
                added = self._session.store.blobs.take(path, hashes)
            except OSError as error:
                if isinstance(error, HelixError):
                    raise
                raise Failed(f"{path} cannot be brought into the store: {error.strerror}", advice(error),
                             path) from error
            self._note([added], [hashes])
        return added.digest

    def take_bytes(self, items: Sequence[bytes]) -> list[str]:
        """See `Shelf`."""
        with self._guard:
            added = self._session.store.blobs.add_many(items, sha256=True)
            self.keep({one.digest for one in added})
            self._note(added, [Hashes(one.digest, one.bytes, one.sha256, one.gitsha1) for one in added])
        return [one.digest for one in added]

    def keep(self, digests: Collection[str]) -> None:
        """Keep these until `done`, too."""
        if not self._kept.issuperset(digests):
            self._kept |= set(digests)
            self._session.store.keeps.put(self._operation, self._kept)

    def done(self) -> None:
        """A ref keeps them now."""
        self._session.store.keeps.drop(self._operation)

    def _note(self, added: Sequence[Added], hashes: Sequence[Hashes]) -> None:
        index, blobs = self._session.index, self._session.store.blobs
        index.put_blobs(BlobRow(one.digest, one.bytes, one.sha256, one.gitsha1) for one in added)
        index.remember([(blobs.path(one.digest), kernel.fingerprint(blobs.path(one.digest)), known)
                        for one, known in zip(added, hashes, strict=True)])
