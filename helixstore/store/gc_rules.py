"""What may be let go of, decided from what was read and from nothing else: pure functions, which the tests' model of
several hosts with stale caches runs, too.

A digest goes this way, and every step needs a reading of all claims that does not name it:

    blob -> condemned (noted) -> [grace] -> moved to the trash (noted) -> [settle] -> settled (noted)
         -> [settle, undo window] -> unlinked

*Notes* are facts with a time: "was without a claim then", "was claimed then", "lay in the trash then". Each is an
immutable file, so no cache can show another time for it than it has, and it was written after what it says had been
seen. Everything is counted from notes; a note that is not seen yet only makes things later.

How long to wait:

    grace    from the first note that it is condemned after the last that it was claimed: longer than an adding takes
    settle   longer than twice what any host's caches may be old. Whoever found the blob in its place by a stale cache
             had made their claim durable before, so a reading that begins so long after the note that it lies in the
             trash sees that claim. Nothing is unlinked before that, not even out of turn, nor by one reading alone:
             a reading is no snapshot, and may miss both a claim that ends and the one that takes its place.
    undo     from the note that it lies in the trash: for people who change their mind
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Set
from typing import NamedTuple, Protocol

__all__ = [
    "Claims", "First", "Lying", "Note", "Second", "Terms", "condemned_since", "first", "open_until", "second",
    "settled_since", "spent", "trashed_since",
]


class Note(NamedTuple):
    """One file of `condemned/`.

    Attributes:
        name: the file's.
        since_ns: its mtime: on the store's clock, and later than what it tells was seen.
        condemned: digests without a claim.
        absolved: digests that had been condemned and are claimed again, or were brought back by a person.
        trashed: (epoch, digest) of what lay in the trash.
        settled: (epoch, digest) of what lay in the trash, and was without a claim when it was read a settle time later.
    """

    name: str
    since_ns: int
    condemned: frozenset[str] = frozenset()
    absolved: frozenset[str] = frozenset()
    trashed: frozenset[tuple[str, str]] = frozenset()
    settled: frozenset[tuple[str, str]] = frozenset()


class Lying(Protocol):
    """A file in the trash; a corrupt one was replaced by a good one, and is never brought back."""

    @property
    def digest(self) -> str:
        """Of the blob."""
        ...

    @property
    def epoch(self) -> str:
        """The round that moved it."""
        ...

    @property
    def corrupt(self) -> bool:
        """Whether its bytes are not those of its name."""
        ...


class Claims(NamedTuple):
    """What somebody claims or keeps. `complete`: everything could be read; else nothing may be deleted."""

    digests: Set[str]
    complete: bool


class Terms(NamedTuple):
    """How long to wait, in nanoseconds; `own`: whether a digest is this person's alone and goes out of turn."""

    grace_ns: int
    undo_ns: int
    settle_ns: int
    own: Callable[[str], bool] = lambda digest: False


class First(NamedTuple):
    """The verdicts before anything moves; each digest in at most one.

    Attributes:
        restore: lies in the trash, and is claimed.
        condemn: without a claim, and nobody has noted that yet.
        waiting: condemned; the grace is not over.
        move: to the trash.
        absolve: condemned once, and claimed now.
    """

    restore: tuple[str, ...] = ()
    condemn: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    move: tuple[str, ...] = ()
    absolve: tuple[str, ...] = ()


class Second(NamedTuple):
    """The verdicts on what lies in the trash.

    Attributes:
        back: claimed; or not settled yet, and the claims cannot be read.
        unlink: for good.
        settled: (epoch, digest) of what is settled by this reading.
    """

    back: tuple[Lying, ...] = ()
    unlink: tuple[Lying, ...] = ()
    settled: tuple[tuple[str, str], ...] = ()


def condemned_since(notes: Iterable[Note]) -> dict[str, int]:
    """Digest -> since when it has been without a claim, as far as that was noted; nanoseconds."""
    every = list(notes)
    reset: dict[str, int] = {}
    for note in every:
        for digest in (*note.absolved, *(digest for _, digest in note.trashed)):
            reset[digest] = max(note.since_ns, reset.get(digest, 0))
    since: dict[str, int] = {}
    for note in every:
        for digest in note.condemned:
            if note.since_ns > reset.get(digest, -1):
                since[digest] = min(note.since_ns, since.get(digest, note.since_ns))
    return since


