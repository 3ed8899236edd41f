"""What one path or model is, how it came to be so, and why not otherwise."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from helixstore.errors import HelixError, NotFound
from helixstore.farm.library import Library
from helixstore.fs import kernel
from helixstore.providers.reader import DiskReader
from helixstore.results import Explanation
from helixstore.session import Session
from helixstore.sync.hub_names import why_not
from helixstore.values import LinkKind, Source, Variant

__all__ = ["explain"]

_KINDS = {
    "hard": "a hard link: one more name of the store's file", "symlink": "a symbolic link to the store's file",
    "reflink": "a reflink: a file of its own that shares the blocks of the store's file", "copy": "a copy",
    "text": "a small file that helixstore writes for the program", "inner": "a link inside the program's folder",
}
_BY = {LinkKind.HARD: "hard link", LinkKind.SYMBOLIC: "symbolic link"}
#: Paths of one variant in one program, before the rest is only counted.
_PATHS = 4


def explain(session: Session, subject: str) -> Explanation:
    """Answer for a path that exists, or that the ledgers know; else for a model.

    Raises:
        NotFound: neither a path nor a model.
    """
    path = os.path.abspath(subject)
    if os.path.lexists(path) or session.index.farm_at(path) is not None:
        return _of_path(session, path)
    if os.sep in subject:
        try:
            return _of_model(session, subject)
        except NotFound:
            raise NotFound(f"there is no file, and no model, called {subject}", "helixstore list", path) from None
    return _of_model(session, subject)


def _of_path(session: Session, path: str) -> Explanation:
    row = session.index.farm_at(path)
    facts: dict[str, Any] = {"path": path}
    lines = []
    if row is not None:
        models = ", ".join(str(key) for key in row.keys) or "all models"
        lines.append(f"{path} belongs to {models}, for {', '.join(row.providers)}")
        lines.append(f"it is {_KINDS.get(row.kind, row.kind)}" + (f" ({row.why})" if row.why else ""))
        facts |= {"kind": row.kind, "why": row.why, "root": row.root, "providers": list(row.providers),
                  "models": [list(key) for key in row.keys], "manifest": row.manifest}
        if not os.path.lexists(path):
            lines.append("it is not there now: helixstore sync says what that means")
    taken = session.farm.ledgers.of("").records.get(os.path.realpath(path))
    if taken is not None:
        model = taken.keys[0] if taken.keys else "a model"
        now = "now it and the blob in the store are two names of one file" if taken.kind == "hard" else (
            f"it shares its bytes with the blob in the store by {taken.kind}")
        lines.append(f"it was adopted as {model}: {now}" + (f" ({taken.why})" if taken.why else ""))
        facts |= {"adopted_as": list(taken.keys[0]) if taken.keys else [], "adopted_kind": taken.kind}
    if row is None and taken is None and (told := _told(session, path)):
        lines += told
        facts["left_alone"] = told
    lines += _of_file(session, path, facts)
    if session.farm.intent.is_declined(os.path.realpath(path)):
        lines.append("syncs leave it alone, since you took it back; helixstore share PATH lifts that")
        facts["declined"] = True
    if not lines:
        lines.append(f"{path} is nothing that helixstore knows")
    return Explanation(path, tuple(lines), facts)


def _told(session: Session, path: str) -> list[str]:
    """Why a program's file is left where it is, or what is wrong with it, as the layout says when it looks there."""
    reader = DiskReader(session.places.home)
    for place in session.roots(reader, session.farms):
        if place.on and path.startswith(f"{place.root.path}{os.sep}"):
            try:
                deque(place.layout.discover(place.root, reader), maxlen=0)
            except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way
                return [f"the layout {place.provider} failed to look at it: {type(error).__name__}: {error}"]
    note = reader.notes.get(path)
    return [*([f"it is left as it is: {note}"] if note else ()),
            *(issue.message for issue in reader.issues if issue.path == path)]


