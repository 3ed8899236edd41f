"""What really lies in a root, as far as the plan needs to know: looked at, never changed.

Reads no content while everything is as the ledger says: one lstat for each path. A file is read only when its stat
says that it is not as we left it, or when it lies where we want something and the ledger does not know it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from blake3 import blake3

from helixstore.farm.desired import Joined, WantedRoot, folders_of
from helixstore.farm.kept import Kept, kept_name
from helixstore.farm.ledger import FOLDER, Ledger, Record
from helixstore.farm.narrow import Excerpt
from helixstore.farm.plan import Look
from helixstore.fs.listing import check_listable, listdir
from helixstore.fs.mounts import mount_of
from helixstore.providers.layout import Body, Copy, Inner, Text, Weight
from helixstore.store.blobs import Blobs
from helixstore.values import Key, LinkKind

__all__ = [
    "DIRECT", "Actual", "BlobLook", "Missing", "digest_of", "identity_of", "look_at",
    "missing_witnesses", "root_state", "scan", "suits", "vanished",
]

STAND_IN = LinkKind.STAND_IN
_TYPE, _FILE, _LINK, _FOLDER = 0o170000, 0o100000, 0o120000, 0o040000
_TEXT_LIMIT = 16 << 20          # bytes; a sidecar beyond that is not one
#: how the reason begins why a symbolic link leads to the blob itself and not to a stand-in
DIRECT = "no stand-in"
_GONE = (errno.ENOENT, errno.ENOTDIR)
_CHUNK = 1 << 20
_MANY = 2000                    # new entries from which on listing all blobs is quicker than looking at each


class BlobLook(NamedTuple):
    """The file of a blob. Size in bytes."""

    inode: int
    bytes: int
    device: int
    uid: int
    path: str


@dataclass(slots=True)
class Actual:
    """One root as it is.

    Attributes:
        state: "new" (no ledger), "here", or "away" (for `reason`).
        identity: (mount id, inode) of the folder, None when it is not there.
        looks: path -> what lies there; absent paths are absent.
        unknown: path -> why nothing can be said about it (no permission, behind a link that leads nowhere).
        in_way: path -> what lies where a folder must be.
        same: paths that the ledger does not know and that are already as wanted.
        content: path -> digest, of files that were read.
        theirs: path -> bytes, of texts that were read.
        texts: path -> digest of the text that is wanted.
        kept: path -> what stood in a sidecar that was there before, of those that are not there.
        bases: digest -> bytes, of the common ancestors that a merge may need.
        blobs: digest -> its file, of those that were looked at and exist.
        absent: digest -> why it may come back, of those that are not here because a disk is not.
        leads: symbolic links of ours that lead to their blob, by way of what they are to pass.
        strays: hard links of ours to what is no blob any more, since the blob was moved to another disk.
        present: digests of blobs that are known to exist without a look.
        folders: folders that exist, relative; "" is the root.
        crowded: folders of ours that nobody wants any more and that hold something that is not ours.
    """

    state: str
    reason: str = ""
    identity: tuple[str, int] | None = None
    looks: dict[str, Look] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    in_way: dict[str, str] = field(default_factory=dict)
    same: set[str] = field(default_factory=set)
    content: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    bases: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    blobs: dict[str, BlobLook] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    leads: set[str] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)
    present: frozenset[str] = frozenset()
    folders: set[str] = field(default_factory=set)
    crowded: set[str] = field(default_factory=set)


def digest_of(data: bytes) -> str:
    """BLAKE3 of a small text, as blobs are named."""
    return blake3(data).hexdigest()


def identity_of(path: str) -> tuple[str, int] | None:
    """Which folder a path leads to: mount id and inode; None when it is missing or unreadable."""
    try:
        inode = os.stat(path).st_ino
        check_listable(path)
        return mount_of(path).id, inode
    except OSError:
        return None


def suits(record: Record, body: Weight | Copy) -> bool:
    """Whether what the ledger has is of the content and a kind that are wanted."""
    if isinstance(body, Weight):            # what lay there already stays as it is, whatever kind is wanted now
        return record.digest == body.blob and (record.kind in body.kinds or record.origin == "adopted" or (
            record.kind == "symlink" and STAND_IN in body.kinds))
    return record.digest == body.blob and record.kind in ("copy", "reflink")


def look_at(path: str) -> Look | None:
    """What lies at an absolute path; None when nothing does.

    Raises:
        OSError: it cannot be told.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    return _look(status, path)


def _look(status: os.stat_result, path: str) -> Look:
    kind = status.st_mode & _TYPE
    if kind == _FILE:
        return Look("file", status.st_ino, status.st_size, status.st_mtime_ns)
    if kind == _LINK:
        return Look("link", status.st_ino, 0, status.st_mtime_ns, os.readlink(path))
    return Look("folder" if kind == _FOLDER else "other", status.st_ino, 0, status.st_mtime_ns)


