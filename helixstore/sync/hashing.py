"""What a sync must hash: the candidates that it found, and blobs whose other digests a layout needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from helixstore.errors import HelixError
from helixstore.farm.ledger import Record
from helixstore.farm.scan import look_at
from helixstore.fs.fingerprint import fingerprint
from helixstore.session import Session
from helixstore.store.hashing import Hashes, hash_file
from helixstore.sync.intake import Hasher, Intake, Rules, take_in
from helixstore.sync.look import Looked
from helixstore.sync.naming import Known
from helixstore.sync.private import admission
from helixstore.sync.progress import Progress, counting
from helixstore.sync.projection import aliases_needed
from helixstore.sync.suspects import usable
from helixstore.sync.wanted import Change
from helixstore.sync.xet import XetAliases
from helixstore.values import File, Key, Variant

if TYPE_CHECKING:
    from helixstore.fs.kernel import Fingerprint
    from helixstore.store.xet import XetHasher

__all__ = ["hash_and_name", "with_aliases"]


def hash_and_name(session: Session, wanted: Change, looked: Looked, progress: Progress | None) -> Intake:
    """Hash and name the candidates."""
    if not looked.candidates:
        return Intake()
    index, inodes, uid = session.index, _inodes(session), session.store.host.uid

    def recall(path: str, fingerprint: Fingerprint) -> Hashes | None:
        """By its inode, since another name of a blob is that blob, or as it was when it was hashed last."""
        named = inodes.get((fingerprint.device, fingerprint.inode)) if fingerprint.uid == uid else None
        digest = named or index.digest_at(path, fingerprint)        # another's blob is what we have read ourselves
        return index.hashes(digest) if digest else None

    def remember(path: str, fingerprint: Fingerprint, hashes: Hashes) -> None:
        index.remember([(path, fingerprint, hashes)])

    on = [place.layout for place in looked.placed if place.on]
    hubs = any(c.found.source.kind == "hub" for c in looked.candidates)
    hasher = Hasher(recall, remember, progress, sha256="sha256" in aliases_needed(on) or hubs)
    names = [name for _, name in wanted.paths if name]
    rules = Rules(session.store.path, session.store.host.uid, "sha256" in aliases_needed(on), session.settings.share,
                  wanted.copy, names[0] if names else None, session.store.blobs, admission(session),
                  session.settings.settle)
    return take_in(looked.candidates, hasher, rules, _known(session), inodes,
                   lambda digest: usable(session, digest, progress), _adopted_as(session), session.farm.ledgers.has)


def _adopted_as(session: Session) -> Callable[[str], Key | None]:
    """What tells as which variant a path was adopted. None too while another path of the person's has what was adopted
    there: what the path holds now is no new version of that, which stays."""
    adopted = session.farm.ledgers.of("").records
    places: dict[str, list[Record]] = {}
    for record in adopted.values():
        places.setdefault(record.digest, []).append(record)

    def answer(path: str) -> Key | None:
        record = adopted.get(path)
        if record is None or any(is_there(other) for other in places[record.digest] if other.path != path):
            return None
        return record.keys[0] if record.keys else None

    def is_there(record: Record) -> bool:
        try:
            look = look_at(record.path)
        except OSError:
            return True                 # away: nothing is concluded from it
        return look is not None and (look.target == record.target if record.kind == "symlink" else
                                     look.inode == record.inode)

    return answer


def _known(session: Session) -> list[Known]:
    """The current variants as the rules of names see them."""
    contents = session.index.contents()
    return [Known(variant.key, variant.manifest, contents[variant.manifest], variant.sources, variant.pinned)
            for variant in session.index.variants()]


def _inodes(session: Session) -> dict[tuple[int, int], str]:
    """(device, inode) -> digest of every blob."""
    found = {}
    for digest in session.store.blobs.digests():
        for place in session.store.blobs.places(digest):
            status = os.lstat(place.path)               # a planted link must not make a file of ours that blob
            found[status.st_dev, status.st_ino] = digest
    return found


def with_aliases(
    session: Session, variants: Sequence[Variant], looked: Looked, intake: Intake, progress: Progress | None = None,
    keep: bool = True, hasher: XetHasher | None = None,
) -> tuple[list[Variant], dict[tuple[str, Key | None], str]]:
    """The variants with the other hashes that layouts need; what is not known yet is computed.

    Args:
        session: whose store and index learn it.
        variants: the current ones.
        looked: the roots.
        intake: where files lie that are to enter the store.
        progress: told how far the hashing is.
        keep: write it down in the store too, not in the index alone.
        hasher: of Xet hashes, in a process that stays.

    Returns:
        The variants, and (provider, variant) -> why a provider that needs Xet hashes goes without this one's.
    """
    needed = aliases_needed(p for name, p in session.layouts.items() if session.is_on(name))
    learnt = _sha256(session, variants, progress, keep) if "sha256" in needed else {}
    aliases = XetAliases(session, looked, intake, progress)
    xet = aliases.of(variants, keep, hasher) if "xet" in needed else {}
    lacking = aliases.lacking(variants)
    if not learnt and not xet:
        return list(variants), lacking
    return [
        replace(v, files=tuple([_told(f, learnt.get(f.blake3), xet.get(f.blake3)) for f in v.files]))
        if any(f.blake3 in learnt or f.blake3 in xet for f in v.files) else v for v in variants
    ], lacking


def _told(file: File, hashes: Hashes | None, xet: str | None) -> File:
    """The file with what was learnt of it."""
    return replace(file, sha256=file.sha256 or (hashes.sha256 if hashes else None),
                   gitsha1=file.gitsha1 or (hashes.gitsha1 if hashes else None), xet=file.xet or xet)


def _hashed(
    session: Session, digest: str, path: str, step: Callable[[int], None], keep: bool,
) -> Hashes:
    """The hashes of a blob. It counts as read then, so that what was never used before need not be read twice.

    Raises:
        HelixError: it is damaged, or cannot be read; with `keep` a damaged one is in quarantine.
    """
    if not keep:
        return hash_file(path, sha256=True, progress=step, lease=False)[0]
    before = fingerprint(path)
    hashes, _ = session.store.blobs.check(digest, sha256=True, progress=step)
    session.index.remember([(path, before, hashes)])
    return hashes


def _sha256(session: Session, variants: Sequence[Variant], progress: Progress | None, keep: bool) -> dict[str, Hashes]:
    """Digest -> hashes of blobs of which the SHA-256 was not known; of small ones with git's."""
    learnt: dict[str, Hashes] = {}
    for file in {f.blake3: f for v in variants for f in v.files if f.sha256 is None}.values():
        path = session.store.blobs.path(file.blake3)
        if os.access(path, os.R_OK):
            try:
                hashes = _hashed(session, file.blake3, path, counting(progress, "hash", path, file.bytes), keep)
            except HelixError:
                continue                # in quarantine, or written to just now: what uses it reads it again, and tells
            if hashes.sha256 and hashes.blake3 == file.blake3:
                if keep:
                    session.store.blobs.learn(file.blake3, sha256=hashes.sha256)
                session.index.learn(file.blake3, sha256=hashes.sha256, gitsha1=hashes.gitsha1)
                learnt[file.blake3] = hashes
    return learnt
