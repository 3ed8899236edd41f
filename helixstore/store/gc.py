"""Collecting what nobody claims, without a daemon, a working lock or equal clocks, beside anybody who is adding.

What is decided, and why it is safe, is in `gc_rules`; the order of the steps in `gc_round`; here they act on the disk.
All times are mtimes that the store's own file system gave. Anything that cannot be read keeps everything. What is on a
volume that is away is neither looked for nor missed: only blobs that are here are ever condemned.

Out of turn (`now`) only this person's blobs go, and only while nobody else is at work in the store: whoever finds a
blob there, and has no claim on it yet, has opened a staging folder before.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from helixstore.errors import Busy
from helixstore.fs import locks
from helixstore.fs.listing import listdir
from helixstore.fs.mounts import mount_of
from helixstore.store.alive import Alive, Memory
from helixstore.store.gc_disk import Collector
from helixstore.store.gc_round import Round, finish, go_round
from helixstore.store.gc_rules import Terms
from helixstore.store.hosts import Expiry
from helixstore.store.store import Store
from helixstore.store.sweeping import sweep_hosts
from helixstore.values import Issue

__all__ = ["GRACE", "UNDO_WINDOW", "CollectReport", "KeptForUndo", "collect", "finish_rounds", "referenced"]

#: seconds; longer than the longest adding of one model
GRACE = 86_400
#: seconds
UNDO_WINDOW = 7 * 86_400
_NS = 10**9


@dataclass(frozen=True, slots=True)
class KeptForUndo:
    """What nothing but this person's `undo` keeps.

    Attributes:
        operations: what can no longer be undone when that is let go of, the earliest first.
        digests: of the blobs.
        bytes: of them all.
        until: when it ends by itself; seconds since 1970.
        let_go: it is no longer kept (`dry_run`: would be).
    """

    operations: tuple[int, ...]
    digests: tuple[str, ...]
    bytes: int
    until: float
    let_go: bool = False


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection did, or would do (`dry_run`). Digests, sizes in bytes.

    `freed_bytes` counts only files whose last name was removed. `cleaned_bytes`: leftovers of processes that died.
    `settle`: seconds for which another host may still see what was moved to the trash in its old place; until then
    nothing of it is deleted, not even out of turn. `undo`: what only this person's `undo` keeps; None for nothing.
    """

    condemned: tuple[str, ...]
    trashed: tuple[str, ...]
    restored: tuple[str, ...]
    unlinked: tuple[str, ...]
    waiting: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    freed_bytes: int
    trashed_bytes: int
    condemned_bytes: int
    cleaned_bytes: int
    issues: tuple[Issue, ...]
    dry_run: bool
    settle: int = 0
    undo: KeptForUndo | None = None


def referenced(store: Store) -> tuple[set[str], list[Issue]]:
    """Every blob that a current ref or a keep of anybody names, and what could not be read; see `Alive.read`."""
    return Alive(store).read()


def collect(store: Store, *, now: bool = False, grace: float = GRACE, undo_window: float = UNDO_WINDOW,
            dry_run: bool = False, memory: Memory | None = None,
            before: Callable[[], None] = lambda: None) -> CollectReport:
    """Do one round; call it again later for what is waiting.

    Args:
        store: may be read only for a dry run.
        now: neither grace nor undo window for blobs of this person's.
        grace: seconds that a blob stays condemned.
        undo_window: seconds that it stays in the trash.
        dry_run: only say what would be done.
        memory: for what need not be read again the next time.
        before: called when nothing stands in the way any more; not for a dry run.

    Raises:
        Busy: another collection is running on this host; or `now`, and somebody is at work in the store.
        StoreError: the store is read only (unless `dry_run`).
    """
    disk = Collector(store, memory, alone=now)
    if dry_run:
        return _collect(store, disk, now, grace, undo_window, dry_run=True)
    with store.working(), _alone(store):
        expiry = store.hosts.expiry(store.clock_ns)
        if now:
            _nobody_else(store, expiry)
        before()
        cleaned = sum(store.volumes.staging(volume).clean(expiry.over) for volume in store.volumes.here[1:])
        cleaned += store.staging.clean(expiry.over)
        done = _collect(store, disk, now, grace, undo_window, cleaned=cleaned)
        sweep_hosts(store, expiry, store.clock_ns(), int(undo_window * _NS))
        return done


