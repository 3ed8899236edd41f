"""Blobs of other people in a store that a group fills: how they are linked, and that they are what their name says.

`fs.protected_hardlinks` lets nobody link to a file that they can only read, so another's blob is linked symbolically:
to the blob itself, which the sticky folder keeps anybody but its owner and the store's from removing. Whatever others
say of a file is a hint: before a blob of theirs is first used, this person reads all of it once, and keeps in their own
index that it is right.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from helixstore.errors import Corrupt, Unreadable
from helixstore.farm.desired import WantedRoot, without
from helixstore.farm.farm import Overtaken
from helixstore.farm.plan import Plan
from helixstore.fs import kernel
from helixstore.providers.layout import Copy, Weight
from helixstore.session import Session
from helixstore.sync.progress import Progress, counting
from helixstore.sync.projection import Projection
from helixstore.values import Issue, Key, LinkKind

__all__ = ["by_their_owners", "prove"]

_FIRST = frozenset({"make", "replace", "swap"})


def by_their_owners(session: Session, projection: Projection) -> None:
    """Want no hard link to another's blob, and nothing of what this person cannot read; each is said once.

    Args:
        session: whose store; nothing is changed where it is one person's.
        projection: what the layouts want; changed in place.
    """
    if not session.store.sharing.shared:
        return
    owners = _Owners(session)
    for index, root in enumerate(projection.roots):
        root, far = _linked(root, owners)
        if far:
            root = replace(root, entries=without(root.entries, far))
            projection.far.update(far)
        projection.roots[index] = root
    projection.issues.extend(owners.issues())


class _Owners:
    """Whose the blobs are, each looked at once."""

    def __init__(self, session: Session) -> None:
        self._blobs, self._uid = session.store.blobs, session.store.host.uid
        self._known: dict[str, str] = {}
        self._unread: dict[int, list[str]] = {}

    def of(self, digest: str) -> str:
        """ "mine", "theirs", or "closed": theirs, and not for this person to read."""
        if digest not in self._known:
            self._known[digest] = self._look(self._blobs.path(digest))
        return self._known[digest]

    def _look(self, path: str) -> str:
        try:
            owner = os.stat(path).st_uid
        except OSError:
            return "mine"                   # not there yet, or away: the plan says so
        if owner == self._uid:
            return "mine"
        if os.access(path, os.R_OK):
            return "theirs"
        self._unread.setdefault(owner, []).append(path)
        return "closed"

    def issues(self) -> list[Issue]:
        """One for each person who keeps blobs from the others."""
        return [Issue("unreadable", paths[0], f"{len(paths)} files of user {owner} cannot be read by you, so models "
                      "with them are not shown", "ask them to run: helixstore doctor")
                for owner, paths in sorted(self._unread.items())]


def _linked(root: WantedRoot, owners: _Owners) -> tuple[WantedRoot, Mapping[tuple[str, Key | None], str]]:
    """The root without hard links to others' blobs, and the claims that must wait -> why."""
    entries = dict(root.entries)
    far: dict[tuple[str, Key | None], str] = {}
    for name, joined in root.entries.items():
        body = joined.body
        if not isinstance(body, Weight | Copy) or (whose := owners.of(body.blob)) == "mine":
            continue
        why = ""
        if whose == "closed":
            why = "a file of it belongs to another user, who has not let you read it"
        elif isinstance(body, Weight):
            kinds = tuple(kind for kind in body.kinds if kind is not LinkKind.HARD)
            why = "" if kinds else "the file belongs to another user, and this folder takes hard links only"
            entries[name] = joined._replace(body=replace(body, kinds=kinds))
        if why:
            far.update(dict.fromkeys((claim[:2] for claim in joined.claims), why))
    return replace(root, entries=entries), far


def prove(session: Session, plan: Plan, progress: Progress | None = None) -> None:
    """Read each blob of somebody else's that a plan uses for the first time; one that is not right is in quarantine
    from then on.

    Args:
        session: whose store, and whose index remembers what was read.
        plan: about to be applied.
        progress: told how far the reading is.

    Raises:
        Overtaken: a blob is not what its name says; the plan has to be made again without it.
    """
    store = session.store
    if not store.sharing.shared:
        return
    wrong = False
    wanted = {action.body[1] for action in plan.actions if action.op in _FIRST and action.body
              and action.body[0] in ("weight", "copy")}
    for digest in sorted(wanted):
        path = store.blobs.path(digest)
        try:
            now = kernel.fingerprint(path)
        except OSError:
            continue                        # not there, or coming: apply says so
        if now.uid == store.host.uid or not now.regular or session.index.digest_at(path, now) == digest:
            continue
        try:
            hashes, _ = store.blobs.check(digest, progress=counting(progress, "hash", path, now.bytes))
        except (Corrupt, Unreadable) as error:
            if digest not in store.quarantine:      # its owner keeps on writing to it, say
                store.quarantine.mark(digest, f"it belongs to user {now.uid} and cannot be read to its end: "
                                      f"{error.message}")
            wrong = True
        else:
            session.index.remember([(path, now, hashes)])       # as it was before it was read
    if wrong:
        raise Overtaken("a blob of somebody else's is damaged", "helixstore sync", store.path)
