"""Several people on one machine: who gets to the store and who does not, found out by the rules and by trying."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helixstore.fs import folders, kernel
from helixstore.fs.access import (
    READ,
    Person,
    allows,
    closed_folders,
    group_fills,
    group_name,
    joinable,
    members,
    names_of,
    person,
    rights_of,
)
from helixstore.results import Check
from helixstore.session import Session
from helixstore.store.store import Store

__all__ = ["Barrier", "barring", "opening", "people_checks", "service_check", "tried"]

#: so many people and blobs are tried one by one
_TRIED, _LOOKED_AT = 3, 2000
_COMMON = ("refs", "hosts", "farms", "volumes", "condemned", "trash", "quarantine", "staging")
_FANNED = ("blobs", "meta", "manifests")


@dataclass(frozen=True, slots=True)
class Barrier:
    """A folder that keeps people out: why, and the command that opens it for them."""

    folder: Path
    why: str
    remedy: str


def barring(path: Path, people: Sequence[Person], group: int = -1) -> list[Barrier]:
    """The folders on the way to `path` that keep some of these people out.

    Args:
        path: that they want to reach.
        people: those in question.
        group: a group that all of them are in, by which a folder is better opened than one by one; -1: there is none.
    """
    kept_out: dict[Path, list[Person]] = {}
    for one in people:
        for folder in closed_folders(path, one):
            kept_out.setdefault(folder, []).append(one)
    found: dict[str, Barrier] = {}
    for folder, out in sorted(kept_out.items()):            # what opens the first of several opens those below, too
        remedy = _opening(folder, out, group)
        found.setdefault(remedy, Barrier(folder, f"{names_of(out)} cannot pass {folder}", remedy))
    return list(found.values())


def _opening(folder: Path, out: Sequence[Person], group: int) -> str:
    """The command that lets these people pass, and gives nobody more than that."""
    rights = rights_of(folder)
    sudo = "" if rights.uid == os.geteuid() else "sudo "
    where = shlex.quote(str(folder))
    if rights.mask == -1 and rights.mode >> 3 & 1 and not rights.mode & 1 and joinable(rights.gid):
        name = group_name(rights.gid)
        return "; ".join(f"sudo usermod -aG {name} {one.name}" for one in out) + " (and they log in again)"
    if all(rights.gid in one.groups for one in out) and rights.mask == -1:
        return f"{sudo}chmod g+x {where}"
    if shutil.which("setfacl") is None:
        return f"{sudo}chmod o+x {where}"
    entries = [f"g:{group_name(group)}:x"] if group != -1 else [f"u:{one.name}:x" for one in out]
    return f"{sudo}setfacl -m {','.join(entries)} {where}"


def people_checks(session: Session) -> Iterator[Check]:
    """What holds for a store that a group fills; nothing for one of one's own."""
    store = session.store
    if not store.sharing.shared:
        return
    gid = store.sharing.gid
    everybody = members(gid)
    name = group_name(gid)
    yield Check("people", "ok", f"the group {name} fills the store: {names_of(everybody, 12) or 'nobody yet'}; its "
                                f"steward is {_name(store.sharing.steward)}")
    if name != store.sharing.group:
        yield Check("people", "warning", f"{store.path} belongs to the group {name}, and was made for "
                                         f"{store.sharing.group}",
                    f"if that is not meant: sudo chgrp -R {store.sharing.group} {shlex.quote(str(store.path))}")
    me = person(os.geteuid())
    if me is not None and me.uid and gid not in {os.getegid(), *os.getgroups()}:
        yield Check("people", "problem", f"you are not a member of {name} in this session",
                    f"sudo usermod -aG {name} {me.name}, then log in again")
    for barrier in barring(store.path, everybody, gid):
        yield Check("people", "problem", barrier.why, barrier.remedy)
    yield from _modes(store)
    yield from _unreadable(store, everybody)
    yield from _kernel()
    for one in [one for one in everybody if one.uid not in (0, os.geteuid())][:_TRIED]:
        yield from tried(store, one)


