"""The name by which programs find a model of a registry that says it is one of the hub's, which only the hub can prove.

Nobody asks the hub unasked: the person named a registry, and `update` follows its tag. The command that lets the hub
prove it fetches nothing that is here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from helixstore.catalogue.references import OciReference
from helixstore.download.mirrored import said_origin
from helixstore.download.offered import Offered
from helixstore.download.registries import registry_place
from helixstore.download.results import Downloaded
from helixstore.session import Session
from helixstore.values import Key, State

__all__ = ["unproven"]

#: the cache of the hub's client: programs call a model as its folder
_CACHED = re.compile(r".*/models--([^/]+)/snapshots/")


def unproven(session: Session, found: Offered, models: Sequence[Downloaded]) -> list[str]:
    """One sentence for each model that programs which go by the hub's names call otherwise.

    Args:
        session: whose programs.
        found: what was downloaded.
        models: that came.
    """
    if not isinstance(found.reference, OciReference):
        return []
    called: dict[str, list[str]] = {}
    for key in (Key(one.model, one.variant) for one in models):
        variant, standings = session.index.variant(key), session.index.standings([key])[key]
        for name, layout in session.layouts.items() if variant is not None and variant.hub is None else ():
            paths = standings[name].paths if name in standings and standings[name].state is State.LINKED else ()
            if cached := next(filter(None, map(_CACHED.match, paths)), None):
                called.setdefault(cached[1].replace("--", "/"), []).append(layout.title)
    said = said_origin(session, registry_place(found.reference).at(found.revision)) if called else None
    if said is None:
        return []
    repository, commit = said
    return [f"It says of itself that it is {repository} at {commit[:8]} of the hub, which only the hub can prove; "
            f"until then it is {name} in {', '.join(programs)}. To let the hub prove it, and fetch nothing that is "
            f"here: helixstore models download hf:{repository}@{commit}" for name, programs in called.items()]
