"""`get` for programs: the path of a model, which is downloaded the first time, and found at once ever after.

What a name, a repository, or a tag of a registry means is what the store has of it; `update` asks for later versions. A
commit never changes. Only who names a branch or a tag of the hub wants what that leads to now: then the hub is asked,
by one request; and where it cannot be asked, the commit counts to which it led the last time.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from helixstore.catalogue import Shape, parse_reference
from helixstore.catalogue.references import HubReference, OciReference, UrlReference
from helixstore.commands.download import download
from helixstore.commands.offering import offered
from helixstore.commands.prospects import Wish, catalogue, family_of, hardware_of, repositories_of
from helixstore.commands.queries import placed
from helixstore.download.fitting import fits
from helixstore.errors import Failed, NotFound, Passing, Usage
from helixstore.fs.names import folded
from helixstore.session import Session
from helixstore.sync.progress import Progress
from helixstore.values import Format, Variant

__all__ = ["get"]

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_LED_TO = "commits of branches"


def get(session: Session, what: str, format: str = "", progress: Progress | None = None) -> Path:
    """Where the model is that is meant; what is not here is downloaded first, once, also where several ask at a time.

    Args:
        session: whose store.
        what: an exact reference, a name of the catalogue, or any name of a model of the store.
        format: only in this one; "": any.
        progress: as of a download.

    Raises:
        NotFound, Passing, Failed, Usage: see `download`.
    """
    what = _at_commit(session, what)
    if found := _here(session, what, format):
        return placed(session, found)
    done = download(session, what, Wish(format), progress=progress)
    found = _here(session, what, format) or _here(session, f"hf:{done.repository}", format) or _here(
        session, done.name, format)
    if found is None:
        raise Failed(f"{what} came, and is not there as {format or 'a model'}", f"helixstore show {done.name}")
    return placed(session, found)


def _at_commit(session: Session, what: str) -> str:
    """A branch or tag of the hub as the commit that it leads to; everything else as it is."""
    try:
        reference = parse_reference(what)
    except Usage:                                       # a name in a registry
        return what
    if not isinstance(reference, HubReference) or not reference.revision or _COMMIT.fullmatch(reference.revision):
        return what
    known: dict[str, str] = json.loads(session.index.state(_LED_TO) or b"{}")
    name = f"{folded(reference.repository)}@{reference.revision}"
    try:
        commit = offered(session, reference).revision
    except Passing:
        if name not in known:                           # the download says why, or finds it at this site's mirror
            return what
    else:
        if known.get(name) != commit:
            known[name] = commit
            session.index.put_state(_LED_TO, json.dumps(known).encode())
    return str(replace(reference, revision=known[name]))


def _here(session: Session, what: str, format: str) -> Variant | None:
    """The variant of the store that is meant; of several that are, the one that fits this computer best."""
    family = family_of(format)
    exact = format.lower() if format and format.lower() != Format.SAFETENSORS else ""
    found = [one for one in _meant(session, what) if (not exact or one.format == exact)
             and family in (None, one.format.family)]
    if len(found) < 2:
        return found[0] if found else None
    repository = found[0].hub.repository if found[0].hub is not None else None
    entry = catalogue(session).of_repository(repository or "")
    shape: Shape | None = entry.shape if entry is not None else None
    forms = [_Here(one.quantization, one.bytes, one.key.variant, one) for one in found]
    return fits(forms, shape, hardware_of(session))[0].form.variant


class _Here(NamedTuple):
    """A variant as something to choose from."""

    quantization: str
    bytes: int
    label: str
    variant: Variant


def _meant(session: Session, what: str) -> list[Variant]:
    """The variants of the store that a name or reference means."""
    try:
        reference = parse_reference(what)
    except Usage:                                       # a name in a registry
        return []
    if isinstance(reference, HubReference):
        return [one for one in _named(session, reference.repository) if _is(one, reference)]
    if isinstance(reference, OciReference):
        place = f"{reference.host}/{reference.name}{':' + reference.tag if reference.tag else ''}"
        digest = reference.digest.partition(":")[2]
        return [one for one in _named(session, place) if any(
            source.kind == "registry" and source.repository == place and (source.revision or "").startswith(digest)
            for source in one.sources)]
    if isinstance(reference, UrlReference):
        blob = session.index.aliased(reference.sha256)
        return [one for one in session.index.variants() if any(file.blake3 == blob for file in one.weights)]
    here = _named(session, what)
    if here or reference is not None:
        return here
    try:
        entry = catalogue(session).find(what)
    except NotFound:
        return []
    found = {one.key: one for name in (entry.name, *repositories_of(entry)) for one in _named(session, name)}
    return list(found.values())


def _named(session: Session, name: str) -> list[Variant]:
    try:
        return session.index.find(name)
    except NotFound:
        return []


def _is(variant: Variant, reference: HubReference) -> bool:
    """Whether a variant is what a reference names."""
    if reference.quantization and variant.quantization.upper() != reference.quantization and not any(
            reference.quantization in file.path.upper() for file in variant.weights):
        return False
    if reference.file and all(file.path != reference.file for file in variant.weights):
        return False
    return any(source.kind == "hub" and folded(source.repository or "") == folded(reference.repository)
               and (source.revision or "").startswith(reference.revision or "")
               for source in variant.sources)
