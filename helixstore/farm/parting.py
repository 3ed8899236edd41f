"""Taking a sidecar away in which two have written: helixstore, and the program or the person. Pure.

Only a layout can tell what in such a text is whose. What is left when ours is taken out stays; a sidecar that told of
nothing but a model that goes away goes with it, since in most programs it would be a model that fails. Its text is
kept in the plan, so that `undo` brings it back as it was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from helixstore.farm.desired import WantedRoot
from helixstore.farm.ledger import FOLDER, Record
from helixstore.farm.plan import Action, Look
from helixstore.farm.scan import Actual, digest_of

__all__ = ["is_mixed", "part"]


def is_mixed(record: Record, actual: Actual) -> bool:
    """Whether a sidecar of the ledger holds what somebody else has written, beside what is ours.

    Args:
        record: of what lies there now.
        actual: what `scan` saw.
    """
    return record.kind == "text" and (
        record.origin == "merged" or (record.origin == "made" and actual.content.get(record.path) != record.base))


def part(wanted: WantedRoot, records: Mapping[str, Record], actual: Actual, record: Record, look: Look,
         texts: dict[str, bytes]) -> Action | None:
    """What is to be done with a mixed sidecar that is not wanted any more.

    Args:
        wanted: its root.
        records: the ledger.
        actual: what `scan` saw.
        record: of the sidecar.
        look: what lies there.
        texts: of the plan; what the action and its inverse need is added.

    Returns:
        None where it is theirs by now.
    """
    name, root = record.path, wanted.path
    theirs = actual.theirs.get(name)
    if theirs is None:
        return None
    now = actual.content[name]

    def is_going(path: str) -> bool:
        there = path.replace(os.sep, "/").removeprefix(root.replace(os.sep, "/") + "/").rstrip("/")
        return bool(there) and any(
            (path == there or path.startswith(there + "/")) and one.kind != FOLDER and one.origin == "made"
            and path not in wanted.entries for path, one in records.items())

    left = wanted.left_of(name, theirs, is_going)
    if left is None:
        return None
    texts[now] = theirs
    before = actual.bases.get(record.original) if record.original else None
    if before is not None and left.rstrip() == before.rstrip():
        left = before
    was = record._replace(digest=now)
    if left == theirs:
        return Action("forget", root, name, claims=record.claims, was=record)
    if left or before is not None:
        digest = digest_of(left)
        texts[digest] = left
        return Action("restore", root, name, ("text", digest, digest), look, record.claims, record.order, was,
                      "without what was helixstore's")
    return Action("remove", root, name, ("text", now, record.base), look, record.claims, record.order, was,
                  "what it told of is not wanted here any more")
