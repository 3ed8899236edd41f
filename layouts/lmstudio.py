"""LM Studio: `<models>/<publisher>/<model>/<file>`, exactly two folders deep, no sidecar.

Contract (providers-1.md section 2; the `lms` command 07b7252, docs and bug tracker of 2026-08; the app is closed):
- home: the text of `~/.lmstudio-home-pointer`, else `~/.cache/lm-studio` if it exists, else `~/.lmstudio`; models:
  `downloadsFolder` of `<home>/settings.json`, else `<home>/models`. No environment variable.
- GGUF everywhere, MLX folders on a Mac; nothing runs the rest. All shards in one folder under their own names.
- a projector (`*mmproj*`) serves the whole folder it lies in: models with different projectors must not share one.
- parts of the path: 1 to 100 characters, no `.` at either end, none of `<>:"\\|?*/`.
- one dangling link fails the indexing of a whole folder; on Windows a symbolic link shows as empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from helixstore.providers.layout import LINKS, Entry, Env, Facts, Found, Layout, Reader, Refusal, Root
from helixstore.values import Format, Key, LinkKind, Source, Variant

from .gguf_files import main_projector, refuse, shard_names, stem, weight
from .hf_folders import folder_entries, model_files, refuse_unservable
from .llamacpp import projector_name
from .names import distinct, legal

__all__ = ["LMStudio"]

_PART = re.compile(r'(?!\.)[^<>:"\\|?*/\x00-\x1f]{1,100}(?<![. ])')


class LMStudio(Layout):
    """The one models folder of LM Studio."""

    name = "lmstudio"
    title = "LM Studio"
    checked = ("0.3", "0.4")
    formats = (Format.GGUF, Format.MLX)
    refresh = "refresh My Models, or restart LM Studio"

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else what LM Studio's own files say, else its default."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        home, origin = _home(env)
        if folder := _downloads_folder(env.reader.text(home / "settings.json")):
            return (Root(env.expand(folder), "settings.json of LM Studio", present=(home,)),)
        return (Root(home / "models", origin, present=(home,)),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF, and MLX where its engine runs."""
        if variant.format is Format.MLX:
            if not facts.apple_silicon:
                return Refusal("LM Studio runs MLX models only on a Mac with Apple silicon")
            return refuse_unservable(variant)
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """Each variant below its publisher and model; what lies in LM Studio already keeps its place."""
        kinds = (LinkKind.HARD, LinkKind.REFLINK) if facts.platform == "win32" else LINKS
        lies = {variant.key: place for variant in variants if (place := _place(variant))}
        folders = _folders(variants, facts.namespace, lies)
        files = distinct(
            variants,
            {v.key: f"{folders[v.key]}/{stem(v)}" for v in variants if v.format is Format.GGUF},
            {key: f"{folder}/{name}" for key, (folder, name) in lies.items() if name})
        for variant in variants:
            if variant.format is Format.MLX:
                yield from folder_entries(folders[variant.key], variant, model_files(variant, code=False), kinds)
                continue
            folder, _, name = files[variant.key].rpartition("/")
            for number, (file_name, file) in enumerate(shard_names(variant, name)):
                yield Entry(f"{folder}/{file_name}", weight(file, kinds), variant.key, witness=number == 0)
            if projector := main_projector(variant):
                path = f"{folder}/{projector_name(projector.path)}"
                yield Entry(path, weight(projector, kinds), variant.key)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """What lies where LM Studio looks, and models that lie too high for it to see, as loose files."""
        for inspection in reader.models(root.path):
            yield Found(inspection, Source("file", name=inspection.location.name), inspection.name)
        for publisher in reader.entries(root.path):
            if publisher.kind != "folder" or publisher.name.startswith("."):
                continue
            for inspection in reader.models(publisher.path):
                yield Found(inspection, Source("file", name=inspection.location.name), inspection.name)
            for model in reader.entries(publisher.path):
                if model.kind == "folder" and not model.name.startswith("."):
                    yield from self._models(publisher.name, model.name, model.path, reader)

    def _models(self, publisher: str, model: str, folder: Path, reader: Reader) -> Iterator[Found]:
        found = reader.models(folder)
        alone = len({inspection.name.casefold() for inspection in found}) == 1
        for inspection in found:
            name = f"{publisher}/{model}"
            if inspection.location != folder:
                name += f"/{inspection.location.name}"
            # several quantisations of one model in one folder are one repository; different models there are not
            source = Source("program", f"{publisher}/{model}" if alone else None, None, self.name, name)
            yield Found(inspection, source, model if alone else inspection.name)

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The names of the model's files are unlinked, and the folder goes if nothing is left in it."""
        for entry in entries:
            if entry.key == variant.key:
                (root / entry.path).unlink(missing_ok=True)
        folder = (root / entries[0].path).parent
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


def _place(variant: Variant) -> tuple[str, str] | None:
    """(`publisher/model`, stem) where the variant lies in LM Studio itself; the stem is "" for a model folder."""
    for source in variant.sources:
        parts = (source.name or "").split("/") if source.program == LMStudio.name else []
        if len(parts) not in (2, 3) or not all(_PART.fullmatch(part) for part in parts):
            continue
        if len(parts) == 2 and variant.format is Format.MLX:
            return f"{parts[0]}/{parts[1]}", ""
        if len(parts) == 3 and parts[2].endswith(".gguf") and variant.format is Format.GGUF:
            name = re.sub(r"(?:-\d{5}-of-\d{5})?\.gguf$", "", parts[2])
            return f"{parts[0]}/{parts[1]}", name
    return None


def _folders(
    variants: Sequence[Variant], namespace: str, lies: dict[Key, tuple[str, str]]
) -> dict[Key, str]:
    """`publisher/model` for each, spelt in one way; where one would hold two projectors, they get their own."""
    folders: dict[Key, str] = {}
    company: dict[Key, str] = {}
    shared: dict[str, set[str]] = {}
    for variant in variants:
        hub = variant.hub
        publisher, _, model = (hub.repository or "").rpartition("/") if hub else (namespace, "", variant.key.model)
        made = f"{legal(publisher or namespace, 90)}/{legal(model, 90)}"
        folders[variant.key] = lies[variant.key][0] if variant.key in lies else made
        projector = main_projector(variant)
        beside = projector.blake3 if projector else ""
        company[variant.key] = variant.manifest if variant.format is Format.MLX else beside
        shared.setdefault(folders[variant.key].casefold(), set()).add(company[variant.key])
    spelt: dict[str, str] = {}
    for key in sorted(folders, key=lambda key: (key not in lies, folders[key])):
        spelt.setdefault(folders[key].casefold(), folders[key])
    folders = {key: folder if key in lies else spelt[folder.casefold()] for key, folder in folders.items()}
    return {
        key: f"{folder}-{company[key][:8]}"
        if company[key] and key not in lies and len(shared[folder.casefold()]) > 1 else folder
        for key, folder in folders.items()
    }
