"""One owner for each folder that several people's programs read: claimed before the first link, left to whoever has it.

What lies in a person's home, or is helixstore's own, is theirs anyway and needs no claim.
"""

from __future__ import annotations

import os

from helixstore.providers.reader import DiskReader
from helixstore.session import Session

__all__ = ["claim_roots"]


def claim_roots(session: Session) -> None:
    """Claim the folders of programs that are on, and give up those that are not served any more.

    Args:
        session: whose store; nothing happens in one of one's own.
    """
    store = session.store
    if not store.sharing.shared or store.read_only:
        return
    served = set()
    for placed in session.roots(DiskReader(session.places.home), session.farms):
        path = str(placed.root.path)
        if placed.on and session.is_common(placed) and not placed.root.forbid and os.access(path, os.W_OK | os.X_OK):
            served.add(path)
            if store.roots.owner(path) is None:
                store.roots.claim(path)
    for path in store.roots.mine():
        if path not in served and path not in session.farm.roots() and os.path.isdir(path):
            store.roots.release(path)
