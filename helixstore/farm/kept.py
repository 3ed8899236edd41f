"""What the person and the program had written into a sidecar of ours that went with its model, for when it returns.

One small file for each in the folder of the merge bases, under a name of its own. The model's name stands in it: what
was set for one model is never given to another that gets the same file.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from helixstore.farm.plan import Action
from helixstore.values import Key

__all__ = ["AGAIN", "PREFIX", "Kept", "kept_name", "of_removed"]

#: the note of a sidecar that is made with what was kept
AGAIN = "with what was set there before"
PREFIX = "kept-"


class Kept(NamedTuple):
    """A sidecar as it was: whose, what helixstore had wanted there (None: not known), and all that stood in it."""

    keys: tuple[Key, ...]
    base: bytes | None
    text: bytes

    def encode(self) -> bytes:
        """As it is kept; only text can be."""
        base = None if self.base is None else self.base.decode()
        return json.dumps({"keys": self.keys, "base": base, "text": self.text.decode()}).encode()

    @classmethod
    def decode(cls, data: bytes | None) -> Kept | None:
        """What `encode` wrote; None when there is none, or it cannot be read."""
        try:
            row = json.loads(data or b"null")
            base = None if row["base"] is None else row["base"].encode()
            return cls(tuple(Key(*key) for key in row["keys"]), base, row["text"].encode())
        except (ValueError, TypeError, KeyError):
            return None


def kept_name(root: str, path: str) -> str:
    """Its name among the bases."""
    return PREFIX + hashlib.blake2b(f"{root}\0{path}".encode(errors="surrogateescape"), digest_size=16).hexdigest()


def of_removed(action: Action, text: bytes | None, base: bytes | None) -> Kept | None:
    """What is worth keeping of an entry that is removed; None of one that holds only what is ours.

    Args:
        action: the removal.
        text: what lies there, from the plan.
        base: what helixstore had wanted there.
    """
    body, was = action.body, action.was
    if text is None or was is None or was.origin != "made" or body[0] != "text" or len(body) < 3 or body[1] == body[2]:
        return None
    return Kept(was.keys, base, text)
