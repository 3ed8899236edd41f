"""Files that are models by themselves: GGUF with its shards and projector, lone safetensors, pickles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helixstore.errors import HelixError, Incomplete, Unreadable
from helixstore.formats.describe import Description, describe_folder
from helixstore.formats.gguf import Gguf, read_gguf
from helixstore.formats.inspection import Inspection, Part
from helixstore.formats.meaning import gguf_header, gguf_purpose, gguf_quantization, is_model, shard_of
from helixstore.formats.names import Shard, base_name, extension, projector_stem, shard_name, shard_of_name
from helixstore.formats.opened import Opened, show
from helixstore.formats.sniff import UNSAFE, Content, sniff
from helixstore.values import Format, Header, Purpose, Role

__all__ = ["LooseFile", "attach_projectors", "choose_projectors", "describe_ggufs", "group", "read_loose"]

#: The projector to take when several fit, the best first: 16 bits are what the programs' own guides name.
_PROJECTOR_ORDER = ("F16", "BF16", "Q8_0", "F32")
_LEGACY_REMEDY = "convert it to GGUF with llama.cpp's convert_llama_ggml_to_gguf.py"


@dataclass(frozen=True, slots=True)
class LooseFile:
    """A file that is a model or a shard of one.

    Attributes:
        name: the last part of its path.
        path: absolute.
        bytes: size in bytes.
        content: what its first bytes show.
        facts: of a GGUF.
        shard: of a set with more than one.
    """

    name: str
    path: str
    bytes: int
    content: Content
    facts: Gguf | None = None
    shard: Shard | None = None


def read_loose(path: str) -> LooseFile | None:
    """Read the header of one file.

    Returns:
        None when it is no model at all.

    Raises:
        Unreadable, Incomplete: it cannot be read, lies, is cut, or is of a kind from before GGUF.
    """
    name = path.rpartition("/")[2]
    with Opened(path) as file:
        if file.size == 0 and extension(name) in ("gguf", "safetensors"):
            raise Incomplete(f"{show(path)} is empty", "download it again", path)
        content = sniff(file)
        if content is Content.LEGACY:
            raise Unreadable(f"{show(path)} is a GGML file from before GGUF", _LEGACY_REMEDY, path)
        if content is Content.OTHER:
            if extension(name) in ("gguf", "safetensors"):
                raise Unreadable(f"{show(path)} is not a {extension(name)} file", "download it again", path)
            return None
        if content is not Content.GGUF:
            return LooseFile(name, path, file.size, content, None, shard_of_name(name))
        facts = read_gguf(file)
    if not is_model(facts):
        return None
    return LooseFile(name, path, facts.size, content, facts, _checked_shard(path, name, facts))


def _checked_shard(path: str, name: str, facts: Gguf) -> Shard | None:
    """The shard that the header says it is, under its name; None when it is whole."""
    try:
        number, count, _ = shard_of(facts)
    except Unreadable as error:
        raise Unreadable(f"{show(path)} makes no sense: {error.message}", "download it again", path) from error
    if count == 1:
        return None
    named = shard_of_name(name)
    if named is None:                                   # a hash, or renamed: the others cannot be found by name
        stem, dot, ending = name.rpartition(".")
        return Shard(stem if dot else name, number + 1, count, "." + ending if dot else ".gguf")
    if (named.number, named.total) != (number + 1, count):
        raise Unreadable(
            f"{show(path)} is named shard {named.number} of {named.total}, but its header says {number + 1} of {count}",
            "give it its original name", path,
        )
    return named


def group(files: Iterable[LooseFile], broken: frozenset[str], fail: Callable[[HelixError], None]) -> list[Inspection]:
    """Join shards, and give each model its projector.

    Args:
        files: of one folder.
        broken: names in it that could not be read; a set that needs one of them is left out, since it was told already.
        fail: is called for each set that makes no sense.
    """
    found: list[Inspection] = []
    for members in _sets(files):
        try:
            inspection = _inspection(members)
        except HelixError as error:
            fail(error)
        else:
            if broken.isdisjoint(inspection.missing):
                found.append(inspection)
    return attach_projectors(found)


def _sets(files: Iterable[LooseFile]) -> list[list[LooseFile]]:
    sets: dict[tuple[str, Content, str, int], list[LooseFile]] = {}
    for file in files:
        stem = (file.shard.stem + file.shard.rest, file.shard.total) if file.shard else (file.name, 1)
        sets.setdefault((stem[0], file.content, "shards" if file.shard else "", stem[1]), []).append(file)
    return [sorted(members, key=_number) for members in sets.values()]


def _number(file: LooseFile) -> int:
    return file.shard.number if file.shard else 1


def _inspection(members: list[LooseFile]) -> Inspection:
    first = members[0]
    role = Role.PICKLE if first.content is Content.PICKLE else Role.WEIGHTS
    parts = [Part(file.name, Path(file.path), file.bytes, role) for file in members]
    missing: tuple[str, ...] = ()
    if first.shard:
        there = {file.shard.number for file in members if file.shard}
        missing = tuple(shard_name(first.shard, n) for n in range(1, first.shard.total + 1) if n not in there)
    if first.content is Content.GGUF:
        shards = [(file.name, file.facts) for file in members if file.facts]
        description = describe_ggufs(shards, not missing, first.path)
        if description.purpose is Purpose.PROJECTOR:
            parts = [replace(part, role=Role.PROJECTOR) for part in parts]
    elif first.content is Content.PICKLE:
        description = Description(Format.PYTORCH, "", Purpose.MODEL, Header(), ())
    else:
        description = describe_folder(parts)
    return Inspection(
        Path(first.path), base_name(first.name), description.format, description.quantization, description.purpose,
        description.header, tuple(parts), missing, UNSAFE if role is Role.PICKLE else "", description.notes,
    )


def describe_ggufs(shards: Sequence[tuple[str, Gguf]], whole: bool, path: str = "") -> Description:
    """What a GGUF, or all shards of one, mean.

    Args:
        shards: (file name, header), the first shard first.
        whole: none is missing, so that counts over all of them can be checked.
        path: for messages.

    Raises:
        Unreadable: headers that make no sense, by themselves or together.
    """
    name, first = shards[0]
    total = Gguf(0, first.version, first.byte_order, first.values, first.lengths)
    for _, facts in shards:
        total.tensors += facts.tensors
        total.parameters += facts.parameters
        total.has_layers |= facts.has_layers
        total.has_tower |= facts.has_tower
        for target, source in ((total.types, facts.types), (total.weight_elements, facts.weight_elements)):
            for kind, number in source.items():
                target[kind] = target.get(kind, 0) + number
    try:
        header = gguf_header(total)
    except Unreadable as error:
        raise Unreadable(f"{show(path or name)} makes no sense: {error.message}", "download it again", path) from error
    expected = shard_of(first)[2]
    if whole and header.shards > 1 and expected is not None and expected != total.tensors:
        raise Unreadable(
            f"the shards of {show(path or name)} hold {total.tensors:,} tensors, not {expected:,}",
            "download them again", path,
        )
    quantization, note = gguf_quantization(header.file_type, total.weight_elements)
    return Description(Format.GGUF, quantization, gguf_purpose(total, name), header, (note,) if note else ())


# ---- projectors


def attach_projectors(found: list[Inspection]) -> list[Inspection]:
    """Give each model of a folder the projector that belongs to it; projectors without a model stay by themselves."""
    projectors = [one for one in found if one.format is Format.GGUF and one.purpose is Purpose.PROJECTOR and one.whole]
    bases = {one.name.casefold() for one in found if _takes_projector(one)}
    if not projectors or not bases:
        return found
    owners = choose_projectors(bases, {one.location: one.quantization for one in projectors})
    parts = {one.location: one.parts for one in projectors}
    result = [
        replace(one, parts=(*one.parts, *parts[owners[base]]))
        if _takes_projector(one) and (base := one.name.casefold()) in owners else one
        for one in found
    ]
    used = set(owners.values())
    return [one for one in result if one.location not in used]


def _takes_projector(one: Inspection) -> bool:
    return one.format is Format.GGUF and one.purpose is Purpose.MODEL


def choose_projectors(bases: set[str], projectors: dict[Path, str]) -> dict[str, Path]:
    """Which model of a folder gets which projector.

    Args:
        bases: names of the models without quantisation, case-folded. If there is only one, every projector is its own.
        projectors: where each lies -> its quantisation.

    Returns:
        Name of the model -> the best of the projectors that speak of it.
    """
    plain = {base: "-".join(word for word in re.split(r"[-_.]", base) if word) for base in bases}

    def rank(path: Path) -> tuple[int, str]:
        kind = projectors[path]
        return (_PROJECTOR_ORDER.index(kind) if kind in _PROJECTOR_ORDER else len(_PROJECTOR_ORDER), path.name)

    owners: dict[str, Path] = {}
    for path in sorted(projectors, key=rank):
        base = next(iter(bases)) if len(bases) == 1 else _speaks_of(path.name, plain)
        if base is not None:
            owners.setdefault(base, path)
    return owners


def _speaks_of(projector: str, plain: dict[str, str]) -> str | None:
    """The one model that a projector's name speaks of; `plain`: name -> its words joined by "-"."""
    stem = projector_stem(projector)
    if not stem:
        return None
    exact = [base for base, words in plain.items() if words == stem]
    near = [base for base, words in plain.items() if words.startswith(stem + "-") or stem.startswith(words + "-")]
    fitting = exact or near
    return fitting[0] if len(fitting) == 1 else None
