"""`trash`: what `gc` has put aside, by the model that it was a part of, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helixstore.errors import NotFound
from helixstore.session import Session
from helixstore.store import trash

__all__ = ["listed", "restore"]


def listed(session: Session) -> list[Mapping[str, Any]]:
    """What can still be restored, by epoch; size in bytes, `since` in seconds since 1970 on the store's clock."""
    names = _names(session)
    return [{"epoch": item.epoch, "digest": item.digest, "bytes": item.bytes, "since": item.since_ns / 1e9,
             "corrupt": item.corrupt, "was": names.get(item.digest, "")} for item in trash.trashed(session.store)]


def restore(session: Session, which: str) -> int:
    """Bring back one epoch, or the blobs whose digest begins with `which`; how many came back.

    Raises:
        NotFound: nothing in the trash is called so.
    """
    found = [item.digest for item in trash.trashed(session.store)
             if not item.corrupt and (item.epoch == which or item.digest.startswith(which))]
    if not which or not found:
        raise NotFound(f"nothing in the trash is called {which!r}", "helixstore trash list")
    return len(trash.restore(session.store, found))


def _names(session: Session) -> dict[str, str]:
    """Digest -> the model that it was a part of, by every manifest that a ref ever named."""
    found: dict[str, str] = {}
    for ref in session.index.claims():
        if ref.manifest is not None:
            try:
                manifest = session.store.manifests.read(ref.manifest)
            except NotFound:
                continue            # collected with its blobs, or reported by verify
            for file in manifest.files:
                found.setdefault(file.blake3, ref.name)
    return found
