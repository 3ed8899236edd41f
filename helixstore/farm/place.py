"""Putting one entry in its place: which kind of link works there, and how it appears in one step.

A kind is found out by making it. What the system refuses at that place (another file system, another owner's file, too
many names, no such links) leads to the next kind that the layout allows; a full disk or an I/O error does not.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from helixstore.errors import Failed
from helixstore.farm.scan import DIRECT
from helixstore.fs import kernel
from helixstore.fs.inside import Inside
from helixstore.fs.listing import listdir
from helixstore.fs.probe import NO_IDENTITY, explain_refusal
from helixstore.store.blobs import Blobs
from helixstore.store.volumes import Place

__all__ = ["CannotPlace", "Placed", "Placer", "Stage", "sweep"]

_HIDDEN = ".helixstore-"
_WAITING = re.compile(r"\.+helixstore-.*\.[0-9a-f]{12}\.tmp", re.DOTALL)
_TYPE, _REGULAR = 0o170000, 0o100000


class CannotPlace(Failed):
    """No kind of link that the layout allows works there; the message says why each does not."""

    kind = "pending"


class _Refused(Exception):
    """This kind is not for this place."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Placed(NamedTuple):
    """What was made. Size in bytes."""

    kind: str
    digest: str
    inode: int
    bytes: int
    mtime_ns: int
    target: str
    why: str


class Stage:
    """Where a file waits under a temporary name, so that the program never sees it half made.

    First the store's own staging folder, when a rename from there works; else a dot file at the top of the root, where
    no program of ours looks for models; last, where a part of the root is a mount of its own, the folder itself.

    Args:
        root: absolute.
        staging: a folder of the store, absolute.
    """

    def __init__(self, root: str, staging: str) -> None:
        self.root, self.staging = root, staging
        self.inside = Inside(root)
        self._first = 0

    def put(self, path: str, make: Callable[[str], None], finish: Callable[[str, str], bool]) -> bool:
        """Make a file under a temporary name and give it its own.

        Args:
            path: absolute, its final name, as `inside.at` gives it.
            make: creates the temporary file it is given, or nothing when it raises.
            finish: moves the temporary name to the final one; False: it did not, and the temporary file is removed.
        """
        for number, folder in enumerate(self.folders(path)):
            if number < self._first:
                continue
            temporary = self.temporary(folder, path)
            make(temporary)
            moved = False
            try:
                moved = finish(temporary, path)
            except OSError as error:
                if not kernel.cannot_here(error) or number == 2:
                    raise
                self._first = min(number + 1, 1)        # the root's top stays the first choice for other folders
                continue
            finally:
                if not moved:
                    with contextlib.suppress(FileNotFoundError):
                        kernel.unlink(temporary)
            return moved
        return False

    def folders(self, path: str) -> tuple[str, str, str]:
        """The staging places for a path, the best first."""
        return self.staging, self.root, os.path.dirname(path)

    @staticmethod
    def temporary(folder: str, path: str) -> str:
        """An unused name in `folder`."""
        return kernel.temporary_name(os.path.join(folder, _HIDDEN + os.path.basename(path)[:80]))


