"""The library: a folder of helixstore's own with every model under its real file names.

`helixstore path MODEL` answers from it. It is projected like any provider's root, so that the same rules and the same
ledger hold for it; it belongs to no program and is never listed as a provider.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from helixstore.errors import UnsafeName
from helixstore.fs.names import check_relative
from helixstore.providers.layout import Copy, Entry, Env, Facts, Layout, Refusal, Root, Weight
from helixstore.values import LIBRARY, Key, LinkKind, Role, Variant

__all__ = ["Library", "folder_of", "place_of"]

_LINKED = frozenset({Role.WEIGHTS, Role.PROJECTOR, Role.PICKLE})
_KINDS = (LinkKind.HARD, LinkKind.REFLINK, LinkKind.SYMBOLIC)


class Library(Layout):
    """Every variant, each in a folder of its own: `<model>/<variant id>/<files>`."""

    name = LIBRARY
    title = "helixstore's own library"
    checked = ()
    formats = ()

    def roots(self, env: Env) -> Sequence[Root]:
        """One folder beside the other owned ones."""
        return (Root(env.farms / self.name, "helixstore's own", owned=True),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Everything."""
        return None

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """Weights linked, small files copied; the witness is the first file of weights."""
        for variant in variants:
            yield from self._entries(variant)

    def alike(self, variant: Variant) -> tuple[()]:
        """None: names are as different as models."""
        return ()

    def _entries(self, variant: Variant) -> Iterator[Entry]:
        folder = folder_of(variant.key)
        witness = (variant.weights or variant.files)[0].path
        for file in variant.files:
            body = Weight(file.blake3, file.bytes, _KINDS) if file.role in _LINKED else Copy(file.blake3, file.bytes)
            yield Entry(f"{folder}/{file.path}", body, variant.key, witness=file.path == witness)


def folder_of(key: Key) -> str:
    """The variant's folder, relative to the library: its name and id without what Windows forbids.

    A name that had to be changed ends with the first digits of its own digest, so that no two share a folder.
    """
    return f"{_legal(key.model)}/{key.variant.replace(':', '-')}"


def _legal(name: str) -> str:
    try:
        return name if "/" not in check_relative(name) else _changed(name)
    except UnsafeName:
        return _changed(name)


def _changed(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:80].strip(".-")
    return f"{kept or 'model'}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def place_of(library: Path, variant: Variant) -> Path:
    """The path that a program loads: the file itself, or the first shard, or the folder of a model with several kinds.

    Args:
        library: the library's root, absolute.
        variant: any variant.
    """
    folder = library / folder_of(variant.key)
    if variant.format.family == "gguf" or len(variant.files) == 1:
        return folder / (variant.weights or variant.files)[0].path
    return folder
