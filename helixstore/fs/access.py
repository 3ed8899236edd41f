"""Who may do what with a file or folder, by the rules of owner, groups and POSIX ACL: for people who are not us.

The rules are those of acl(5) and path_resolution(7): the owner's bits if one is the owner, else a named user's, else
what one of the person's groups gives, else the others'; named users and all groups are limited by the mask. What an
NFSv4 ACL, a server or a security module says besides is not known here; a try as that person tells
(`commands.access.tried`).
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "READ",
    "TRAVERSE",
    "WRITE",
    "Person",
    "Rights",
    "allows",
    "closed_folders",
    "group_fills",
    "group_name",
    "joinable",
    "members",
    "names_of",
    "person",
    "rights_of",
    "user_name",
]

READ, WRITE, TRAVERSE = 4, 2, 1
_ACL, _DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"
_USER, _GROUP_OWNER, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account: their number, and those of all their groups."""

    name: str
    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Rights:
    """Owner, group, mode, and the named entries of an ACL: number -> bits; `owning` and `mask` of an ACL, else -1."""

    uid: int
    gid: int
    mode: int
    users: dict[int, int] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)
    owning: int = -1
    mask: int = -1


def allows(rights: Rights, who: Person, wanted: int) -> bool:
    """Whether a person has all of these rights. Pure.

    Args:
        rights: of the file or folder.
        who: the person; root may do everything that is asked here.
        wanted: READ, WRITE, TRAVERSE, or several of them.
    """
    if who.uid == 0:
        return True
    if who.uid == rights.uid:
        return rights.mode >> 6 & wanted == wanted
    mask = 7 if rights.mask == -1 else rights.mask
    if who.uid in rights.users:
        return rights.users[who.uid] & mask & wanted == wanted
    owning = rights.mode >> 3 & 7 if rights.owning == -1 else rights.owning
    given = [owning & mask] if rights.gid in who.groups else []
    given += [bits & mask for gid, bits in rights.groups.items() if gid in who.groups]
    if given:
        return any(bits & wanted == wanted for bits in given)
    return rights.mode & wanted == wanted


def rights_of(path: str | os.PathLike[str]) -> Rights:
    """The rights on a file or folder; symbolic links are followed.

    Raises:
        OSError: it is not there, or cannot be reached.
    """
    status = os.stat(path)
    users: dict[int, int] = {}
    groups: dict[int, int] = {}
    owning = mask = -1
    for tag, bits, number in _entries(path):
        if tag == _USER:
            users[number] = bits
        elif tag == _GROUP:
            groups[number] = bits
        elif tag == _GROUP_OWNER:
            owning = bits
        elif tag == _MASK:
            mask = bits
    return Rights(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), users, groups, owning, mask)


def _entries(path: str | os.PathLike[str], kind: str = _ACL) -> Iterator[tuple[int, int, int]]:
    """(tag, bits, number) of an ACL as Linux keeps it [linux/posix_acl_xattr.h]; nothing where there is none."""
    data = b""
    if hasattr(os, "getxattr"):
        with contextlib.suppress(OSError):
            data = os.getxattr(path, kind)
    yield from struct.iter_unpack("<HHI", data[4:]) if len(data) % 8 == 4 else ()


def group_fills(folder: str | os.PathLike[str]) -> bool:
    """Whether the default ACL of a folder leaves the group of what is made in it all rights; True where it has none."""
    acl = {tag: bits for tag, bits, _ in _entries(folder, _DEFAULT_ACL)}
    return acl.get(_GROUP_OWNER, 7) & acl.get(_MASK, 7) == 7


def closed_folders(path: str | os.PathLike[str], who: Person) -> list[Path]:
    """The folders on the way to `path`, it included, that a person cannot pass, from the top. Links are resolved."""
    real = Path(os.path.realpath(path))
    return [folder for folder in (*reversed(real.parents), real)
            if folder.is_dir() and not allows(rights_of(folder), who, TRAVERSE)]


def person(user: int | str) -> Person | None:
    """The account of a number or name with all its groups; None when there is none."""
    try:
        import grp  # noqa: F401 - as pwd: not on Windows
        import pwd
    except ImportError:
        return None
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except KeyError:
        return None
    return Person(entry.pw_name, entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def members(gid: int) -> list[Person]:
    """Everybody whom the system names as a member of a group, by its list or as their primary one."""
    try:
        import grp
        import pwd
    except ImportError:
        return []
    with contextlib.suppress(KeyError):
        names = list(grp.getgrgid(gid).gr_mem)
        names += [entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == gid]
        return [one for one in map(person, dict.fromkeys(names)) if one is not None]
    return []


def user_name(uid: int) -> str:
    """What a person is called on this machine, or "user 1234" where it has no name for them."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"


def group_name(gid: int) -> str:
    """The name of a group; its number where it has none."""
    try:
        import grp

        return grp.getgrgid(gid).gr_name
    except (ImportError, KeyError):
        return str(gid)


def joinable(gid: int) -> bool:
    """Whether somebody may well be made a member of a group: it is neither root's nor one person's own."""
    return gid != 0 and person(group_name(gid)) is None


def names_of(people: Iterable[Person], most: int = 3) -> str:
    """Some of their names, for people."""
    names = [one.name for one in people]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