def sweep(folders: Iterable[str]) -> None:
    """Remove what a process that was killed left waiting in these folders; only while none of ours is at work there."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            for name in listdir(folder):
                if _WAITING.fullmatch(name):
                    kernel.unlink(os.path.join(folder, name))


class Placer:
    """Makes the entries of one root.

    Args:
        blobs: where blobs lie.
        stage: where files wait.
        uid: ours; -1 where the system knows none.
        keep: the volume whose copies are to be linked, whatever lies nearer; "" for the nearest.
    """

    def __init__(self, blobs: Blobs, stage: Stage, uid: int, keep: str = "") -> None:
        self.blobs, self.stage, self.uid = blobs, stage, uid
        self._blobs = os.path.dirname(os.path.dirname(blobs.path("0" * 64)))
        self._near = blobs.near(stage.root, keep) if blobs.volumes.attached else None
        self._sources: dict[str, tuple[str, os.stat_result]] = {}
        self._no_reflink = ""
        self._drafts: dict[str, str] = {}
        self._damaged = blobs.damaged()

    def source(self, digest: str, size: int) -> tuple[str, os.stat_result]:
        """Path and stat of a blob.

        Raises:
            Failed: it is missing, or has another size than its model says.
        """
        known = self._sources.get(digest)
        if known is None:
            path = self.blobs.path(digest) if self._near is None else self._near(digest).path
            try:
                known = path, os.lstat(path)
            except FileNotFoundError:
                if why := self.blobs.absent(digest):
                    raise CannotPlace(why, "", path) from None
                raise Failed(f"blob {digest[:12]} is missing in the store", "helixstore verify --repair",
                             path) from None
            if not stat.S_ISREG(known[1].st_mode):
                raise Failed(f"what lies under the name of blob {digest[:12]} is no file", "helixstore verify", path)
            self._sources[digest] = known
        if known[1].st_size != size:
            raise Failed(f"blob {digest[:12]} has {known[1].st_size:,} bytes instead of {size:,}", "helixstore verify",
                         known[0])
        return known

    def weight(self, path: str, digest: str, size: int, kinds: Iterable[str]) -> Placed:
        """Link a blob to a path where nothing lies, by the first kind that works.

        Raises:
            FileExistsError: something lies there.
            CannotPlace: no kind works there.
            Failed: a link lies in the place of a folder on the way.
            OSError: the disk is full, and other things that the next kind would not mend.
        """
        path = self.at(path)
        self._check(path, digest)
        why: list[str] = []
        for kind in kinds:
            try:
                if kind == "hard":
                    return self._hard(path, digest, size)
                return self._link(path, digest, size, kind, "; ".join(why))
            except _Refused as refused:
                why.append(refused.reason)
            except OSError as error:
                if not kernel.cannot_here(error):
                    raise
                reason = explain_refusal(error)
                why.append(f"hard link: {reason}" if kind == "hard" else f"{kind}: {reason}")
                if kind == "reflink":
                    self._no_reflink = reason
        raise CannotPlace("; ".join(why) or "the layout allows no kind of link", "", path)

    def _check(self, path: str, digest: str) -> None:
        """That the blob is not in quarantine: an undo, or a plan that was kept, may want it still."""
        if digest in self._damaged:
            raise CannotPlace(f"the blob {digest[:12]} is damaged", "helixstore verify --repair", path)

    def _link(self, path: str, digest: str, size: int, kind: str, why: str) -> Placed:
        """One try with one kind."""
        source, status = self.source(digest, size)
        if kind in ("symlink", "stand-in"):
            target, refusal = self._lent(digest, source, status, kind == "stand-in")
            if refusal and kind == "stand-in" and _may_unlink(source, self.uid):
                raise _Refused(f"symlink: deleting the model in the program could delete the blob itself ({refusal})")
            kernel.symlink(target, path)
            why = "; ".join(filter(None, (why, f"{DIRECT}: {refusal}" if refusal else "")))
            return Placed("symlink", digest, os.lstat(path).st_ino, size, 0, target, why)
        if kind == "reflink":
            if self._no_reflink:
                raise _Refused(f"reflink: {self._no_reflink}")
            self._file(path, lambda temporary: kernel.reflink(source, temporary, durable=True))
        elif kind == "copy":
            self._file(path, lambda temporary: kernel.copy(source, temporary, 0o644, durable=True))
        else:
            raise _Refused(f"{kind}: nothing is to be linked")
        return self.placed(path, kind, digest)._replace(why=why)

    def _lent(self, digest: str, source: str, status: os.stat_result, deleted: bool) -> tuple[str, str]:
        """What a symbolic link leads to: a stand-in, or the blob itself and why there can be no stand-in.

        `deleted`: the program may delete what its link leads to.
        """
        place = Place(self.blobs.volumes.main, source) if self._near is None else self._near(digest)
        if place.volume.refers:
            return source, "the file stays where it lies on its disk"
        if not self.blobs.stand_ins.possible(status):
            return source, "the blob belongs to another user"
        try:
            return self.blobs.stand_ins.make(place.volume.path, digest, source, deleted), ""
        except OSError as error:
            if not kernel.cannot_here(error):
                raise
            return source, explain_refusal(error)

    def _hard(self, path: str, digest: str, size: int) -> Placed:
        """One system call to link and one to look at what was linked: this is what most entries are."""
        source = f"{self._blobs}/{digest[:2]}/{digest}" if self._near is None else self.source(digest, size)[0]
        try:
            kernel.hard_link(source, path, plain=True)
        except FileNotFoundError:
            self.source(digest, size)                   # says so when it is the blob that is missing
            raise
        now = os.lstat(path)
        if now.st_size == size and self.uid in (-1, now.st_uid) and now.st_mode & _TYPE == _REGULAR:
            if now.st_nlink > 1:
                return Placed("hard", digest, now.st_ino, size, now.st_mtime_ns, "", "")
            kernel.unlink(path)
            raise _Refused(f"hard link: {NO_IDENTITY}")
        if not os.path.samestat(now, os.lstat(source)):
            raise FileExistsError(path)                 # somebody has put their own file there since: it is theirs
        kernel.unlink(path)
        self.source(digest, size)
        raise _Refused("hard link: the blob belongs to another user")

    def small(self, path: str, digest: str, size: int) -> Placed:
        """A file of its own with a blob's bytes, where nothing lies: for what people edit."""
        if not self._published(path):
            self._file(self.at(path), lambda temporary: self._copy(temporary, digest, size, durable=True))
        return self.placed(path, "copy" if self._no_reflink else "reflink", digest)

    def text(self, path: str, data: bytes, digest: str) -> Placed:
        """A sidecar, where nothing lies."""
        def make(temporary: str) -> None:
            kernel.write_new(temporary, data, durable=False)
            kernel.sync_file(temporary)

        if not self._published(path):
            self._file(self.at(path), make)
        return self.placed(path, "text", digest)

    def draft_small(self, path: str, digest: str, size: int) -> str:
        """Write ahead what `small` will put at `path`; the caller flushes it. Returns where it waits."""
        temporary = self.stage.temporary(self.stage.staging, path)
        self._copy(temporary, digest, size, durable=False)
        self._drafts[path] = temporary
        return temporary

    def draft_text(self, path: str, data: bytes) -> str:
        """Write ahead what `text` will put at `path`; the caller flushes it. Returns where it waits."""
        temporary = self.stage.temporary(self.stage.staging, path)
        kernel.write_new(temporary, data, durable=False)
        self._drafts[path] = temporary
        return temporary

    def _copy(self, temporary: str, digest: str, size: int, durable: bool) -> None:
        """Clone a blob, or copy it where nothing can be cloned."""
        self._check(temporary, digest)
        source, _ = self.source(digest, size)
        if not self._no_reflink:
            try:
                kernel.reflink(source, temporary, durable=durable)
            except OSError as error:
                if not kernel.cannot_here(error):
                    raise
                self._no_reflink = explain_refusal(error)
        if self._no_reflink:
            kernel.copy(source, temporary, 0o644, durable=durable)

    def _published(self, path: str) -> bool:
        """Whether a draft waited for this path and has its name now."""
        draft = self._drafts.pop(path, None)
        if draft is None:
            return False
        try:
            if kernel.publish(draft, self.at(path)):
                return True
        except OSError as error:
            if not kernel.cannot_here(error):
                raise
            kernel.unlink(draft)                        # another file system: made again there
            return False
        kernel.unlink(draft)
        raise FileExistsError(path)

    def _file(self, path: str, make: Callable[[str], None]) -> None:
        if not self.stage.put(path, make, kernel.publish):
            raise FileExistsError(path)

    def inner(self, path: str, text: str) -> Placed:
        """A relative link inside the root, where nothing lies."""
        kernel.symlink(text, self.at(path))
        return self.placed(path, "inner", "")

    def at(self, path: str) -> str:
        """What to call a path of the root in system calls, so that no link on the way is followed; see `Inside`."""
        return self.stage.inside.at(path)

    def placed(self, path: str, kind: str, digest: str) -> Placed:
        """What lies at a path that we have just made."""
        path = self.at(path)
        now = os.lstat(path)
        return Placed(kind, digest, now.st_ino, now.st_size, now.st_mtime_ns,
                      os.readlink(path) if kind == "inner" else "", "")


def _may_unlink(path: str, uid: int) -> bool:
    """Whether this person could remove the file: they may write its folder, which is not a sticky one of another's."""
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    above = os.stat(folder)
    return not (above.st_mode & stat.S_ISVTX and uid not in (-1, 0, above.st_uid, os.stat(path).st_uid))
