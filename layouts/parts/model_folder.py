"""Programs with a folder of model folders (TabbyAPI, FastChat): each real folder in it is one Hugging Face model.

    <root>/Qwen3-8B-exl3-4.0bpw/config.json, tokenizer.json, model-00001-of-00002.safetensors, ...

A folder that is a link is not entered: what it leads to is found where it lies, and a linked folder is never made here,
since deleting in it would delete behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from helixstore.fs.names import folded
from helixstore.providers.layout import Entry, Found, Reader
from helixstore.values import Family, Key, Variant

from .hf_folders import folder_entries, model_files, repository_name
from .own import below, found_own, loose, own_places

__all__ = ["discover_folders", "project_folders"]

_DEPTH = 3                          # levels of folders below the root: TabbyAPI loads `a/b`, though it lists `a` only


def discover_folders(folder: Path, reader: Reader, program: str) -> Iterator[Found]:
    """The models in a folder of model folders; a source's name is the path of the model's own.

    Args:
        folder: the program's folder, absolute.
        reader: for its entries.
        program: the provider's name.
    """
    for inspection in reader.models(folder, _DEPTH):
        where = below(folder, inspection.location)
        alone = inspection.format.family is not Family.SAFETENSORS or where.endswith(".safetensors")
        yield loose(inspection) if alone or not where else found_own(inspection, program, where, folder)


def project_folders(
    variants: Sequence[Variant], program: str, names: Mapping[Key, str], code: Callable[[Variant], bool]
) -> Iterable[Entry]:
    """One real folder for each model; one that lies there keeps its place.

    Args:
        variants: what the program can load.
        program: the provider's name.
        names: of the folders, unique; for those that lie nowhere yet.
        code: whether the Python files of a model go in.
    """
    own = {variant.key: [path for path, _ in own_places(variant, program)] for variant in variants}
    taken = {folded(path.partition("/")[0]) for paths in own.values() for path in paths}
    for variant in variants:
        name = names[variant.key]
        if folded(name) in taken:
            name = repository_name(f"{name[:87]}-{variant.manifest[:8]}")
        for folder in own[variant.key] or [name]:
            yield from folder_entries(folder, variant, model_files(variant, code(variant)))
