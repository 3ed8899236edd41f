"""A disk that keeps its promises and no more: what may be there after the power was lost, whatever order it wrote in.

What was made durable by fsync or syncfs is there. Of everything else, any part may be: each name may still be as it
was, or already be as it was later; a file that was written and not flushed may hold anything. Only a rename is one
step, which happened or did not. That is less than any journal gives, so what holds here holds on all of them.

The log of shim.c is replayed; after each line every state that may be found is asked about, name by name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

__all__ = ["Reordered"]

Inode = str                     # "device:inode:n": the n-th file that has had that number
Name = tuple[Inode, str]        # a folder and a name in it

_MANY = 10                      # renames and removals of one content that are all combined


@dataclass
class File:
    """A file or symbolic link. `digest`: of what it holds when it is whole; `dirty`: written, and not flushed since."""

    digest: str = ""
    target: str = ""
    dirty: bool = False


@dataclass
class Change:
    """One call that changes names, all of them or none: name -> inode, or None where it goes."""

    number: int
    names: Mapping[Name, Inode | None]


@dataclass
class Reordered:
    """See the module.

    Args:
        tops: the mounted disks.
        log: every line of it.
        digests: inode, as the log has it -> what it holds in the end.
    """

    tops: Sequence[Path]
    log: Sequence[str]
    digests: Mapping[str, str]
    born: Counter[str] = field(default_factory=Counter)             # inode -> files that were made with that number
    files: dict[Inode, File] = field(default_factory=dict)
    folders: dict[str, Inode] = field(default_factory=dict)         # path -> inode, as the process sees it
    seen: dict[Name, Inode] = field(default_factory=dict)           # as the process sees it
    durable: dict[Name, tuple[int, Inode | None]] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)
    safe: set[Inode] = field(default_factory=set)                   # folders that are surely there
    number: int = 0

    def __post_init__(self) -> None:
        lines = (line.split("\t") for line in self.log)
        self._births = Counter(line[3] for line in lines if line[0] in ("create", "mkdir", "symlink"))

    # ---- the beginning ---------------------------------------------------------------------------------------------

    def begin(self, digest_of: Mapping[str, str]) -> None:
        """Everything as it lies there now, all of it durable. `digest_of`: path -> what it holds."""
        for top in map(str, self.tops):
            self.folders[top] = _inode(top)
            self.safe.add(_inode(top))
            for folder, folders, names in os.walk(top):
                for name in folders + names:
                    path = f"{folder}/{name}"
                    inode = _inode(path)
                    where = self.folders[folder], name
                    self.seen[where], self.durable[where] = inode, (0, inode)
                    if name in folders and not os.path.islink(path):
                        self.folders[path] = inode
                        self.safe.add(inode)
                    elif os.path.islink(path):
                        self.files[inode] = File(target=os.readlink(path))
                    else:
                        self.files[inode] = File(digest_of.get(path, ""))

    # ---- what happens ----------------------------------------------------------------------------------------------

    def happen(self, line: str) -> None:
        """One line of the log."""
        op, one, other, named, _ = line.split("\t")
        self.number += 1
        if op in ("create", "mkdir", "symlink"):
            self.born[named] += 1
        inode = f"{named}:{self.born[named]}"
        if op == "create":
            last = self.born[named] == self._births[named]
            self.files[inode] = File(self.digests.get(named, "") if last else "", dirty=True)
            self._change({self._name(one): inode})
        elif op == "symlink":
            self.files[inode] = File(target=one)
            self._change({self._name(other): inode})
        elif op == "mkdir":
            self.folders[one] = inode
            self._change({self._name(one): inode})
        elif op == "link":
            self._change({self._name(other): inode})
        elif op == "rename":
            for path in [path for path in self.folders if path == one or path.startswith(one + "/")]:
                self.folders[other + path[len(one):]] = self.folders.pop(path)
            if self._name(one) != self._name(other):
                self._change({self._name(one): None, self._name(other): inode})
        elif op == "unlink":
            self.folders.pop(one, None)
            self._change({self._name(one): None})
        elif op in ("write", "truncate"):
            if inode in self.files:
                self.files[inode].dirty = True
        elif op == "sync":
            self._flush([inode])
        elif op == "syncfs":
            device = inode.partition(":")[0]
            self._flush([one for one in (*self.files, *self.folders.values()) if one.startswith(f"{device}:")])

    def _name(self, path: str) -> Name:
        folder, _, name = path.rpartition("/")
        return self.folders.get(folder, folder), name

    def _change(self, names: Mapping[Name, Inode | None]) -> None:
        self.pending.append(Change(self.number, names))
        for name, inode in names.items():
            if inode is None:
                self.seen.pop(name, None)
            else:
                self.seen[name] = inode

    def _flush(self, inodes: Sequence[Inode]) -> None:
        """These files hold what was written, these folders have the names that they have now."""
        flushed = set(inodes)
        for inode in flushed & self.files.keys():
            self.files[inode].dirty = False
        left = []
        for change in self.pending:
            if not any(folder in flushed for folder, _ in change.names):
                left.append(change)
                continue
            for name, inode in change.names.items():
                if self.durable.get(name, (0, None))[0] <= change.number:
                    self.durable[name] = change.number, inode
                if inode is not None and name[0] in self.safe:
                    self.safe.add(inode)
        self.pending = left

    # ---- what may be found -----------------------------------------------------------------------------------------

    def may_hold(self, path: str, follow: int = 4) -> Iterator[str]:
        """All that may be read at a path: digests, "" for nothing there, "garbage" and "dangling"."""
        name = self._name(path)
        inodes = {self.durable.get(name, (0, None))[1],
                  *(change.names[name] for change in self.pending if name in change.names)}
        for inode in inodes:
            file = self.files.get(inode or "")
            if file is None:
                yield "" if inode is None else "folder"
            elif file.target and follow:
                target = os.path.normpath(os.path.join(os.path.dirname(path), file.target))
                yield from (found or "dangling" for found in self.may_hold(target, follow - 1))
            else:
                yield "garbage" if file.dirty else file.digest

    def lost(self, digest: str) -> bool:
        """Whether what may be found has these bytes nowhere."""
        whole = {inode for inode, file in self.files.items() if file.digest == digest and not file.dirty}
        touching = [change for change in self.pending if self._touches(change, whole)]
        names = {name for change in touching for name in change.names}
        names |= {name for name, (_, inode) in self.durable.items() if inode in whole}
        if any(self.durable.get(name, (0, None))[1] in whole and name[0] in self.safe
               and not any(name in change.names for change in touching) for name in names):
            return False                                # under a name that nothing touches
        sizes = range(len(touching) + 1) if len(touching) <= _MANY else (0, 1, 2, len(touching))
        return any(not self._found(names, kept, whole) for size in sizes for kept in combinations(touching, size))

    def _touches(self, change: Change, whole: set[Inode]) -> bool:
        return any(inode in whole or self.durable.get(name, (0, None))[1] in whole
                   for name, inode in change.names.items())

    def _found(self, names: set[Name], kept: Sequence[Change], whole: set[Inode]) -> bool:
        """Whether one of the names leads to one of the inodes, of all changes that are not durable these having
        reached the disk."""
        for name in names:
            number, inode = self.durable.get(name, (0, None))
            for change in kept:
                if name in change.names and change.number > number:
                    number, inode = change.number, change.names[name]
            if inode in whole and name[0] in self.safe:
                return True
        return False


def _inode(path: str) -> Inode:
    status = os.lstat(path)
    return f"{status.st_dev}:{status.st_ino}:0"
