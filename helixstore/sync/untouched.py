"""Roots that are, to the last name, as helixstore left them: nothing new lies there, so that no layout reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from helixstore.farm.ledger import FOLDER, Record
from helixstore.formats.listing import Tree
from helixstore.fs.listing import scandir

__all__ = ["untouched"]

_LEADING = frozenset({"symlink", "inner"})


def untouched(root: str, records: Mapping[str, Record], tree: Tree) -> bool:
    """Whether in a root lies everything that its ledger has, as it was entered, and beside it only folders.

    Not so where a program's own sidecar was adopted, or somebody has written into one of ours: it may say what no stat
    tells, of files anywhere. Contents are told by inode alone where they are links, else by the stat.

    Args:
        root: absolute.
        records: its ledger.
        tree: is told of every folder that was listed.
    """
    files = {path: record for path, record in records.items() if record.kind != FOLDER}
    if not files or any(r.kind == "text" and (r.origin != "made" or r.digest != r.base) for r in files.values()):
        return False
    seen = 0
    pending, theirs = [""], list[str]()         # where somebody has folders there mostly are files of theirs too
    try:
        while pending or theirs:
            above = theirs.pop() if theirs else pending.pop()
            folder = f"{root}/{above}" if above else root
            prefix = f"{above}/" if above else ""
            tree.folder(folder, os.stat(folder).st_mtime_ns)
            with scandir(folder) as entries:
                for entry in entries:
                    path = prefix + entry.name
                    record = files.get(path)
                    if record is not None:
                        if not _as_left(entry, record):
                            return False
                        seen += 1
                    elif not entry.is_dir(follow_symlinks=False):
                        return False
                    else:
                        (pending if path in records else theirs).append(path)
    except OSError:
        return False
    return seen == len(files)


def _as_left(entry: os.DirEntry[str], record: Record) -> bool:
    """Whether an entry of a folder is what its record says; a link must lead somewhere."""
    if entry.inode() != record.inode:
        return False
    if record.kind == "hard":
        return True
    if record.kind in _LEADING:
        return os.path.exists(entry.path)
    now = entry.stat(follow_symlinks=False)
    return (now.st_size, now.st_mtime_ns) == (record.bytes, record.mtime_ns)
