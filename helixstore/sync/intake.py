"""What lies in the programs' folders, who has it already, and what would be adopted. Reads and hashes; changes nothing.

    gather -> candidates -> hash (each inode once, remembered at once) -> names -> Intake

Hashing comes before the plan, so that the plan is exact: it says which file becomes the blob, which second copies are
replaced, and what that frees. A copy that would be replaced is hashed in this very run, whatever the index remembers.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from helixstore.errors import Busy, HelixError
from helixstore.fs import kernel
from helixstore.fs.access import user_name
from helixstore.providers.layout import Found
from helixstore.store.hashing import Hashes, hash_file
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.volumes import MAIN
from helixstore.sync.naming import Known, Names, Newcomer, Origin, Placed, variant_id
from helixstore.sync.progress import Progress, counting
from helixstore.sync.rules import Rules, writable_near
from helixstore.values import File, Issue, Key, Role, Source, Variant

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = [
    "Candidate", "Digest", "Intake", "Item", "Piece", "Rules", "candidate_of", "manifest_of", "proven", "take_in",
]

LINKED_ROLES = frozenset({Role.WEIGHTS, Role.PROJECTOR, Role.PICKLE})
_SMALL = 16 << 20               # bytes: below this a file is small enough to have a git-SHA-1 on the hub


class Piece(NamedTuple):
    """One file of a candidate: its path in the model, where it lies with every link resolved, and its role."""

    path: str
    location: str
    role: Role


@dataclass(frozen=True, slots=True)
class Candidate:
    """A whole model that lies somewhere, and the root in which it was found (None: a folder the person named)."""

    found: Found
    pieces: tuple[Piece, ...]
    root: str | None
    asked: bool = False

    def root_of(self, piece: Piece) -> str | None:
        """The root in which a piece lies; None for one elsewhere, which a program's sidecar only names."""
        return self.root if self.root is not None and piece.location.startswith(self.root + os.sep) else None


@dataclass(frozen=True, slots=True)
class Digest:
    """The hashes of one location, its fingerprint when they were true, and whether they were made in this run."""

    hashes: Hashes
    fingerprint: kernel.Fingerprint
    fresh: bool


@dataclass(frozen=True, slots=True)
class Item:
    """A candidate with its name and content. `fresh`: the store has no current ref to this content yet."""

    candidate: Candidate
    placed: Placed
    manifest: Manifest
    variant: Variant


@dataclass(frozen=True, slots=True)
class Wish:
    """A file that is to enter the store: by becoming a blob's name (`adopt`), by replacement with a link to the blob
    that has the same bytes (`replace`), or by copying its bytes (`copy`)."""

    how: str
    location: str
    digest: Digest
    key: Key
    root: str | None


@dataclass
class Intake:
    """What a scan would bring in.

    Attributes:
        items: every candidate that has a name now, new or not.
        wishes: files to take in; each location once.
        issues: what a person should know.
        notes: what was left alone, and why, in words.
        lost: variants known before, of which another took over a name, with the sources left to them.
        seen: how many models were found, known ones too.
        waiting: what the group that fills the store gets only when it is named.
        unsure: of some of that the hub did not say whether it is public.
    """

    items: list[Item] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[Known] = field(default_factory=list)
    seen: int = 0
    waiting: list[str] = field(default_factory=list)
    unsure: bool = False

    @property
    def coming(self) -> dict[str, list[str]]:
        """Digest -> where the files lie that become that blob; nowhere, if it is a copy of their bytes."""
        found: dict[str, list[str]] = {}
        for wish in self.wishes:
            if wish.how != "replace":
                found.setdefault(wish.digest.hashes.blake3, []).extend([wish.location] if wish.how != "copy" else ())
        return found

    @property
    def new(self) -> list[Item]:
        """The items whose ref must be written."""
        return [item for item in self.items if item.placed.changed]

    @property
    def present(self) -> dict[str, dict[Key, set[Origin]]]:
        """Root -> the variants that were found there under names that are not ours -> those names."""
        found: dict[str, dict[Key, set[Origin]]] = {}
        for item in self.items:
            if item.candidate.root is not None:
                names = found.setdefault(item.candidate.root, {}).setdefault(item.placed.key, set())
                names.add(item.candidate.found.source.origin)
        return found