def _modes(store: Store) -> Iterator[Check]:
    """Folders of the store that are not as `init` made them."""
    root = str(store.path)
    wanted = [root, *(f"{root}/{kind}" for kind in (*_COMMON, *_FANNED))]
    wanted += [f"{root}/{kind}/{number:02x}" for kind in _FANNED for number in range(256)]
    wrong = [folder for folder in wanted if os.path.isdir(folder) and not _is_common(folder, store.sharing.gid)]
    if wrong:
        sudo = "" if store.sharing.steward == os.geteuid() else "sudo "
        top = shlex.quote(root)
        those = " ".join(map(shlex.quote, wrong)) if len(wrong) <= _TRIED else " ".join(
            [top, f"{top}/*/", *(f"{top}/{kind}/*/" for kind in _FANNED)])
        acl = f" && {sudo}setfacl -m g::rwx,m::rwx,d:g::rwx,d:m::rwx {those}" if any(
            not group_fills(folder) for folder in wrong) else ""
        yield Check("people", "problem", f"{len(wrong)} folders are not the group's, or lack the mode "
                                         f"{folders.COMMON:o}: {', '.join(wrong[:_TRIED])}",
                    f"{sudo}chgrp {group_name(store.sharing.gid)} {those} && "
                    f"{sudo}chmod {folders.COMMON:o} {those}{acl}")
    else:
        yield Check("people", "ok", f"every common folder has the mode {folders.COMMON:o}, or an ACL")


def _is_common(folder: str, gid: int) -> bool:
    status = os.stat(folder)
    mode = stat.S_IMODE(status.st_mode)
    if folders.has_acl(folder):
        return status.st_gid == gid and mode & 0o3000 == 0o3000 and group_fills(folder)
    return status.st_gid == gid and mode == folders.COMMON


def _unreadable(store: Store, everybody: Sequence[Person]) -> Iterator[Check]:
    """Blobs that some members cannot read, with whose they are."""
    found: dict[int, list[str]] = {}
    for number, digest in enumerate(store.blobs.digests()):
        if number >= _LOOKED_AT:
            break
        rights = rights_of(store.blobs.path(digest))
        if any(not allows(rights, one, READ) for one in everybody):
            found.setdefault(rights.uid, []).append(store.blobs.path(digest))
    for uid, paths in found.items():
        sudo = "" if uid == os.geteuid() else "sudo "
        those = shlex.quote(paths[0]) if len(paths) == 1 else "FILE"
        yield Check("people", "problem", f"{len(paths)} files of {_name(uid)} cannot be read by every member: "
                                         f"{', '.join(paths[:_TRIED])}",
                    f"{sudo}chgrp {group_name(store.sharing.gid)} {those} && {sudo}chmod 440 {those}")


def _kernel() -> Iterator[Check]:
    """What this system says of links between people [proc_sys_fs(5)]."""
    for name, meaning in (("protected_hardlinks", "another's blob is linked symbolically"),
                          ("protected_symlinks", "links of others are not followed in folders like /tmp")):
        with suppress(OSError), open(f"/proc/sys/fs/{name}", "rb") as file:
            on = file.read().strip() == b"1"
            yield Check("people", "ok", f"fs.{name} is {'on: ' + meaning if on else 'off'}")


def opening(folder: Path) -> str:
    """The command by which this person may write into a program's folder, and its owner goes on as before."""
    where, me = shlex.quote(str(folder)), _name(os.geteuid())
    rights = rights_of(folder)
    if rights.uid == os.geteuid():
        return f"chmod u+rwx {where}"
    if shutil.which("setfacl") is None and joinable(rights.gid):
        return f"sudo usermod -aG {group_name(rights.gid)} {me} && sudo chmod -R g+rwX {where} (and you log in again)"
    return f"sudo setfacl -R -m u:{me}:rwX,d:u:{me}:rwX {where}"


