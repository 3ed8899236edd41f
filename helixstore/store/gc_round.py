"""One round of collection, step by step, on any `World`: the disk, or the tests' model of several hosts with caches.

No step needs a lock. Two collectors may go through the same round at once, and either may stop anywhere for any time:
each moves, brings back and unlinks single files by their full names, which succeeds once, and decides nothing from a
file's absence. What a collector has begun, the next one that comes along finishes: see `finish`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from helixstore.store.gc_rules import Claims, First, Lying, Note, Second, Terms, first, open_until, second, spent

__all__ = ["Round", "World", "finish", "go_round"]


class World(Protocol):
    """What a collector sees, and can do. Whatever it lists may be as old as the host's caches are."""

    def blobs(self) -> Collection[str]:
        """The digests of all blobs."""
        ...

    def trash(self) -> Sequence[Lying]:
        """What lies in the trash."""
        ...

    def notes(self) -> Sequence[Note]:
        """The notes of all collectors."""
        ...

    def claims(self) -> Claims:
        """What anybody claims or keeps now."""
        ...

    def clock_ns(self) -> int:
        """Now, by the store's own clock."""
        ...

    def why_keep(self, digest: str) -> str:
        """A reason to leave a blob without a claim where it is; "" for none."""
        ...

    def move(self, digests: Sequence[str], epoch: str) -> None:
        """Move blobs to the trash; those that are gone are left out."""
        ...

    def bring_back(self, digest: str) -> None:
        """Bring a blob back from the trash, unless one is in its place."""
        ...

    def delete(self, one: Lying) -> None:
        """Remove a file from the trash for good, if it is there."""
        ...

    def note(self, *, condemned: Collection[str] = (), absolved: Collection[str] = (),
             trashed: Collection[tuple[str, str]] = (), settled: Collection[tuple[str, str]] = ()) -> None:
        """Publish a note; its time is that of its writing."""
        ...

    def forget(self, notes: Sequence[str]) -> None:
        """Remove notes, in this order."""
        ...


@dataclass
class Round:
    """What one round found and did. `kept`: digest -> why."""

    first: First = field(default_factory=First)
    second: Second = field(default_factory=Second)
    moved: tuple[str, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)


def go_round(world: World, terms: Terms, epoch: str, dry_run: bool = False) -> Round:
    """Carry the whole store one step on.

    Args:
        world: where.
        terms: how long to wait.
        epoch: a name for what this round moves, that no other round has.
        dry_run: only look and decide.
    """
    blobs, notes, trash = world.blobs(), world.notes(), world.trash()       # before the claims: see `first`
    clock_ns = world.clock_ns()
    claims = world.claims()
    verdict = first(blobs, trash, notes, claims, clock_ns, terms)
    done = Round(verdict)
    for digest in verdict.move:
        if why := world.why_keep(digest):
            done.kept[digest] = why
    done.moved = tuple(digest for digest in verdict.move if digest not in done.kept)
    if dry_run:
        done.second = second(trash, notes, claims, clock_ns, terms)
        return done
    for digest in verdict.restore:
        world.bring_back(digest)
    if verdict.condemn or verdict.absolve:
        world.note(condemned=verdict.condemn, absolved=verdict.absolve)
    if done.moved:
        world.move(done.moved, epoch)
    _judge(world, terms, done, final=True)
    if done.second.settled and not terms.settle_ns:         # nobody's caches to wait for: what is due can go now
        _judge(world, terms, done, final=True)
    return done


def finish(world: World, terms: Terms) -> Round:
    """Do the last reading of rounds that wait for it; nothing is condemned, moved or deleted. Cheap without such.

    Returns:
        What was brought back, and what is settled.
    """
    done = Round()
    due_ns = open_until(world.trash(), world.notes(), terms)
    if due_ns is not None and world.clock_ns() >= due_ns:
        _judge(world, terms, done, final=False)
    return done


def _judge(world: World, terms: Terms, done: Round, final: bool) -> None:
    """Note what lies in the trash and nobody has noted, read all claims again, and act on it."""
    trash = world.trash()
    noted = {one for note in world.notes() for one in note.trashed}
    if fresh := {(one.epoch, one.digest) for one in trash} - noted:
        world.note(trashed=fresh)
    clock_ns = world.clock_ns()
    claims = world.claims()
    notes = world.notes()
    verdict = second(trash, notes, claims, clock_ns, terms)
    if not final:
        verdict = verdict._replace(unlink=())
    done.second = verdict
    for digest in sorted({one.digest for one in verdict.back}):
        world.bring_back(digest)
    for one in verdict.unlink:
        world.delete(one)
    if verdict.settled:
        world.note(settled=verdict.settled)
    if final and claims.complete:
        world.forget(spent(notes, world.blobs(), world.trash(), claims.digests))
