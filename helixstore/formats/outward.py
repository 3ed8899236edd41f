"""Small files of a model that are links to files elsewhere: what lies in a model's folder is handed on with the model.

A folder that somebody else has made, such as a clone of a repository, can hold `README.md -> ../../.ssh/id_ed25519`.
The links that programs make lead to a file in the same folder, to a hub cache's blob (named by its hash), or to a file
beside weights, which is a model's, too. What leads anywhere else is no part of the model.
"""

from __future__ import annotations

import os
import re

from helixstore.formats.names import WEIGHT_EXTENSIONS, extension
from helixstore.fs.listing import listdir

__all__ = ["leads_out"]

_HUB_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def leads_out(path: str, folder: str) -> bool:
    """Whether a link leads to a file that no model has.

    Args:
        path: of the link, absolute.
        folder: the model's, absolute.

    Weights may lie anywhere: they are read before anything is made of them.
    """
    if extension(os.path.basename(path)) in WEIGHT_EXTENSIONS:
        return False
    real = os.path.realpath(path)
    place, name = os.path.split(real)
    if _HUB_BLOB.fullmatch(name) or f"{place}/".startswith(f"{os.path.realpath(folder)}/"):
        return False
    try:
        return not any(extension(other) in WEIGHT_EXTENSIONS for other in listdir(place))
    except OSError:
        return True
