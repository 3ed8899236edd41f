"""Checks of what a layout finds in its folders: all that it wanted there itself, under names that lead back to it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from helixstore.fs import kernel
from helixstore.providers.layout import Copy, Entry, Found, Text, Weight
from helixstore.testing.case import Case, Projected, check, require, said
from helixstore.testing.ground import ConfinedReader, once
from helixstore.testing.samples import STRANGE, manifest_of
from helixstore.values import Key, Source, Variant

_JUNK = (b"", b"\0" * 64, b"GGUF\x03\0\0\0" + b"\xff" * 64, b"{", b"\xff\xfe\xfa")


class Met(NamedTuple):
    """What was discovered: where, and the digests of its files by their path in the model."""

    root: Projected
    found: Found
    digests: dict[str, str]


@check
def what_it_wants_it_finds_by_hard_links(case: Case) -> None:
    """What it has projected by hard links it discovers: every model, with the same bytes, and nothing else or wrong."""
    _all_found(case, case.shown(), symbolic=False)


@check
def what_it_wants_it_finds_by_symbolic_links(case: Case) -> None:
    """What it has projected by symbolic links it discovers: every model, with the same bytes."""
    _all_found(case, case.shown(), symbolic=True)


@check
def what_it_finds_has_a_name_of_its_own(case: Case) -> None:
    """Each model that it discovers has a name, and a source that is no other's: where it lies in this program."""
    projected = case.shown()
    case.make(projected)
    seen: dict[object, Path] = {}
    for met in _discovered(case, projected):
        found, where = met.found, met.found.inspection.location
        require(found.name.strip(), f"the model at {where} gets no name")
        source = found.source
        require(source.kind in ("hub", "program", "file"),
                f"the model at {where} has a source of the kind {source.kind!r}")
        require(source.name, f"the source of the model at {where} does not say its name")
        require(source.kind != "program" or source.program, f"the source of the model at {where} names no program")
        require(source.kind != "hub" or (source.repository and source.revision and found.claims),
                f"the model at {where} is said to be the hub's without repository, revision or claims")
        if source.kind == "program":
            require(seen.setdefault(source.origin, where) == where,
                    f"{seen.get(source.origin)} and {where} have one source: {source.name}")


@check
def names_lead_back(case: Case) -> None:
    """Known by what it discovered alone, a model is wanted again where it lies: not one path or sidecar changes."""
    projected = case.shown()
    case.make(projected)
    known = _known(case, _discovered(case, projected))
    for each in projected:
        mine = [variant for variant in known if case.layout.accepts(variant, each.facts) is None]
        _as_before(each, case.project(mine, each.root, each.facts))


@check
def strange_names_lead_back(case: Case) -> None:
    """Under names that it had to change, too, models are found and wanted again where they lie."""
    chosen = case.one_of_each(case.machine)
    same = [chosen[number % len(chosen)] for number in range(len(STRANGE))]
    many = [replace(variant, key=Key(name, variant.key.variant), sources=())
            for name, variant in zip(STRANGE, same, strict=True)]
    for number, group in enumerate(_of_unlike_content(many)):
        own = type(case)(case.layout, case.home / f"group-{number}")
        own.home.mkdir()
        projected = [own.project(group, root, case.machine) for root in own.roots(case.machine) if not root.cache]
        _all_found(own, projected, symbolic=False, exactly=False)
        known = _known(own, _discovered(own, projected))
        for each in projected:
            mine = [variant for variant in known if case.layout.accepts(variant, each.facts) is None]
            _as_before(each, own.project(mine, each.root, each.facts))


@check
def broken_folders_are_borne(case: Case) -> None:
    """With junk, folders, or links that lead nowhere in the place of any file, it raises nothing."""
    projected = case.farm(case.one_of_each(case.machine))
    case.make(projected)
    everything = [each.root.path / path for each in projected for path in sorted(once(each.entries))]
    for number in range(len(_JUNK) + 2):
        for path in everything[number::len(_JUNK) + 2]:
            _spoil(path, number)
    _discovered(case, projected)
    for each in projected:
        shutil.rmtree(each.root.path)
        kernel.write_new(each.root.path, b"no folder", durable=False)
    require(not _discovered(case, projected), "it discovers something in a root that is a file")


def _spoil(path: Path, how: int) -> None:
    if path.is_dir() or not os.path.lexists(path):
        return
    kernel.unlink(path)
    if how < len(_JUNK):
        kernel.write_new(path, _JUNK[how], durable=False)
    elif how == len(_JUNK):
        path.mkdir()
    else:
        kernel.symlink("/nonexistent/blob", path)