def service_check(store: Store, root: Path, name: str) -> Iterator[Check]:
    """Whether the service user who owns a program's folder gets to the blobs.

    Args:
        store: whose blobs.
        root: the program's folder, which is there.
        name: the provider's, for the report.
    """
    owner = os.stat(root).st_uid if hasattr(os, "getuid") else 0
    service = person(owner)
    if service is None or owner in (0, os.geteuid()):
        return
    for barrier in barring(store.path / "blobs" / "00", [service]):
        yield Check(name, "problem", f"{root} belongs to {service.name}, and {barrier.why}", barrier.remedy)


def tried(store: Store, who: Person) -> Iterator[Check]:
    """A set-up test as somebody else: as root really with their user id, else by the rules of owner, group and ACL."""
    if os.geteuid() == 0 and sys.platform != "win32":
        wrong = list(_as(store, who))
        how = "tried as that user"
    else:
        rules = [(store.path / "store.json", READ), (store.path / "staging", 7), (store.path / "refs", 7)]
        wrong = [f"may not use {path}" for path, wanted in rules if not allows(rights_of(path), who, wanted)]
        how = "by the rules of owner, group and ACL; as root, doctor really tries"
    for what in wrong:
        yield Check("people", "problem", f"{who.name} {what}", "mend the modes named above, then: helixstore doctor")
    if not wrong:
        yield Check("people", "ok", f"{who.name} reads the store, adds to it, and removes nothing of others ({how})")


#: What somebody else does with a probe of ours, and whether it must work.
_TRIALS = (
    ("cannot read store.json", 'cat "$1/store.json"', True),
    ("cannot read a blob", 'cat "$1/blobs/00/$2"', True),
    ("cannot make a folder in staging", 'mkdir "$1/staging/$2" && rmdir "$1/staging/$2"', True),
    ("cannot add a blob", 'echo > "$1/blobs/01/$2-theirs" && rm "$1/blobs/01/$2-theirs"', True),
    ("can remove another's blob", 'rm -f "$1/blobs/00/$2"', False),
    ("can rename another's blob", 'mv "$1/blobs/00/$2" "$1/blobs/00/$2-moved"', False),
    ("can replace another's blob", 'echo > "$1/blobs/02/$2-theirs" && mv -f "$1/blobs/02/$2-theirs" "$1/blobs/00/$2"',
     False),
    ("can write into another's blob", 'echo > "$1/blobs/00/$2"', False),
)


def _as(store: Store, who: Person) -> Iterator[str]:
    """What goes wrong when that user does it; every trace is removed."""
    name = f".helixstore-probe-{secrets.token_hex(8)}"
    root = str(store.path)
    probe = f"{root}/blobs/00/{name}"
    kernel.write_new(probe, b"probe", 0o444, durable=False)
    try:
        for what, script, works in _TRIALS:
            if who.uid == store.sharing.steward and not works:
                continue                                # the owner of the folders may do all of that
            done = subprocess.run(  # noqa: S603 - the script is one of ours, the arguments are no part of it
                ["/bin/sh", "-c", script, "sh", root, name], user=who.uid, group=_primary(who),
                extra_groups=sorted(who.groups), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, cwd="/", check=False)
            if (done.returncode == 0) is not works:
                yield what
    finally:
        for path in _traces(root, name):
            with suppress(FileNotFoundError):
                kernel.unlink(path)


def _traces(root: str, name: str) -> Iterable[str]:
    return [f"{root}/blobs/{folder}/{name}{end}" for folder in ("00", "01", "02") for end in ("", "-moved", "-theirs")]


def _primary(who: Person) -> int:
    import pwd

    return pwd.getpwuid(who.uid).pw_gid


def _name(uid: int) -> str:
    known = person(uid)
    return known.name if known is not None else str(uid)