def root_state(path: str, ledger: Ledger | Excerpt, restore: bool = False) -> tuple[str, str, tuple[str, int] | None]:
    """Whether a root is "new", "here" or "away", why, and its identity.

    Args:
        path: the root, absolute.
        ledger: what we had there.
        restore: the person wants it back: a folder that was deleted from a disk that is here counts as emptied.
    """
    identity = identity_of(path)
    if not ledger.records:
        blocked = identity is None and os.path.lexists(path)
        return ("away", "it cannot be read", None) if blocked else ("new", "", identity)
    if identity is None:
        if restore and not os.path.lexists(path) and ledger.identity and mount_of(path).id == ledger.identity[0]:
            return "here", "", None
        return "away", "the folder is missing or cannot be read", None
    if ledger.identity is not None and identity != ledger.identity:
        if identity[0] == ledger.identity[0] and (restore or _recognised(path, ledger)):
            return "here", "", identity
        return "away", "another folder or file system lies there now", identity
    return "here", "", identity


def _recognised(root: str, ledger: Ledger | Excerpt) -> bool:
    """Whether a folder whose number is another is the same all the same: FUSE gives numbers anew when it forgets a
    folder, so on a share that it serves (sshfs) a link that we made there tells."""
    mount = mount_of(root)
    return mount.network and mount.kind.startswith("fuse") and any(
        record.kind == "symlink" and _leads(f"{root}/{name}", record.target) for name, record in ledger.records.items())


def _leads(path: str, target: str) -> bool:
    try:
        return os.readlink(path) == target
    except OSError:
        return False


class Missing(NamedTuple):
    """Witnesses of one variant that the ledger has and the root has not, relative to it; and whether others are there.

    Each of a program's own names for a variant has a witness: only when all are gone has the person deleted it there.
    """

    paths: list[str]
    others: bool


def missing_witnesses(root: str, ledger: Ledger) -> dict[Key, Missing]:
    """The variants of which a witness is gone.

    Args:
        root: absolute; must be "here".
        ledger: what we made there.

    Returns:
        A witness that cannot be looked at, or that lies behind a link that leads nowhere now, counts as there.
    """
    eyes = _Eyes(root, Actual("here", identity=("", 0)), None)
    gone: dict[Key, list[str]] = {}
    there: set[Key] = set()
    for name, record in ledger.records.items():
        keys = [claim.key for claim in record.claims if claim.witness and claim.key is not None]
        if not keys:
            continue
        if eyes.look(name) is None and name not in eyes.actual.unknown and name not in eyes.actual.in_way:
            for key in keys:
                gone.setdefault(key, []).append(name)
        else:
            there.update(keys)
    return {key: Missing(list(dict.fromkeys(paths)), key in there) for key, paths in gone.items()}


def vanished(root: str, ledger: Ledger) -> dict[Key, str]:
    """Variants that the person deleted there: all of their witnesses are gone. Each with the path of one of them."""
    return {key: missing.paths[0] for key, missing in missing_witnesses(root, ledger).items() if not missing.others}


def scan(wanted: WantedRoot, ledger: Ledger | Excerpt, blobs: Blobs, adopting: Mapping[str, str],
         base: Callable[[str], bytes | None], restore: bool = False) -> Actual:
    """Look at one root.

    Args:
        wanted: what must lie in it, without what is hidden there.
        ledger: what we made there.
        blobs: where blobs lie.
        adopting: paths, relative to the root, that this plan adopts -> digest; they are not read here.
        base: the bytes of a text that we wrote once, by digest, if they are still kept.
        restore: see `root_state`.
    """
    actual = Actual(*root_state(wanted.path, ledger, restore))
    if actual.state == "away":
        return actual
    eyes = _Eyes(wanted.path, actual, blobs, base, adopting, wanted.entries)
    records = ledger.records
    if len(wanted.entries) > len(records) + _MANY:
        actual.present = frozenset(blobs.digests())
    for name, joined in wanted.entries.items():
        eyes.wanted(name, joined, records.get(name), adopting.get(name))
    unneeded = [r for name, r in records.items() if name not in wanted.entries]
    for record in unneeded:
        eyes.no_longer(record)
    needed = folders_of(wanted.entries)
    eyes.leftovers([r for r in unneeded if r.kind == FOLDER and r.path not in needed], records)
    return actual


