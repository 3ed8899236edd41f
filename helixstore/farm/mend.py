"""Links in the place of a person's copy, outside all roots: made anew when they do not lead to their file any more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from helixstore.farm.ledger import Ledger
from helixstore.farm.plan import Action
from helixstore.farm.scan import DIRECT, look_at
from helixstore.store.blobs import Blobs

__all__ = ["mend"]


def mend(adopted: Ledger, blobs: Blobs, roots: Sequence[str]) -> Iterator[Action]:
    """The replacements for such links, where their blob is here.

    Args:
        adopted: the ledger of adopted files.
        blobs: the store's.
        roots: the roots that are planned; what lies in them is theirs to mend.
    """
    prefixes = tuple(f"{root}/" for root in roots)
    for path, record in adopted.records.items():
        if record.kind != "symlink" or path.startswith(prefixes):
            continue
        try:
            look = look_at(path)
        except OSError:
            continue                    # its folder is away
        if look is None or look.kind != "link" or look.target != record.target:
            continue                    # the person's by now
        if not blobs.leads(look.target, record.digest, direct=DIRECT in record.why) and os.path.exists(
                blobs.path(record.digest)):
            yield Action("replace", "", path, ("weight", record.digest, record.bytes, ("hard", "symlink")), look,
                         record.claims, was=record, note="it did not lead to its file any more")
