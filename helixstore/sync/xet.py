"""The Xet hashes that a layout needs: of large files, and only where a link to them could be made.

It takes a reading of its own at the speed of one core, so it is not done for what no client would look up. A file that
is only about to enter the store is hashed where it lies, so that the same sync can share it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from helixstore.errors import Unreadable
from helixstore.fs.kernel import fingerprint
from helixstore.fs.mounts import mount_of
from helixstore.store.xet import XetHasher, xet_available
from helixstore.values import File, Key, Role, Variant

if TYPE_CHECKING:
    from helixstore.session import Session
    from helixstore.sync.intake import Intake, Wish
    from helixstore.sync.look import Looked
    from helixstore.sync.progress import Progress

__all__ = ["XetAliases", "note_new"]

_LARGE = 10 << 20                   # bytes: from here on the hub keeps every file in LFS, which is Xet today
_BATCH_BYTES, _BATCH_FILES = 1 << 30, 256      # noted together: about a second's work
_ROLES = frozenset({Role.WEIGHTS, Role.PROJECTOR, Role.PICKLE})


class XetAliases:
    """What one sync learns.

    Args:
        session: whose store and index learn it.
        looked: the roots; those of layouts that need Xet hashes count.
        intake: where files lie that are to enter the store.
        progress: told of each file, before and after.
    """

    def __init__(self, session: Session, looked: Looked, intake: Intake, progress: Progress | None) -> None:
        self._session, self._progress = session, progress
        self._coming: dict[str, list[Wish]] = {}
        for wish in intake.wishes:
            if wish.how != "copy":
                self._coming.setdefault(wish.digest.hashes.blake3, []).append(wish)
        placed = [place for place in looked.placed
                  if place.on and not place.root.forbid and "xet" in place.layout.aliases]
        self._providers = {place.provider for place in placed}
        self._mounts = {mount_of(place.root.path).id for place in placed}
        self._folders: dict[str, str] = {}
        self._why: dict[str, str] = {}

    def of(self, variants: Sequence[Variant], keep: bool, hasher: XetHasher | None = None) -> dict[str, str]:
        """Digest -> Xet hash of files of which it was not known.

        Args:
            variants: the current ones.
            keep: write it down in the store too, not in the index alone.
            hasher: one that stays; else its process ends with this.
        """
        learnt: dict[str, str] = {}
        if not self._mounts or not xet_available():
            return learnt
        missing = {f.blake3: f for v in variants for f in v.files
                   if f.xet is None and f.bytes and (f.role in _ROLES or f.bytes >= _LARGE)}
        fresh: dict[str, str] = {}
        read = 0
        with XetHasher() if hasher is None else nullcontext(hasher) as hasher:
            try:
                for digest, file in missing.items():
                    if hashed := self._hash(file, hasher):
                        fresh[digest] = learnt[digest] = hashed
                        read += file.bytes
                    if read > _BATCH_BYTES or len(fresh) > _BATCH_FILES:
                        _note(self._session, fresh, keep)
                        fresh, read = {}, 0
            finally:
                _note(self._session, fresh, keep)       # Ctrl-C loses no finished hash
        return learnt

    def lacking(self, variants: Sequence[Variant]) -> dict[tuple[str, Key | None], str]:
        """(Provider, variant) -> why none of its files could be hashed, or there was no sense in it."""
        found: dict[tuple[str, Key | None], str] = {}
        for variant in variants if self._why else ():
            why = [self._why.get(file.blake3) for file in (*variant.weights, *variant.projectors)]
            if why and why[0] and all(why):
                found.update(dict.fromkeys([(provider, variant.key) for provider in self._providers], why[0]))
        return found

    def _hash(self, file: File, hasher: XetHasher) -> str | None:
        """The hash of one file, as it lies in the store or will be taken from; None when a link could not be made."""
        places = self._session.store.blobs.places(file.blake3)
        lying: list[tuple[str, Wish | None]] = [(place.path, None) for place in places if place.holds]
        lying += [(wish.location, wish) for wish in self._coming.get(file.blake3, ())]
        if not lying:
            return None
        near = [one for one in lying if self._mount(os.path.dirname(one[0])) in self._mounts]
        if not near:
            self._why[file.blake3] = "it is on another disk than the cache, where only a hard link would serve"
            return None
        path, wish = near[0]
        if (known := self._session.index.hashes(file.blake3)) is not None and known.xet:
            return known.xet
        try:
            before = fingerprint(path)
            if hasattr(os, "getuid") and before.uid != os.getuid():
                self._why[file.blake3] = "it belongs to another user, and only a hard link to one's own would serve"
                return None
            if wish is not None and not before.same_content(wish.digest.fingerprint):
                return None
            if self._progress:
                self._progress("hash", path, 0, file.bytes)
            hashed = hasher.hash(path)
            if self._progress:
                self._progress("hash", path, file.bytes, file.bytes)
            return hashed if fingerprint(path).same_content(before, ours=True) else None
        except (OSError, Unreadable):
            return None             # gone or changed meanwhile: the next sync looks again

    def _mount(self, folder: str) -> str:
        if folder not in self._folders:
            self._folders[folder] = mount_of(folder).id
        return self._folders[folder]


def note_new(session: Session, intake: Intake, variants: Sequence[Variant]) -> None:
    """After an apply: write down in the store what was learnt of files that have entered it.

    Args:
        session: whose store and index.
        intake: says which entered.
        variants: with the hashes.
    """
    coming = {wish.digest.hashes.blake3 for wish in intake.wishes}
    learnt = {f.blake3: f.xet for v in variants for f in v.files if f.xet and f.blake3 in coming} if coming else {}
    _note(session, learnt, keep=True)


def _note(session: Session, learnt: Mapping[str, str], keep: bool) -> None:
    for digest, hashed in learnt.items() if keep else ():
        if session.store.blobs.exists(digest):
            session.store.blobs.learn(digest, xet=hashed)
    if learnt:
        session.index.learn_xet(learnt)
