"""How every variant stands with every provider: what the ledgers hold, and what the last plan could not do."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Mapping

from helixstore.farm.ledger import FOLDER, Ledgers, Record
from helixstore.farm.plan import Deviation
from helixstore.fs import kernel
from helixstore.index.codec import FarmRow, Standing
from helixstore.values import Key, LinkKind, State

__all__ = ["Exceptions", "farm_rows", "states"]

#: Where one variant stands in several ways with one provider, the first of these is told.
_GRAVEST = (State.CONFLICT, State.QUARANTINED, State.INCOMPLETE, State.AWAY, State.PENDING, State.MODIFIED,
            State.HIDDEN, State.LINKED)


class Exceptions:
    """What is not simply linked, as the last operation in each root found it: `<state>/standings.json`.

    Args:
        state: the person's state folder for the store, absolute.
    """

    def __init__(self, state: str) -> None:
        self._file = os.path.join(state, "standings.json")

    def load(self) -> dict[str, list[Deviation]]:
        """Root -> its exceptions."""
        try:
            with open(self._file, "rb") as file:
                rows = json.load(file)["standings"]
        except (FileNotFoundError, ValueError, KeyError):   # never flushed: the next sync finds out again
            return {}
        found: dict[str, list[Deviation]] = {}
        for root, provider, key, state, reason in rows:
            found.setdefault(root, []).append(Deviation(root, provider, Key(*key) if key else None, state, reason))
        return found

    def update(self, roots: Iterable[str], standings: Iterable[Deviation]) -> bool:
        """Replace what is known of these roots.

        Returns:
            Whether anything is different now.
        """
        before = self.load()
        after = {root: rows for root, rows in before.items() if root not in set(roots)}
        for one in sorted(set(standings), key=str):
            after.setdefault(one.root, []).append(Deviation(*one[:3], str(one.state), one.reason))
        if {root: sorted(rows, key=str) for root, rows in before.items()} == after:
            return False
        rows = [row for root in sorted(after) for row in after[root]]
        kernel.replace_file(self._file, json.dumps({"schema": 1, "standings": rows}).encode(), 0o600, durable=False)
        return True


def states(
    ledgers: Ledgers, exceptions: Mapping[str, Iterable[Deviation]], only: Container[Key] | None = None,
) -> dict[tuple[str, Key], Standing]:
    """(provider, variant) -> how it stands; what neither a ledger nor an exception names is left out.

    Args:
        ledgers: what is ours.
        exceptions: root -> what is not simply linked.
        only: these variants; None for all.
    """
    found: dict[tuple[str, Key], tuple[list[str], list[Record]]] = {}
    for root in [root for root in ledgers.roots() if root]:
        prefix = root + "/"
        for record in ledgers.of(root).records.values():
            if record.kind == FOLDER:
                continue
            for provider, key, witness in record.claims:
                if key is not None and (only is None or key in only):
                    paths, records = found.setdefault((provider, key), ([], []))
                    paths.insert(0 if witness else len(paths), prefix + record.path)
                    records.append(record)
    result = {}
    for place, (paths, records) in found.items():
        linked = [record for record in records if record.kind in _LINKS]
        main = max(linked, key=lambda record: record.bytes, default=None)       # the weights, not a configuration
        result[place] = Standing(State.LINKED, LinkKind(main.kind) if main else None, tuple(paths),
                               main.why if main else "")
    for rows in exceptions.values():
        for one in rows:
            if one.key is None or (only is not None and one.key not in only):
                continue
            known = result.get((one.provider, one.key), Standing(State.LINKED))
            state = State(one.state)
            if known.reason == "" or _GRAVEST.index(state) < _GRAVEST.index(known.state):
                result[one.provider, one.key] = Standing(state, known.link, known.paths, one.reason)
    return result


_LINKS = frozenset({"hard", "symlink", "reflink", "copy"})


def farm_rows(records: Iterable[Record], manifests: Mapping[Key, str]) -> list[FarmRow]:
    """A ledger's records as the index keeps them.

    Args:
        records: of one root.
        manifests: variant -> digest of its manifest.
    """
    rows = []
    for record in records:
        if record.kind == FOLDER:
            continue
        keys = tuple(dict.fromkeys(claim.key for claim in record.claims if claim.key is not None))
        manifest = next((manifests[key] for key in keys if key in manifests), "")
        rows.append(FarmRow(record.path, record.kind, record.why, manifest, keys,
                            tuple(sorted({claim.provider for claim in record.claims}))))
    return rows