class _Eyes:
    """One pass over one root."""

    def __init__(self, root: str, actual: Actual, blobs: Blobs | None,
                 base: Callable[[str], bytes | None] = lambda digest: None,
                 adopting: Mapping[str, str] | None = None, entries: Mapping[str, Joined] | None = None) -> None:
        self.root, self.actual, self.blobs, self.base = root, actual, blobs, base
        self.adopting, self.entries = adopting or {}, entries or {}
        self.spread = blobs is not None and bool(blobs.volumes.attached)
        self.prefix = root + "/"
        self.missing: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.states: dict[str, str] = {"": "here" if actual.identity is not None else "absent"}
        if actual.identity is not None:
            actual.folders.add("")

    def wanted(self, name: str, joined: Joined, record: Record | None, adopting: str | None) -> None:
        """Look at the path of an entry, and at its blob when that matters."""
        look = self.look(name)
        body = joined.body
        if type(body) is Text:
            self.actual.texts[name] = digest_of(body.data)
        if look is None:
            if type(body) is Text and body.merge and record is None and (
                    kept := Kept.decode(self.base(kept_name(self.root, name)))):
                self.actual.kept[name] = kept
            if (type(body) is Weight or type(body) is Copy) and body.blob not in self.actual.present:
                self.blob(body.blob)
        elif record is None:
            if adopting is None:
                self.foreign(name, look, joined)
        else:
            self.ours(name, look, record, joined)

    def ours(self, name: str, look: Look, record: Record, joined: Joined | None) -> None:
        """Read what is not as we left it; make sure that a symbolic link of ours still leads to its blob."""
        kind, body = record.kind, joined.body if joined is not None else None
        blob = None
        if isinstance(body, Weight | Copy) and (kind == "symlink" or look.inode != record.inode
                                                or not suits(record, body)):
            blob = self.blob(body.blob)
        if kind == "symlink":
            if self.blob(record.digest) is not None and self.blobs is not None and self.blobs.leads(
                    look.target, record.digest, direct=DIRECT in record.why):
                self.actual.leads.add(name)
            return
        if kind == "hard":
            if self.spread and isinstance(body, Weight) and self.stray(look, body):
                self.actual.strays.add(name)
            if (isinstance(body, Weight) and blob is not None and look.kind == "file" and look.inode == blob.inode
                    and look.bytes == blob.bytes):
                self.actual.same.add(name)
            return
        if kind in (FOLDER, "inner") or look.kind != "file":
            return
        touched = look[1:4] != (record.inode, record.bytes, record.mtime_ns)
        if kind == "text":
            if touched or self.actual.texts.get(name) != record.base:
                self.read(name, look)
                if (data := self.base(record.base)) is not None:
                    self.actual.bases[record.base] = data
                if record.original and (data := self.base(record.original)) is not None:
                    self.actual.bases[record.original] = data
        elif touched:
            self.digest(name)

    def stray(self, look: Look, body: Weight) -> bool:
        """Whether a hard link of ours is none of the copies of its blob: it was moved to another disk."""
        assert self.blobs is not None
        blob = self.blob(body.blob)
        return blob is not None and look.inode != blob.inode and all(
            look.inode != os.stat(place.path).st_ino for place in self.blobs.places(body.blob))

    def foreign(self, name: str, look: Look, joined: Joined) -> None:
        """Whether what lies there, and is not ours, is what we want."""
        body, same = joined.body, False
        if isinstance(body, Weight):
            blob = self.blob(body.blob)
            if look.kind == "file":
                same = self.is_twin(look, name, body.blob) if blob is None else (
                    self.is_copy(look, os.lstat(self.prefix + name), body.blob, blob))
            elif look.kind == "link":
                same = (blob is not None and look.target == blob.path) or self.leads(name, body)
        elif isinstance(body, Inner):
            same = look.kind == "link" and (look.target == body.target or self.leads(name, self.behind(name, body)))
        elif look.kind == "link":
            same = isinstance(body, Copy) and self.leads(name, body)
        elif look.kind == "file":
            if isinstance(body, Text):
                same = self.read(name, look) == self.actual.texts[name]
            else:
                same = look.bytes == body.bytes and self.digest(name) == body.blob
        if same:
            self.actual.same.add(name)

    def is_copy(self, look: Look, status: os.stat_result, digest: str, blob: BlobLook) -> bool:
        """Whether a file is the blob, or one of its copies on several disks."""
        if look.inode == blob.inode and status.st_dev == blob.device:
            return True
        return self.spread and self.blobs is not None and any(
            os.path.samestat(status, os.stat(place.path)) for place in self.blobs.places(digest))

    def is_twin(self, look: Look, name: str, digest: str) -> bool:
        """Whether a file is one more name of what this plan adopts: some programs keep each of theirs under two."""
        twins = [path for path, adopted in self.adopting.items() if adopted == digest]
        return any(os.path.samefile(self.prefix + path, self.prefix + name) for path in twins)

    def behind(self, name: str, body: Inner) -> Body | None:
        """What is wanted where an inner link shall lead."""
        joined = self.entries.get(os.path.normpath(os.path.join(os.path.dirname(name), body.target)))
        return joined.body if joined is not None else None

    def leads(self, name: str, body: Body | None) -> bool:
        """Whether a link of somebody's ends on the content that is wanted, whatever it passes on the way."""
        if not isinstance(body, Weight | Copy):
            return False
        real = os.path.realpath(self.prefix + name)
        home = os.path.realpath(self.root) + "/"
        if real.startswith(home) and real[len(home):] in self.adopting:
            return self.adopting[real[len(home):]] == body.blob
        try:
            status = os.stat(real)
        except OSError:
            return False
        blob = self.blob(body.blob)
        if blob is not None and (status.st_ino, status.st_dev) == (blob.inode, blob.device):
            return True
        return isinstance(body, Copy) and status.st_size == body.bytes and self.digest(name) == body.blob

    def no_longer(self, record: Record) -> None:
        """Look at a path that nobody wants any more."""
        look = self.look(record.path)
        if look is not None:
            self.ours(record.path, look, record, None)

    def look(self, name: str) -> Look | None:
        """What lies at a path of the root; recorded."""
        folder = name.rpartition("/")[0]
        state = self.states.get(folder) or self.folder(folder)
        if state != "here":
            if state == "in the way":
                self.actual.in_way[name] = self.reasons[folder]
            elif state == "unknown":
                self.actual.unknown[name] = self.reasons[folder]
            return None
        path = self.prefix + name
        try:
            status = os.lstat(path)
            look = _look(status, path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _GONE:
                self.actual.unknown[name] = error.strerror or str(error)
            return None
        self.actual.looks[name] = look
        return look

    def folder(self, name: str) -> str:
        """ "here", "absent", "in the way" or "unknown", the last two with a reason in `reasons`."""
        state = self.states.get(name)
        if state is None:
            above = name.rpartition("/")[0]
            state = self.folder(above)
            if state == "here":
                state, reason = self._folder_at(self.prefix + name)
                if state == "here":
                    self.actual.folders.add(name)
                self.reasons[name] = reason
            elif state != "absent":
                self.reasons[name] = self.reasons[above]
            self.states[name] = state
        return state

    @staticmethod
    def _folder_at(path: str) -> tuple[str, str]:
        try:
            if os.stat(path).st_mode & _TYPE == _FOLDER:
                return "here", ""
        except OSError as error:
            if error.errno not in _GONE:
                return "unknown", f"{path}: {error.strerror or error}"
            if os.path.islink(path):
                return "unknown", f"{path} is a link that leads nowhere now"
            return "absent", ""
        return "in the way", f"{path} is not a folder"

    def blob(self, digest: str) -> BlobLook | None:
        """The file of a blob; recorded."""
        blob = self.actual.blobs.get(digest)
        if blob is None and digest not in self.missing and self.blobs is not None:
            path = self.blobs.path(digest)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                self.missing.add(digest)
                if why := self.blobs.absent(digest):
                    self.actual.absent[digest] = why
                return None
            blob = BlobLook(status.st_ino, status.st_size, status.st_dev, status.st_uid, path)
            self.actual.blobs[digest] = blob
        return blob

    def read(self, name: str, look: Look) -> str:
        """Digest of a small text, whose bytes are kept for merging; "" when it cannot be read."""
        if look.bytes > _TEXT_LIMIT:
            return ""
        try:
            with open(self.prefix + name, "rb") as file:
                data = file.read(_TEXT_LIMIT)
        except OSError as error:
            self.actual.unknown[name] = error.strerror or str(error)
            return ""
        self.actual.theirs[name] = data
        self.actual.content[name] = digest = digest_of(data)
        return digest

    def digest(self, name: str) -> str:
        """Digest of a file; "" when it cannot be read."""
        hasher = blake3()
        try:
            with open(self.prefix + name, "rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    hasher.update(chunk)
        except OSError as error:
            self.actual.unknown[name] = error.strerror or str(error)
            return ""
        self.actual.content[name] = digest = hasher.hexdigest()
        return digest

    def leftovers(self, folders: Iterable[Record], records: Mapping[str, Record]) -> None:
        """Which of the folders that nobody needs hold more than what is ours and goes away."""
        going = {record.path for record in folders}
        for record in sorted(folders, key=lambda r: -r.path.count("/")):
            if self.folder(record.path) != "here":
                continue
            try:
                names = listdir(self.prefix + record.path if record.path else self.root)
            except OSError as error:
                self.actual.unknown[record.path] = error.strerror or str(error)
                continue
            below = record.path + "/" if record.path else ""
            for name in names:
                path = below + name
                if path in self.actual.crowded or (path not in going and path not in records):
                    self.actual.crowded.add(record.path)
                    break