def candidate_of(found: Found, root: str | None, asked: bool = False) -> Candidate:
    """`found` with every link on the way to its files resolved."""
    pieces = tuple(
        Piece(part.path, os.path.realpath(found.files.get(part.path, part.location)), part.role)
        for part in found.inspection.parts
    )
    return Candidate(found, pieces, root, asked)


class Hasher:
    """Digests of locations: from memory where the file is unchanged, else by reading it once, whatever its names.

    Args:
        recall: (path, fingerprint) -> Hashes that are known to be true, or None.
        remember: called after each file, so that Ctrl-C loses no finished hash.
        progress: told how far the reading of each is.
        sha256: compute it too; a remembered digest without it is made again.
    """

    def __init__(
        self,
        recall: Callable[[str, kernel.Fingerprint], Hashes | None],
        remember: Callable[[str, kernel.Fingerprint, Hashes], None],
        progress: Progress | None = None,
        sha256: bool = False,
    ) -> None:
        self._recall, self._remember, self._progress, self._sha256 = recall, remember, progress, sha256
        self._inodes: dict[tuple[int, int], Digest] = {}

    def digest(self, location: str, again: bool = False) -> Digest:
        """The digest of the file at `location`, absolute.

        Args:
            location: no symbolic link.
            again: read it in this run even if it is known.

        Raises:
            HelixError: it is being written, unreadable, or changes while it is read.
        """
        now = kernel.fingerprint(location)
        known = self._inodes.get((now.device, now.inode))
        if known and known.fingerprint.same_content(now) and (known.fresh or not again):
            return known
        if not again and (hashes := self._recall(location, now)) and (hashes.sha256 or not self._sha256):
            digest = Digest(hashes, now, fresh=False)
        else:
            step = counting(self._progress, "hash", location, now.bytes)
            hashes, now = hash_file(location, sha256=self._sha256, progress=step)
            digest = Digest(hashes, now, fresh=True)
            self._remember(location, now, hashes)
        self._inodes[now.device, now.inode] = digest
        return digest


def take_in(
    candidates: Iterable[Candidate],
    hasher: Hasher,
    rules: Rules,
    known: Sequence[Known],
    blobs: Mapping[tuple[int, int], str],
    has_blob: Callable[[str], bool],
    adopted_as: Callable[[str], Key | None],
    entered: Callable[[str], bool] = lambda path: True,
) -> Intake:
    """Name the candidates and say which of their files enter the store, and how.

    Args:
        candidates: whole models, in the order in which they shall get their names.
        hasher: for their digests.
        rules: what may be adopted.
        known: the variants that have a current ref.
        blobs: (device, inode) -> digest of the store's blobs: a name of that inode is that blob.
        has_blob: whether a digest is in the store.
        adopted_as: the variant as which a path was adopted before.
        entered: whether a path is known to be a name of a blob.
    """
    intake = Intake()
    measured = []
    for candidate in candidates:
        intake.seen += 1
        if digests := _measure(candidate, hasher, rules, blobs, intake):
            foreign = [(p.location, digests[p.path].hashes) for p in candidate.pieces
                       if p.role in LINKED_ROLES and rules.anothers((mark := digests[p.path].fingerprint).uid)
                       and (mark.device, mark.inode) not in blobs]
            if why := rules.left_to_others(foreign, candidate.asked, has_blob):
                intake.notes.append(f"{candidate.found.inspection.location}: {why}")
            else:
                measured.append((candidate, digests))
    if rules.admit is not None:
        measured = rules.admit(measured, known, intake)
    if rules.share != "all":
        measured = _chosen(measured, rules, known, intake)
    names = Names(known)
    claimed: dict[tuple[str, str], str] = {}
    wished: set[str] = set()
    for candidate, digests in measured:
        item = _name(candidate, digests, names, adopted_as, rules, intake)
        if item is None:
            continue
        intake.items.append(item)
        for wish in (*_wishes(item, digests, blobs, has_blob, claimed, rules, intake),
                     *_renamed(item, digests, blobs, entered, rules)):
            if wish.location not in wished:
                wished.add(wish.location)
                intake.wishes.append(_read_again(wish, hasher, intake) if wish.how == "replace" else wish)
    intake.wishes = [wish for wish in intake.wishes if wish.how]
    intake.lost = names.lost
    return intake


