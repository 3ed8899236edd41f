"""What we made and something needs that stays: a model that the person made from ours names the same blobs.

Ollama's `cp` and `create` write a manifest that names the files lying there, links of ours among them. Taken away with
our model, they would leave the person's model broken; so they become the program's own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from helixstore.farm.outcome import AskNeeded

__all__ = ["Needed"]


class Needed:
    """For one run: each root is asked about once, when the first entry there is to go.

    What names an entry goes before it (`Entry.order`), so whatever still names it then is there to stay.

    Args:
        ask: see `AskNeeded`.
    """

    def __init__(self, ask: AskNeeded) -> None:
        self._ask = ask
        self._users: dict[str, Mapping[str, Collection[str]]] = {}

    def __call__(self, root: str, path: str, providers: Iterable[str]) -> bool:
        """Whether a file that is in the root now needs the one at `path`, relative to it."""
        users = self._users.get(root)
        if users is None:
            users = self._users[root] = self._ask(root, providers)
        return any(os.path.lexists(f"{root}/{user}") for user in users.get(path, ()))
