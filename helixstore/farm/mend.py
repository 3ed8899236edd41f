"""Links in the place of a person's copy: the file is theirs, so what such a link leads to is kept whatever becomes of
its model, and a link outside all roots is made anew when it does not lead to its file any more.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

from helixstore.farm.ledger import Ledgers
from helixstore.farm.plan import ADOPTED, Action
from helixstore.farm.scan import DIRECT, look_at
from helixstore.fs.listing import scandir
from helixstore.store.blobs import Blobs
from helixstore.store.keeps import Keeps

__all__ = ["keep_given", "mend"]

#: the keep of what these links lead to
_GIVEN = "given"


def mend(ledgers: Ledgers, blobs: Blobs, roots: Sequence[str]) -> Iterator[Action]:
    """The replacements for such links, where their blob is here; and the new places of those that were moved.

    Args:
        ledgers: of all roots and of the adopted files.
        blobs: the store's.
        roots: the roots that are planned; what lies in them is theirs to mend.
    """
    prefixes = tuple(f"{root}/" for root in roots)
    moved = _moved(ledgers)
    for path, record in ledgers.of("").records.items():
        if now := moved.get(path):
            body = ("weight", record.digest, record.bytes, ("symlink",))
            yield Action("record", "", now, body, look_at(now), record.claims, was=record, note=ADOPTED)
            yield Action("forget", "", path, claims=record.claims, was=record, note="it was moved")
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


def keep_given(ledgers: Ledgers, keeps: Keeps) -> None:
    """Bring the keep of what these links lead to up to date; before the operation ends that made them.

    A link that is missing holds nothing any more, unless it was moved, or withdrawn because its disk is away.

    Args:
        ledgers: of all roots and of the adopted files.
        keeps: this person's.
    """
    moved = _moved(ledgers)
    held = {record.digest for path, record in ledgers.of("").records.items() if record.kind == "symlink" and (
        os.path.islink(path) or path in moved
        or not (os.path.lexists(path) or os.path.isdir(os.path.dirname(record.target))))}
    if held != keeps.digests(_GIVEN):
        if held:
            keeps.put(_GIVEN, held)
        else:
            keeps.drop(_GIVEN)


def _moved(ledgers: Ledgers) -> Mapping[str, str]:
    """Where such links lie now that are not where they were put, old path -> new: looked for where files of the
    person's lie or lay."""
    adopted = ledgers.of("").records
    missing = {record.target: path for path, record in adopted.items() if record.kind == "symlink"
               and not os.path.lexists(path) and os.path.lexists(record.target)}
    found: dict[str, str] = {}
    for folder in {os.path.dirname(path) for path in adopted} if missing else ():
        with contextlib.suppress(OSError), scandir(folder) as entries:
            for entry in entries:
                was = missing.get(os.readlink(entry.path)) if entry.is_symlink() else None
                if was is not None and not ledgers.has(entry.path):
                    found[was] = entry.path
    return found