def _measure(
    candidate: Candidate, hasher: Hasher, rules: Rules, blobs: Container[tuple[int, int]], intake: Intake
) -> dict[str, Digest] | None:
    """The digest of each piece; None, with an issue or a note, when the candidate must be left alone."""
    inspection = candidate.found.inspection
    where = str(inspection.location)
    if inspection.unsafe and not candidate.asked:
        intake.notes.append(f"{where}: {inspection.unsafe}; not shared unless you ask: helixstore share {where}")
        return None
    if not inspection.whole:
        missing = ", ".join(inspection.missing[:3])
        intake.issues.append(Issue("incomplete", where, f"not whole: {missing} missing", "finish the download"))
        return None
    if reason := _foreign(candidate, rules):
        intake.notes.append(f"{where}: {reason}")
        return None
    digests: dict[str, Digest] = {}
    hollow: list[Piece] = []
    for piece in candidate.pieces:
        try:
            mark = kernel.fingerprint(piece.location)
            if not candidate.asked and (mark.device, mark.inode) not in blobs and rules.unsettled(piece.location):
                intake.notes.append(f"{piece.location}: nobody can tell whether it is still being written, and it has "
                                    f"changed within the last {rules.settle / 60:.0f} minutes: a later sync takes it")
                return None
            if not candidate.asked and (mark.device, mark.inode) not in blobs and piece.role in LINKED_ROLES and (
                    rules.hollow(piece.location, mark.bytes)):
                hollow.append(piece)
                if piece.path not in candidate.found.claims:
                    break
            digests[piece.path] = hasher.digest(piece.location)
        except Busy as error:
            intake.notes.append(f"{error.message}; it is taken when it is finished")
            return None
        except HelixError as error:
            intake.issues.append(Issue(error.kind, piece.location, error.message, error.remedy))
            return None
        except OSError as error:
            intake.issues.append(Issue("unreadable", piece.location, error.strerror or str(error)))
            return None
    if unproven := [piece.location for piece in hollow if not _as_claimed(candidate, piece, digests)]:
        intake.issues.append(Issue("incomplete", unproven[0], "a part of it was never written, as in a download that "
                                   "was broken off; left alone", "finish the download; if it is whole as it is: "
                                   f"helixstore share {shlex.quote(unproven[0])}"))
        return None
    if belied := _belied(candidate, digests):
        intake.issues.append(Issue("damaged", belied, "its bytes are not those that its name stands for; left alone",
                                   "delete it there, and download the model again"))
        return None
    return digests


def _as_claimed(candidate: Candidate, piece: Piece, digests: Mapping[str, Digest]) -> bool:
    """Whether a piece was read, and is what its program's own name for it says."""
    digest, claim = digests.get(piece.path), candidate.found.claims.get(piece.path)
    return digest is not None and claim is not None and claim in (digest.hashes.sha256, digest.hashes.gitsha1)


def _belied(candidate: Candidate, digests: Mapping[str, Digest]) -> str:
    """A file that is not what a program's own name for it says, or ""; of a hub's names `proven` makes less."""
    if candidate.found.source.kind != "program":
        return ""
    claims = candidate.found.claims
    return next((piece.location for piece in candidate.pieces if (sha256 := digests[piece.path].hashes.sha256)
                 and claims.get(piece.path, sha256) not in (sha256, digests[piece.path].hashes.gitsha1)), "")


