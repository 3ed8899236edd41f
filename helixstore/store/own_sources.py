"""Where a model of a group's store came from, as far as that is only this person's business.

A ref is read by the whole group. What a program calls a model, the prompts and templates that its sidecars hold, file
names, and repositories that not everybody may read are kept beside it, in the person's own state folder, by the uuid
of the ref; nobody else's names are ever used for anybody. Who loses this folder loses nothing that the next sync does
not find again in the programs' own.

    <state>/<store id>/sources/<random>.json    {uuid: [source, ...]}, one file for each round of refs
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from helixstore.fs import kernel
from helixstore.fs.listing import listdir
from helixstore.values import Source

__all__ = ["OwnSources"]


class OwnSources:
    """The sources that this person keeps to themselves.

    Args:
        folder: absolute; made when it is needed.
        public: whether everybody may know a source.
    """

    def __init__(self, folder: str, public: Callable[[Source], bool]) -> None:
        self._folder, self._public = folder, public
        self._read: set[str] = set()
        self._known: dict[str, list[Any]] = {}

    def published(self, sources: Sequence[Source]) -> tuple[Source, ...]:
        """Those that may stand in a ref, without sidecars."""
        return tuple(Source(one.kind, one.repository, one.revision, one.program, one.name) for one in sources
                     if self._public(one))

    def keep(self, every: Mapping[str, Sequence[Source]]) -> None:
        """Keep, durably, the sources of refs of which not all may be published; before the refs themselves.

        Args:
            every: uuid of a ref -> all of its sources.
        """
        kept = {uuid: [_row(one) for one in sources] for uuid, sources in every.items()
                if self.published(sources) != tuple(sources)}
        if kept:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            kernel.write_new(f"{self._folder}/{secrets.token_hex(8)}.json", json.dumps(kept).encode(), 0o600)

    def of(self, uuid: str) -> tuple[Source, ...] | None:
        """All sources of a ref of this person's; None where the ref says all."""
        if uuid not in self._known:
            self._look()
        rows = self._known.get(uuid)
        return None if rows is None else tuple(_source(row) for row in rows)

    def _look(self) -> None:
        """Read what has come since."""
        with suppress(FileNotFoundError):
            for name in set(listdir(self._folder)) - self._read:
                with suppress(OSError, ValueError), open(f"{self._folder}/{name}", "rb") as file:
                    self._known.update(json.loads(file.read()))
                self._read.add(name)


def _row(source: Source) -> list[Any]:
    return [source.kind, source.repository, source.revision, source.program, source.name, list(source.sidecars)]


def _source(row: Sequence[Any]) -> Source:
    return Source(row[0], row[1], row[2], row[3], row[4], tuple((path, text) for path, text in row[5]))
