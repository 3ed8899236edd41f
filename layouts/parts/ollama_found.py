"""What already lies in Ollama's folder: each manifest with the blobs that it names, as one model.

The weights and a projector are the model; everything else that a manifest names is small text (template, parameters,
system prompt, licences, messages, configuration) and is kept with the source, so that the model comes back as it was.
Left where they are, with a reason: what only Ollama can put together or run. A blob's name is a claim; of the small
ones it is proven here, of the others by intake.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.errors import Unreadable
from helixstore.fs.names import printable
from helixstore.providers.layout import Found, Reader, Root, Seen
from helixstore.values import Format, Role, Source

from .ollama_manifest import Layer, Manifest, blob_path, read_manifest
from .ollama_names import Name

if TYPE_CHECKING:
    from helixstore.formats import Inspection, Part

__all__ = ["discover", "needed", "only_ollama"]

_MANIFEST_BYTES = 4 << 20
_TEXT_BYTES = 1 << 20               # of all that a source keeps
_TEXTS = ("template", "prompt", "system", "license", "params", "messages")
_WEIGHTS = ("model", "projector")
#: kinds of layers that make a model one that only Ollama can put together
_ONLY_OLLAMA = {
    "tensor": "it is kept as one blob for each tensor, which only Ollama reads",
    "json": "it is kept as one blob for each tensor, which only Ollama reads",
    "adapter": "it has an adapter, which only Ollama applies",
    "draft": "it has a draft model inside, which only Ollama uses",
}


def discover(root: Root, reader: Reader) -> Iterator[Found]:
    """The model of every manifest whose blobs are there, and of which anything new can be learnt.

    What a model was made from there (`create` notes it) comes before it, and gives the content its name.
    """
    eyes = _Eyes(root.path, reader)
    whole: list[tuple[bool, Name, Path, Manifest]] = []
    shared: set[str] = set()
    for parts, seen in _manifests(root.path / "manifests", (), reader):
        name = Name.of(parts)
        if seen.kind == "link":
            reader.issue("unreadable", seen.path, "the manifest is a link that leads nowhere, and Ollama lists nothing "
                         "while it is there", "delete it")
        elif name is None:
            reader.note(seen.path, "Ollama knows no model of such a name")
        elif seen.kind == "file" and (manifest := eyes.manifest(name, seen.path)):
            whole.append((manifest.derived, name, seen.path, manifest))
            if not eyes.settled(seen.path, manifest):
                shared.update(layer.digest for layer in manifest.of(*_WEIGHTS))
    for _, name, path, manifest in sorted(whole, key=lambda one: one[0]):
        fresh = not shared.isdisjoint(layer.digest for layer in manifest.of(*_WEIGHTS))
        if fresh and (found := eyes.found(name, path, manifest)):
            yield found


def needed(root: Path, reader: Reader) -> dict[str, list[str]]:
    """Every blob that a manifest names -> those manifests; all relative to the root."""
    users: dict[str, list[str]] = {}
    for parts, seen in _manifests(root / "manifests", (), reader):
        text = reader.text(seen.path, _MANIFEST_BYTES) if seen.kind == "file" else None
        try:
            layers = read_manifest(text).all if text is not None else ()
        except Unreadable:                              # said when models are looked for
            continue
        for layer in layers:
            users.setdefault(blob_path(layer.digest), []).append("/".join(("manifests", *parts)))
    return users


def _manifests(folder: Path, parts: tuple[str, ...], reader: Reader) -> Iterator[tuple[tuple[str, ...], Seen]]:
    """Whatever lies four levels down, as Ollama looks for it; links to folders are followed."""
    for seen in reader.entries(folder):
        here = (*parts, seen.name)
        if len(here) == len(Name._fields):
            if seen.kind != "folder":
                yield here, seen
        elif seen.kind == "folder":
            yield from _manifests(seen.path, here, reader)


def only_ollama(manifest: Manifest) -> str:
    """Why no other program can have a model that has weights, or ""."""
    kinds = {layer.kind for layer in manifest.layers}
    for kind, reason in _ONLY_OLLAMA.items():
        if kind in kinds:
            return reason
    if unknown := sorted(kinds - {*_TEXTS, *_WEIGHTS}):
        return f"it has a part of a kind that is not known here: {printable(unknown[0][:40])}"
    return "its weights are several blobs, which only Ollama puts together" if len(manifest.of("model")) > 1 else ""


class _Eyes:
    """One look at one root; a blob that many models share is read once."""

    def __init__(self, root: Path, reader: Reader) -> None:
        self._root, self._reader = root, reader
        self._blobs = {seen.name: seen for seen in reader.entries(root / "blobs")}
        self._texts: dict[str, str | None] = {}
        self._settled: dict[str, bool] = {}

    def manifest(self, name: Name, path: Path) -> Manifest | None:
        """A manifest of a model whose blobs are there; None, with a reason, when it stays where it is."""
        text = self._reader.text(path, _MANIFEST_BYTES)
        if text is None:
            return None
        try:
            manifest = read_manifest(text)
        except Unreadable as error:
            self._reader.issue("unreadable", path, f"the manifest of {name.shown} is damaged: {error.message}",
                               f"ollama pull {name.shown}, or delete the file")
            return None
        if reason := only_ollama(manifest) or self._without_weights(manifest):
            self._reader.note(path, reason)
            return None
        return manifest if self._whole(name, path, manifest) else None

    def settled(self, path: Path, manifest: Manifest) -> bool:
        """Whether a manifest and all of its blobs are as helixstore has made or adopted them."""
        for layer in manifest.all:
            if layer.digest not in self._settled:
                self._settled[layer.digest] = self._reader.settled(self._root / blob_path(layer.digest))
        return self._reader.settled(path) and all(self._settled[layer.digest] for layer in manifest.all)

    def found(self, name: Name, path: Path, manifest: Manifest) -> Found | None:
        """The model of one manifest; None, with a reason, when one of its blobs is not what it must be."""
        sidecars = self._sidecars(name, path, manifest)
        inspection = self._inspection(name, path, manifest) if sidecars else None
        if sidecars is None or inspection is None:
            return None
        claims = dict(zip((part.path for part in inspection.parts),
                          (layer.digest for layer in manifest.of(*_WEIGHTS)), strict=True))
        source = Source("program", name.family, None, "ollama", name.shown, sidecars)
        return Found(inspection, source, name.title, claims=claims)

    def _without_weights(self, manifest: Manifest) -> str:
        """Why there are none, or ""."""
        if manifest.of("model"):
            return ""
        there = manifest.config is not None and Path(blob_path(manifest.config.digest)).name in self._blobs
        text = self._text(manifest.config) if there and manifest.config else None
        try:
            config = json.loads(text or "{}")
        except (ValueError, RecursionError):
            config = {}
        host = config.get("remote_host") if isinstance(config, dict) else None
        return f"it runs on {printable(str(host)[:80])}, and nothing of it lies here" if host else "it has no weights"

    def _whole(self, name: Name, path: Path, manifest: Manifest) -> bool:
        """Whether every blob that the manifest names is there and has its size."""
        absent = []
        for layer in manifest.all:
            seen = self._blobs.get(Path(blob_path(layer.digest)).name)
            if seen is None or seen.kind != "file":
                absent.append(layer)
            elif layer.bytes is not None and seen.bytes != layer.bytes:
                self._damaged(name, seen.path, f"has {seen.bytes:,} of {layer.bytes:,} bytes")
                return False
        if absent:
            first = Path(blob_path(absent[0].digest)).name
            self._reader.issue("incomplete", path, f"{name.shown} lacks {len(absent)} of its {len(manifest.all)} files,"
                               f" such as {first}", f"ollama pull {name.shown}")
        return not absent

    def _sidecars(self, name: Name, path: Path, manifest: Manifest) -> tuple[tuple[str, str], ...] | None:
        """The manifest and the small blobs as text, by their paths; None when one of them is not what it is called."""
        kept = {name.path: manifest.text}
        for layer in manifest.all:
            if layer.kind in _WEIGHTS:
                continue
            there = self._text(layer)
            if there is None:
                return None
            kept[blob_path(layer.digest)] = there
        total = sum(len(one.encode()) for one in kept.values())
        if total > _TEXT_BYTES:
            self._reader.note(path, f"its texts have {total:,} bytes, more than are kept")
            return None
        return tuple(sorted(kept.items()))

    def _text(self, layer: Layer) -> str | None:
        """A small blob, proven to be what its name says."""
        if layer.digest not in self._texts:
            path = self._root / blob_path(layer.digest)
            text = self._reader.text(path, _TEXT_BYTES)
            if text is not None:                        # a reader may leave out the mark of UTF-8 at the beginning
                text = next((one for one in (text, f"\ufeff{text}")
                             if hashlib.sha256(one.encode()).hexdigest() == layer.digest), None)
                if text is None:
                    self._damaged(None, path, "is not what its name says")
            self._texts[layer.digest] = text
        return self._texts[layer.digest]

    def _inspection(self, name: Name, path: Path, manifest: Manifest) -> Inspection | None:
        """The weights with their projectors, under names that tell what they are."""
        found = []
        for layer in manifest.of(*_WEIGHTS):
            one = self._reader.model(self._root / blob_path(layer.digest))
            if one is None or one.format is not Format.GGUF or not one.whole:
                self._reader.note(path, "its weights are no whole GGUF, which only Ollama may read")
                return None
            found.append((layer, one))
        parts: dict[str, Part] = {}
        main = next(one for layer, one in found if layer.kind == "model")
        for layer, one in found:
            prefix = "mmproj-" if layer.kind == "projector" else ""
            file = f"{prefix}{name.stem}{f'-{one.quantization}' if one.quantization else ''}"
            unique = file if f"{file}.gguf" not in parts else f"{file}-{layer.digest[:8]}"
            role = Role.PROJECTOR if layer.kind == "projector" else one.parts[0].role
            parts[f"{unique}.gguf"] = replace(one.parts[0], path=f"{unique}.gguf", role=role)
        return replace(main, name=name.title, parts=tuple(parts.values()))

    def _damaged(self, name: Name | None, path: Path, what: str) -> None:
        again = f"ollama pull {name.shown}" if name else "ollama pull the models that use it"
        self._reader.issue("damaged", path, f"{path.name} {what}; it is left alone", f"delete it, then: {again}")
