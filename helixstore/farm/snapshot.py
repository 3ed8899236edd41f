"""Has anything below these folders changed since? The fast way to know that a sync has nothing to do.

A snapshot holds the time of change of every folder that a scan listed, and inode, size and times of the files that it
looked at. A name that appears, disappears or is replaced changes its folder; bytes that are rewritten in place change
the inode. So a symbolic link needs no look of its own where its folder is in the snapshot, and of several hard links
to one inode, one is looked at: 130,000 links of 10,000 models come down to their folders and 10,000 files.

What changed so shortly before the scan that a later change could bear the same time is not trusted ("racily clean",
git `Documentation/technical/racy-git.adoc`): it counts as changed at every look, until a later scan records it anew.
Not seen: a change on a server whose clock is more than two seconds behind ours, and a time that somebody sets back.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from helixstore.fs.kernel import Fingerprint

__all__ = ["ABSENT", "RACY_NS", "Snapshot", "changed", "take"]

#: Stands for the time of a folder that was not there: it counts as changed once it is.
ABSENT = -1
#: Times within this many nanoseconds of the scan are not trusted: the coarsest common clock, FAT's, ticks so.
RACY_NS = 2_000_000_000

_MAGIC = b"helixstore snapshot 1\n"
_INODES = 0xFFFF_FFFF_FFFF_FFFF             # ReFS has 128 bits; the lower ones will do


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a scan saw. Made by `take`; compared by `changed`.

    Attributes:
        folders: absolute paths -> mtime in nanoseconds, or ABSENT.
        files: absolute paths that are looked at.
        inodes, sizes, mtimes, ctimes: one number for each of `files`; bytes and nanoseconds.
        racy: folders and files that changed too shortly before the scan to be trusted.
    """

    folders: Mapping[str, int]
    files: tuple[str, ...] = ()
    inodes: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    mtimes: array[int] = field(default_factory=lambda: array("q"))
    ctimes: array[int] = field(default_factory=lambda: array("q"))
    racy: frozenset[str] = frozenset()

    def encode(self) -> bytes:
        """As bytes, compressed; file names are kept beside their folder's."""
        parents: list[str] = []
        counts = array("I")
        names: list[str] = []
        for path in self.files:
            parent, name = os.path.split(path) if os.altsep else path.rsplit(os.sep, 1)
            if not parents or parents[-1] != parent:
                parents.append(parent)
                counts.append(0)
            counts[-1] += 1
            names.append(name)
        texts = [_join(self.folders), _join(parents), _join(names), _join(sorted(self.racy))]
        numbers = [counts, self.inodes, self.sizes, self.mtimes, self.ctimes, array("q", self.folders.values())]
        parts = texts + [column.tobytes() for column in numbers]
        head = json.dumps([len(part) for part in parts]).encode() + b"\n"
        return _MAGIC + zlib.compress(head + b"".join(parts), 1)

    @classmethod
    def decode(cls, data: bytes) -> Snapshot | None:
        """The snapshot in `data`; None when it is none of this version or is damaged, so that a scan makes another."""
        if not data.startswith(_MAGIC):
            return None
        try:
            head, _, body = zlib.decompress(data[len(_MAGIC):]).partition(b"\n")
            parts: list[bytes] = []
            position = 0
            for size in json.loads(head):
                parts.append(body[position:position + size])
                position += size
            folders, parents, names, racy = (_split(part) for part in parts[:4])
            counts, inodes, sizes, mtimes, ctimes, times = (
                array(code, part) for code, part in zip("IQqqqq", parts[4:], strict=True))
            files: list[str] = []
            start = 0
            for parent, count in zip(parents, counts, strict=True):
                prefix = parent + os.sep
                files += [prefix + name for name in names[start:start + count]]
                start += count
            if not len(files) == len(names) == len(inodes) == len(sizes) == len(mtimes) == len(ctimes):
                return None
            return cls(dict(zip(folders, times, strict=True)), tuple(files), inodes, sizes, mtimes, ctimes,
                       frozenset(racy))
        except (ValueError, TypeError, zlib.error):
            return None


def take(folders: Mapping[str, int], files: Mapping[str, Fingerprint], began_ns: int) -> Snapshot:
    """Remember what a scan saw; looks at nothing itself.

    Args:
        folders: absolute paths of the folders it listed -> their mtime in nanoseconds, taken before they were listed;
            ABSENT for one that was looked for and was not there.
        files: absolute paths of the files it looked at -> `kernel.fingerprint(path)`, of the name itself.
        began_ns: when the scan began, or when the last change by ourselves that it saw was over, whichever is later;
            nanoseconds since 1970. Waiting two seconds before that makes the whole snapshot trusted.
    """
    limit = began_ns - RACY_NS
    racy = {path for path, time in folders.items() if time >= limit}
    seen: set[tuple[int, ...]] = set()
    kept: list[tuple[str, Fingerprint]] = []
    for path, mark in sorted(files.items()):
        if path.rpartition(os.sep)[0] in folders:       # the folder tells when this name changes
            if stat.S_ISLNK(mark.mode):
                continue
            if mark.nlink > 1:
                one = (mark.device, *mark[:4])
                if one in seen:
                    continue
                seen.add(one)
        kept.append((path, mark))
        if mark.mtime_ns >= limit or mark.ctime_ns >= limit:
            racy.add(path)
    marks = [mark for _, mark in kept]
    return Snapshot(
        dict(folders), tuple(path for path, _ in kept), array("Q", [mark.inode & _INODES for mark in marks]),
        array("q", [mark.bytes for mark in marks]), array("q", [mark.mtime_ns for mark in marks]),
        array("q", [mark.ctime_ns for mark in marks]), frozenset(racy))


def changed(snapshot: Snapshot, first: bool = False) -> set[str]:
    """The folders and files that are not as the snapshot has them, by lstat alone; nothing is opened or listed.

    Args:
        snapshot: of an earlier scan.
        first: stop at the first one found, for callers that only ask whether there is any.

    Of hard links to one inode that changed, one is named.
    """
    found = set(snapshot.racy)
    if first and found:
        return found
    stat_of, lstat_of = os.stat, os.lstat               # a root may be a symbolic link to the real folder
    for path, time in snapshot.folders.items():
        try:
            now = stat_of(path).st_mtime_ns
        except OSError:
            now = ABSENT
        if now != time:
            found.add(path)
            if first:
                return found
    columns = zip(snapshot.files, snapshot.inodes, snapshot.sizes, snapshot.mtimes, snapshot.ctimes, strict=True)
    for path, inode, size, mtime, ctime in columns:
        try:
            status = lstat_of(path)
        except OSError:
            found.add(path)
        else:
            if (status.st_ctime_ns == ctime and status.st_ino & _INODES == inode and status.st_mtime_ns == mtime
                    and status.st_size == size):
                continue
            found.add(path)
        if first:
            return found
    return found


def _join(texts: Iterable[str]) -> bytes:
    """Each with a NUL at its end, which no path holds."""
    return os.fsencode("\0".join([*texts, ""]))


def _split(data: bytes) -> list[str]:
    return os.fsdecode(data).split("\0")[:-1]
