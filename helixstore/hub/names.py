"""Whether content that somebody else calls a certain commit of a repository of the hub is that: the hub is asked.

In a store that a group fills anybody can write that their file is `org/repo` at some commit, and a program that loads
`org/repo` would get it. So the hub's listing of that commit is compared with the hashes that this person knows of the
content. What it has confirmed holds for ever, since neither a commit nor a manifest ever changes.

No token is sent: a repository that the hub does not show to everybody never stands in a ref that helixstore has
written, and somebody else's word is no reason to ask for one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from helixstore.fs import kernel
from helixstore.fs.private import read_trusted
from helixstore.hub.listing import listing
from helixstore.hub.public import offline
from helixstore.values import Source

__all__ = ["OTHERWISE", "SILENT", "UNKNOWN", "UNREAD", "HubNames", "Listed", "same_files"]

#: what an answer can be, beside that the hub confirms it
OTHERWISE, UNKNOWN, UNREAD, SILENT = "otherwise", "unknown", "unread", "silent"

_SECONDS = 5.0                  # without an answer
_IN_ALL = 30.0                  # seconds of asking in one run, so that nobody's many claims hold up a sync for long
_SILENT = 3600.0                # seconds until a hub that did not answer is asked again
_AGAIN: Mapping[str, float] = {UNKNOWN: 24 * 3600.0, UNREAD: 3600.0, SILENT: _SILENT, OTHERWISE: float("inf")}
_WHY: Mapping[str, str] = {
    OTHERWISE: "the hub lists other files there",
    UNKNOWN: "the hub shows no such commit to everybody",
    UNREAD: "files of it cannot be read, or are damaged",
    SILENT: "the hub did not answer",
}
_KEPT = 10_000                  # answers that are no proof
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Listed(NamedTuple):
    """One file of a commit, as the hub lists it: bytes, SHA-256 if it is in LFS, git's SHA-1 (in LFS of a pointer)."""

    bytes: int | None
    sha256: str | None
    gitsha1: str | None


