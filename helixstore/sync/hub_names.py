"""Other members' word that a model is a certain commit of a repository of the hub: proven before the model is shown so.

What they publish is compared with the hub's own listing of that commit, by hashes that this person knows or computes
now: reading the files is due anyway before they are first used. Until the hub has confirmed it, the model is shown
under the name that it has in the store, in the hub's cache under `local_namespace`, and never under that repository.
"""

from __future__ import annotations

import os

from helixstore.errors import HelixError
from helixstore.fs.fingerprint import fingerprint
from helixstore.hub.names import OTHERWISE, SILENT, UNKNOWN, UNREAD, HubNames, Listed, same_files
from helixstore.session import Session
from helixstore.store.refs import Said
from helixstore.sync.progress import Progress, counting
from helixstore.values import File, Key

__all__ = ["due", "prove_names", "why_not"]

_NAMED = 3                      # models named in a note, before the rest is only counted


def prove_names(session: Session, progress: Progress | None = None) -> list[str]:
    """Ask the hub about the names that others give and that nothing has proven yet; the index goes by the answers.

    Args:
        session: whose store and index; its private state remembers the answers.
        progress: told how far the reading of files is.

    Returns:
        What the report says of those that are not proven.
    """
    said = session.index.said()
    if not said:
        return []
    names = session.hub_names
    names.begin()
    now = [one for one in said if names.due(one[2].source, one[1]) <= names.now()]
    answers = [_ask(session, names, *one, progress)
               for one in sorted(now, key=lambda one: names.asked(one[2].source, one[1]))]
    if any(answers) or names.silent:
        names.keep()
        session.index.refresh()
        said = session.index.said()
    why: dict[str, dict[str, None]] = {}
    for key, manifest, word in said:
        text = f"{key.model} as {word.source.repository} (the word of user {word.by.rpartition('/')[2]})"
        why.setdefault(names.why(word.source, manifest), {})[text] = None
    return [f"not shown in the hub's cache under the hub's name, since {reason}: {_listed(list(texts))}; "
            "see: helixstore explain MODEL" for reason, texts in why.items()]


def due(session: Session) -> float:
    """When the hub is to be asked about a name again, though nothing has changed: seconds since 1970, or infinite."""
    return min((session.hub_names.due(word.source, manifest) for _, manifest, word in session.index.said()),
               default=float("inf"))


def why_not(session: Session, key: Key) -> list[tuple[Said, str]]:
    """The hub's names for a variant that do not count, and why."""
    session.hub_names.begin()
    return [(word, session.hub_names.why(word.source, manifest)) for known, manifest, word in session.index.said()
            if known == key]


def _ask(
    session: Session, names: HubNames, key: Key, manifest: str, word: Said, progress: Progress | None,
) -> bool:
    """Compare one; whether there is an answer now, which may be that it cannot be had."""
    variant = session.index.variant(key)
    if variant is None or variant.manifest != manifest:
        return False
    paths = [session.store.blobs.path(file.blake3) for file in variant.files]
    if not all(os.access(path, os.R_OK) for path in paths):
        names.note(word.source, manifest, UNREAD)
        return True
    before = names.silent
    listing = names.listing(word.source)
    if listing is None:
        if names.silent and not before:
            names.note(word.source, manifest, SILENT)
        return names.silent and not before
    files = [(file, listing.get(file.path)) for file in variant.files]
    if not listing:
        names.note(word.source, manifest, UNKNOWN)
    elif any(there is None or there.bytes not in (None, file.bytes) for file, there in files):
        names.note(word.source, manifest, OTHERWISE)
    else:
        try:
            told = [_hashed(session, file, there, progress) for file, there in files if there is not None]
        except (HelixError, OSError):
            names.note(word.source, manifest, UNREAD)
        else:
            names.note(word.source, manifest, "" if same_files(told, listing) else OTHERWISE)
    return True


def _hashed(
    session: Session, file: File, there: Listed, progress: Progress | None,
) -> tuple[str, int, str | None, str | None]:
    """A file with the hash that the hub has of it: what is known, or what reading it tells.

    Raises:
        HelixError, OSError: it cannot be read, or is damaged.
    """
    known = session.index.hashes(file.blake3)
    sha256 = file.sha256 or (known.sha256 if known else None)
    gitsha1 = file.gitsha1 or (known.gitsha1 if known else None)
    if (sha256 if there.sha256 else gitsha1) is None:
        path = session.store.blobs.path(file.blake3)
        before = fingerprint(path)
        hashes, _ = session.store.blobs.check(file.blake3, sha256=True,
                                              progress=counting(progress, "hash", path, file.bytes))
        session.index.remember([(path, before, hashes)])
        session.index.learn(file.blake3, sha256=hashes.sha256, gitsha1=hashes.gitsha1)
        sha256, gitsha1 = hashes.sha256, hashes.gitsha1
    return file.path, file.bytes, sha256, gitsha1


def _listed(texts: list[str]) -> str:
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more} more" if more > 0 else "")
