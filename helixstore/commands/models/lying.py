"""What a download wants, and a program has got since the last sync: it is taken in where it lies, not fetched.

It is what `sync` would do with it, and with nothing else that lies in the programs' folders. So a store that a group
reads takes only what lies there as a repository of the hub, if that is public: all else has a name of the person's own,
and files beside it that are not for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from helixstore.errors import HelixError
from helixstore.fs.kernel import fingerprint
from helixstore.hub.remote import RemoteFile
from helixstore.session import Session
from helixstore.store.hashing import hash_file
from helixstore.sync.intake import LINKED_ROLES, Candidate
from helixstore.sync.look import look
from helixstore.sync.progress import Progress, counting

__all__ = ["Lying", "lying"]

_LARGE = 4 << 20                # bytes: what is smaller is fetched sooner than looked for
_NAMED = re.compile(r"(?:.*/)?(?:sha256-)?([0-9a-f]{64})")      # Ollama's blobs, and the hub's


@dataclass
class Lying:
    """`models`: as a sync takes them in. `places`: digest in the listing -> where that file lies, absolute."""

    models: list[Candidate] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def only(self, taken: Container[str]) -> Lying:
        """The same with those of the places that a sync took in."""
        return replace(self, places={digest: path for digest, path in self.places.items() if path in taken})


def lying(session: Session, files: Sequence[RemoteFile], progress: Progress | None = None) -> Lying:
    """Which models of the programs' folders, not yet taken in, have the weights that are missing.

    Args:
        session: whose programs.
        files: that the store does not have.
        progress: of the reading of files of the right size whose names say no other digest.
    """
    found, wanted = Lying(), dict[int, dict[str, str]]()
    for file in files:
        if file.sha256 and file.bytes >= _LARGE:
            wanted.setdefault(file.bytes, {})[file.sha256] = file.digest
    if not wanted:
        return found
    shared = session.store.sharing.shared
    for candidate in look(session, scan=True).candidates:
        if shared and candidate.found.source.kind != "hub":
            continue
        if candidate.found.inspection.whole and not candidate.found.inspection.unsafe:
            linked = {piece.location for piece in candidate.pieces if piece.role in LINKED_ROLES}
            places = {path: digest for path in linked if (digest := _wanted(session, path, wanted, progress))}
            if places:                                  # what is proven was asked for; of all else a sync's rules hold
                proven = not shared and len(places) == len(linked)
                found.models.append(replace(candidate, asked=proven))
                found.places |= {digest: path for path, digest in places.items()}
    return found


def _wanted(session: Session, path: str, wanted: Mapping[int, Mapping[str, str]], progress: Progress | None) -> str:
    """The digest in the listing of the file that lies there; "" where it is none of those that are wanted."""
    with suppress(OSError, HelixError):                 # gone meanwhile, or not to be read: then it is fetched
        now = fingerprint(path)
        alike = wanted.get(now.bytes, {})
        named = _NAMED.fullmatch(path)
        if not alike or (named and named[1] not in alike):
            return ""
        digest = session.index.digest_at(path, now)
        hashes = session.index.hashes(digest) if digest else None
        if hashes is None or not hashes.sha256:
            hashes, now = hash_file(path, sha256=True, progress=counting(progress, "hash", path, now.bytes))
            session.index.remember([(path, now, hashes)])
        return alike.get(hashes.sha256 or "", "")
    return ""