def trashed_since(notes: Iterable[Note]) -> dict[tuple[str, str], int]:
    """(epoch, digest) -> since when it certainly lies in the trash; nanoseconds."""
    since: dict[tuple[str, str], int] = {}
    for note in notes:
        for one in note.trashed:
            since[one] = min(note.since_ns, since.get(one, note.since_ns))
    return since


def settled_since(notes: Iterable[Note]) -> dict[tuple[str, str], int]:
    """(epoch, digest) -> since when it is settled; nanoseconds."""
    since: dict[tuple[str, str], int] = {}
    for note in notes:
        for one in note.settled:
            since[one] = min(note.since_ns, since.get(one, note.since_ns))
    return since


def first(blobs: Collection[str], trash: Collection[Lying], notes: Collection[Note], claims: Claims, clock_ns: int,
          terms: Terms) -> First:
    """What is to be done with the blobs.

    Args:
        blobs: digests, listed before the claims were read: one that is added now is not among them.
        trash: listed before the claims were read.
        notes: all that are seen.
        claims: of everybody.
        clock_ns: the store's clock.
        terms: how long to wait.
    """
    here = frozenset(blobs)
    restore = tuple(sorted({one.digest for one in trash
                            if one.digest in claims.digests and one.digest not in here and not one.corrupt}))
    if not claims.complete:
        return First(restore)
    since = condemned_since(notes)
    sorted_out: dict[str, list[str]] = {"condemn": [], "waiting": [], "move": []}
    for digest in sorted(here - claims.digests):
        noted = since.get(digest)
        if terms.own(digest) or (noted is not None and clock_ns - noted >= terms.grace_ns):
            sorted_out["move"].append(digest)
        else:
            sorted_out["condemn" if noted is None else "waiting"].append(digest)
    absolve = tuple(sorted(digest for digest in since if digest in claims.digests))
    condemn, waiting, move = (tuple(sorted_out[kind]) for kind in ("condemn", "waiting", "move"))
    return First(restore, condemn, waiting, move, absolve)


def second(trash: Collection[Lying], notes: Collection[Note], claims: Claims, clock_ns: int, terms: Terms) -> Second:
    """What is to be done with what lies in the trash.

    Args:
        trash: what lies there.
        notes: all that are seen.
        claims: of everybody.
        clock_ns: the store's clock, asked *before* the claims were read.
        terms: how long to wait.
    """
    since, settled_ns = trashed_since(notes), settled_since(notes)
    back: list[Lying] = []
    unlink: list[Lying] = []
    settled: set[tuple[str, str]] = set()
    for one in trash:
        key = one.epoch, one.digest
        if not one.corrupt and (one.digest in claims.digests or not (claims.complete or key in settled_ns)):
            back.append(one)
        elif not claims.complete or key not in since or clock_ns - since[key] < terms.settle_ns:
            continue
        elif key not in settled_ns:
            settled.add(key)
        elif clock_ns - settled_ns[key] >= terms.settle_ns and (
                terms.own(one.digest) or clock_ns - since[key] >= terms.undo_ns):
            unlink.append(one)
    return Second(tuple(back), tuple(unlink), tuple(sorted(settled)))


def open_until(trash: Collection[Lying], notes: Collection[Note], terms: Terms) -> int | None:
    """When the next reading is due of what lies in the trash and has not been settled: nanoseconds on the store's
    clock, 0 for now; None when there is nothing."""
    since, settled = trashed_since(notes), settled_since(notes)
    due = [since[key] + terms.settle_ns if key in since else 0
           for key in ((one.epoch, one.digest) for one in trash) if key not in settled]
    return min(due, default=None)


def spent(notes: Collection[Note], blobs: Collection[str], trash: Collection[Lying], claimed: Set[str]) -> list[str]:
    """The names of the notes that decide nothing any more, the oldest first, in which order they are to be removed.

    Args:
        notes: all that are seen.
        blobs: digests that have a blob.
        trash: everything that lies in the trash of every disk of the store.
        claimed: digests.
    """
    here = frozenset(blobs)
    lying = {(one.epoch, one.digest) for one in trash}
    oldest: dict[str, int] = {}
    for note in notes:
        for digest in note.condemned:
            oldest[digest] = min(note.since_ns, oldest.get(digest, note.since_ns))
    done = [note for note in notes
            if not any(digest in here and digest not in claimed for digest in note.condemned)
            and not any(oldest.get(digest, note.since_ns) < note.since_ns
                        for digest in (*note.absolved, *(digest for _, digest in note.trashed)))
            and note.trashed.isdisjoint(lying) and note.settled.isdisjoint(lying)]
    return [note.name for note in sorted(done, key=lambda note: note.since_ns)]
