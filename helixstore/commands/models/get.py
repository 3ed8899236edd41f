"""`get` for programs: the path of a model, which is downloaded the first time, and found at once ever after.

What a name, a repository, or a tag of a registry means is what the store has of it; `update` asks for later versions. A
commit never changes. Only who names a branch or a tag of the hub wants what that leads to now: then the hub is asked,
by one request; and where it cannot be asked, the commit counts to which it led the last time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helixstore.catalogue import parse_reference
from helixstore.catalogue.references import HubReference
from helixstore.commands.models.download import download
from helixstore.commands.models.here import led_to, names_branch, remember, what_is_here
from helixstore.commands.models.offering import offered
from helixstore.commands.models.prospects import Wish
from helixstore.commands.queries import placed
from helixstore.errors import Failed, Passing, Usage
from helixstore.session import Session
from helixstore.sync.progress import Progress

__all__ = ["get"]


def get(session: Session, what: str, format: str = "", progress: Progress | None = None) -> Path:
    """Where the model is that is meant; what is not here is downloaded first, once, also where several ask at a time.

    Args:
        session: whose store.
        what: an exact reference, a name of the catalogue, or any name of a model of the store.
        format: only in this one; "": any.
        progress: as of a download.

    Raises:
        NotFound, Passing, Failed, Usage: see `download`.
    """
    what = _at_commit(session, what)
    if found := what_is_here(session, what, format):
        return placed(session, found)
    done = download(session, what, Wish(format), progress=progress)
    found = next(filter(None, (what_is_here(session, name, format)
                               for name in (what, f"hf:{done.repository}", done.name))), None)
    if found is None:
        raise Failed(f"{what} came, and is not there as {format or 'a model'}", f"helixstore show {done.name}")
    return placed(session, found)


def _at_commit(session: Session, what: str) -> str:
    """A branch or tag of the hub as the commit that it leads to; everything else as it is."""
    try:
        reference = parse_reference(what)
    except Usage:                                       # a name in a registry
        return what
    if not isinstance(reference, HubReference) or not names_branch(reference):
        return what
    try:
        commit = offered(session, reference).revision
    except Passing:                                     # else the download says why, or finds it at the site's mirror
        commit = led_to(session, reference)
    else:
        remember(session, reference, commit)
    return str(replace(reference, revision=commit)) if commit else what
