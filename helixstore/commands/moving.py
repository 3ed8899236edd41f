"""On which disk a model lies: moved to another, or one copy kept where several disks have one.

The copying is the store's business (`store.moving`), and which links follow from it the sync's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

from helixstore.commands.volume_views import view
from helixstore.errors import Failed, HelixError
from helixstore.farm.plan import Adoption
from helixstore.fs import kernel
from helixstore.fs.access import user_name
from helixstore.results import SyncReport, VolumeReport
from helixstore.session import Session
from helixstore.store import moving
from helixstore.store.refs import current
from helixstore.store.volumes import MAIN, Volume
from helixstore.sync.change import change
from helixstore.sync.intake import LINKED_ROLES
from helixstore.sync.progress import Progress, counting
from helixstore.sync.wanted import Ask, Change
from helixstore.values import Issue, Variant

__all__ = ["across", "copy_on", "move", "sweep"]


def move(session: Session, ref: str, word: str, *, dry_run: bool = False,
         progress: Progress | None = None) -> VolumeReport:
    """Move the weights of a model to another disk: copied, read back, linked from there, and only then let go.

    Small files (configuration, tokenizer) stay in the store's own folder. Cut short, it leaves everything whole, and
    the same command goes on where it stopped.

    Raises:
        NotFound, Ambiguous: no such model or volume.
        Failed: the disk is full, or links to it are not allowed where the model's own files lie; nothing was let go.
    """
    volumes = session.store.volumes
    volumes.refresh()
    volume, variants = volumes.find(word), session.index.find(ref)
    _can_take(volume)
    digests = list(dict.fromkeys(f.blake3 for v in variants for f in v.files if f.role in LINKED_ROLES))
    _allowed(session, volume, digests)
    models = tuple(dict.fromkeys(variant.key.model for variant in variants))
    missing = [digest for digest in digests if moving.copy_on(session.store, digest, volume) is None]
    needed = _bytes(variants, missing)
    status = os.statvfs(volume.path)
    if needed > status.f_bavail * status.f_frsize:
        raise Failed(f"this needs {needed:,} bytes on {volume.name}, where {status.f_bavail * status.f_frsize:,} are "
                     "free", "free some there; nothing was changed", volume.path)
    if dry_run:
        elsewhere = [place for digest in digests for place in session.store.blobs.places(digest)
                     if place.volume.id != volume.id and not place.volume.refers]
        return VolumeReport(view(session, volume), models, copied_bytes=needed, dry_run=True,
                            freed_bytes=sum(os.stat(place.path).st_size for place in elsewhere))
    copied = 0
    with session.store.working():                       # no collection while a blob has two names or one
        volumes.staging(volume).clean()
        step = counting(progress, "copy", volume.name, needed)
        for digest in digests:
            copied += moving.copy_to(session.store, digest, volume, step)
        report = gather(session, volume, digests, "volume move")
    return replace(report, models=models, copied_bytes=copied)


def across(session: Session, wanted: Change, word: str, *, dry_run: bool = False, ask: Ask | None = None,
           progress: Progress | None = None) -> SyncReport:
    """Sync, and of what lies on several disks keep the copy on one: the others become links to it.

    Args:
        session: whose store.
        wanted: the sync.
        word: the volume whose copies are kept.
        dry_run: say which would be replaced; copies that this sync would first find are not among them.
        ask: as of `change`.
        progress: as of `change`.

    Raises:
        NotFound, Ambiguous, Failed: there is no such volume, or it cannot hold files.
    """
    session.store.volumes.refresh()
    volume = session.store.volumes.find(word)
    _can_take(volume)
    done = change(session, wanted, dry_run=dry_run, ask=ask, progress=progress)
    several = [digest for digest in session.store.blobs.digests() if len(session.store.blobs.places(digest)) > 1
               and moving.copy_on(session.store, digest, volume) is not None]
    if done.dry_run:
        swaps = _swaps(session, set(several), volume)
        return replace(done, notes=(*done.notes, *(f"{swap.path} would become a link to {volume.name}"
                                                   for swap in swaps)))
    _allowed(session, volume, several)
    if not several:
        return done
    united = gather(session, volume, several, "sync --across-disks")
    return replace(
        done, adopted=(*done.adopted, *united.sync.adopted), linked=(*done.linked, *united.sync.linked),
        removed=(*done.removed, *united.sync.removed), actions=(*done.actions, *united.sync.actions),
        notes=(*done.notes, *united.notes), saved_bytes=done.saved_bytes + united.freed_bytes,
        issues=tuple(dict.fromkeys([*done.issues, *united.issues])))


def gather(session: Session, volume: Volume, digests: Iterable[str], command: str) -> VolumeReport:
    """Make the copy on `volume` the only one: adopted files on other disks become links to it, the other blobs go."""
    kept = [digest for digest in digests if moving.copy_on(session.store, digest, volume) is not None]
    several = [digest for digest in kept if len(session.store.blobs.places(digest)) > 1]
    swaps = _swaps(session, set(kept), volume)
    done = change(session, Change(command, scan=False, swaps=swaps))
    freed, issues = done.saved_bytes, list(done.issues)
    needed = _needed_without(session, several, volume)
    several = [digest for digest in several if digest not in needed]
    linked = _linked(session, several, volume)
    with session.store.working():
        for digest in several:
            try:
                session.store.blobs.check(digest, at=copy_on(session, digest, volume))
                with session.farm.locked():             # as in `remove`
                    freed += moving.let_go(session.store, digest, volume)
            except HelixError as error:
                issues.append(Issue(error.kind, error.path or digest, error.message, error.remedy))
    again = change(session, Change(command, scan=False))
    freed += sweep(session, session.store.volumes.here)
    freed += sum(mark.bytes for mark, names in linked if not any(map(partial(_is, mark), names)))
    session.store.volumes.refresh()
    return VolumeReport(view(session, volume), freed_bytes=freed,
                        sync=done if again.nothing else replace(again, adopted=done.adopted),
                        notes=(*done.notes, *again.notes, *sorted(set(needed.values()))),
                        issues=tuple(dict.fromkeys([*issues, *again.issues])))


def _needed_without(session: Session, digests: Collection[str], volume: Volume) -> dict[str, str]:
    """What others claim whose computer, or account on this one, has not added that disk -> a note that says so: for
    them a copy that is only there would be away."""
    store, found = session.store, dict[str, str]()
    if volume.id == MAIN:
        return found
    expiry, holdings = store.hosts.expiry(store.now_ns), session.index.holdings()
    for ref in current(session.index.claims()):
        if (ref.manifest is None or ref.host == store.host.id or expiry.over(ref.host, ref.uid, ref.mtime_ns)
                or os.path.exists(f"{store.path}/hosts/{ref.host}/volumes/{volume.id}.json")):
            continue
        for digest, _ in holdings.get(ref.manifest, ()):
            if digest in digests:
                who = f"{user_name(ref.uid)} on {store.hosts.name(ref.host) or ref.host}"
                found[digest] = (f"{ref.name} stays where it was, too: {who} uses it, and has not added {volume.name} "
                                 f"there: helixstore volume add")
    return found


def _linked(session: Session, digests: Collection[str], volume: Volume) -> list[tuple[kernel.Fingerprint, list[str]]]:
    """The blobs on other disks than `volume` that have no name but the store's and links of ours, with all of these:
    when the last goes, the bytes are free.
    """
    links: dict[int, set[str]] = {}
    for root in session.farm.ledgers.roots():
        for path, record in session.farm.ledgers.of(root).records.items():
            if record.kind == "hard" and record.digest in digests:
                links.setdefault(record.inode, set()).add(os.path.join(root, path))
    found = []
    for place in (place for digest in digests for place in session.store.blobs.places(digest)):
        if place.volume.id != volume.id and not place.volume.refers:
            mark = kernel.fingerprint(place.path)
            names = [name for name in links.get(mark.inode, ()) if _is(mark, name)]
            if names and mark.nlink == len(names) + 1:
                found.append((mark, [place.path, *names]))
    return found


def _is(mark: kernel.Fingerprint, path: str) -> bool:
    """Whether that very file lies there."""
    try:
        now = kernel.fingerprint(path)
    except OSError:
        return False
    return (now.device, now.inode) == (mark.device, mark.inode)


def _swaps(session: Session, digests: Collection[str], volume: Volume) -> list[Adoption]:
    """The adopted files on other disks that are to become links to the copy on `volume`."""
    found = []
    roots = session.farm.roots()
    for path, record in session.farm.ledgers.of("").records.items():
        if record.digest not in digests or record.kind in ("symlink", "reference"):
            continue
        home = session.store.volumes.near(path)
        try:
            mark = kernel.fingerprint(path)
        except OSError:
            continue                    # away, or gone: nothing to swap
        if not mark.regular or home is None or home.id == volume.id or home.refers:
            continue
        root = next((root for root in roots if path.startswith(root + "/")), None)
        providers = tuple(dict.fromkeys(claim.provider for claim in record.claims if claim.provider))
        found.append(Adoption(path, record.digest, mark, True, record.keys[0], root, providers=providers,
                              keep=volume.id))
    return found


def _allowed(session: Session, volume: Volume, digests: Sequence[str]) -> None:
    """Nothing, if a link to `volume` may take the place of every adopted file of these blobs."""
    if volume.always:
        return
    for swap in _swaps(session, set(digests), volume):
        for name in swap.providers if swap.root is not None else ():
            layout = session.layouts.get(name)
            if layout is not None and not layout.bears_dangling:
                raise Failed(
                    f"{swap.path} would become a link to {volume.name}, and the list of {layout.title} does not bear "
                    "it when that disk is taken away",
                    f"allow it: helixstore volume add {volume.path} --always", swap.path)


def _can_take(volume: Volume) -> None:
    if volume.away:
        raise Failed(f"{volume.name} is not here: {volume.away}", f"helixstore volume add {volume.path or 'DIR'}",
                     volume.path or None)
    if volume.refers:
        raise Failed(f"{volume.name} has a file system without links: it refers to files and holds none",
                     "copy the file there yourself, then: helixstore sync", volume.path)


def copy_on(session: Session, digest: str, volume: Volume) -> str:
    """Where the copy of a blob on this volume lies, or would lie."""
    place = moving.copy_on(session.store, digest, volume)
    return place.path if place is not None else volume.blob(digest)


def sweep(session: Session, volumes: Iterable[Volume]) -> int:
    """Remove our stand-ins whose blob is not beside them any more and to which nothing leads; returns the bytes that
    were freed by that."""
    freed = 0
    with session.farm.locked():                         # no link to one is made meanwhile
        ledgers = session.farm.ledgers
        needed = {record.target for root in ledgers.roots() for path, record in ledgers.of(root).records.items()
                  if record.kind == "symlink" and _leads(os.path.join(root, path), record.target)}
        for volume in volumes:
            for path in moving.orphans(session.store, volume):
                if path not in needed:
                    status = os.lstat(path)
                    kernel.unlink(path)
                    freed += status.st_size if status.st_nlink == 1 else 0
    return freed


def _leads(path: str, target: str) -> bool:
    """Whether a link with that text lies there, or nobody can tell."""
    try:
        return os.readlink(path) == target
    except FileNotFoundError:
        return not os.path.isdir(os.path.dirname(path))
    except OSError as error:
        return error.errno != errno.EINVAL              # it is no link


def _bytes(variants: Iterable[Variant], digests: Collection[str]) -> int:
    return sum({f.blake3: f.bytes for v in variants for f in v.files if f.blake3 in set(digests)}.values())
