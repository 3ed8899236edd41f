"""What we made and something needs that stays: a model that the person made from ours names the same blobs.

Ollama's `cp` and `create` write a manifest that names the files lying there, links of ours among them. Taken away with
our model, they would leave the person's model broken; so they become the program's own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from helixstore.farm.outcome import AskNeeded
from helixstore.farm.plan import Action

__all__ = ["Needed", "spared"]


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


def spared(actions: list[Action], root: str, ask: AskNeeded) -> list[Action]:
    """The actions of one root, with those removals left out of which it is certain now that they will not be done.

    A link becomes the program's own file; what has an inode with the program's bytes already is only forgotten. What a
    file of ours names that is to be written anew, as for another version, is not certain. The last word is `Needed`'s,
    in the moment of the removal.
    """
    if not any(action.op == "remove" for action in actions):
        return actions
    going = {action.path for action in actions if action.op in ("remove", "replace")}
    users = ask(root, {claim.provider for action in actions if action.op == "remove" for claim in action.claims})

    def stays(path: str) -> bool:
        return any(user not in going and os.path.lexists(f"{root}/{user}") for user in users.get(path, ()))

    return [_given(action) if action.op == "remove" and stays(action.path) else action for action in actions]


def _given(action: Action) -> Action:
    note = "a model that the person made there needs it, so it is the program's now"
    if action.expect is not None and action.expect.kind == "link" and action.was is not None:
        return action._replace(op="own", body=("own", action.was.digest, action.was.bytes, None), note=note)
    return action._replace(op="forget", body=(), expect=None, note=note)
