"""What holds on this machine and what does not, found out by trying; and the command that mends it."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from helixstore.commands.access import opening, people_checks, service_check
from helixstore.commands.models.prospects import catalogue, hardware_of
from helixstore.errors import HelixError
from helixstore.fs.mounts import mount_of
from helixstore.fs.probe import probe
from helixstore.providers.reader import DiskReader
from helixstore.results import Check
from helixstore.session import PlacedRoot, Session
from helixstore.sizes import size
from helixstore.store.verify import missing, quarantined
from helixstore.sync.damaged import damage
from helixstore.sync.drift import drifts, remedy
from helixstore.sync.standing import last_issues
from helixstore.values import LinkKind

__all__ = ["doctor"]

#: Issues of the last sync that are named; the others are only counted.
_NAMED = 5
#: Kinds of issues that the checks here find by looking.
_LOOKED_AT = frozenset({"layout", "drifted", "away", "quarantined"})


def doctor(session: Session) -> list[Check]:
    """Every check; one that fails by an error of its own is a problem, and the others go on."""
    found: list[Check] = [Check("system", "ok", f"Python {platform.python_version()} on {sys.platform}, "
                                                f"{platform.machine()}; {_hardware(session)}")]
    for name, check in _CHECKS.items():
        try:
            found += check(session)
        except (HelixError, OSError) as error:
            found.append(Check(name, "problem", str(error), getattr(error, "remedy", "")))
    return found


def _hardware(session: Session) -> str:
    """What models can run on here, as `compat` sees it."""
    hardware = hardware_of(session)
    cards = ", ".join(f"{gpu.name}{f' with {size(gpu.bytes)}' if gpu.bytes else ''}" for gpu in hardware.gpus)
    rooms = ", ".join(f"{size(room.bytes)} of {room.name}" for room in hardware.rooms)
    memory = f"{size(hardware.memory)} of memory" if hardware.memory else "its memory cannot be told"
    return f"{memory}, {cards or 'no graphics card'}{f'; a model can have {rooms}' if rooms else ''}"


def _settings(session: Session) -> Iterator[Check]:
    for issue in session.settings.issues:
        yield Check("settings", "warning", f"{issue.path}: {issue.message}", issue.remedy)
    for folder in session.settings.scan:
        if not folder.is_dir():
            yield Check("settings", "warning", f"the folder {folder} of the setting scan is not there",
                        "plug its disk in, or name the folders that there are: helixstore config set scan DIR ...")
    for issue in catalogue(session).issues:
        yield Check("settings", "warning", f"{issue.path}: {issue.message}", issue.remedy)
    yield Check("settings", "ok", f"read from {session.places.config_file}")


def _store(session: Session) -> Iterator[Check]:
    store = session.store
    mount = mount_of(store.path)
    if store.read_only:
        yield Check("store", "problem", f"{store.path} is read only: {store.read_only_reason}", "upgrade helixstore")
    yield Check("store", "ok", f"{store.path}, on {mount.kind} at {mount.point}")
    for issue in missing(store):
        yield Check("store", "problem", f"{issue.path}: {issue.message}", issue.remedy)
    for issue in damage(session):
        yield Check("store", "problem", issue.message, issue.remedy)
    marked = quarantined(store)
    named = {file.blake3 for variant in session.index.variants() for file in variant.files} if marked else set[str]()
    for digest in sorted(marked - named):
        yield Check("store", "problem", f"blob {digest[:12]} is damaged; no model that you see needs it",
                    "helixstore verify --repair; or helixstore gc")
    if reason := _in_sticky(store.path):
        yield Check("store", "problem", reason, "move the store out of it: protected_symlinks forbids links there")


def _in_sticky(folder: Path) -> str:
    """Why links through `folder` are not followed: a parent that everybody may write, with the sticky bit."""
    for parent in folder.parents:
        mode = os.stat(parent).st_mode
        if mode & stat.S_ISVTX and mode & stat.S_IWOTH and os.stat(folder).st_uid != os.stat(parent).st_uid:
            return f"the store lies below {parent}, which everybody may write in"
    return ""


def _index(session: Session) -> Iterator[Check]:
    index = session.index
    times, why = index.discarded
    if times:
        yield Check("index", "warning", f"thrown away {times} times, last because: {why}", "")
    for issue in index.issues:
        yield Check("index", "warning", f"{issue.path}: {issue.message}", issue.remedy)
    counted = index.figures()
    yield Check("index", "ok", f"{index.path}: {counted.models} models, {counted.blobs} blobs")


def _roots(session: Session) -> Iterator[Check]:
    away = session.farm.away()
    reader = DiskReader(session.places.home)
    everywhere = list(session.roots(reader, session.farms))
    for issue in session.issues:            # layouts that cannot be loaded, or fail when they are asked
        yield Check("layouts", "warning", f"{issue.path}: {issue.message}", issue.remedy)
    drifted = drifts(everywhere, reader)
    seen: set[Path] = set()
    for placed in everywhere:
        if not placed.on or placed.root.path in seen:
            continue
        seen.add(placed.root.path)
        yield from _root(session, placed, away)
        if why := drifted.get(str(placed.root.path)):
            yield Check(placed.provider, "problem", f"{placed.root.path}: {why}; nothing is done there",
                        remedy(placed.provider))


def _root(session: Session, placed: PlacedRoot, away: dict[str, str]) -> Iterator[Check]:
    name, root = placed.provider, placed.root
    if root.forbid:
        yield Check(name, "warning", f"{root.path}: {root.forbid}", f"helixstore providers off {name}")
        return
    if str(root.path) in away:
        yield Check(name, "problem", f"{root.path} is away: {away[str(root.path)]}", "mount it, or plug it in")
        return
    if not root.path.is_dir():
        yield Check(name, "ok", f"{root.path} is made by the first sync that needs it")
        return
    if not os.access(root.path, os.W_OK | os.X_OK):
        yield Check(name, "problem", f"{root.path} cannot be written to", opening(root.path))
        return
    yield from service_check(session.store, root.path, name)
    with session.store.working() as staging:
        able = probe(staging, root.path)
    if not able.works:
        yield Check(name, "problem", f"no kind of link works from the store to {root.path}",
                    "put the store on the same disk: helixstore init --store DIR")
        return
    best = next(kind for kind in (LinkKind.HARD, LinkKind.SYMBOLIC, LinkKind.REFLINK) if kind in able.works)
    why = "; ".join(f"{kind}: {reason}" for kind, reason in able.why_not.items() if kind is LinkKind.HARD)
    yield Check(name, "ok", f"{root.path} ({root.origin}): {best} links" + (f" ({why})" if why else ""))


def _operations(session: Session) -> Iterator[Check]:
    unfinished = [one for one in session.farm.operations() if not one.finished]
    for one in unfinished:
        yield Check("operations", "warning", f"operation {one.number} ({one.command}) was cut short",
                    "the next sync finishes it")
    if not unfinished:
        yield Check("operations", "ok", "none was cut short")


def _volumes(session: Session) -> Iterator[Check]:
    session.store.volumes.refresh()
    for volume in session.store.volumes.attached:
        if volume.detached:
            yield Check("volumes", "ok", f"{volume.name} is detached")
        elif volume.away:
            yield Check("volumes", "warning" if volume.path else "ok", f"{volume.name} is not here: {volume.away}",
                        f"plug it in, or: helixstore volume detach {volume.name}" if volume.path else "")
        else:
            mount = mount_of(volume.path)
            how = "referred to" if volume.refers else "linked"
            yield Check("volumes", "ok", f"{volume.name}: {volume.path}, on {mount.kind} at {mount.point}; "
                                         f"files are {how}")


def _last_sync(session: Session) -> Iterator[Check]:
    """What the last sync found in files of the person's; what is looked at anew above is not told from memory."""
    rows = last_issues(session)
    looked_at = {str(placed.root.path) for placed in session.roots(DiskReader(session.places.home), session.farms)}
    found = [issue for issue in rows if issue.kind not in _LOOKED_AT and issue not in session.settings.issues
             and issue.path not in looked_at]
    for issue in found[:_NAMED]:
        yield Check("last sync", "warning", f"{issue.path}: {issue.message}", issue.remedy)
    if len(found) > _NAMED:
        yield Check("last sync", "warning", f"{len(found)} issues in all", "helixstore status")


_CHECKS: dict[str, Callable[[Session], Iterator[Check]]] = {
    "settings": _settings, "store": _store, "people": people_checks, "index": _index, "volumes": _volumes,
    "roots": _roots, "operations": _operations, "last sync": _last_sync,
}
