"""Whether the room is there that an operation needs."""

from __future__ import annotations

import os
from collections.abc import Mapping

from helixstore.errors import Failed

__all__ = ["check_space"]


def check_space(space: Mapping[str, int]) -> None:
    """Nothing, if there is.

    Args:
        space: mount point -> bytes that are needed there.

    Raises:
        Failed: there is not; nothing was changed.
    """
    for point, needed in space.items():
        status = os.statvfs(point)
        free = status.f_bavail * status.f_frsize
        if needed > free:
            raise Failed(f"this needs {needed:,} bytes on {point}, where {free:,} are free",
                         f"free {needed - free:,} bytes there; nothing was changed", point)
