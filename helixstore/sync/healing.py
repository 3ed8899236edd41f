"""Hard links to a damaged inode get the mended blob's bytes: ours at once, and the paths that the person gave too.

When a blob is mended, or a good one takes a damaged one's place, the damaged inode goes into the trash as
`<digest>.corrupt`, and whatever was linked to it still reads it. By that name everybody's next command knows the inode,
whoever mended the blob and whatever died in between: a file of the ledger that is it is linked anew, by a journaled
operation of its own.

A path that the person gave may be no damage but their edit: somebody has written to it since it was last known to be
right, and it is a whole model. That one stays as it is and is theirs again; the store keeps the content that it had.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType

from helixstore.errors import HelixError
from helixstore.farm.ledger import Record
from helixstore.farm.plan import Action, Look, Plan
from helixstore.farm.planner import body_of
from helixstore.farm.scan import look_at
from helixstore.formats.inspecting import inspect_file
from helixstore.index import BlobRow
from helixstore.session import Session
from helixstore.store.quarantine import damaged_inodes
from helixstore.values import Issue

__all__ = ["heal"]

_NOTE = "its blob was mended"


def heal(
    session: Session, replaced: Collection[str] = (), sound: Mapping[str, int] = MappingProxyType({}),
) -> list[Issue]:
    """Link anew what still leads to damaged bytes whose blob is right now.

    Args:
        session: whose ledgers.
        replaced: digests of blobs that have another inode than at the last look, for whatever reason: what was made
            for them is linked anew, too.
        sound: digest -> the time of modification of its file when it was last known to be right, in nanoseconds.

    Returns:
        What was found to be the person's edit, and what went wrong.
    """
    damaged = damaged_inodes(volume.path for volume in session.store.volumes.here)
    if not damaged and not replaced:
        return []
    issues: list[Issue] = []
    actions = tuple(_actions(session, damaged, replaced, sound, issues))
    if actions:
        with session.store.working():
            issues += session.farm.apply(Plan("repair", actions), command="repair").issues
    return issues


def _actions(
    session: Session, damaged: Mapping[str, Collection[tuple[int, int]]], replaced: Collection[str],
    sound: Mapping[str, int], issues: list[Issue],
) -> Iterator[Action]:
    marked, blobs = session.store.quarantine.all(), dict[str, os.stat_result | None]()
    for root in session.farm.ledgers.roots():
        for path, record in session.farm.ledgers.of(root).records.items():
            digest = record.digest
            if record.kind != "hard" or digest in marked or (digest not in damaged and digest not in replaced):
                continue
            where = f"{root}/{path}" if root else path
            look, inode = _looks(where)
            if look is None or look.inode != record.inode:
                continue                    # somebody has replaced it: it is theirs
            if digest not in blobs:
                blobs[digest] = _blob(session, digest, damaged.get(digest, ()))
            blob = blobs[digest]
            if blob is None or inode == (blob.st_dev, blob.st_ino):
                continue
            known = inode in damaged.get(digest, ())
            if record.origin == "made" and (known or not _is_copy(session, digest, inode)):
                yield _made(session, root, record, look, blob)
            elif known and _is_edit(where, look, (record.mtime_ns, sound.get(digest, -1))):
                yield Action("forget", root, path, claims=record.claims, was=record)
                if not root:
                    issues.append(Issue(
                        "modified", where, "it was written to, so it is your own file now and stays as it is; the "
                        "store has what it was before", shlex.join(["cp", session.store.blobs.path(digest), where])))
            elif known:
                kinds = ("hard", "reflink", "copy")         # it was a file on its own disk, and stays one
                yield Action("replace", root, path, ("weight", digest, record.bytes, kinds), look, record.claims,
                             record.order, record, _NOTE)


def _blob(session: Session, digest: str, damaged: Collection[tuple[int, int]]) -> os.stat_result | None:
    """The blob's file, if it is here, is not itself the damaged one, and has been read by us as it is: no link is made
    to anything else."""
    path = session.store.blobs.path(digest)
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in damaged:
            return None
        row = session.index.blob(digest)
        if row is None or (row.inode, row.bytes, row.mtime_ns) != (status.st_ino, status.st_size, status.st_mtime_ns):
            hashes, mark = session.store.blobs.check(digest)
            session.index.put_blobs([BlobRow(digest, hashes.bytes, hashes.sha256, hashes.gitsha1, mark.inode,
                                             mark.mtime_ns, mark.ctime_ns)])
    except (OSError, HelixError):
        return None                         # it is in quarantine now, or away: the plan that follows says so
    return status


def _looks(path: str) -> tuple[Look | None, tuple[int, int]]:
    """What lies at a path, with its device and inode."""
    with suppress(OSError):
        look, status = look_at(path), os.lstat(path)
        if look is not None and look.kind == "file":
            return look, (status.st_dev, status.st_ino)
    return None, (0, 0)


def _is_copy(session: Session, digest: str, inode: tuple[int, int]) -> bool:
    """Whether that is one of the blob's copies on several disks."""
    for place in session.store.blobs.places(digest):
        with suppress(OSError):
            status = os.stat(place.path)
            if (status.st_dev, status.st_ino) == inode:
                return True
    return False


def _made(session: Session, root: str, record: Record, look: Look, blob: os.stat_result) -> Action:
    """What we made: replaced in one step where we may link to the blob, else removed, so that the plan that follows
    makes it by another kind of link."""
    if session.store.blobs.stand_ins.possible(blob):
        return Action("replace", root, record.path, ("weight", record.digest, record.bytes, ("hard", "reflink")), look,
                      record.claims, record.order, record, _NOTE)
    return Action("remove", root, record.path, body_of(record), look, record.claims, record.order, record, _NOTE)


def _is_edit(path: str, look: Look, sound: Collection[int]) -> bool:
    """Whether somebody has written a whole model there: its time is none at which it was known to be right."""
    if look.mtime_ns in sound:
        return False
    try:
        return inspect_file(path) is not None
    except HelixError:
        return False
