"""Whether what lies at a path is what an action expects there, or already what it would make."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping

from blake3 import blake3

from helixstore.farm.place import Placed, Placer
from helixstore.farm.plan import LAY_THERE, Action, Look
from helixstore.fs.listing import listdir

__all__ = ["content", "found", "gone", "holds", "is_already", "origin_of"]

_CHUNK = 1 << 20         # bytes read at once


def gone(paths: Iterable[str]) -> set[str]:
    """Those absolute paths that are not there any more, by listing each folder once."""
    listed: dict[str, set[str]] = {}
    missing = set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in listed:
            listed[folder] = set()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                listed[folder] = set(listdir(folder))
        if name not in listed[folder]:
            missing.add(path)
    return missing


def holds(action: Action, look: Look | None) -> bool:
    """Whether what lies there is what the action expects."""
    expect = action.expect
    if expect is None or look is None:
        return expect is look
    if expect.kind != look.kind:
        return False
    if expect.kind == "link":
        return expect.target == look.target
    if expect.kind != "file":
        return True
    if action.was is not None and action.was.kind == "hard":
        return expect.inode == look.inode
    return expect[1:4] == look[1:4]


def is_already(action: Action, look: Look, placer: Placer, texts: Mapping[str, bytes]) -> bool:
    """Whether what lies there is what the action would make.

    Args:
        action: makes, replaces or records an entry.
        look: what lies at its path.
        placer: of its root.
        texts: of its plan.
    """
    body = action.body
    kind = body[0] if body else ""
    if kind == "inner":
        return look.kind == "link" and (look.target == body[1] or (action.note == LAY_THERE and holds(action, look)))
    if kind == "text":
        return look.kind == "file" and look.bytes == len(texts[body[1]]) and content(action.absolute) == body[1]
    _, status = placer.source(body[1], body[2])
    if look.kind == "link":
        return (kind == "weight" and look.target in placer.blobs.texts(body[1])) or (action.note == LAY_THERE and (
            _leads_to(action.absolute, status) or (kind == "copy" and content(action.absolute) == body[1])))
    if look.kind != "file" or look.bytes != body[2]:
        return False
    if kind == "weight" and os.path.samestat(os.lstat(action.absolute), status):
        return True
    allowed = kind == "copy" or bool({"reflink", "copy"} & set(body[3]))
    return allowed and content(action.absolute) == body[1]


def found(action: Action, look: Look, placer: Placer) -> Placed:
    """What lies there already, as if it had just been made."""
    body = action.body
    if body[0] == "inner":
        return Placed("inner", "", look.inode, 0, look.mtime_ns, look.target, "")
    if look.kind == "link":
        kind = "symlink" if look.target in placer.blobs.texts(body[1]) else "inner"
        return Placed(kind, body[1], look.inode, body[2], look.mtime_ns, look.target, "")
    kind = body[0]
    if kind == "weight":
        _, status = placer.source(body[1], body[2])
        kind = "hard" if status.st_ino == look.inode else "copy"
    return Placed(kind, body[1], look.inode, look.bytes, look.mtime_ns, "", "")


def origin_of(action: Action) -> tuple[str, str]:
    """Of what a replacement leaves: its origin, and the digest of the person's text that we wrote into."""
    if action.body[0] == "text" and len(action.body) > 3:
        return "merged", action.body[3]
    if action.was is not None and action.was.kind in ("symlink", "hard") and action.was.origin == "adopted":
        return "adopted", action.was.original       # a link in the place of a copy that the person gave stays theirs
    return "made", ""


def _leads_to(path: str, status: os.stat_result) -> bool:
    """Whether a link ends on that file."""
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False


def content(path: str) -> str:
    """Digest of a file; "" when it cannot be read."""
    hasher = blake3()
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    except OSError:
        return ""
    return hasher.hexdigest()
