"""Real attacks: code run as another user in a process of its own, that may become a third one for a moment."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.forked import forked
from support.people import User

__all__ = ["acting", "as_user", "digest_of", "tree"]

#: seconds after which whatever hangs has failed
PATIENCE = 60


def as_user(user: User, work: Callable[[], Any]) -> Any:
    """Call `work` in a child process with the ids, groups, umask and environment of a person; its result comes back.

    Root is kept as the saved id, so that `acting` can change sides for a moment; no system call of the person's own
    uses it.
    """
    def become() -> None:
        signal.alarm(PATIENCE)
        _reach_python(user)
        os.umask(user.umask)
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, 0)
        os.setresuid(user.uid, user.uid, 0)
        os.environ.clear()
        os.environ.update(user.environ)
        os.chdir(user.home)

    return forked(work, become)


def _reach_python(user: User) -> None:
    """Import what is not imported yet from where that person may read it; see `support.people`."""
    base = user.interpreter.parent.parent.parent / "python"
    if str(user.interpreter) != sys.executable:
        packages = (getattr(module, "__path__", None) for module in list(sys.modules.values()))
        for places in [sys.path, *(path for path in packages if isinstance(path, list))]:
            places[:] = [place.replace(sys.base_prefix, str(base)) for place in places]
        sys.path_importer_cache.clear()


@contextlib.contextmanager
def acting(user: User) -> Iterator[None]:
    """Inside `as_user`: be somebody else for the block, for what another process would do just now."""
    mine, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.seteuid(0)
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(mine)


def digest_of(data: bytes) -> str:
    """What a blob of these bytes is called."""
    from blake3 import blake3

    return blake3(data).hexdigest()


def tree(folder: Path) -> dict[str, tuple[int, int, int, bytes | str]]:
    """Everything below a folder: path -> (kind and mode, owner, inode, content or where it leads)."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content: bytes | str = b""
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_uid, status.st_ino, content)
    return found