def _all_found(case: Case, projected: Sequence[Projected], *, symbolic: bool, exactly: bool = True) -> None:
    """Materialised, every variant is found in each root in which it lies, with weights and bytes as projected."""
    case.make(projected, symbolic=symbolic)
    reader = ConfinedReader(case.home)
    met = _discovered(case, projected, reader)
    require(not reader.issues, f"it finds fault with what it wanted itself: {reader.issues[0].path}: "
                               f"{reader.issues[0].message}" if reader.issues else "")
    for each in projected:
        here = [one for one in met if one.root is each]
        for variant in each.here:
            wanted, linked = _weights(each, variant), _blobs(each, variant)
            match = [one for one in here if wanted <= set(one.digests.values()) <= linked]
            require(match, f"{variant.key} lies in {each.root.path}, and is not discovered with "
                           f"the bytes it has there ({len(here)} models are)")
        wanted_here = {frozenset(_weights(each, variant)) for variant in each.here}
        strange = [one for one in here if not any(weights <= set(one.digests.values()) for weights in wanted_here)]
        require(not strange, f"it discovers {strange[0].found.inspection.location if strange else ''}, "
                             "which is no model that it wanted")
        twice = len(here) - len({one.found.inspection.location for one in here})
        require(not exactly or not twice, f"it discovers {twice} models twice in {each.root.path}")


def _discovered(case: Case, projected: Iterable[Projected], reader: ConfinedReader | None = None) -> list[Met]:
    """What lies in the roots, with the digests of all its files."""
    reader = reader or ConfinedReader(case.home)
    return [Met(each, found, _digests(found))
            for each in projected for found in case.layout.discover(each.root, reader)]


def _digests(found: Found) -> dict[str, str]:
    parts = {part.path: found.files.get(part.path, part.location) for part in found.inspection.parts}
    unknown = found.files.keys() - parts.keys()
    require(not unknown, f"`files` of {found.name} names {min(unknown, default='')}, which is no part of the model")
    return {path: blake3(Path(where).read_bytes()).hexdigest() for path, where in parts.items()}


def _weights(projected: Projected, variant: Variant) -> set[str]:
    own = {file.blake3 for file in variant.weights}
    return own & _blobs(projected, variant)


def _blobs(projected: Projected, variant: Variant) -> set[str]:
    return {entry.body.blob for entry in projected.of(variant.key) if isinstance(entry.body, Weight | Copy)}


def _known(case: Case, met: Iterable[Met]) -> list[Variant]:
    """Variants as intake would make them of what was discovered, and of nothing else: content, name, sources."""
    known: dict[tuple[object, ...], Variant] = {}
    names: dict[str, int] = {}
    everything = {file.blake3: file for variant in case.variants for file in variant.files}
    for _, found, digests in met:
        content = (found.inspection.format, frozenset(digests.values()))
        source = _proven(case, found, digests)
        if content in known:
            before = known[content]
            known[content] = replace(before, sources=(*before.sources, source))
            continue
        number = names[found.name.casefold()] = names.get(found.name.casefold(), 0) + 1
        name = found.name if number == 1 else f"{found.name}~{number}"
        roles = {part.path: part.role for part in found.inspection.parts}
        files = tuple(replace(everything[digest], path=path, role=roles[path])
                      for path, digest in sorted(digests.items()))
        of = found.inspection
        manifest = manifest_of(of.format, of.quantization, of.purpose, files)
        known[content] = Variant(Key(name, f"{of.format.value}:{of.quantization}"), manifest, of.format,
                                 of.quantization, of.purpose, of.header, files, (source,))
    return list(known.values())


def _proven(case: Case, found: Found, digests: dict[str, str]) -> Source:
    """A source of the hub's stays so if every claim holds, and every file has one."""
    if found.source.kind != "hub":
        return found.source
    for path, digest in digests.items():
        data = case.content(digest)
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if found.claims.get(path) not in (hashlib.sha256(data).hexdigest(), git):
            return replace(found.source, kind="program", revision=None, program=found.source.program or "huggingface")
    return found.source


def _as_before(before: Projected, after: Projected) -> None:
    """The same paths with the same bodies and witnesses; the model's name may be another."""
    was = {path: (entry.body, entry.witness) for path, entry in _best(before).items()}
    now = {path: (entry.body, entry.witness) for path, entry in _best(after).items()}
    gone, new = sorted(was.keys() - now.keys()), sorted(now.keys() - was.keys())
    require(not gone and not new, f"what lies at {', '.join(gone[:2]) or '-'} is wanted at {', '.join(new[:2]) or '-'} "
                                  f"once it is known by its place only")
    for path, (body, witness) in was.items():
        then, still = now[path]
        if isinstance(body, Text) and isinstance(then, Text):
            require(body == then, f"the sidecar {path} says {said(body.data)}, and then {said(then.data)}")
        require(type(body) is type(then) and witness == still, f"{path} is another kind of entry then")


def _best(projected: Projected) -> dict[str, Entry]:
    """The entries by path; where several models claim one, a witness."""
    return {entry.path: entry for entry in sorted(projected.entries, key=lambda entry: entry.witness)}


def _of_unlike_content(variants: Iterable[Variant]) -> list[list[Variant]]:
    """Groups in which no two have the same bytes."""
    groups: list[list[Variant]] = []
    for variant in variants:
        content = {file.blake3 for file in variant.weights}
        for group in groups:
            if all(content.isdisjoint({file.blake3 for file in other.weights}) for other in group):
                group.append(variant)
                break
        else:
            groups.append([variant])
    return groups