def _foreign(candidate: Candidate, rules: Rules) -> str:
    """Why the files cannot enter this store, or ""."""
    if rules.copy:
        return ""
    for piece in candidate.pieces:
        if piece.role not in LINKED_ROLES:
            continue
        if rules.home(piece.location) is None:
            return (f"lies on another disk and stays there; to share it from there: "
                    f"helixstore volume add {shlex.quote(writable_near(piece.location))}")
        try:
            owner = os.stat(piece.location).st_uid
        except OSError as error:
            return f"cannot be looked at: {error.strerror}"
        if rules.anothers(owner) and not os.access(piece.location, os.R_OK):
            return f"belongs to {user_name(owner)}, and is not for you to read"
    return ""


def _chosen(
    measured: list[tuple[Candidate, dict[str, Digest]]], rules: Rules, known: Sequence[Known], intake: Intake
) -> list[tuple[Candidate, dict[str, Digest]]]:
    """Those that the setting `share` lets through: asked for by name, known already, or there twice."""
    times: dict[frozenset[str], set[tuple[int, int]]] = {}
    contents = {}
    for candidate, digests in measured:
        weights = [digests[piece.path] for piece in candidate.pieces if piece.role in LINKED_ROLES]
        content = frozenset(digest.hashes.blake3 for digest in weights)
        contents[id(candidate)] = content
        times.setdefault(content, set()).update((d.fingerprint.device, d.fingerprint.inode) for d in weights)
    shared = {variant.content for variant in known}
    kept = []
    for candidate, digests in measured:
        content = contents[id(candidate)]
        twice = rules.share == "duplicates" and len(times[content]) > len(content)
        known_content = manifest_of(candidate.found.inspection, candidate, digests).content_key in shared
        if candidate.asked or twice or known_content:
            kept.append((candidate, digests))
        else:
            where = candidate.found.inspection.location
            intake.notes.append(f"{where}: not shared (share = {rules.share}): helixstore share {where}")
    return kept


def manifest_of(inspection: Inspection, candidate: Candidate, digests: Mapping[str, Digest]) -> Manifest:
    """What the store would say of the candidate's content."""
    files = tuple(sorted(
        (ManifestFile(piece.path, digests[piece.path].hashes.bytes, digests[piece.path].hashes.blake3, piece.role)
         for piece in candidate.pieces),
        key=lambda file: file.path,
    ))
    return Manifest(inspection.format, inspection.quantization, inspection.purpose, files)


def _name(
    candidate: Candidate, digests: Mapping[str, Digest], names: Names, adopted_as: Callable[[str], Key | None],
    rules: Rules, intake: Intake,
) -> Item | None:
    """The candidate under its name; None, with an issue, when a pinned variant is in its way."""
    inspection = candidate.found.inspection
    manifest = manifest_of(inspection, candidate, digests)
    source = proven(candidate, digests)
    first = next((p.location for p in candidate.pieces if p.role in LINKED_ROLES), candidate.pieces[0].location)
    name = rules.name or candidate.found.name
    wanted = Newcomer(name, variant_id(manifest.format, manifest.quantization), manifest.digest, manifest.content_key,
                      source, adopted_as(first), candidate.found.kin)
    placed = names.place(wanted)
    if placed.blocked:
        intake.issues.append(Issue("conflict", str(inspection.location), placed.blocked,
                                   f"helixstore unpin '{placed.key.model}'"))
        return None
    variant = Variant(placed.key, placed.manifest, manifest.format, manifest.quantization, manifest.purpose,
                      inspection.header, _files(manifest, digests), placed.sources)
    return Item(candidate, placed, manifest, variant)


def _files(manifest: Manifest, digests: Mapping[str, Digest]) -> tuple[File, ...]:
    return tuple(
        File(file.path, file.bytes, file.blake3, file.role, digests[file.path].hashes.sha256,
             digests[file.path].hashes.gitsha1)
        for file in manifest.files
    )


def proven(candidate: Candidate, digests: Mapping[str, Digest]) -> Source:
    """The source as found if it is no hub's, or if every file is what the hub's names claim; else a program's."""
    source, claims = candidate.found.source, candidate.found.claims
    if source.kind != "hub":
        return source
    for piece in candidate.pieces:
        hashes = digests[piece.path].hashes
        if claims.get(piece.path) not in (hashes.sha256 or "-", hashes.gitsha1 or "-"):
            name = f"{source.name}@{(source.revision or '')[:8]}"       # one commit is no update of another
            return replace(source, kind="program", revision=None, program=source.program or "huggingface", name=name)
    return source


