"""Claims of this person that vanished since somebody put an older `refs/` back: made anew before anything is concluded
from their absence."""

from __future__ import annotations

from helixstore.session import Session
from helixstore.store.returning import claim_anew
from helixstore.values import Issue, Key

__all__ = ["claim_missing"]


def claim_missing(session: Session, keep: bool) -> list[Issue]:
    """Claim anew what the index knows and the store does not, if its bytes are there; what it tells of the rest.

    Args:
        session: the index is up to date, and is so again when this returns.
        keep: do it; False: only say what would be done.
    """
    missing = session.index.missing()
    if not missing:
        return []
    if not keep:
        names = ", ".join(sorted({ref.name for ref, _ in missing}))
        session.notes.append(f"the store's refs are older than they were: {names}; sync claims anew what is still "
                             "there, before it removes anything")
        return []
    claimed, lost = claim_anew(session.store, missing, lambda ref: session.index.claimed(Key(ref.name, ref.variant)))
    session.index.refresh()
    session.index.forget_missing()
    if claimed:
        session.notes.append(f"the store's refs are older than they were; claimed anew: {', '.join(claimed)}")
    return [Issue("lost", name, f"the store's refs are older than they were, and files of {name} are gone from the "
                  "store", "put the whole store back, or add it again from where it came from") for name in lost]
