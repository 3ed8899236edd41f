"""What lies in the programs' folders and in the person's, without what is known to be ours. Reads; hashes nothing."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from helixstore.errors import NotFound
from helixstore.farm.ledger import FOLDER, Record
from helixstore.farm.library import Library
from helixstore.farm.scan import look_at
from helixstore.formats import Inspection, inspect
from helixstore.formats.listing import Item
from helixstore.formats.names import WEIGHT_EXTENSIONS, extension
from helixstore.formats.survey import Known
from helixstore.fs.kernel import fingerprint
from helixstore.providers.layout import Found
from helixstore.providers.reader import DiskReader
from helixstore.session import PlacedRoot, Session
from helixstore.sync.drift import drifts
from helixstore.sync.intake import LINKED_ROLES, Candidate, candidate_of
from helixstore.sync.still import Within
from helixstore.sync.untouched import untouched
from helixstore.values import Key, Source

__all__ = ["Looked", "given", "look", "roots_of"]


@dataclass
class Looked:
    """What was seen.

    Attributes:
        reader: holds the issues, and every folder and file that was looked at.
        placed: the roots in question, the library last.
        candidates: whole or broken models that are not known yet.
        drifted: roots that no longer look as their layout expects -> why; nothing is looked for there.
        untouched: roots that are as helixstore left them.
    """

    reader: DiskReader
    placed: list[PlacedRoot]
    candidates: list[Candidate]
    drifted: Mapping[str, str] = field(default_factory=dict)
    untouched: Collection[str] = ()


def look(
    session: Session, *, scan: bool, paths: Sequence[tuple[Path, str | None]] = (), found: Sequence[Candidate] = (),
    brought: Sequence[Found] = (), providers: Collection[str] | None = None, restore: bool = False,
    within: Within | None = None, drifted: Mapping[str, str] = MappingProxyType({}),
) -> Looked:
    """Look at the roots, and for models.

    Args:
        session: the person's settings, layouts and farm.
        scan: look for models in the roots of providers that are on and in the loose folders.
        paths: files or folders that the person named, and the model name they gave (or None).
        found: what an earlier look has found, and is looked at no more.
        brought: models whose files are blobs already.
        providers: only these providers' roots; None for all.
        restore: look at what was declined too.
        within: only in these roots and loose folders, and where paths are given only in the folders on the way to them;
            the rest is as it was. None: in all.
        drifted: of the others, those that had drifted.

    Raises:
        HelixError: one of `paths` is no model.
    """
    reader = DiskReader(session.places.home)
    placed = [p for p in session.roots(reader, session.farms) if providers is None or p.provider in providers]
    looked_at = [place for place in placed if within is None or str(place.root.path) in within]
    drifted = {**{root: why for root, why in drifted.items() if within is not None and root not in within},
               **drifts(looked_at, reader)}
    candidates = [*found, *_shown_already(session, brought, [p for p in placed if str(p.root.path) not in drifted]),
                  *(candidate_of(one, None, asked=True) for one in brought)]
    ours: _Ours | None = None
    for path, name in paths:
        candidates += [candidate_of(_loose(one, name), None, asked=True) for one in given(reader, path)]
    if scan and session.settings.adopt != "off":
        sound = [place for place in placed if str(place.root.path) not in drifted]
        ours = _Ours(session, {str(place.root.path) for place in sound if place.root.cache})
        loose = [one for one in session.loose() if within is None or str(one) in within]
        if within is not None and None not in within.values():
            reader.near = [path for came in within.values() for path in came or ()]
        candidates += _gather(session, reader, [place for place in sound if within is None or place in looked_at],
                              ours, loose if providers is None else (), restore=restore)
    placed += _library(session, reader)
    left = ours.left if ours is not None else set()
    if within is not None:
        left.update(root for place in placed if within.get(root := str(place.root.path), ()) is not None)
    return Looked(reader, placed, candidates, drifted, left)


def roots_of(session: Session) -> list[PlacedRoot]:
    """Every root as the layouts place it now, the library last."""
    reader = DiskReader(session.places.home)
    return [*session.roots(reader, session.farms), *_library(session, reader)]


def _library(session: Session, reader: DiskReader) -> list[PlacedRoot]:
    library = Library()
    return [PlacedRoot(library.name, library, root, True)
            for root in library.roots(session.env(library.name, reader, session.farms))]


def given(reader: DiskReader, path: Path) -> list[Inspection]:
    """The models in a file or folder that the person named.

    Raises:
        HelixError: the file is no model, or there is none in the folder.
    """
    if not path.is_dir():
        return [inspect(path)]
    found = reader.models(path, -1)
    if not found:
        first = reader.issues[0] if reader.issues else None
        raise NotFound(f"{first.path}: {first.message}" if first else f"there is no model in {path}",
                       first.remedy if first else "", path)
    return found


def _gather(
    session: Session, reader: DiskReader, placed: Sequence[PlacedRoot], ours: _Ours, folders: Iterable[Path],
    restore: bool,
) -> Iterator[Candidate]:
    """Every model in the roots, each root once, and in the loose folders; each place once for each of its names."""
    seen: set[tuple[str, Source | None]] = set()
    looked: set[tuple[str, str]] = set()
    for place in placed:
        folder = (str(place.root.path), place.root.label)
        if place.on and folder not in looked:
            looked.add(folder)
            if not restore and reader.near is None and ours.untouched(folder[0], place.provider, reader):
                continue
            reader.known = ours.settled(place.provider)
            found = [candidate_of(one, folder[0]) for one in _discovered(place, reader)]
            lent = {_places(one) for one in found if ours.lends(one)}
            for candidate in found:
                yield from _fresh(session, candidate, seen, ours, restore, _places(candidate) in lent)
    reader.issues = [issue for issue in reader.issues if issue.kind != "incomplete" or not ours.mends(issue.path)]
    reader.known = ours.settled(None)
    for loose in folders:
        for inspection in reader.models(loose, -1):
            yield from _fresh(session, candidate_of(_loose(inspection, None), None), seen, ours, restore)


def _discovered(place: PlacedRoot, reader: DiskReader) -> Iterator[Found]:
    """What the layout finds in its root, up to where it fails."""
    try:
        yield from place.layout.discover(place.root, reader)
    except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
        reader.issue("layout", place.root.path, f"the layout {place.provider} failed: {type(error).__name__}: {error}",
                     f"helixstore providers off {place.provider}")


def _fresh(
    session: Session, candidate: Candidate, seen: set[tuple[str, Source | None]], ours: _Ours, restore: bool,
    lent: bool = False,
) -> Iterator[Candidate]:
    """The candidate, unless another look gave it already, it is ours, excluded, or declined.

    `lent`: its weights are ours, and the person has made a model of their own there with them (`ollama cp`). Then the
    name that we gave is one of several that the program has for them, and is kept as such.
    """
    locations = [piece.location for piece in candidate.pieces]
    first = locations[0] if locations else str(candidate.found.inspection.location)
    source = candidate.found.source
    if (first, source) in seen or (source.kind == "file" and (first, None) in seen):
        return
    seen.update({(first, source), (first, None)})
    own = (str(session.store.path), str(session.farms), *(v.path for v in session.store.volumes.attached if v.path))
    weights = [piece.location for piece in candidate.pieces if piece.role in LINKED_ROLES]
    within = candidate.root if candidate.root is not None and candidate.root.startswith(own) else None
    if not lent and any(where.startswith(folder + os.sep) for where in weights or [first] for folder in own
                        if within is None or not where.startswith(within + os.sep)):
        return                  # a link of ours, also beside small files that were copied
    if any(fnmatch.fnmatch(first, pattern) for pattern in session.settings.exclude):
        return
    if locations and all(ours.has(piece.location) or (piece.role not in LINKED_ROLES and ours.seen(piece.location))
                         for piece in candidate.pieces) and ours.names(locations, source):
        return
    sidecars = [f"{candidate.root}/{path}" for path, _ in source.sidecars]
    if not lent and all(map(ours.entered, sidecars)) and ours.made(weights):
        return
    if not restore and any(session.farm.intent.is_declined(location) for location in locations):
        return
    yield candidate


def _shown_already(session: Session, brought: Sequence[Found], placed: Sequence[PlacedRoot]) -> Iterator[Candidate]:
    """Models that a program is to have by a name of its own, under the name by which it shows them already.

    That name was helixstore's choice for want of one. As after the program's own pull beside it (see `_fresh`) it is
    one of several now, and is kept as such.
    """
    pulled = {(one.source.program, frozenset(one.claims.values())) for one in brought if one.source.kind == "program"}
    variants = session.index.variants() if pulled else []
    for place in placed if pulled else ():
        keys = {variant.key for variant in variants
                if (place.provider, frozenset(file.sha256 for file in variant.files)) in pulled
                and all(source.program != place.provider for source in variant.sources)}
        if keys and place.on:
            reader = DiskReader(session.places.home)        # what it says of others is for a sync to tell
            ours = _Ours(session, set())
            reader.known = ours.settled(place.provider, apart=keys)
            found = [candidate_of(one, str(place.root.path), asked=True) for one in _discovered(place, reader)]
            yield from (one for one in found if ours.made(_places(one)))


def _places(candidate: Candidate) -> tuple[str, ...]:
    """Where its weights are named; links are not followed."""
    found = candidate.found
    return tuple(str(found.files.get(part.path, part.location)) for part in found.inspection.parts
                 if part.role in LINKED_ROLES)


_LINKS = frozenset({"hard", "symlink", "inner"})


class _Ours:
    """What needs no second look: paths in a ledger that still are what they were when they were entered, and small
    files beside adopted weights that are as they were when they were hashed. What was adopted for a model that has no
    name now, since something went wrong after it, is looked at again.

    Attributes:
        left: roots that are as a whole as helixstore left them, of those that were asked about.
    """

    def __init__(self, session: Session, caches: Collection[str]) -> None:
        self._index = session.index
        self.left: set[str] = set()
        self._touched: set[str] = set()
        self._folders: dict[str, set[str]] = {}
        self._sources = {variant.key: variant.sources for variant in session.index.variants()}
        self._ledgers: dict[str, Mapping[str, Record]] = {      # what a program makes of ours in its cache is its own
            root + "/" if root else "": session.farm.ledgers.of(root).records
            for root in session.farm.ledgers.roots() if root not in caches}

    def _records(self, path: str) -> list[Record]:
        """What the ledgers have at an absolute path."""
        return [record for prefix, records in self._ledgers.items() if path.startswith(prefix)
                and (record := records.get(path[len(prefix):])) is not None and self._counts(prefix, record)]

    def _counts(self, prefix: str, record: Record) -> bool:
        """Whether a record is one of a file, and outside all roots of one that is known by a name still."""
        return record.kind != FOLDER and (prefix != "" or not self._sources.keys().isdisjoint(record.keys))

    def _beside(self, folder: str) -> bool:
        """Whether anything of ours lies in a folder."""
        for prefix, records in self._ledgers.items():
            if folder + "/" == prefix or folder.startswith(prefix):
                if prefix not in self._folders:
                    self._folders[prefix] = {(prefix + path).rpartition("/")[0] for path, record in records.items()
                                             if self._counts(prefix, record)}
                if folder in self._folders[prefix]:
                    return True
        return False

    def settled(self, provider: str | None, apart: Set[Key] = frozenset()) -> Known:
        """Whether nothing new can be learnt of a file of a folder that `provider` reads (None: one of the person's).

        It is ours, or adopted, and as it was by what a stat tells; and its variant is known by the name that it has
        there, and none of those `apart`. A small file beside such ones is as it was when it was hashed.
        """
        def known(item: Item) -> bool:
            now = item.status
            for r in self._records(item.path):
                if not apart.isdisjoint(r.keys):
                    return False
                same = r.kind in _LINKS or (now.st_size, now.st_mtime_ns) == (r.bytes, r.mtime_ns)
                if same and now.st_ino == r.inode:
                    if r.kind == "text" and not r.keys and r.digest != r.base:
                        return False            # a list of the whole root, with more in it than is ours
                    return provider is None or self._knows(provider, r)
            return extension(item.name) not in WEIGHT_EXTENSIONS and self.seen(item.path)

        return known

    def _knows(self, provider: str, record: Record) -> bool:
        """Whether what lies there is ours, or its variant is known by the name that the provider has for it."""
        return record.origin != "adopted" or any(
            source.program == provider for key in record.keys for source in self._sources.get(key, ()))

    def untouched(self, root: str, provider: str, reader: DiskReader) -> bool:
        """Whether the provider cannot find anything new in a root, since it is as helixstore left it."""
        records = self._ledgers.get(root + "/", {})
        if root not in self.left and root not in self._touched:
            (self.left if untouched(root, records, reader) else self._touched).add(root)
        return root in self.left and all(
            self._knows(provider, record) for record in records.values() if record.kind != FOLDER)

    def has(self, path: str) -> bool:
        """Whether an absolute path is ours, or adopted, and unchanged by what a stat tells."""
        records = self._records(path)
        if not records:
            return False
        try:
            now = look_at(path)
        except OSError:
            return False
        return now is not None and any(
            now.target == r.target if r.kind in ("symlink", "inner") else
            now.inode == r.inode and (r.kind == "hard" or (now.bytes, now.mtime_ns) == (r.bytes, r.mtime_ns))
            for r in records
        )

    def names(self, locations: Sequence[str], source: Source) -> bool:
        """Whether what lies there is known under the program's name too, with the sidecars as they are now; a name that
        is not a program's is known with its path."""
        keys = {key for path in locations for record in self._records(path) for key in record.keys}
        return source.kind != "program" or any(source in self._sources.get(key, ()) for key in keys)

    def entered(self, path: str) -> bool:
        """Whether a sidecar is ours, also one that the program or the person has edited since."""
        return any(record.origin != "adopted" for record in self._records(path))

    def mends(self, path: str) -> bool:
        """Whether what a sidecar names and is missing there is wanted there, and so made again by this very sync."""
        return any(record.kind == "text" for record in self._records(path)) and self.has(path)

    def lends(self, candidate: Candidate) -> bool:
        """Whether a model of the person's own, by sidecars that are not ours, has weights that we linked."""
        sidecars = candidate.found.source.sidecars
        return any(not self.entered(f"{candidate.root}/{path}") for path, _ in sidecars) and self.made(
            _places(candidate))

    def made(self, weights: Sequence[str]) -> bool:
        """Whether all these weights are links that we made: a small file that was edited beside them is the person's,
        and never spread as another model."""
        return bool(weights) and all(
            self.has(path) and any(r.origin == "made" for r in self._records(path)) for path in weights)

    def seen(self, path: str) -> bool:
        """Whether it lies beside something of ours, and has been hashed as it is now."""
        if not self._beside(path.rpartition("/")[0]) or self._records(path):
            return False
        try:
            return bool(self._index.digest_at(path, fingerprint(path)))
        except OSError:
            return False


def _loose(inspection: Inspection, name: str | None) -> Found:
    return Found(inspection, Source("file", name=inspection.location.name), name or inspection.name)
