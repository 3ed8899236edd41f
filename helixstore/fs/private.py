"""What nobody but the person may have written: code that is to be run, settings to be followed, own folders."""

from __future__ import annotations

import os
import stat

__all__ = ["hold_private", "make_private", "read_trusted", "why_open"]


def why_open(status: os.stat_result, site: bool = False) -> str:
    """Why others could have written what a file or folder holds; "" when only this person and the system's owner could.

    A group that is the person's alone (its name is theirs, and nobody else is a member) counts as nobody, as where
    each user has a group and the umask is 002.

    Args:
        status: of the file or folder.
        site: it is the site's: whoever owns it speaks for the site, and nobody else may write to it.
    """
    if os.name != "posix":
        return ""
    if not site and status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to user {status.st_uid}"
    if status.st_mode & stat.S_IWOTH:
        return "anybody may write to it"
    if status.st_mode & stat.S_IWGRP and not _alone(status.st_gid):
        return "its group may write to it"
    return ""


def read_trusted(path: str | os.PathLike[str], site: bool = False) -> tuple[bytes, str]:
    """The bytes of a file, and why others could have written them; "" when nobody could. `site`: as of `why_open`.

    Who may write is asked of what was opened, so that nothing can be put in its place in between.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        return file.read(), why_open(status, site)


def make_private(path: str | os.PathLike[str]) -> None:
    """Make a folder, with those that are missing on the way to it, that nobody else may enter, whatever the umask."""
    missing = []
    folder = os.path.abspath(path)
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for one in reversed(missing):
        try:
            os.mkdir(one, 0o700)
        except FileExistsError:
            continue                                    # another process was first
    if not os.path.isdir(path):
        raise NotADirectoryError(f"{os.fspath(path)} is no folder")


def hold_private(path: str | os.PathLike[str]) -> str:
    """Make a folder as `make_private` does, or close one of this person's that is there to everybody else.

    Returns:
        Why it is not there, or not this person's alone even so; "" when it is.
    """
    from helixstore.fs import kernel

    try:
        make_private(path)
        status = os.stat(path)
    except OSError as error:
        return f"it cannot be made: {error.strerror or error}"
    if os.name == "posix" and status.st_uid == os.geteuid() and status.st_mode & 0o077:
        kernel.try_mode(path, stat.S_IMODE(status.st_mode) & ~0o077)
        status = os.stat(path)
    return why_open(status)


def _alone(gid: int) -> bool:
    """Whether a group is this person's alone."""
    import grp
    import pwd

    try:
        group, person = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == person.pw_name and not set(group.gr_mem) - {person.pw_name}
