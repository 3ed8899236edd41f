"""What the store has of what a name or reference means, without asking anybody.

What a name, a repository or a tag of a registry means is what the store has of it; a commit never changes. To which
commit a branch or tag of the hub led is kept each time that it is asked for.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from helixstore.catalogue import Shape, parse_reference
from helixstore.catalogue.references import HubReference, OciReference, Reference, UrlReference
from helixstore.commands.models.prospects import catalogue, family_of, hardware_of, repositories_of
from helixstore.download.fitting import fits
from helixstore.errors import NotFound, Usage
from helixstore.fs.names import folded
from helixstore.session import Session
from helixstore.values import Format, Variant

__all__ = ["all_that_is_here", "led_to", "names_branch", "remember", "what_is_here"]

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_LED_TO = "commits of branches"


def names_branch(reference: Reference | None) -> bool:
    """Whether a reference names a branch or tag of the hub, which may lead to another commit later."""
    return isinstance(reference, HubReference) and bool(reference.revision) and not _COMMIT.fullmatch(
        reference.revision or "")


def led_to(session: Session, reference: HubReference) -> str:
    """The commit to which a branch or tag led when it was last asked for; "" where it never was."""
    return _known(session).get(_name(reference), "")


def remember(session: Session, reference: HubReference, commit: str) -> None:
    """Keep to which commit a branch or tag leads now."""
    known, name = _known(session), _name(reference)
    if known.get(name) != commit:
        session.index.put_state(_LED_TO, json.dumps(known | {name: commit}).encode())


def _known(session: Session) -> dict[str, str]:
    found: dict[str, str] = json.loads(session.index.state(_LED_TO) or b"{}")
    return found


def _name(reference: HubReference) -> str:
    return f"{folded(reference.repository)}@{reference.revision}"


def what_is_here(session: Session, what: str, format: str = "", quantization: str = "") -> Variant | None:
    """The variant of the store that is meant; of several that are, the one that fits this computer best."""
    return next(iter(all_that_is_here(session, what, format, quantization)), None)


def all_that_is_here(session: Session, what: str, format: str = "", quantization: str = "") -> list[Variant]:
    """The variants of the store that are meant, the one that fits this computer best first.

    Args:
        session: whose store.
        what: an exact reference, a name of the catalogue, or any name of a model of the store.
        format, quantization: only in this one; "": any.
    """
    family = family_of(format)
    exact = format.lower() if format and format.lower() != Format.SAFETENSORS else ""
    found = [one for one in _meant(session, what) if (not exact or one.format == exact)
             and family in (None, one.format.family)
             and quantization.upper() in ("", one.quantization.upper())]
    if len(found) < 2:
        return found
    repository = found[0].hub.repository if found[0].hub is not None else None
    entry = catalogue(session).of_repository(repository or "")
    shape: Shape | None = entry.shape if entry is not None else None
    forms = [_Here(one.quantization, one.bytes, one.key.variant, one) for one in found]
    return [fit.form.variant for fit in fits(forms, shape, hardware_of(session))]


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