def finish_rounds(store: Store, memory: Memory | None = None) -> set[str]:
    """Do what anybody's last collection has left for later: read the claims once more when the settle time is over, and
    bring back what is claimed. Costs one listing where no round waits.

    Returns:
        The digests that were brought back.
    """
    if store.read_only or not listdir(f"{store.path}/condemned"):
        return set()
    store.volumes.refresh()
    disk = Collector(store, memory)
    finish(disk, _terms(store, GRACE, UNDO_WINDOW))
    return disk.restored


def _terms(store: Store, grace: float, undo_window: float) -> Terms:
    disks = [volume.path for volume in store.volumes.here]
    settle = store.hosts.settle_time(disks, store.hosts.expiry(store.now_ns))
    return Terms(int(grace * _NS), int(undo_window * _NS), int(settle * _NS))


def _collect(store: Store, disk: Collector, now: bool, grace: float, undo_window: float, cleaned: int = 0,
             dry_run: bool = False) -> CollectReport:
    store.volumes.refresh()
    terms = _terms(store, grace, undo_window)
    if now:
        terms = terms._replace(own=disk.own)
    done = go_round(disk, terms, f"{store.now_ns() // _NS}-{secrets.token_hex(4)}", dry_run)
    if not dry_run:
        _sweep(store)
    return _report(disk, done, terms, cleaned, dry_run)


def _sweep(store: Store) -> None:
    """Remove the folders of the trash that are empty now."""
    for volume in store.volumes.here:
        for epoch in listdir(f"{volume.path}/trash"):
            with suppress(OSError):                     # not empty, or another's
                os.rmdir(f"{volume.path}/trash/{epoch}")


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One collection of this host at a time, which saves work; two at once are safe. On a network no lock is taken:
    it may be granted to everybody, or held for ever by a host that is gone."""
    if mount_of(store.path).network:
        yield
        return
    try:
        lock = locks.lock_folder(f"{store.path}/condemned")
    except OSError:
        yield                                           # no locks here
        return
    if lock is None:
        raise Busy("another collection of this store is running", "wait until it is done", store.path)
    try:
        yield
    finally:
        os.close(lock)


def _nobody_else(store: Store, expiry: Expiry) -> None:
    """Nothing, if nobody else has a staging folder.

    Raises:
        Busy: somebody has; says who, and since when.
    """
    for name in store.staging.others(expiry.over):
        host = name.partition("-")[0]
        folder = f"{store.path}/staging/{name}"
        try:
            status = os.lstat(folder)
        except FileNotFoundError:
            continue                                    # done meanwhile
        since = f"{datetime.fromtimestamp(status.st_mtime, UTC):%Y-%m-%d %H:%M} UTC"
        remedy = "wait until they are done, or run gc without --now"
        if host != store.host.id:
            remedy += f"; if that computer is gone for good: helixstore host forget {host}"
        raise Busy(f"somebody is at work in the store, so nothing is deleted out of turn: user {status.st_uid} on "
                   f"{store.hosts.name(host) or host}, who last began something at {since}", remedy, folder)


def _report(disk: Collector, done: Round, terms: Terms, cleaned: int, dry_run: bool) -> CollectReport:
    first, second = done.first, done.second
    unlinked = [one.digest for one in (second.unlink if dry_run else disk.unlinked)]
    restored = {*first.restore, *(one.digest for one in second.back)} if dry_run else disk.restored
    left_out = {*disk.failed, *restored, *unlinked}
    moved = tuple(digest for digest in done.moved if digest not in left_out)
    return CollectReport(
        condemned=first.condemn, trashed=moved, restored=tuple(sorted(restored)), unlinked=tuple(unlinked),
        waiting=first.waiting, kept=tuple(sorted({**done.kept, **disk.failed}.items())),
        freed_bytes=sum(map(disk.size, unlinked)) if dry_run else disk.freed,
        trashed_bytes=sum(map(disk.size, moved)), condemned_bytes=sum(map(disk.size, first.condemn)),
        cleaned_bytes=cleaned, issues=tuple(disk.issues), dry_run=dry_run, settle=terms.settle_ns // _NS)
