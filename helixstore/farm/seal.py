"""The seal of a saved plan: that this person made it, for this store, and that nobody has changed it since.

A plan names files to write, to link and to take in. One that comes from somebody else could name any of this person's,
so only what was sealed here is carried out: with a BLAKE3 keyed by a secret in the person's state folder.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets

from blake3 import blake3

from helixstore.errors import PlanOutdated
from helixstore.fs import kernel

__all__ = ["seal", "unseal"]

_KEY_BYTES = 32
_MARK, _END = b',"seal":"', b'"}\n'
_HEX = 64


def seal(plan: bytes, state: str) -> bytes:
    """The same JSON object with one more key, `seal`, at its end.

    Args:
        plan: a JSON object and a newline.
        state: the person's state folder for this store, absolute; the key is made in it when it is missing.
    """
    return plan[:-2] + _MARK + _digest(plan, _key(state, make=True)) + _END


def unseal(data: bytes, state: str) -> bytes:
    """What was given to `seal`.

    Raises:
        PlanOutdated: it was not sealed here, or was changed since.
    """
    cut = len(data) - len(_END) - _HEX - len(_MARK)
    plan = data[:max(cut, 0)] + data[-2:]
    if data[max(cut, 0):][:len(_MARK)] != _MARK or not hmac.compare_digest(
            data[cut + len(_MARK):-len(_END)], _digest(plan, _key(state, make=False))):
        raise PlanOutdated("this is not a plan that you have saved here, for this store, and not changed since",
                           "make one: helixstore sync --plan FILE")
    return plan


def _digest(plan: bytes, key: bytes) -> bytes:
    return blake3(plan, key=key).hexdigest().encode()


def _key(state: str, make: bool) -> bytes:
    """The person's secret; a fresh one, which seals nothing, where there is none and none is to be made."""
    file = os.path.join(state, "plan.key")
    if make:
        with contextlib.suppress(FileExistsError):      # another process may be first: then its key counts
            kernel.write_new(file, secrets.token_bytes(_KEY_BYTES), 0o600)
    with contextlib.suppress(FileNotFoundError), open(file, "rb") as reading:
        if len(key := reading.read(_KEY_BYTES + 1)) == _KEY_BYTES:
            return key
    return secrets.token_bytes(_KEY_BYTES)