def _of_file(session: Session, path: str, facts: dict[str, Any]) -> Iterator[str]:
    """What can be told of the file itself: its blob, its names, its format."""
    try:
        mark = kernel.fingerprint(path, follow=True)
    except OSError as error:
        if os.path.lexists(path):
            yield f"it cannot be looked at: {error.strerror}"
        return
    facts["bytes"] = mark.bytes
    blobs = os.path.join(session.store.path, "blobs")
    real = os.path.realpath(path)
    digest = os.path.basename(real) if real.startswith(blobs + os.sep) else session.index.digest_at(real, mark)
    if digest is None and mark.regular and (found := session.index.farm_at(path)) is not None:
        digest = _blob_of(session, found.manifest, mark)
    if digest is None and (taken := session.farm.ledgers.of("").records.get(real)) and taken.inode == mark.inode:
        digest = taken.digest
    if digest:
        facts["blake3"] = digest
        names = "1 name" if mark.nlink == 1 else f"{mark.nlink} names"
        yield f"its content is {digest[:12]}, {mark.bytes:,} bytes, under {names} on its disk"
    if not mark.regular:
        return
    from helixstore.formats import inspect

    try:
        one = inspect(Path(path))
    except HelixError as error:
        if not facts.get("kind") and not facts.get("left_alone"):
            yield f"it is no model: {error.message}"
        return
    facts |= {"format": str(one.format), "quantization": one.quantization, "architecture": one.header.architecture}
    what = " ".join(filter(None, (one.header.architecture, str(one.format), one.quantization)))
    yield f"it is {what}" + (f", {one.header.parameters:,} parameters" if one.header.parameters else "")
    if one.unsafe:
        yield one.unsafe
    yield from one.notes


def _blob_of(session: Session, manifest: str, mark: kernel.Fingerprint) -> str | None:
    """The blob of that manifest that is the same file."""
    if not manifest:
        return None
    for file in session.store.manifests.read(manifest).files:
        row = session.index.blob(file.blake3)
        if row is not None and file.bytes == mark.bytes:
            try:
                status = os.stat(session.store.blobs.path(file.blake3))
            except OSError:
                continue
            if (status.st_ino, status.st_dev) == (mark.inode, mark.device):
                return file.blake3
    return None


def _of_model(session: Session, ref: str) -> Explanation:
    variants = session.index.find(ref)
    lines: list[str] = []
    facts: dict[str, Any] = {"model": variants[0].key.model, "variants": []}
    for variant in variants:
        lines += _head(variant)
        unproven = why_not(session, variant.key)
        lines += [f"  not shown as {word.source.repository} at {(word.source.revision or '')[:12]} of the hub, as user "
                  f"{word.by.rpartition('/')[2]} calls it: {why}" for word, why in unproven]
        standings = session.index.standings([variant.key])[variant.key]
        providers: dict[str, Any] = {}
        for name, layout in session.layouts.items():
            if not session.is_on(name):
                continue
            one = standings.get(name)
            state, reason = (str(one.state), one.reason) if one else ("pending", "no sync has seen it yet")
            kind = f" by {_BY.get(one.link, one.link)}" if one and one.link else ""
            lines.append(f"  {layout.title}: {state}{kind}" + (f" ({reason})" if reason else ""))
            lines += [f"    {path}" for path in _listed(one.paths if one else ())]
            providers[name] = {"state": state, "reason": reason, "paths": list(one.paths) if one else []}
        library = standings.get(Library.name)
        facts["variants"].append({"id": variant.key.variant, "manifest": variant.manifest, "providers": providers,
                                  "library": list(library.paths) if library else [],
                                  "unproven": [{**word.source.described(), "by": word.by, "reason": why}
                                               for word, why in unproven]})
    return Explanation(variants[0].key.model, tuple(lines), facts)


def _listed(paths: Sequence[str]) -> list[str]:
    """Paths for people, the witness first; of a folder with many files only the first."""
    if len(paths) <= _PATHS:
        return list(paths)
    return [*paths[:_PATHS - 1], f"and {len(paths) - _PATHS + 1} more (helixstore show lists all)"]


def _head(variant: Variant) -> Iterator[str]:
    header = variant.header
    size = f"{variant.bytes:,} bytes in {len(variant.files)} file{'s' if len(variant.files) > 1 else ''}"
    parts = [header.architecture, f"{header.parameters:,} parameters" if header.parameters else None, size,
             "pinned" if variant.pinned else None]
    yield f"{variant.key.model}, {variant.key.variant}: {', '.join(filter(None, parts))}"
    for source in variant.sources:
        yield f"  from {_source(source)}"


def _source(source: Source) -> str:
    row = source.described()
    known = {"hub": "the hub", "registry": "a registry", "url": "an address", "file": "a file",
             "program": row.get("program", "a program")}
    where = known.get(source.kind, source.kind)
    what = " ".join(filter(None, (row.get("repository"), row.get("name"))))
    return f"{where}: {what}" + (f" at {row['revision'][:12]}" if "revision" in row else "")
