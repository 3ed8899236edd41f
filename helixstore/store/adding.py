"""How a file becomes a blob: brought into staging, hashed, made durable, and only then given its name.

What was hashed is what gets the name. A hard link is made before the hash and compared by inode, size and mtime after
it, under the lease if there is one; a reflink or copy is private to us, so its own bytes are what is hashed.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from helixstore.errors import Corrupt, Failed, HelixError, NotFound, Unreadable
from helixstore.fs import kernel
from helixstore.fs.fingerprint import same_inode
from helixstore.fs.kernel import Fingerprint
from helixstore.fs.probe import NO_IDENTITY, explain_refusal
from helixstore.store import records
from helixstore.store.hashing import Hashes, OpenFile, hash_bytes, hash_open, open_steady
from helixstore.store.quarantine import Quarantine
from helixstore.store.sharing import Sharing

__all__ = ["Added", "Publisher", "Request", "add", "add_bytes"]


@dataclass(frozen=True, slots=True)
class Added:
    """A file that is in the store now.

    Attributes:
        digest: the blob.
        bytes: its size.
        sha256, gitsha1: hex, if computed.
        how: "linked", "reflinked", "copied", or "known" when the blob was there already.
        fingerprint: of the source file as it is now (a hard link moved its ctime and mode), or of the blob where
            there was no file.
    """

    digest: str
    bytes: int
    sha256: str | None
    gitsha1: str | None
    how: str
    fingerprint: Fingerprint


class Request(NamedTuple):
    """The arguments of `Blobs.add`."""

    source: str
    sha256: bool
    known: Hashes | None
    expect: Fingerprint | None
    link: bool
    copy: bool


@dataclass(frozen=True, slots=True)
class Publisher:
    """The last step: a staged file with known hashes gets its name, or the blob of that name is accepted."""

    root: str
    uid: int
    path: Callable[[str], str]
    check: Callable[[str], object]
    quarantine: Quarantine
    sharing: Sharing

    def publish(self, staged: str, digest: str, mode: int) -> bool:
        """Make the staged file the blob; False when there was a good one already. Durable when it returns.

        `mode`: the permission bits of the person's file.
        """
        target = self.path(digest)
        if os.path.lexists(target) and self.accept(digest, staged):
            return False
        self.sharing.admit(staged, mode)
        kernel.sync_file(staged)
        while not kernel.publish(staged, target):
            if self.accept(digest, staged):
                return False
        kernel.sync_folder(os.path.dirname(target))
        if digest in self.quarantine:                   # of what lay there before, and was taken away
            self.quarantine.lift(digest)
        return True

    def accept(self, digest: str, staged: str) -> bool:
        """Whether the blob that is there is good; a bad one is put into the trash, so that ours can take its place."""
        target = self.path(digest)
        try:
            blob, ours = kernel.fingerprint(target), kernel.fingerprint(staged)
            if not blob.regular:                        # a link or a pipe that somebody planted under this name
                self.discard(digest)
                return False
            if digest not in self.quarantine:
                if blob.inode == ours.inode and blob.device == ours.device:
                    return True
                if blob.bytes == ours.bytes and blob.uid == self.uid:       # another's is hashed first
                    return True
            self.check(digest)
            self.quarantine.lift(digest)
        except Corrupt:
            self.discard(digest)
            return False
        except (FileNotFoundError, NotFound):
            return False
        return True

    def discard(self, digest: str) -> None:
        """Keep the damaged bytes in the trash for as long as everything else stays there."""
        folder = os.path.join(self.root, "trash", f"corrupt-{secrets.token_hex(6)}")
        self.sharing.common(folder)
        target = self.path(digest)
        try:
            kernel.rename_new(target, os.path.join(folder, f"{digest}.corrupt"))
        except PermissionError as error:                # another's, in a folder that a group fills
            os.rmdir(folder)
            raise Failed(f"what lies at {target} is not what its name says, and belongs to user "
                         f"{kernel.fingerprint(target).uid}", "ask them, or the owner of the store, to remove it",
                         target) from error
        kernel.sync_folder(folder)
        self.quarantine.lift(digest)


def add(request: Request, staging: str, publisher: Publisher) -> Added:
    """See `Blobs.add`."""
    staged = os.path.join(staging, secrets.token_hex(8))
    try:
        with open_steady(request.source) as file:
            if request.expect is not None and not kernel.fingerprint(file.descriptor).same_content(request.expect):
                raise Unreadable(f"{request.source} is not what it was", "run the command again", request.source)
            how = _bring(request, file, staged)
            before = kernel.fingerprint(file.descriptor)
            hashes = _hash(request, file, how, staged, before)
            file.check(before)
            _same_name(request.source, staged if how == "linked" else None, before)
            if not publisher.publish(staged, hashes.blake3, before.mode):
                how = "known"
                kernel.unlink(staged)                   # before the last look: it moves ctime
            after = kernel.fingerprint(request.source, follow=True)
    except OSError as error:
        if isinstance(error, HelixError):
            raise
        raise records.failed(request.source, error) from error
    finally:
        with suppress(FileNotFoundError):
            kernel.unlink(staged)
    if not after.same_content(before, ours=True):
        raise Unreadable(f"{request.source} changed while it was added", "run the command again", request.source)
    return Added(hashes.blake3, hashes.bytes, hashes.sha256, hashes.gitsha1, how, after)


def _bring(request: Request, file: OpenFile, staged: str) -> str:
    """Make `staged` by the first way that works here; "copied" is left to the pass that hashes."""
    owner = kernel.fingerprint(file.descriptor).uid
    why = "it belongs to another user"
    if request.link and (os.name != "posix" or owner == os.geteuid()):
        try:
            kernel.hard_link(request.source, staged)
        except OSError as error:
            if not kernel.cannot_here(error):
                raise
            why = explain_refusal(error)
        else:
            if same_inode(request.source, staged):
                return "linked"
            kernel.unlink(staged)
            why = NO_IDENTITY
    try:
        kernel.reflink(request.source, staged, 0o600)
    except OSError as error:
        if not kernel.cannot_here(error):
            raise
    else:
        return "reflinked"
    if not request.copy:
        raise Failed(f"{request.source} cannot be linked into the store: {why}",
                     f"helixstore add {shlex.quote(request.source)}", request.source)
    return "copied"


def _hash(request: Request, file: OpenFile, how: str, staged: str, before: Fingerprint) -> Hashes:
    """The hashes of exactly what lies in `staged` now; what was known is not computed again."""
    known = request.known
    enough = known is not None and known.bytes == before.bytes and (known.sha256 is not None or not request.sha256)
    if how == "copied":
        writing = kernel.create(staged)
        try:
            hashes = hash_open(file, before.bytes, sha256=request.sha256, into=writing)
        finally:
            os.close(writing)
        if known is not None and hashes.blake3 != known.blake3:
            raise Unreadable(f"{request.source} is not what it was", "run the command again", request.source)
        return hashes
    if enough and known is not None:
        return known
    if how == "linked":
        return hash_open(file, before.bytes, sha256=request.sha256)
    with open_steady(staged, lease=False) as clone:
        return hash_open(clone, before.bytes, sha256=request.sha256)


def _same_name(source: str, linked: str | None, hashed: Fingerprint) -> None:
    """That the path, and the hard link if there is one, still lead to what was hashed."""
    try:
        here = kernel.fingerprint(source, follow=True)
        same = here.same_content(hashed, ours=True) and (linked is None or kernel.fingerprint(linked)[:3] == hashed[:3])
    except FileNotFoundError:
        same = False
    if not same:
        raise Unreadable(f"{source} was replaced while it was read", "run the command again", source)


def add_bytes(items: Sequence[bytes], sha256: bool, staging: str, publisher: Publisher) -> list[Added]:
    """See `Blobs.add_many`."""
    every = [hash_bytes(data, sha256=sha256) for data in items]
    fresh: dict[str, bytes] = {}
    for hashes, data in zip(every, items, strict=True):
        if hashes.blake3 not in fresh and not _is_there(hashes.blake3, data, publisher):
            fresh[hashes.blake3] = data
    new = records.publish_all(staging, [(publisher.path(digest), data) for digest, data in fresh.items()])
    made = {digest for digest, was_new in zip(fresh, new, strict=True) if was_new}
    added: list[Added] = []
    for hashes, data in zip(every, items, strict=True):
        how = "copied" if hashes.blake3 in made else "known"
        made.discard(hashes.blake3)
        try:
            mark = kernel.fingerprint(publisher.path(hashes.blake3))
        except FileNotFoundError:                       # a collection has just let go of one that was there already
            added += add_bytes([data], sha256, staging, publisher)
            continue
        added.append(Added(hashes.blake3, hashes.bytes, hashes.sha256, hashes.gitsha1, how, mark))
    return added


def _is_there(digest: str, data: bytes, publisher: Publisher) -> bool:
    """Whether the blob is there with these bytes; small enough to compare. A bad one is put into the trash."""
    path = publisher.path(digest)
    if not os.path.lexists(path):
        return False
    try:
        if records.read_small(path)[0] == data:
            publisher.quarantine.lift(digest)
            return True
    except FileNotFoundError:
        return False                                    # a collection has just let go of it
    except Unreadable:
        pass                                            # the check below says what is wrong
    try:
        publisher.check(digest)
    except NotFound:
        return False
    except Corrupt:
        publisher.discard(digest)
        return False
    return True
