"""Whose the folders and files of a store are: one person's, or a group's that fills it together.

In a group's store (`shared` in `store.json`) the folders that everybody fills are set-gid and sticky, 3770, made once
and for all by `init`: a member adds to them, and removes only what is theirs; the owner of the store's folder, its
*steward*, removes anything. Below `refs/`, `hosts/` and `farms/` each person has folders of their own, 2750, which the
others read. Blobs are read-only, for everybody who gets into the folders, or for the group alone where the person had
kept the file from others.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from helixstore.errors import StoreError
from helixstore.fs import access, folders, kernel

__all__ = ["Sharing", "closed", "give"]

#: of a store that is one person's; less what their umask takes away
_PRIVATE = 0o755


@dataclass(frozen=True, slots=True)
class Sharing:
    """How folders and files of one store are made.

    Attributes:
        root: the store's folder, absolute.
        shared: a group fills it.
        group: its name when the store was made, for people; the folder's own group counts.
    """

    root: str
    shared: bool = False
    group: str = ""

    @property
    def gid(self) -> int:
        """The group of the store's folder; -1 where the store is one person's."""
        return os.stat(self.root).st_gid if self.shared else -1

    @property
    def steward(self) -> int:
        """The owner of the store's folder, who may remove anything in it."""
        return os.stat(self.root).st_uid

    def common(self, path: str) -> None:
        """Make a folder that everybody fills, and nothing if it is there. The folder above it exists."""
        if self.shared:
            folders.make_folder(path, folders.COMMON, self.gid)
        else:
            _make_private(path)

    def own(self, path: str, below: str) -> None:
        """Make a folder of this person's own with those that are missing on the way to it.

        Args:
            path: absolute.
            below: a folder of the store that everybody fills; what lies between becomes this person's.

        Raises:
            StoreError: somebody else has made one of them, in whose folder nothing of ours can be safe.
        """
        for folder in _between(path, below):
            if self.shared:
                if os.path.lexists(folder):
                    self._not_another_s(folder)         # a link too, wherever it leads
                folders.make_folder(folder, folders.OWN, self.gid)
                self._not_another_s(folder)
            else:
                _make_private(folder)

    def settle(self, path: str) -> None:
        """Let the group read a folder that was just made for a program, if it is in this person's farm: a service that
        runs as somebody else loads models from there."""
        root, farms, _ = path.partition("/farms/")
        if self.shared and farms and (root == self.root or os.path.exists(f"{root}/volume.json")):
            for folder in _between(path, f"{root}/farms"):
                folders.make_folder(folder, folders.OWN, self.gid)

    def admit(self, staged: str, mode: int) -> None:
        """Make a file that is to become a blob read-only, and readable for whom the store is for.

        What others could read stays so. What they could not is given to the group, if this person may do that.

        Args:
            staged: absolute; the file itself may have other names, outside the store.
            mode: the permission bits that the person's file had.
        """
        wanted = 0o444
        if self.shared and not mode & stat.S_IROTH:
            wanted = 0o440 if self._given(staged) else 0o400 | mode & 0o040
        kernel.try_mode(staged, wanted)

    def _given(self, path: str) -> bool:
        """Whether the file is the group's now."""
        gid = self.gid
        if os.stat(path).st_gid == gid:
            return True
        try:
            os.chown(path, -1, gid)
        except OSError:
            return False                            # `doctor` names the blobs that members cannot read
        return True

    def _not_another_s(self, path: str) -> None:
        owner = os.lstat(path).st_uid
        if owner not in (os.geteuid(), self.steward):       # a share may say of all files that they are its owner's
            raise StoreError(f"{path} belongs to user {owner}, and should be yours",
                             "ask them, or the owner of the store, to remove it", path)


def give(root: str, group: str) -> None:
    """Make the store's own folder the group's, before anything lies in it.

    Raises:
        StoreError: no such group, this person is not in it, or may not give it the folder; says what the administrator
            has to run.
    """
    gid = _gid(group, root)
    owner = os.stat(root).st_uid
    if owner != os.geteuid() and os.geteuid() != 0:
        raise StoreError(f"{root} belongs to {_user(owner)}, and only its owner can give it to a group",
                         f"choose a folder that you make yourself, or ask an administrator to run: "
                         f"sudo chown {_user(os.geteuid())} {shlex.quote(root)}", root)
    try:
        held = folders.set_mode(root, folders.COMMON, gid)
    except PermissionError as error:
        raise StoreError(f"{root} cannot be given to the group {group}: {error.strerror}",
                         f"ask an administrator to run: sudo chgrp {group} {shlex.quote(root)}", root) from error
    if not access.group_fills(root):
        raise StoreError(f"the default ACL of {root} keeps the group {group} from filling it",
                         f"setfacl -m d:g::rwx,d:m::rwx {shlex.quote(root)}", root)
    if not held and not folders.has_acl(root):
        raise StoreError(f"the file system of {root} does not keep the mode {folders.COMMON:o} that a group needs",
                         "choose a folder on another file system; helixstore doctor --mount DIR tells what one can do",
                         root)


def closed(root: str) -> StoreError:
    """What to tell somebody whom the store's folder, or one above it, does not let in."""
    folder = root
    while not os.access(folder, os.X_OK) and os.path.dirname(folder) != folder and not os.path.exists(folder):
        folder = os.path.dirname(folder)
    try:
        status, me = os.stat(folder), _user(os.geteuid())
    except OSError:
        return StoreError(f"{root} cannot be reached by you", "ask its owner to run: helixstore doctor", root)
    if not status.st_mode & stat.S_IXGRP:
        return StoreError(f"{folder} belongs to {_user(status.st_uid)}, and you cannot pass it",
                          "ask them to run: helixstore doctor", root)
    name = access.group_name(status.st_gid)
    if not access.joinable(status.st_gid):
        return StoreError(f"{folder} is closed to {me}",
                          f"ask an administrator to run: sudo setfacl -m u:{me}:x {shlex.quote(folder)}", root)
    return StoreError(f"{folder} is open to the group {name} only, and {me} is not a member of it in this session",
                      f"ask an administrator to run: sudo usermod -aG {name} {me}, then log in again", root)


def _gid(group: str, root: str) -> int:
    """The number of a group that this person is a member of."""
    if sys.platform == "win32":
        raise StoreError("a group shares a store on Linux and macOS only", "make a store without --group", root)
    import grp

    try:
        entry = grp.getgrnam(group)
    except KeyError:
        raise StoreError(f"there is no group {group}", f"ask an administrator to run: sudo groupadd {group}, and for "
                         f"each person: sudo usermod -aG {group} PERSON", root) from None
    if os.geteuid() != 0 and entry.gr_gid not in {os.getegid(), *os.getgroups()}:
        me = _user(os.geteuid())
        if me in entry.gr_mem:
            raise StoreError(f"{me} became a member of {group} after this session began", "log out and in again", root)
        raise StoreError(f"{me} is not a member of the group {group}",
                         f"ask an administrator to run: sudo usermod -aG {group} {me}, then log in again", root)
    return entry.gr_gid


def _user(uid: int) -> str:
    """The person's name, for people."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _make_private(path: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(path, _PRIVATE)
        return
    if not os.path.isdir(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def _between(path: str, below: str) -> Iterable[str]:
    """The folders from `below` down to `path`, without it if it is there."""
    parts = os.path.relpath(path, below).split(os.sep)
    return [os.path.join(below, *parts[:count]) for count in range(os.path.isdir(below), len(parts) + 1)]
