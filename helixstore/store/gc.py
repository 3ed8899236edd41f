"""Collecting what nothing refers to, without a daemon, without equal clocks, beside anybody who is adding.

Condemn (a list is written, nothing moves), wait the grace, read every ref and keep again, move to the trash, read
again and bring back what came to be referenced meanwhile, and only after the undo window and one more reading unlink.
All times are mtimes that the store's own file system gave. Anything that cannot be read keeps everything.

What is on a volume that is away is neither looked for nor missed: only blobs that are here are ever condemned.

Out of turn (`now`) only this person's blobs go, and only while nobody else is at work in the store: an adder opens
its staging folder before it looks at any blob, so either it is seen here, or it does not find the blob.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from helixstore.errors import Busy, HelixError
from helixstore.fs import kernel, locks
from helixstore.store import records
from helixstore.store.refs import Ref, current
from helixstore.store.standins import of_blob
from helixstore.store.store import Store
from helixstore.store.trash import Trashed, move_in, trashed
from helixstore.store.volumes import Place
from helixstore.values import Issue

__all__ = ["GRACE", "UNDO_WINDOW", "CollectPlan", "CollectReport", "collect", "plan_collect", "referenced"]

#: seconds; longer than the longest adding of one model
GRACE = 86_400
#: seconds
UNDO_WINDOW = 7 * 86_400


@dataclass(frozen=True, slots=True)
class CollectPlan:
    """What a collection would do now. Every digest is in at most one of the first four.

    Attributes:
        condemn: newly found without a reference; nothing happens to them before the grace is over.
        move: condemned for longer than the grace: to the trash.
        restore: in the trash, but referenced again.
        unlink: in the trash for longer than the undo window.
        waiting: condemned, within the grace.
        kept: not referenced, but kept, and why.
        expired: condemned lists that are done with once `move` is done.
        sizes: bytes of each blob named above.
        issues: why nothing is deleted at all, if there is any.
    """

    condemn: tuple[str, ...] = ()
    move: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    unlink: tuple[Trashed, ...] = ()
    waiting: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    expired: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection did, or would do (`dry_run`). Digests, sizes in bytes.

    `freed_bytes` counts only files whose last name was removed. `cleaned_bytes`: leftovers of processes that died.
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


def referenced(store: Store) -> tuple[set[str], list[Issue]]:
    """Every blob that a current ref or a keep of anybody names, and what could not be read.

    While there is an issue, the set is not complete and nothing may be deleted.
    """
    digests, issues = store.keeps.all()
    refs, unread = store.refs.scan()
    issues += unread
    for ref in _one_of_each(current(refs)):
        try:
            digests |= store.manifests.blobs(ref.manifest or "")
        except (HelixError, OSError) as error:
            issues.append(Issue("unreadable", ref.name, f"its manifest cannot be read, so nothing is deleted: {error}",
                                getattr(error, "remedy", "")))
    return digests, issues


def _one_of_each(refs: list[Ref]) -> list[Ref]:
    return list({ref.manifest: ref for ref in refs if ref.manifest is not None}.values())


def plan_collect(store: Store, *, now: bool = False, grace: float = GRACE,
                 undo_window: float = UNDO_WINDOW) -> CollectPlan:
    """Look at everything and decide; changes nothing.

    Args:
        store: may be read only.
        now: neither grace nor undo window for blobs of this person's.
        grace: seconds that a blob stays condemned.
        undo_window: seconds that it stays in the trash.
    """
    store.volumes.refresh()
    blobs = set(store.blobs.digests())                  # before the refs: a blob added now is not in it
    condemned = _condemned(store)
    in_trash = trashed(store)
    alive, issues = referenced(store)
    restore = tuple(sorted({item.digest for item in in_trash
                            if item.digest in alive and item.digest not in blobs and not item.corrupt}))
    if issues:
        return CollectPlan(restore=restore, sizes={item.digest: item.bytes for item in in_trash}, issues=tuple(issues))
    clock = time.time_ns() if store.read_only else store.clock_ns()
    sizes: dict[str, int] = {}
    kept: list[tuple[str, str]] = []
    sorted_out: dict[str, list[str]] = {"condemn": [], "move": [], "waiting": []}
    for digest in sorted(blobs - alive):
        try:
            looks = [(place, os.lstat(place.path)) for place in store.blobs.places(digest)]
        except FileNotFoundError:
            continue
        sizes[digest] = sum(status.st_size for _, status in looks)
        since = condemned.get(digest, (None, ""))[0]
        ours = now and all(status.st_uid == store.host.uid for _, status in looks)
        due = ours or (since is not None and clock - since >= grace * 1e9)
        if not due:
            sorted_out["condemn" if since is None else "waiting"].append(digest)
        elif (why := next(filter(None, (_why_keep(digest, place, status) for place, status in looks)), None)):
            kept.append((digest, why))
        else:
            sorted_out["move"].append(digest)
    unlink = tuple(item for item in in_trash if (item.corrupt or item.digest not in alive)
                   and (clock - item.since_ns >= undo_window * 1e9 or (now and item.uid == store.host.uid)))
    for item in in_trash:
        sizes.setdefault(item.digest, item.bytes)
    waiting = set(sorted_out["waiting"]) | {digest for digest, _ in kept}
    expired = tuple(sorted({path for _, path in condemned.values()}
                           - {condemned[digest][1] for digest in waiting if digest in condemned}))
    return CollectPlan(tuple(sorted_out["condemn"]), tuple(sorted_out["move"]), restore, unlink,
                       tuple(sorted_out["waiting"]), tuple(kept), expired, sizes)


def collect(store: Store, *, now: bool = False, grace: float = GRACE, undo_window: float = UNDO_WINDOW,
            dry_run: bool = False) -> CollectReport:
    """Do one round; call it again later for what is waiting. See `plan_collect` for the arguments.

    Raises:
        Busy: another collection is running; or `now`, and somebody is at work in the store.
        StoreError: the store is read only (unless `dry_run`).
    """
    if dry_run:
        return _report(plan_collect(store, now=now, grace=grace, undo_window=undo_window), dry_run=True)
    with store.working(), _alone(store):
        if now:
            _nobody_else(store)
        store.volumes.refresh()
        cleaned = store.staging.clean() + sum(store.volumes.staging(v).clean() for v in store.volumes.here[1:])
        plan = plan_collect(store, now=now, grace=grace, undo_window=undo_window)
        failed: dict[str, str] = {}
        for digest in plan.restore:
            _revive(store, digest, failed)
        if plan.issues:
            return _report(plan, failed=failed, cleaned=cleaned)
        epoch = f"{store.clock_ns() // 10**9}-{secrets.token_hex(4)}"
        if plan.move:
            failed |= move_in(store, plan.move, epoch)
        unlink = plan.unlink + tuple(item for item in trashed(store) if now and item.epoch == epoch)
        alive, issues = referenced(store)               # the last look before anything is final
        back = [digest for digest in {*plan.move, *(item.digest for item in unlink)} & alive
                if _revive(store, digest, failed)]
        if now and store.staging.others():              # somebody has begun meanwhile: leave it in the trash
            unlink = ()
        gone = [] if issues else [item for item in unlink if item.digest not in alive or item.corrupt]
        gone = [item for item in gone if _unlink(store, item, failed)]
        _condemn(store, plan.condemn, epoch)
        for path in plan.expired:
            with suppress(FileNotFoundError, PermissionError):      # another's list: its owner's next run removes it
                kernel.unlink(path)
        _sweep(store)
        return _report(plan, failed=failed, back=back, gone=gone, issues=issues, cleaned=cleaned)


def _why_keep(digest: str, place: Place, status: os.stat_result) -> str | None:
    """A reason to leave an unreferenced blob where it is; none is a reason to delete it."""
    if place.volume.refers:
        return None                                     # only the note of where it lies goes
    if status.st_nlink > 1 and status.st_nlink > 1 + len(of_blob(place.volume.path, digest)):
        return "a file outside the store is the same inode; deleting would free nothing"
    if locks.in_use(place.path):
        return "a program has it open"
    return None


def _condemned(store: Store) -> dict[str, tuple[int, str]]:
    """Condemned digest -> (since when in nanoseconds, the list). A list that cannot be read condemns nothing."""
    found: dict[str, tuple[int, str]] = {}
    for name in os.listdir(f"{store.path}/condemned"):
        path = f"{store.path}/condemned/{name}"
        if not name.endswith(".json"):
            continue
        try:
            record, status = records.read_record(path)
            digests = record["digests"]
        except (HelixError, OSError, KeyError):
            continue
        for digest in digests if isinstance(digests, list) else ():
            if isinstance(digest, str) and (digest not in found or status.st_mtime_ns < found[digest][0]):
                found[digest] = (status.st_mtime_ns, path)
    return found


def _condemn(store: Store, digests: tuple[str, ...], epoch: str) -> None:
    if digests:
        record = records.canonical({"schema": records.SCHEMA, "digests": digests})
        with store.working() as staging:
            records.publish_all(staging, [(f"{store.path}/condemned/{epoch}.json", record)])


def _revive(store: Store, digest: str, failed: dict[str, str]) -> bool:
    """Bring back what is referenced; where we may not, its readers look in the trash until its owner's next run."""
    try:
        return store.blobs.revive(digest)
    except OSError as error:
        failed[digest] = f"cannot be brought back from the trash: {error.strerror or error}"
        return False


