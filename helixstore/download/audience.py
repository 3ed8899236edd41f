"""Whether what somebody publishes may enter the store: into one that a group reads comes only what everybody may read.

Whoever is logged in sees more than others do, and not every hub says so (a company's own has `private: false` for all
that its people see). So the hub is asked once more, without the login.
"""

from __future__ import annotations

from helixstore.download.offered import Offered
from helixstore.errors import Failed, Passing
from helixstore.session import Session

__all__ = ["check_audience"]


def check_audience(session: Session, found: Offered) -> None:
    """That the model may enter the store.

    Args:
        session: whose store.
        found: what would be downloaded; what the site's mirror answers for has been asked of the mirror.

    Raises:
        Failed: a group reads the store, and not everybody may read the model.
        Passing: the hub does not say so now.
    """
    if not session.store.sharing.shared:
        return
    public: bool | None = found.public
    if public and found.source.kind == "hub" and not found.note:
        public = session.public.ask(found.place, fresh=True)
    if public is None:
        raise Passing(f"the hub does not say whether everybody may read {found.place}, and everybody in the group may "
                      "read this store", "try again later")
    if not public:
        raise Failed(f"not everybody may read {found.place}, and everybody in the group may read this store",
                     "download it into a store of your own: helixstore --store DIR models download ...",
                     session.store.path)
