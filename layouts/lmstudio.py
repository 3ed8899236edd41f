"""LM Studio: `<models>/<publisher>/<model>/<file>`, exactly two folders deep, no sidecar.

Contract (providers-1.md section 2; the `lms` command 07b7252, docs and bug tracker of 2026-08; the app is closed):
- home: the text of `~/.lmstudio-home-pointer`, else `~/.cache/lm-studio` if it exists, else `~/.lmstudio`; models:
  `downloadsFolder` of `<home>/settings.json`, else `<home>/models`. No environment variable. One folder only: where
  the person has moved it, what they left in `<home>/models` (`before`) is found, and nothing is put there.
- GGUF everywhere, MLX folders on a Mac; nothing runs the rest. All shards in one folder under their own names.
- a projector (`*mmproj*`) serves the whole folder it lies in: models with different projectors must not share one.
- parts of the path: 1 to 100 characters, no `.` at either end, none of `<>:"\\|?*/`.
- what lies higher or deeper is not seen, or not reliably: it is taken for the person's, and linked where it is seen.
- one dangling link fails the indexing of a whole folder; on Windows a symbolic link shows as empty.
- `<home>/hub/models/<owner>/<name>/` describes virtual models in words and holds no weights: nothing to find there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.providers.layout import LINKS, Entry, Env, Facts, Found, Layout, Reader, Refusal, Root
from helixstore.values import Family, Format, Key, LinkKind, Source, Variant

from .parts.gguf_files import (
    gguf_places,
    main_projector,
    own_entries,
    projector_name,
    refuse,
    shard_names,
    stem,
    weight,
)
from .parts.hf_folders import folder_entries, model_files, refuse_unservable
from .parts.names import alike, distinct, legal
from .parts.own import below, found_own, loose, own_places

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = ["LMStudio"]

_PART = re.compile(r'(?!\.)[^<>:"\\|?*/\x00-\x1f]{1,100}(?<![. ])')
_BEFORE = "before"                  # label of the folder that LM Studio read before the person moved it


class LMStudio(Layout):
    """The one models folder of LM Studio."""

    name = "lmstudio"
    title = "LM Studio"
    checked = ("0.3", "0.4")
    bears_dangling = False   # one ENOENT fails the indexing of the whole folder (lmstudio-bug-tracker#2096)
    formats = (Format.GGUF, Format.MLX)
    refresh = "refresh My Models, or restart LM Studio"

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else what LM Studio's own files say, else its default."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        home, origin = _home(env)
        default = Root(home / "models", origin, present=(home,))
        folder = _downloads_folder(env.reader.text(home / "settings.json"))
        if not folder or (moved := env.expand(folder)) == default.path:
            return (default,)
        roots = (Root(moved, "settings.json of LM Studio", present=(home,)),)
        if not env.reader.exists(default.path) or moved.is_relative_to(default.path):
            return roots
        return (*roots, Root(default.path, "before settings.json of LM Studio", label=_BEFORE, present=(home,)))

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF, and MLX where its engine runs."""
        if variant.format is Format.MLX:
            if not facts.apple_silicon:
                return Refusal("LM Studio runs MLX models only on a Mac with Apple silicon")
            return refuse_unservable(variant)
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """Each variant below its publisher and model; what lies in LM Studio already keeps its place."""
        if root.label == _BEFORE:
            return
        kinds = (LinkKind.HARD, LinkKind.REFLINK) if facts.platform == "win32" else LINKS
        own = {variant.key: _own_places(variant) for variant in variants}
        folders = _folders(variants, facts.namespace, own)
        wanted = {v.key: f"{folders[v.key]}/{stem(v)}" for v in variants
                  if v.format is Format.GGUF and v.key in folders}
        taken = [path.removesuffix(".gguf") for places in own.values() for path, _ in places]
        files = distinct(variants, wanted, taken=taken)
        for variant in variants:
            mlx = variant.format is Format.MLX
            for path, source in own[variant.key]:
                yield from _mlx(path, variant, kinds) if mlx else own_entries(path, source, variant, kinds)
            if mlx and variant.key in folders:
                yield from _mlx(folders[variant.key], variant, kinds)
            elif variant.key in files:
                yield from _gguf(files[variant.key], variant, kinds)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide; a publisher is none."""
        return alike(variant, self.name, above=1)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """What lies where LM Studio looks, and models that lie too high or too deep for it, as loose files."""
        for inspection in reader.models(root.path):
            yield loose(inspection)
        for publisher in reader.entries(root.path):
            if publisher.kind != "folder" or publisher.linked or publisher.name.startswith("."):
                continue
            here: dict[str, list[Inspection]] = {}
            for inspection in reader.models(publisher.path, -1):
                parts = below(root.path, inspection.location).split("/")
                if any(part.startswith(".") for part in parts[:-1]):
                    continue
                single = inspection.location.suffix == ".safetensors" or inspection.format.family is Family.GGUF
                if len(parts) == 2 + single and root.label != _BEFORE:
                    here.setdefault(parts[1], []).append(inspection)
                else:
                    yield loose(inspection)
            for model, found in here.items():
                yield from self._models(root.path, publisher.name, model, found)

    def _models(self, folder: Path, publisher: str, model: str, found: list[Inspection]) -> Iterator[Found]:
        """What lies in one model folder. Quantisations of one thing are one model; different things there are not."""
        alone = len({inspection.name.casefold() for inspection in found}) == 1
        for inspection in found:
            repository = f"{publisher}/{model}/{inspection.name}"
            name = model if alone else inspection.name
            yield found_own(inspection, self.name, below(folder, inspection.location), folder, name, repository)

    def drifted(self, root: Root, reader: Reader) -> str:
        """Another program's folder, that a setting leads to by mistake."""
        names = {seen.name for seen in reader.entries(root.path) if seen.kind == "folder"}
        if {"blobs", "manifests"} <= names:
            return "it holds blobs and manifests, as the folder of Ollama does"
        if any(name.startswith("models--") for name in names):
            return "it is a Hugging Face cache, and holds no folders of publishers"
        return ""

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The names of the model's files are unlinked, and the folder goes if nothing is left in it."""
        paths = [root / entry.path for entry in entries if entry.key == variant.key]
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            if not any(folder.iterdir()):
                folder.rmdir()