def _unlink(store: Store, item: Trashed, failed: dict[str, str]) -> bool:
    try:
        kernel.unlink(item.path)
    except FileNotFoundError:
        return False                                    # restored meanwhile
    except OSError as error:
        failed[item.digest] = f"cannot be deleted: {error.strerror or error}"
        return False
    if not item.corrupt and not os.path.lexists(store.blobs.path(item.digest)) and not store.volumes.away:
        with suppress(PermissionError):                 # another's; it can be learnt again
            store.blobs.forget(item.digest)
    return True


def _sweep(store: Store) -> None:
    """Remove the folders of the trash that are empty now."""
    for volume in store.volumes.here:
        for epoch in os.listdir(f"{volume.path}/trash"):
            with suppress(OSError):                     # not empty, or another's
                os.rmdir(f"{volume.path}/trash/{epoch}")


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One collection at a time."""
    try:
        lock = locks.lock_folder(f"{store.path}/condemned")
    except OSError:
        from filelock import FileLock, Timeout

        try:
            with FileLock(f"{store.path}/condemned/lock", timeout=0):
                yield
        except Timeout:
            raise _collecting(store) from None
        return
    if lock is None:
        raise _collecting(store)
    try:
        yield
    finally:
        os.close(lock)


def _collecting(store: Store) -> Busy:
    return Busy("another collection of this store is running", "wait until it is done", store.path)


def _nobody_else(store: Store) -> None:
    if others := store.staging.others():
        raise Busy(f"somebody is at work in the store ({others[0]}), so nothing is deleted out of turn",
                   "wait until they are done, or run gc without --now", store.path)


def _report(plan: CollectPlan, *, failed: dict[str, str] | None = None, back: list[str] | None = None,
            gone: list[Trashed] | None = None, issues: list[Issue] | None = None, cleaned: int = 0,
            dry_run: bool = False) -> CollectReport:
    unlinked = list(plan.unlink) if gone is None else gone
    left_out = {*(failed or {}), *(back or ()), *(item.digest for item in unlinked)}
    restored = {*plan.restore, *(back or ())} - set(failed or {})
    moved = tuple(digest for digest in plan.move if digest not in left_out)
    return CollectReport(
        condemned=plan.condemn, trashed=moved, restored=tuple(sorted(restored)),
        unlinked=tuple(item.digest for item in unlinked), waiting=plan.waiting,
        kept=plan.kept + tuple(sorted((failed or {}).items())),
        freed_bytes=sum(item.bytes for item in unlinked if item.nlink == 1),
        trashed_bytes=sum(plan.sizes.get(digest, 0) for digest in moved),
        condemned_bytes=sum(plan.sizes.get(digest, 0) for digest in plan.condemn),
        cleaned_bytes=cleaned, issues=plan.issues + tuple(issues or ()), dry_run=dry_run)