class HubNames:
    """What this person knows of others' words. Safe between processes: what two learn at once is joined.

    Args:
        file: where the answers are kept, absolute; private to the person, since they are believed.
        environ: HF_ENDPOINT, HF_HUB_OFFLINE.
        trust: believe everybody, and ask nobody (the setting `trust_hub_names`).
        clock: seconds since 1970; now.
    """

    def __init__(self, file: str, environ: Mapping[str, str], trust: bool = False, clock: float | None = None) -> None:
        self._file, self._trust, self._clock = file, trust, clock
        self._endpoint = environ.get("HF_ENDPOINT") or ""
        #: nobody is asked
        self.offline = offline(environ)
        self._stamp: tuple[int, ...] | None = ()
        self._proven: set[tuple[str, str, str]] = set()
        self._refused: dict[str, tuple[str, float]] = {}
        self._silent: dict[str, float] = {}
        self._mark = ""
        self._spent = 0.0
        self._listings: dict[tuple[str, str], Mapping[str, Listed]] = {}

    @property
    def mark(self) -> str:
        """Another text whenever more is proven, or the setting is another."""
        self._reread()
        return self._mark

    def proven(self, source: Source, manifest: str) -> bool:
        """Whether the hub has confirmed that a manifest's files are those of the commit; all of them with `trust`."""
        return self._trust or (source.repository or "", source.revision or "", manifest) in self._proven

    def why(self, source: Source, manifest: str) -> str:
        """Why a name is not proven, for people."""
        if not _askable(source):
            return "that is no commit of a repository"
        if (row := self._refused.get(self._key(source, manifest))) is not None:
            return _WHY[row[0]]
        if self.offline:
            return "HF_HUB_OFFLINE is set, so the hub was not asked"
        return "the hub did not answer" if self.silent else "the hub has not been asked yet"

    def due(self, source: Source, manifest: str) -> float:
        """When it is worth asking about, seconds since 1970; in the past: now. Infinite: never, as things are."""
        if self.offline or not _askable(source) or self.proven(source, manifest):
            return float("inf")
        word, at = self._refused.get(self._key(source, manifest), ("", 0.0))
        return max(at + _AGAIN.get(word, 0.0), self._silent.get(self._endpoint, -_SILENT) + _SILENT)

    def begin(self) -> None:
        """A new run: there is time for asking again."""
        self._reread()
        self._spent = 0.0
        self._listings.clear()

    def asked(self, source: Source, manifest: str) -> float:
        """When it was asked about last, seconds since 1970; 0: never."""
        return self._refused.get(self._key(source, manifest), ("", 0.0))[1]

    def listing(self, source: Source) -> Mapping[str, Listed] | None:
        """Path -> file, of a commit as the hub shows it to everybody; empty where it shows none.

        None: it does not say, or there is no time left in this run. A hub that does not answer is left alone for an
        hour, and asked about this one after all others.
        """
        where = str(source.repository), str(source.revision)
        if where not in self._listings:
            if self.offline or self._spent >= _IN_ALL or self.silent:
                return None
            began = time.monotonic()
            found = self._asked(*where)
            self._spent += time.monotonic() - began
            if found is None:
                self._silent[self._endpoint] = self.now()
                return None
            self._listings[where] = found
        return self._listings[where]

    def note(self, source: Source, manifest: str, word: str = "") -> None:
        """Keep an answer, until `keep` in memory only; `word`: why not, "" for a proof."""
        if word:
            self._refused[self._key(source, manifest)] = word, self.now()
        else:
            self._refused.pop(self._key(source, manifest), None)
            self._proven.add((str(source.repository), str(source.revision), manifest))

    def keep(self) -> None:
        """Write down what was noted."""
        self._write()

    def _asked(self, repository: str, revision: str) -> Mapping[str, Listed] | None:
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            info = listing(repository, revision, self._endpoint or None, login=False, seconds=_SECONDS)
            files = {str(one.get("rfilename")): Listed(one.get("size"), (one.get("lfs") or {}).get("sha256"),
                                                       one.get("blobId")) for one in info["siblings"]}
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            return {}
        except Exception:  # noqa: BLE001 - the errors of two HTTP clients; without an answer nothing is concluded
            return None
        return files if info.get("sha") == revision else {}

    @property
    def silent(self) -> bool:
        """Whether the hub did not answer, less than an hour ago."""
        return self.now() < self._silent.get(self._endpoint, -_SILENT) + _SILENT

    def _key(self, source: Source, manifest: str) -> str:
        return f"{self._endpoint} {source.repository} {source.revision} {manifest}"

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() if self._clock is None else self._clock

    def _reread(self) -> None:
        """Take in what another process has learnt."""
        try:
            status = os.stat(self._file)
            stamp: tuple[int, ...] | None = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            stamp = None
        if stamp != self._stamp:
            self._stamp = stamp
            self._load()
            self._remark()

    def _load(self) -> None:
        try:
            data, why = read_trusted(self._file)
            record: dict[str, Any] = {} if why else json.loads(data)
            proven = {(str(row[0]), str(row[1]), str(row[2])) for row in record.get("proven", ())}
            refused = {str(key): (str(row[0]), float(row[1])) for key, row in record.get("refused", {}).items()
                       if row[0] in _WHY}
            silent = {str(key): min(float(at), self.now()) for key, at in record.get("silent", {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return                                      # asked again
        self._proven |= proven
        self._refused = {**refused, **self._refused}
        self._silent = {**silent, **self._silent}

    def _remark(self) -> None:
        said = hashlib.blake2b("\n".join(map(" ".join, sorted(self._proven))).encode(errors="replace"), digest_size=16)
        self._mark = "all" if self._trust else said.hexdigest()

    def _write(self) -> None:
        """As it is on disk and as it is known here, together."""
        self._reread()
        refused = sorted(self._refused.items(), key=lambda item: item[1][1], reverse=True)[:_KEPT]
        record = {"schema": 1, "proven": sorted(self._proven), "refused": dict(refused), "silent": self._silent}
        os.makedirs(os.path.dirname(self._file), mode=0o700, exist_ok=True)
        kernel.replace_file(self._file, json.dumps(record).encode(), 0o600, durable=False)
        self._remark()


def _askable(source: Source) -> bool:
    return bool(source.repository) and _COMMIT.fullmatch(source.revision or "") is not None


def same_files(files: Iterable[tuple[str, int, str | None, str | None]], listing: Mapping[str, Listed]) -> bool:
    """Whether each file is one of the listing.

    Args:
        files: path, bytes, SHA-256 and git-SHA-1 of each, as far as they are known.
        listing: of `HubNames.listing`.
    """
    return all((there := listing.get(path)) is not None and there.bytes in (None, size)
               and (sha256 == there.sha256 if there.sha256 else gitsha1 is not None and gitsha1 == there.gitsha1)
               for path, size, sha256, gitsha1 in files)