def _home(env: Env) -> tuple[Path, str]:
    if pointer := (env.reader.text(env.home / ".lmstudio-home-pointer") or "").strip():
        return env.expand(pointer), ".lmstudio-home-pointer"
    older = env.home / ".cache" / "lm-studio"
    return (older if env.reader.exists(older) else env.home / ".lmstudio"), "default"


def _downloads_folder(settings: str | None) -> str | None:
    try:
        value = json.loads(settings or "null")
    except ValueError:
        return None
    folder = value.get("downloadsFolder") if isinstance(value, dict) else None
    return folder if isinstance(folder, str) and folder.strip() else None


def _own_places(variant: Variant) -> list[tuple[str, Source]]:
    """Where the variant lies in LM Studio itself: `publisher/model/file.gguf`, or the folder of an MLX model."""
    mlx = variant.format is Format.MLX
    places = list(own_places(variant, LMStudio.name)) if mlx else gguf_places(variant, LMStudio.name)
    return [(path, source) for path, source in places
            if path.count("/") == 2 - mlx and all(_PART.fullmatch(part) for part in path.split("/")[:2])]


def _mlx(folder: str, variant: Variant, kinds: tuple[LinkKind, ...]) -> Iterable[Entry]:
    return folder_entries(folder, variant, model_files(variant, code=False), kinds)


def _gguf(path: str, variant: Variant, kinds: tuple[LinkKind, ...]) -> Iterator[Entry]:
    """`path`: publisher, model and stem."""
    folder, _, name = path.rpartition("/")
    for number, (file_name, file) in enumerate(shard_names(variant, name)):
        yield Entry(f"{folder}/{file_name}", weight(file, kinds), variant.key, witness=number == 0)
    if projector := main_projector(variant):
        yield Entry(f"{folder}/{projector_name(projector.path)}", weight(projector, kinds), variant.key)


def _folders(
    variants: Sequence[Variant], namespace: str, own: dict[Key, list[tuple[str, Source]]]
) -> dict[Key, str]:
    """`publisher/model` for each that lies nowhere yet; where one would hold two projectors, they get their own."""
    folders: dict[Key, str] = {}
    company: dict[Key, str] = {}
    shared: dict[str, set[str]] = {}
    spelt: dict[str, str] = {}
    for variant in variants:
        projector = main_projector(variant)
        company[variant.key] = (variant.manifest if variant.format is Format.MLX
                                else projector.blake3 if projector else "")
        there = [path if variant.format is Format.MLX else path.rpartition("/")[0] for path, _ in own[variant.key]]
        spelt |= {folder.casefold(): folder for folder in there}
        if not there:
            hub = variant.hub
            publisher, _, model = (hub.repository or "").rpartition("/") if hub else (namespace, "", variant.key.model)
            there = [f"{legal(publisher or namespace, 90)}/{legal(model, 90)}"]
            folders[variant.key] = there[0]
        for folder in there:
            shared.setdefault(folder.casefold(), set()).add(company[variant.key])
    for folder in sorted(folders.values()):
        spelt.setdefault(folder.casefold(), folder)
    return {
        key: f"{spelt[folder.casefold()]}-{company[key][:8]}"
        if company[key] and len(shared[folder.casefold()]) > 1 else spelt[folder.casefold()]
        for key, folder in folders.items()
    }
