"""The folders on the way to a file: made where they are missing, removed again while they are empty."""

from __future__ import annotations

import contextlib
import os

__all__ = ["make_folders", "remove_folders"]


def make_folders(path: str) -> str:
    """Make a folder and those that are missing on the way to it; the highest one that was made.

    Raises:
        OSError: FileExistsError when something lies at `path`, and what the system says.
    """
    highest = path
    while not os.path.lexists(above := os.path.dirname(highest)):
        highest = above
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.mkdir(path)
    return highest


def remove_folders(path: str, highest: str) -> None:
    """Remove a folder, then those above it, up to `highest`, as long as they are empty.

    Raises:
        OSError: the folder itself is not empty, or cannot be removed.
    """
    os.rmdir(path)
    with contextlib.suppress(OSError):
        while path != highest:
            path = os.path.dirname(path)
            os.rmdir(path)
