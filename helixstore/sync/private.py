"""What stays out of a store that a group fills until its owner names it: everything that is not public anyway.

By itself `sync` takes in only what comes from a public repository of the hub, proven by the hub's own digests, and what
is in the store already. Of all else nothing is written there: no name, no digest, no sidecar. It is named to its owner,
and waits for `helixstore share PATH`.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from helixstore.hub.public import PublicRepositories
from helixstore.sync.intake import Candidate, Digest, Intake, manifest_of, proven
from helixstore.sync.naming import Known

if TYPE_CHECKING:
    from helixstore.session import Session

__all__ = ["Admission", "admission", "note_waiting", "waiting"]

Measured = list[tuple[Candidate, dict[str, Digest]]]
_WAITING = "models that wait to be shared"


def admission(session: Session) -> Admission | None:
    """What decides about a group's store; None for one of one's own, which takes everything."""
    if not session.store.sharing.shared:
        return None
    return Admission(session.store.sharing.group, session.public)


class Admission:
    """Who is let in.

    Args:
        group: the name of the group, for people.
        public: what is known of repositories.
    """

    def __init__(self, group: str, public: PublicRepositories) -> None:
        self._group, self._public = group, public

    def __call__(self, measured: Measured, known: Sequence[Known], intake: Intake) -> Measured:
        """Those that may enter, what is public first, so that it is called by its public name."""
        contents = {variant.content for variant in known}
        first: Measured = []
        rest: Measured = []
        for candidate, digests in measured:
            source = proven(candidate, digests)
            answer = self._public.ask(source.repository) if source.kind == "hub" and source.repository else False
            if answer is None:
                intake.unsure = True
            if answer:
                contents.add(_content(candidate, digests))
                first.append((candidate, digests))
            elif candidate.asked:
                contents.add(_content(candidate, digests))
                rest.append((candidate, digests))
            else:
                rest.append((candidate, digests))
        kept = [one for one in rest if one[0].asked or _content(*one) in contents]
        for candidate, _ in [one for one in rest if one not in kept]:
            where = str(candidate.found.inspection.location)
            intake.waiting.append(where)
            intake.notes.append(f"{where}: stays yours, since the group {self._group} fills the store and it is not "
                                f"known to be public: helixstore share {shlex.quote(where)}")
        return [*first, *kept]


def _content(candidate: Candidate, digests: dict[str, Digest]) -> str:
    return manifest_of(candidate.found.inspection, candidate, digests).content_key


def note_waiting(session: Session, intake: Intake, complete: bool) -> None:
    """Keep for `status` which models wait to be shared.

    Args:
        session: whose index keeps it; nothing of it gets into the store.
        intake: what the look at hand found.
        complete: it was a look at everything.
    """
    entered = {str(item.candidate.found.inspection.location) for item in intake.items}
    kept = [] if complete else [path for path in waiting(session) if path not in entered and os.path.lexists(path)]
    now = sorted({*kept, *intake.waiting})
    if now != waiting(session):
        session.index.put_state(_WAITING, json.dumps(now).encode() if now else None)


def waiting(session: Session) -> list[str]:
    """The models, by their paths, that wait to be shared with the group."""
    kept = session.index.state(_WAITING)
    return list(map(str, json.loads(kept))) if kept else []
