"""The fast answer to a sync with nothing changed: every folder and file that the last one rested on is as it was.

A scan that found nothing to do leaves a snapshot in the index: the folders that it listed, the folders that hold what
we made, the sidecars and copies there, the blobs, and our own state. The next sync looks at these by stat alone. What
else a plan rests on (settings, roots, layouts, our version) goes into one digest.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from helixstore import __version__
from helixstore.farm.ledger import FOLDER
from helixstore.farm.snapshot import ABSENT, RACY_NS, Snapshot, changed, take
from helixstore.fs.kernel import fingerprint
from helixstore.fs.listing import scandir
from helixstore.fs.mounts import unsettled_ns
from helixstore.values import Issue

if TYPE_CHECKING:
    from helixstore.session import PlacedRoot, Session
    from helixstore.sync.look import Looked

__all__ = ["forget", "remember", "unchanged"]

_NAME = "snapshot"


def unchanged(session: Session, placed: Iterable[PlacedRoot]) -> tuple[int, list[Issue]] | None:
    """How many entries are as they should be, and the issues of the last scan; None when a scan must tell.

    Args:
        session: the person's state.
        placed: every root, as the layouts place them now.
    """
    kept = session.index.state(_NAME)
    if kept is None:
        return None
    head, _, body = kept.partition(b"\n")
    facts = json.loads(head)
    if facts["inputs"] != _inputs(session, placed) or (facts["until"] is not None and facts["until"] <= time.time()):
        return None
    snapshot = Snapshot.decode(body)
    if snapshot is None or changed(snapshot, first=True):
        return None
    return facts["unchanged"], [Issue(*row) for row in facts["issues"]]


def remember(
    session: Session, looked: Looked, count: int, issues: Iterable[Issue], began_ns: int, until: float,
) -> None:
    """Keep what a scan that found nothing to do rested on.

    Args:
        session: whose ledgers say what is ours.
        looked: what was looked at.
        count: entries that are as they should be.
        issues: what the scan found, to be told again as long as nothing changes.
        began_ns: when the scan began, nanoseconds since 1970.
        until: when there will be something to do although nothing has changed, seconds since 1970; may be infinite.
    """
    folders, files = dict(looked.reader.folders), dict(looked.reader.files)
    wanted_folders, wanted_files = _ours(session)
    wanted_roots = {*(str(place.root.path) for place in looked.placed if place.on), *map(str, session.settings.scan)}
    wanted_folders |= wanted_roots
    for folder in wanted_folders - folders.keys():
        folders[folder] = _mtime(folder)
    for path in wanted_files - files.keys():
        try:
            files[path] = fingerprint(path)
        except OSError:
            folders.setdefault(path, ABSENT)        # it changes as soon as something lies there
    head = {"inputs": _inputs(session, looked.placed), "unchanged": count,
            "until": until if math.isfinite(until) else None,
            "issues": [[i.kind, i.path, i.message, i.remedy] for i in issues]}
    young = max(unsettled_ns(folder) for folder in (str(session.store.path), *wanted_roots))
    if young > began_ns:                            # some folder's time tells nothing: all is looked at each time
        forget(session)
        return
    snapshot = take(folders, files, began_ns - max(0, young - RACY_NS))
    session.index.put_state(_NAME, json.dumps(head).encode() + b"\n" + snapshot.encode())


def forget(session: Session) -> None:
    """The next sync looks at everything."""
    session.index.put_state(_NAME, None)


def _ours(session: Session) -> tuple[set[str], set[str]]:
    """Folders that hold what we made or keep, and files of ours that somebody may edit in place; blobs too."""
    store, state = str(session.store.path), str(session.places.state_for(session.store.id))
    folders = {state, os.path.join(state, "ledger"), os.path.join(state, "ops"), os.path.join(store, "quarantine")}
    refs = os.path.join(store, "refs")                  # itself too: a new person or host brings a folder
    folders.update((refs, *(os.path.join(refs, name) for name in session.store.refs.folders())))
    files = {os.path.join(state, name) for name in ("hidden", "declined", "shared-with.json")}
    with scandir(os.path.join(state, "ledger")) as entries:
        files.update(entry.path for entry in entries)
    digests: set[str] = set()
    for root in session.farm.ledgers.roots():
        prefix = root + "/" if root else ""
        for path, record in session.farm.ledgers.of(root).records.items():
            place = prefix + path
            if record.kind == FOLDER:
                folders.add(place)
                continue
            folders.add(place.rpartition("/")[0])
            if record.kind in ("hard", "symlink"):
                digests.add(record.digest)
            elif record.kind != "inner":
                files.add(place)
    files.update(session.store.blobs.path(digest) for digest in digests)
    modules = [sys.modules.get(type(layout).__module__) for layout in session.layouts.values()]
    files.update(module.__file__ for module in modules if module is not None and module.__file__)
    return folders, files


def _inputs(session: Session, placed: Iterable[PlacedRoot]) -> str:
    """A digest of what a plan rests on beside folders and files."""
    settings = session.settings
    facts = [
        __version__, session.store.id, str(session.facts), settings.share, settings.adopt, settings.exclude,
        settings.public, settings.trust_hub_names, session.hub_names.offline,
        [str(folder) for folder in settings.scan], [i.message for i in (*settings.issues, *session.issues)],
        [(v.id, v.path, v.away) for v in session.store.volumes.attached],
        sorted((p.provider, str(p.root.path), p.root.label, p.root.forbid, p.on, str(p.links)) for p in placed
               if p.provider in session.layouts),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _mtime(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return ABSENT