def _wishes(
    item: Item, digests: Mapping[str, Digest], blobs: Mapping[tuple[int, int], str], has_blob: Callable[[str], bool],
    claimed: dict[tuple[str, str], str], rules: Rules, intake: Intake,
) -> Iterator[Wish]:
    """How each file of the item enters the store; nothing for those that are there.

    `claimed`: (volume of weights, else ""; digest) -> the location that will be that blob.
    """
    key = item.placed.key
    for piece in item.candidate.pieces:
        digest = digests[piece.path]
        blake3 = digest.hashes.blake3
        inode = (digest.fingerprint.device, digest.fingerprint.inode)
        linked = piece.role in LINKED_ROLES
        home = rules.home(piece.location) if linked else None
        place = (home or "", blake3)
        if blobs.get(inode) == blake3 or claimed.get(place) == piece.location:
            continue
        cloned = linked and rules.anothers(digest.fingerprint.uid)      # theirs stays, and ours shares its blocks
        if not linked or cloned or (rules.copy and home in (None, MAIN)):
            if place not in claimed and not has_blob(blake3):
                claimed[place] = piece.location
                yield Wish("add" if linked else "copy", piece.location, digest, key, item.candidate.root_of(piece))
        elif place in claimed or rules.held(blake3, home, has_blob):
            first = claimed.get(place)
            if os.name == "posix" and digest.fingerprint.uid != rules.uid:
                intake.notes.append(f"{piece.location}: a second copy that belongs to "
                                    f"{user_name(digest.fingerprint.uid)} and stays theirs")
            elif rules.refers(home):
                intake.notes.append(f"{piece.location}: a second copy on a disk without links; it stays")
            else:
                twin = first is not None and os.path.samefile(first, piece.location)
                how = "adopt" if twin else "replace"        # a second name of one inode goes the same way
                yield Wish(how, piece.location, digest, key, item.candidate.root_of(piece))
        else:
            if any(other == blake3 for _, other in claimed) or has_blob(blake3):
                intake.notes.append(f"{piece.location}: a copy of what is on another disk too; both are kept. To keep "
                                    "one: helixstore sync --across-disks --keep DISK")
            claimed[place] = piece.location
            yield Wish("adopt", piece.location, digest, key, item.candidate.root_of(piece))


def _renamed(
    item: Item, digests: Mapping[str, Digest], blobs: Mapping[tuple[int, int], str], entered: Callable[[str], bool],
    rules: Rules,
) -> Iterator[Wish]:
    """Names of blobs that the person made, by renaming or linking one: adopted as they are, so that `leave` knows them.

    What a link leads to is somebody else's name.
    """
    for piece, part in zip(item.candidate.pieces, item.candidate.found.inspection.parts, strict=True):
        digest = digests[piece.path]
        own = str(item.candidate.found.files.get(part.path, part.location)) == piece.location
        inode = (digest.fingerprint.device, digest.fingerprint.inode)
        if (piece.role in LINKED_ROLES and own and not rules.copy and blobs.get(inode) == digest.hashes.blake3
                and not entered(piece.location)):
            yield Wish("adopt", piece.location, digest, item.placed.key, item.candidate.root_of(piece))


def _read_again(wish: Wish, hasher: Hasher, intake: Intake) -> Wish:
    """The wish with a digest made in this run; without effect (`how` empty), and an issue, when it no longer holds."""
    try:
        digest = hasher.digest(wish.location, again=True)
    except (HelixError, OSError) as error:
        intake.issues.append(Issue("unreadable", wish.location, f"left as it is: {error}"))
        return replace(wish, how="")
    if digest.hashes.blake3 != wish.digest.hashes.blake3:
        intake.issues.append(Issue("conflict", wish.location, "changed while it was looked at; left as it is"))
        return replace(wish, how="")
    return replace(wish, digest=digest)
