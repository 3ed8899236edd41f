"""Taking a person's file into the store where it lies, swapping a second copy for a link, and the way back.

The path always stays. At no instant are its bytes nowhere: the store has its own name for them, or has read its blob,
before the old inode loses its last name; where nobody can say whether a program still writes to it, that inode waits
for a day under another name on the same file system.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat

from helixstore.errors import Busy, Failed
from helixstore.farm.desired import Claim
from helixstore.farm.journal import DONE, SKIPPED
from helixstore.farm.ledger import Record
from helixstore.farm.outcome import Outcome, Services
from helixstore.farm.place import Placer, Stage
from helixstore.farm.plan import Action, Adoption, Original, Plan
from helixstore.farm.scan import look_at
from helixstore.fs import kernel, locks
from helixstore.fs.kernel import Fingerprint
from helixstore.fs.listing import listdir
from helixstore.fs.locks import Lease
from helixstore.store.hashing import Hashes, hash_file
from helixstore.store.saved import Freed
from helixstore.values import Issue

__all__ = ["PARKED_SECONDS", "Adopter", "original_of", "unpark"]

#: how long a replaced inode waits when nobody can tell whether it is still being written
PARKED_SECONDS = 24 * 3600
#: where there is no lease, a file must be unchanged for so long before it is swapped
_QUIET_SECONDS = 600


def original_of(path: str) -> Original:
    """What a file is like now, for the record: mode, owner, times, extended attributes with their ACLs."""
    status = os.lstat(path)
    pairs: list[tuple[str, str]] = []
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):              # a file system without them has none to keep
            pairs = [(name, base64.b64encode(os.getxattr(path, name)).decode()) for name in os.listxattr(path)]
    return Original(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_atime_ns, status.st_mtime_ns,
                    tuple(pairs))


def unpark(folder: str, now: float) -> None:
    """Let go of the replaced copies in a folder that have waited long enough; `now`: seconds since 1970."""
    with contextlib.suppress(FileNotFoundError):
        for name in listdir(folder):
            until = name.partition("-")[0]
            if until.isdigit() and int(until) <= now:
                kernel.unlink(os.path.join(folder, name))


class Adopter:
    """The adoptions of one plan.

    Attributes:
        failed: digests whose adoption failed.
        refused: path -> why it was left alone.
    """

    def __init__(self, services: Services, plan: Plan, outcome: Outcome, recovering: bool) -> None:
        self.services, self.plan, self.outcome, self.recovering = services, plan, outcome, recovering
        self.failed: set[str] = set()
        self.refused: dict[str, str] = {}
        self._ours: set[tuple[int, int]] = set()            # inodes whose ctime we have moved
        self._owned: dict[str, int] = {}                    # inodes that this run gave back to paths
        self._checked: dict[str, Fingerprint] = {}          # path of a blob, when read or proven in this run

    def intake(self, action: Action) -> str:
        """The path's own inode becomes the blob; a second name of that inode becomes a name of the blob with it."""
        adoption = self._adoption(action)
        if self._is_blob(adoption):
            before = self.services.ledgers.of("").records.get(adoption.path)
            self.services.store.blobs.learn(adoption.digest, bytes=adoption.expect.bytes, sha256=adoption.sha256,
                                            gitsha1=adoption.gitsha1)      # which a full disk may have prevented
            self._enter(action, "hard")         # a name that is new to us is given back by undo
            return DONE if before is None or before.inode != adoption.expect.inode or self.recovering else SKIPPED
        now = self._unchanged(adoption)
        if now is None:
            return SKIPPED
        known = None                            # read again what a run that was cut short may have touched
        if not self.recovering or now.same_content(adoption.expect):
            known = Hashes(adoption.digest, adoption.expect.bytes, adoption.sha256, adoption.gitsha1)
        try:
            added = self.services.store.blobs.add(adoption.path, sha256=adoption.sha256 is not None, known=known,
                                                  expect=now, copy=adoption.copy)
        except (OSError, Failed) as error:
            self._refuse(adoption, _said(error), remedy=getattr(error, "remedy", ""))
            return SKIPPED
        if added.digest != adoption.digest:
            self._refuse(adoption, "it was changed while it was taken in")
            return SKIPPED
        if added.how != "known":
            self.outcome.taken_in.append(adoption.digest)
        after = kernel.fingerprint(adoption.path)
        self._ours.add((after.device, after.inode))
        self._checked.setdefault(self.services.store.blobs.path(adoption.digest), added.fingerprint)
        self._enter(action, "hard" if self._is_blob(adoption) else "reflink")
        return DONE

    def swap(self, action: Action) -> str:
        """An independent copy gives way to a link to the blob; both have been read in full first."""
        adoption = self._adoption(action)
        if self._is_blob(adoption):
            self._enter(action, "hard")
            return self._swapped_before(adoption)
        look = look_at(adoption.path)
        if look is not None and look.kind == "link" and look.target in self.services.store.blobs.texts(adoption.digest):
            self._enter(action, "symlink")
            return self._swapped_before(adoption)
        if adoption.digest in self.failed:
            self._refuse(adoption, "the other copy of it could not be taken into the store", fatal=False)
            return SKIPPED
        if self._unchanged(adoption, fatal=False) is None:
            return SKIPPED
        try:
            self._prove(adoption)
            kind = self._exchange(adoption)
        except (OSError, Failed, Busy) as error:
            self._refuse(adoption, _said(error), fatal=False, remedy=getattr(error, "remedy", ""))
            return SKIPPED
        self._enter(action, kind)
        return DONE

    def _swapped_before(self, adoption: Adoption) -> str:
        """It is a link already: made by the run that was cut short, or by somebody else."""
        if not self.recovering:
            return SKIPPED
        if adoption.expect.nlink == 1:
            self._note_freed(adoption)
        return DONE

    def _prove(self, adoption: Adoption) -> None:
        """The copy and the blob hold the same bytes, each read in this run or unchanged since our last full reading."""
        if self.recovering or not adoption.hashed_now:
            hashes, _ = hash_file(adoption.path)
            if hashes.blake3 != adoption.digest:
                raise Failed("it holds other bytes than when the plan was made", "helixstore sync", adoption.path)
        blob = self._blob(adoption)
        now = kernel.fingerprint(blob)
        known = self._checked.get(blob)
        if known is not None and known.same_content(now, ours=True):
            return
        memory = self.services.memory
        if memory is not None and memory.digest_at(blob, now) == adoption.digest:
            self._checked[blob] = now
            return
        hashes, fingerprint = hash_file(blob, lease=False)
        if hashes.blake3 != adoption.digest:
            raise Failed(f"the blob {adoption.digest[:12]} is damaged, so the copy was kept", "helixstore verify", blob)
        self._checked[blob] = fingerprint
        if memory is not None:
            memory.remember([(blob, fingerprint, hashes)])

    def _exchange(self, adoption: Adoption) -> str:
        """Link to a temporary name, then rename over the copy, while nobody can be writing to it."""
        placer = Placer(self.services.store.blobs,
                        Stage(adoption.root or os.path.dirname(adoption.path), self.services.staging),
                        self.services.uid, adoption.keep)
        path = placer.at(adoption.path)
        allowed = ("symlink",) if adoption.keep else ("hard", "symlink")
        kinds: list[str] = []
        parked = False
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        try:
            with locks.read_lease(descriptor) as lease:
                if lease.state is Lease.BUSY:
                    raise Busy("a program has it open for writing", "close the program, then: helixstore sync",
                               adoption.path)
                before = kernel.fingerprint(descriptor)
                if before.uid != adoption.expect.uid or self.services.uid not in (-1, before.uid):
                    raise Failed("it belongs to another user and stays theirs", "", adoption.path)
                if lease.state is Lease.UNKNOWN:
                    quiet = self.services.now - max(before.mtime_ns, before.ctime_ns) / 1e9
                    if quiet < _QUIET_SECONDS:
                        raise Busy("nobody can tell whether it is still being written, and it changed within the last "
                                   "ten minutes", "helixstore sync, later", adoption.path)
                    self._park(path, adoption)
                    parked = True

                def finish(temporary: str, target: str) -> bool:
                    now = kernel.fingerprint(target)
                    if lease.broken() or now[:3] != before[:3] or now[:3] != adoption.expect[:3]:
                        return False
                    kernel.replace(temporary, target)
                    return True

                if not placer.stage.put(path, lambda temporary: kinds.append(
                        placer.weight(temporary, adoption.digest, adoption.expect.bytes, allowed).kind),
                        finish):
                    raise Busy("it changed in the last moment", "helixstore sync", adoption.path)
        finally:
            os.close(descriptor)
        kernel.sync_folder(os.path.dirname(path))
        self._ours.add((before.device, before.inode))           # its other names, if any, have lost this one
        if before.nlink == 1:
            self._note_freed(adoption, int(self.services.now) + PARKED_SECONDS if parked else 0)
        return kinds[-1]

    def _note_freed(self, adoption: Adoption, after: int = 0) -> None:
        """A copy is gone, or (`after`, seconds since 1970) will be."""
        size = adoption.expect.bytes
        if after:
            self.outcome.freed_later += size
        else:
            self.outcome.freed += size
        self.outcome.frees.append(Freed(adoption.digest, size, 1, adoption.providers, after))

    def _park(self, path: str, adoption: Adoption) -> None:
        """Keep the inode under another name on its file system for a day."""
        parking = self.services.parking
        volumes = self.services.store.volumes
        if volumes.attached and (home := volumes.near(path)) is not None and home != volumes.main:
            parking = volumes.parking(home)
        os.makedirs(parking, mode=0o700, exist_ok=True)
        until = int(self.services.now) + PARKED_SECONDS
        target = os.path.join(parking, f"{until}-{adoption.digest[:16]}-{adoption.expect.inode}")
        try:
            kernel.hard_link(path, target)
        except FileExistsError:
            return
        except OSError as error:
            if kernel.cannot_here(error):
                raise Failed("nobody can tell whether it is still being written, and its file system has no place to "
                             "keep the old copy for a day", "", path) from error
            raise

    def own(self, action: Action, stage: Stage) -> bool:
        """The path gets an inode of its own with the same bytes and, where it is recorded, what the file was like.

        Returns:
            False when the path changed in the last moment.
        """
        path, at = action.absolute, stage.inside.at(action.absolute)
        record = action.body[3]
        original = Original.of(record) if record is not None else None
        expect = action.expect
        assert expect is not None

        def make(temporary: str) -> None:
            twin = action.body[4] if len(action.body) > 4 else ""
            if twin in self._owned and os.lstat(twin).st_ino == self._owned[twin]:
                kernel.hard_link(twin, temporary)
                return
            try:
                kernel.reflink(at, temporary, durable=True)
            except OSError as error:
                if not kernel.cannot_here(error):
                    raise
                kernel.copy(at, temporary, 0o644, durable=True)
            _dress(temporary, original)

        def finish(temporary: str, target: str) -> bool:
            look = look_at(target)
            same = look is not None and look.kind == expect.kind and (
                look.target == expect.target if look.kind == "link" else look.inode == expect.inode)
            if not same:
                return False
            kernel.replace(temporary, target)
            return True

        done = stage.put(at, make, finish)
        if done:
            self._owned[path] = os.lstat(at).st_ino
            if path in self.services.ledgers.of("").records and not any(action.body[4:]):
                digest = action.body[1]
                self.outcome.given_back[digest] = self.outcome.given_back.get(digest, 0) + 1
        self.services.ledgers.of("").drop(path)
        return done

    # ---- small questions -----------------------------------------------------------------------------------------

    def _adoption(self, action: Action) -> Adoption:
        index: int = action.body[1]
        return self.plan.adoptions[index]

    def _blob(self, adoption: Adoption) -> str:
        """The copy that the path becomes, or gives way to."""
        blobs = self.services.store.blobs
        if not blobs.volumes.attached:
            return blobs.path(adoption.digest)
        return blobs.near(os.path.dirname(adoption.path), adoption.keep)(adoption.digest).path

    def _is_blob(self, adoption: Adoption) -> bool:
        """A path with a blob's inode is that blob, whatever its times."""
        try:
            return os.path.samestat(os.lstat(adoption.path), os.stat(self._blob(adoption)))
        except OSError:
            return False

    def _unchanged(self, adoption: Adoption, fatal: bool = True) -> Fingerprint | None:
        """The fingerprint now, when the file is as it was hashed; else None, and it is left alone.

        A run that was cut short may have moved ctime itself: then the file is read again before it is touched.
        """
        try:
            now = kernel.fingerprint(adoption.path)
        except OSError as error:
            self._refuse(adoption, error.strerror or str(error), fatal)
            return None
        ours = self.recovering or (now.device, now.inode) in self._ours
        if now.same_content(adoption.expect, ours=ours) and now.regular:
            return now
        self._refuse(adoption, "it was changed since it was hashed; it is left as it is", fatal)
        return None

    def _refuse(self, adoption: Adoption, why: str, fatal: bool = True, remedy: str = "") -> None:
        """Leave the path alone. `fatal`: its bytes are not in the store because of that."""
        if fatal:
            self.failed.add(adoption.digest)
        self.refused[adoption.path] = why
        self.outcome.issues.append(Issue("failed", adoption.path, why, remedy or "helixstore sync"))

    def _enter(self, action: Action, kind: str) -> None:
        """Into the ledger of adopted files, with what the file was like, for undo and leave."""
        adoption = self._adoption(action)
        look = look_at(adoption.path)
        if look is None:
            return
        if look.kind == "file" and os.path.abspath(adoption.path) == self._blob(adoption):
            kind = "reference"                  # the file itself is what the store's volume refers to
        claims = tuple(Claim(provider, adoption.key, False) for provider in adoption.providers or ("",))
        adopted = self.services.ledgers.of("")
        before = adopted.records.get(adoption.path)
        original = json.dumps(self.plan.originals[action.body[1]])
        if before is not None and (before.inode == adoption.expect.inode or look.target == before.target != ""):
            original = before.original          # it was adopted before: what it was like at first counts
        adopted.put(Record(
            adoption.path, kind, adoption.digest, look.inode, adoption.expect.bytes, look.mtime_ns, look.target, "",
            claims, "", "adopted", 0, original))
        self.outcome.adopted.append(adoption.path)


def _said(error: Exception) -> str:
    return getattr(error, "message", "") or getattr(error, "strerror", "") or str(error)


def _dress(path: str, original: Original | None) -> None:
    """Give a new file the mode, owner, attributes and times of the one that was adopted."""
    if original is None:
        kernel.try_mode(path, 0o644)
        return
    if os.name != "posix":
        kernel.try_mode(path, original.mode)
        os.utime(path, ns=(original.atime_ns, original.mtime_ns))
        return
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)       # nobody's link gets our mode, or root's owner
    try:
        with contextlib.suppress(PermissionError):          # only root can give a file away; then it is ours
            os.chown(file, original.uid, original.gid)
        if hasattr(os, "setxattr"):
            for name, value in original.xattrs:
                with contextlib.suppress(OSError):          # security labels are the system's to set
                    os.setxattr(file, name, base64.b64decode(value))
        kernel.try_mode(file, original.mode)
        os.utime(file, ns=(original.atime_ns, original.mtime_ns))
    finally:
        os.close(file)
