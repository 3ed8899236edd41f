"""Models that lie in a program's folder as it would have them, and what must hold for a layout that reads them.

    lay(root, {"models/x.gguf": shelf.gguf("x")}, shelf)
    found = unchanged(JAN, Root(root, "test"))      # discover, then project: nothing of it would be touched
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from helixstore.providers.layout import Copy, Entry, Facts, Found, Layout, Root, Text, Weight
from helixstore.providers.reader import DiskReader
from helixstore.values import File, Format, Key, Role, Source, Variant
from support.layouts import FACTS, Shelf, check_entries, materialise

__all__ = ["again", "lay", "look", "unchanged", "variant_of"]


def lay(root: Path, models: Mapping[str, Variant], shelf: Shelf) -> None:
    """Real files: path -> a GGUF of one file (its projector as `mmproj.gguf` beside it), or a folder's files in it."""
    for place, variant in models.items():
        path = root / place
        for file in variant.files:
            if variant.format is Format.GGUF:
                target = path.with_name("mmproj.gguf") if file.role is Role.PROJECTOR else path
            else:
                target = path / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(shelf.blobs[file.blake3].read_bytes())


def look(layout: Layout, root: Root) -> tuple[list[Found], DiskReader]:
    """What `discover` finds, and the reader with what it told."""
    reader = DiskReader(root.path)
    return sorted(layout.discover(root, reader), key=lambda found: str(found.source.name)), reader


def variant_of(found: Found, name: str | None = None) -> Variant:
    """The variant that the engine would make of it."""
    one = found.inspection
    files = []
    for part in one.parts:
        data = part.location.read_bytes()
        files.append(File(part.path, len(data), blake3(data).hexdigest(), part.role))
    files.sort(key=lambda file: file.path)
    manifest = blake3("".join(file.blake3 for file in files).encode()).hexdigest()
    return Variant(Key(name or found.name, f"{one.format}:{one.quantization}"), manifest, one.format, one.quantization,
                   one.purpose, one.header, tuple(files), (found.source,))


def joined(found: Iterable[Found]) -> list[Variant]:
    """One variant for each content, with all of its sources, under names of their own."""
    made: dict[frozenset[str], Variant] = {}
    for number, one in enumerate(found):
        variant = variant_of(one, f"{number}-{one.name}")
        content = frozenset(file.blake3 for file in variant.files)
        known = made.get(content)
        made[content] = replace(known, sources=(*known.sources, one.source)) if known else variant
    return list(made.values())


def unchanged(layout: Layout, root: Root, facts: Facts = FACTS, others: Iterable[Variant] = ()) -> list[Found]:
    """Everything that is found is then wanted just as it lies there, whatever else is wanted there too."""
    found, _ = look(layout, root)
    names = [one.source.name for one in found if one.source.kind == "program"]
    assert len(set(names)) == len(names)
    variants = joined(one for one in found if one.source.kind == "program")
    assert all(layout.accepts(variant, facts) is None for variant in variants)
    own = {variant.key for variant in variants}
    entries = [e for e in layout.project([*others, *variants], root, facts) if e.key in own]
    for entry in entries:
        path = root.path / entry.path
        assert path.is_file(), f"{entry.path} would be made"
        assert as_wanted(path, entry), f"{entry.path} would be changed"
    for variant in variants:
        assert any(entry.key == variant.key and entry.witness for entry in entries)
    return found


def as_wanted(path: Path, entry: Entry) -> bool:
    data = path.read_bytes()
    match entry.body:
        case Weight(blob, size) | Copy(blob, size):
            return (blake3(data).hexdigest(), len(data)) == (blob, size)
        case Text(wanted):
            return data == wanted
    return False


def again(layout: Layout, root: Root, variants: list[Variant], shelf: Shelf, facts: Facts = FACTS) -> list[Found]:
    """discover(project(x)) is x, and projected once more it is where it was; each is checked as a projection too."""
    entries = list(layout.project(variants, root, facts))
    check_entries([entry for entry in entries if entry.key], variants)
    materialise(root.path, entries, shelf.blobs)
    found, reader = look(layout, root)
    assert reader.issues == []
    assert reader.notes == {}
    contents = {frozenset(file.blake3 for file in variant_of(one).files): one for one in found}
    assert contents.keys() == {frozenset(file.blake3 for file in variant.files) for variant in variants}
    sources: list[Variant] = []
    for variant in variants:
        one = contents[frozenset(file.blake3 for file in variant.files)]
        roles = {file.path.rpartition("/")[2]: file.role for file in variant.files}
        assert sorted(part.role for part in one.inspection.parts) == sorted(roles.values())
        assert isinstance(one.source, Source)
        sources.append(replace(variant, sources=(one.source,)))
    once_more = list(layout.project(sources, root, facts))
    assert {(e.path, e.key, e.witness) for e in once_more} == {(e.path, e.key, e.witness) for e in entries}
    assert all(as_wanted(root.path / entry.path, entry) for entry in once_more)
    return found
