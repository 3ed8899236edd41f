"""Whose word counts in a store that several people fill. Every record is a file, and a file has an owner.

In folders that everybody fills, anybody may put a file with any name and any text, and give it any time. So what a
record *says* is believed only of the person in whose name it speaks, or of the store's owner (the *steward*), who may
remove everything anyway; a share that says of every file that it is the steward's is covered by that, too. What is not
believed gives no names and ends nothing, but what it names is kept: nobody is made to delete by a file that somebody
else has put there.
"""

from __future__ import annotations

import os
import stat

__all__ = ["believed", "real_folder", "steward_of"]


def steward_of(store: str | os.PathLike[str]) -> int:
    """The uid of the owner of the store's folder."""
    return os.stat(store).st_uid


def believed(status: os.stat_result, steward: int, *speakers: int) -> bool:
    """Whether a file is the word of one of these people, or of the store's owner.

    Args:
        status: of the file itself, from the descriptor that was read.
        steward: uid of the store's owner.
        speakers: uids of those in whose name the file speaks.

    Where the system knows no owners (Windows), everybody is believed.
    """
    return os.name != "posix" or status.st_uid == steward or status.st_uid in speakers


def real_folder(path: str, steward: int, *speakers: int) -> bool:
    """Whether a path is a folder, no link to one, that one of these people or the store's owner has made.

    Nobody else can put a link in its place then, since the folder above it is sticky.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and believed(status, steward, *speakers)
