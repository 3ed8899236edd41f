"""A copy of the ledgers and of how things stood after the last sync, for `explain`, `list` and `show`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from helixstore.index.codec import (
    FarmRow,
    Standing,
    pack_farm,
    pack_standings,
    pack_states,
    unpack_farm,
    unpack_standings,
)
from helixstore.index.database import Tables
from helixstore.index.tables import farm_key, path_key, root_key, row_key
from helixstore.values import Key

__all__ = ["FarmTable"]

Run = Callable[[Callable[[Tables], Any]], Any]


class FarmTable:
    """What lies in the roots because of helixstore.

    Args:
        read, write: run a function on the tables.
    """

    def __init__(self, read: Run, write: Run) -> None:
        self._read = read
        self._write = write

    def put(self, root: str, rows: Iterable[FarmRow], gone: Iterable[str] | None = None) -> None:
        """Bring the copy of one root's ledger up to date; only what differs is written.

        Args:
            root: absolute.
            rows: its lines; all of them, unless `gone` is given.
            gone: only `rows` are new or changed, and the lines of these paths (relative to the root) are dropped.
        """
        prefix = root_key(root)
        wanted = {prefix + path_key(row.path): pack_farm(root, row) for row in rows}
        dropped = None if gone is None else [prefix + path_key(path) for path in gone]

        def put(tables: Tables) -> None:
            there = dict(tables.items("farm", prefix)) if dropped is None else {
                key: data for key in (*wanted, *dropped) if (data := tables.get("farm", key)) is not None}
            for key in (there.keys() if dropped is None else set(dropped) & there.keys()) - wanted.keys():
                tables.delete("farm", key)
            for key, data in wanted.items():
                if there.get(key) != data:
                    tables.put("farm", key, data)
        self._write(put)

    def at(self, path: str) -> FarmRow | None:
        """What helixstore knows of one absolute path, in the innermost root that has it."""
        def find(tables: Tables) -> FarmRow | None:
            for root, relative in _ways(path):
                data = tables.get("farm", farm_key(root, relative))
                if data is not None and (row := unpack_farm(data)).root == root:
                    return row
            return None
        row: FarmRow | None = self._read(find)
        return row

    def put_standings(self, standings: Mapping[Key, Mapping[str, Standing]], only: Collection[str] | None) -> None:
        """Note how variants stand with providers.

        Args:
            standings: by variant, by provider.
            only: the sync was about these providers alone; what is known of others stays. None: all of them, and
                what is not in `standings` is dropped.
        """
        def put(tables: Tables) -> None:
            wanted = {row_key(key): by_provider for key, by_provider in standings.items()}
            if only is None:
                for row in {key for key, _ in tables.items("standings")} - wanted.keys():
                    tables.delete("standings", row)
                    tables.delete("states", row)
            for row, by_provider in wanted.items():
                old = tables.get("standings", row)
                if only is not None and old is not None:
                    kept = {name: one for name, one in unpack_standings(old).items() if name not in only}
                    by_provider = {**kept, **by_provider}
                new = pack_standings(by_provider)
                if new != old:
                    tables.put("standings", row, new)
                    tables.put("states", row, pack_states(by_provider))
        self._write(put)

    def standings(self, keys: Iterable[Key]) -> dict[Key, dict[str, Standing]]:
        """How these variants stand with each provider; {} for one that no sync has seen."""
        wanted = {key: row_key(key) for key in keys}

        def find(tables: Tables) -> dict[Key, dict[str, Standing]]:
            found = {key: tables.get("standings", row) for key, row in wanted.items()}
            return {key: unpack_standings(data) if data is not None else {} for key, data in found.items()}
        result: dict[Key, dict[str, Standing]] = self._read(find)
        return result


def _ways(path: str) -> Iterator[tuple[str, str]]:
    """The ways to split a path into a root and a POSIX path relative to it, longest root first; "" is a root too."""
    root, name = os.path.split(path)
    relative = name
    while name:
        yield root, relative
        root, name = os.path.split(root)
        relative = f"{name}/{relative}"
    yield "", path
