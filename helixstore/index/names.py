"""Which model a person means (format.md, "Names"): pure, over whatever shelf of names there is.

A query is read in several ways, in this order; the first that names something decides:

    llama3.1:8b             as it stands: the model's own name, then any name that a program or a hub has for it
    NAME@REV                a version: the commit it came from, or the digest of its manifest, at least 4 digits
    NAME:QUANT[@REV]        a variant: its quantisation, its format, or its id `format:quant`
    0123abcd                a digest, of a manifest or of a blob, BLAKE3 or SHA-256, at least 6 digits
    lla                     the beginning of one model's name, then of one of its other names

What fits several models is refused, and they are listed. What fits several variants of one model gives all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from helixstore.errors import Ambiguous, NotFound
from helixstore.fs.names import folded
from helixstore.values import Format, Key, Source

__all__ = ["Candidate", "Reading", "Shelf", "names_of", "readings", "resolve"]

_SCHEMES = ("https://huggingface.co/", "huggingface.co/", "hf.co/", "hf:", "ollama:")
_DIGEST = re.compile(r"(?:blake3[:-]|sha256[:-])?([0-9a-f]{6,64})")
_REVISION = re.compile(r"[0-9a-f]{4,64}")
_LISTED = 10


class Candidate(NamedTuple):
    """A version of a variant, as far as names go.

    Attributes:
        key: as spelt.
        manifest: digest.
        format, quantization: "" when not known here; then the id alone tells them.
        names: what programs and hubs call it, folded, without the model's own name.
        revisions: the commits it came from.
        token: whatever the shelf finds it by again.
    """

    key: Key
    manifest: str
    format: str
    quantization: str
    names: frozenset[str]
    revisions: tuple[str, ...]
    token: object = None


class Shelf(Protocol):
    """Where names are looked up."""

    def named(self, names: Sequence[str]) -> list[Candidate]:
        """Every current candidate that bears one of these folded names, and perhaps others."""
        ...

    def beginning(self, prefixes: Sequence[str]) -> list[Candidate]:
        """Every current candidate with a name that begins so, and perhaps others."""
        ...

    def digest(self, prefix: str) -> list[Candidate]:
        """Every current candidate whose manifest, or one of whose files, has a digest that begins so."""
        ...

    def older(self, model: str) -> list[Candidate]:
        """Every version of the model (folded name) that there ever was, the latest first."""
        ...

    def models(self) -> list[str]:
        """The names of all models, as spelt."""
        ...


class Reading(NamedTuple):
    """One way to read a query; all folded."""

    name: str
    pick: str = ""
    revision: str = ""


def names_of(sources: Iterable[Source], files: Iterable[str] = ()) -> list[str]:
    """What programs and hubs call a variant, folded.

    Args:
        sources: where it came from: repositories, with and without owner, and programs' own names.
        files: paths of its files whose names are worth asking for.
    """
    found: dict[str, None] = {}
    for source in sources:
        for name in (source.repository, source.name):
            if name:
                found[folded(name)] = None
                found[folded(name).removesuffix(":latest")] = None
                found[folded(name.rstrip("/").rpartition("/")[2])] = None
    for path in files:
        name = folded(path.rpartition("/")[2])
        found[name] = None
        found[name.removesuffix(".gguf")] = None
    found.pop("", None)
    return list(found)


def readings(query: str) -> list[Reading]:
    """The ways to read a query, the likeliest first."""
    whole = folded(query.strip())
    for scheme in _SCHEMES:
        if whole.startswith(scheme):
            whole = whole[len(scheme):].strip("/")
            break
    base, _, revision = whole.rpartition("@")
    versions = [(whole, "")]
    if base and _REVISION.fullmatch(revision):
        versions.append((base, revision))
    found = [Reading(text, "", version) for text, version in versions]
    for text, version in versions:
        name, _, pick = text.rpartition(":")
        if name and pick:
            found.append(Reading(name, pick, version))
            first, _, kind = name.rpartition(":")
            if first and kind in _KINDS:
                found.append(Reading(first, f"{kind}:{pick}", version))
    return [reading for reading in found if reading.name]


_KINDS = frozenset(item.value for item in Format)


def resolve(query: str, shelf: Shelf) -> list[Candidate]:
    """The versions that a query means: variants of one model, never of several.

    Raises:
        Ambiguous: it fits several models.
        NotFound: it fits nothing, or no variant or version of the model that it names.
    """
    ways = readings(query)
    candidates = shelf.named([way.name for way in ways])
    missed: tuple[Reading, list[Candidate]] | None = None
    for way in ways:
        bearing = [c for c in candidates if folded(c.key.model) == way.name] or \
            [c for c in candidates if way.name in c.names]
        if found := _picked(bearing, way, shelf):
            return _of_one_model(query, found)
        if bearing and missed is None:
            missed = way, bearing
    if (match := _DIGEST.fullmatch(ways[0].name if ways else "")) and (found := shelf.digest(match[1])):
        return _of_one_model(query, found)
    if missed is not None:
        raise _no_such_variant(query, *missed)
    candidates = shelf.beginning([way.name for way in ways])
    for way in ways:
        bearing = [c for c in candidates if folded(c.key.model).startswith(way.name)] or \
            [c for c in candidates if any(name.startswith(way.name) for name in c.names)]
        if found := _picked(bearing, way, shelf):
            return _of_one_model(query, found)
    raise NotFound(f"no model is called {query!r}", _near(query, shelf))


def _picked(bearing: list[Candidate], way: Reading, shelf: Shelf) -> list[Candidate]:
    """Those of the bearers of a name that are the variant and version asked for."""
    found = [c for c in bearing if _is_variant(c, way.pick)]
    if not way.revision:
        return found
    if current := [c for c in found if _is_version(c, way.revision)]:
        return current
    latest: dict[Key, Candidate] = {}
    for model in {folded(c.key.model) for c in bearing}:
        for c in shelf.older(model):
            if _is_variant(c, way.pick) and _is_version(c, way.revision):
                latest.setdefault(c.key, c)
    return list(latest.values())


def _is_variant(candidate: Candidate, pick: str) -> bool:
    if not pick:
        return True
    identity = folded(candidate.key.variant)
    plain = identity.partition("@")[0]
    return pick in (identity, plain, plain.partition(":")[2], plain.partition(":")[0], folded(candidate.quantization),
                    candidate.format)


def _is_version(candidate: Candidate, revision: str) -> bool:
    return candidate.manifest.startswith(revision) or any(one.startswith(revision) for one in candidate.revisions)


def _of_one_model(query: str, found: list[Candidate]) -> list[Candidate]:
    models = {folded(c.key.model): c.key.model for c in found}
    if len(models) > 1:
        listed = ", ".join(sorted(models.values())[:_LISTED])
        more = f" and {len(models) - _LISTED} more" if len(models) > _LISTED else ""
        raise Ambiguous(f"{query!r} fits {len(models)} models: {listed}{more}", "use the name of one of them")
    return sorted(found, key=lambda c: (c.key, c.manifest))


def _no_such_variant(query: str, way: Reading, bearing: list[Candidate]) -> NotFound:
    model = bearing[0].key.model
    there = ", ".join(sorted({c.key.variant for c in bearing})[:_LISTED])
    what = f"variant {way.pick}" if way.pick else f"version {way.revision}"
    if way.pick and way.revision:
        what = f"variant {way.pick} at version {way.revision}"
    return NotFound(f"{query!r}: the model {model} has no {what}; it has {there}",
                    f"helixstore show {model}")


def _near(query: str, shelf: Shelf) -> str:
    """Names like it, as a remedy."""
    import difflib
    import heapq

    wanted = folded(query.strip())
    pieces = _pieces(wanted)                            # difflib alone takes a second for 10,000 names
    models = {folded(name): name for name in shelf.models()}
    likely = heapq.nlargest(100, models, key=lambda name: len(pieces & _pieces(name)))
    near = difflib.get_close_matches(wanted, likely, 3, 0.6) or [name for name in likely if wanted in name][:3]
    if near:
        return f"did you mean {', '.join(models[name] for name in near)}?"
    return "`helixstore list` shows all models"


def _pieces(name: str) -> set[str]:
    """Every three letters in a row."""
    return {name[at:at + 3] for at in range(max(len(name) - 2, 1))}
