"""TextGen (text-generation-webui): `user_data/models`, and `user_data/mmproj` for projectors.

Contract (providers-2.md section 3; oobabooga/textgen v4.7.3):
- `user_data` lies in the program's working directory; `--model-dir` names another models folder. Whatever lies below
  `models` is offered as a model, projectors too, so these need a second folder: the root is the `user_data`, with
  `models/` and `mmproj/` in it. Where TextGen is installed in the home its `user_data` is used; else helixstore has one
  of its own, for `--model-dir {root}/models`. A plain models folder that the person names (label "models") has no place
  for projectors: there a model with a projector runs as a text model.
- GGUF at any depth, ids are relative paths; of a split set only the first part is listed. Dangling links are listed.
- model folders at the top level only, whose name must not be that of a folder of the program (it is first looked up in
  the working directory), nor contain `exl3` unless it is one.
- `models/config-user.yaml`: regular expressions against the file's name, from its start, both in lower case, the later
  over the earlier; the interface writes the name and `$`. It belongs to the person: only entries marked `# helixstore`
  are ours, and one that the interface has rewritten is not. Patterns are read as far as names and `.*` go: any more
  could take for ever to match.
- the projector is a bare name below `user_data/mmproj`, or a full path where `user_data` is not the one it runs with.
- GPTQ, AWQ and EXL2 have no loader any more (January 2025, March 2026); Transformers has no package for them there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, Text
from helixstore.values import Format, Purpose, Source, Variant

from .parts.gguf_files import main_projector, refuse, shard_names, stem, weight
from .parts.hf_folders import folder_entries, folder_names, model_files, refuse_unservable
from .parts.names import alike, distinct
from .parts.own import own_sources
from .parts.sidecars import Files, Sidecar, inside, own_weights, telling, without_projector
from .parts.textgen_settings import Settings, merge, read_setting, without, written

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = ["TextGen"]

_CONFIG = "config-user.yaml"
_PLAIN = "models"                                # label of a models folder without a user_data around it
_USER_DATA = frozenset({"mmproj", "settings.yaml", "CMD_FLAGS.txt"})
#: folders of the program in which a model of the same name would be looked for first
_PROGRAM_FOLDERS = frozenset({
    "css", "desktop", "docker", "docs", "extensions", "installer_files", "js", "modules", "requirements", "user_data",
    "cache", "logs", "models", "loras", "presets", "characters", "instruction-templates", "training",
})
_NO_LOADER = {
    Format.GPTQ: "TextGen has no GPTQ loader since 2025, and Transformers needs gptqmodel, which it does not install",
    Format.AWQ: "TextGen has no AWQ loader, and Transformers needs gptqmodel or autoawq, which it does not install",
    Format.COMPRESSED_TENSORS: "Transformers needs compressed-tensors, which TextGen does not install",
    Format.EXL2: "TextGen dropped ExLlamaV2 in March 2026",
}
_CONVERTED = (Format.GGUF, Format.EXL3)
_FOLDERS = (Format.HF, Format.EXL3, Format.BITSANDBYTES, Format.FP8)


class TextGen(Layout):
    """A `user_data` folder."""

    name = "textgen"
    title = "TextGen"
    checked = ("4.7.3",)
    bears_dangling = True    # lists it as a model; the others stay listed (its scan was run)
    formats = (Format.GGUF, *_FOLDERS)
    refresh = "the list is read anew by itself; restart TextGen for a new projector"
    launch = ("{python}", "server.py", "--model-dir", "{root}/models")

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else the `user_data` of an installation in the home, else one of helixstore's own."""
        if env.setting:
            return (_named(env),)
        for program in ("textgen", "text-generation-webui"):
            folder = env.home / program / "user_data"
            if env.reader.exists(folder):
                return (Root(folder, f"installed in {env.home / program}"),)
        return (Root(env.farms / self.name, "helixstore's own", owned=True),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF, Hugging Face folders, EXL3."""
        if variant.format is Format.GGUF:
            return refuse(variant, facts, self.title)
        if reason := _NO_LOADER.get(variant.format):
            return Refusal(reason, () if variant.format is Format.EXL2 else _CONVERTED)
        if variant.format not in _FOLDERS:
            return Refusal(f"TextGen has no loader for {variant.format.value}")
        if variant.format is Format.EXL3 and facts.platform == "darwin":
            return Refusal("ExLlamaV3 needs an NVIDIA GPU, which no Mac has")
        if variant.format is Format.EXL3 and facts.gpu not in ("", "cuda"):
            return Refusal("ExLlamaV3 needs an NVIDIA GPU, and this computer has none")
        return refuse_unservable(variant)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """GGUF flat or, split, in a folder; other models in a folder each; projectors apart, named in the settings.

        What the person has there stays in its place.
        """
        own = {variant.key: found for variant in variants if (found := list(_own(variant, root)))}
        made = [variant for variant in variants if variant.key not in own]
        gguf = [variant for variant in made if variant.format is Format.GGUF]
        others = [variant for variant in made if variant.format is not Format.GGUF]
        called = folder_names(others)
        folders = {variant.key: _folder_name(called[variant.key], variant) for variant in others}
        taken = [name for found in own.values() for one in found for name in one.names]
        names = distinct(made, {**{variant.key: stem(variant) for variant in gguf}, **folders}, taken=taken)
        projectors: dict[str, str] = {}
        for variant in gguf:
            yield from self._gguf(variant, names[variant.key], root, projectors)
        for variant in others:
            folder = f"{_models(root)}{names[variant.key]}"
            yield from folder_entries(folder, variant, model_files(variant, code=False))
        for variant in variants:
            for one in own.get(variant.key, ()):
                yield from _own_entries(variant, one)
                projectors.update(one.settings)
        if projectors:
            yield Entry(f"{_models(root)}{_CONFIG}", Text(written(projectors), merge), None, order=2)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """Every GGUF below the models folder and the model folders directly in it, projectors as the settings say."""
        files, models = Files(root, reader), root.path / _models(root)
        sidecar = Sidecar(models / _CONFIG, _CONFIG, "choose another projector in TextGen, or put the file back")
        settings = _settings(sidecar, reader)
        for model in reader.models(models, -1, again=settings.any):
            place = model.location.relative_to(root.path).as_posix()
            if model.format is not Format.GGUF:
                top = model.location.parent == models and files.is_folder(model.location)
                source = Source("program", program=self.name, name=place) if top else Source("file", name=place)
                yield Found(model, source, model.name)
            elif model.purpose is Purpose.PROJECTOR:
                reader.note(model.location, "is a projector where TextGen lists models; it belongs into "
                            f"{root.path / 'mmproj'}")
            else:
                yield self._found(without_projector(model), place, root, sidecar, settings, files)

    def _found(self, model: Inspection, place: str, root: Root, sidecar: Sidecar, settings: Settings,
               files: Files) -> Found:
        setting = settings.projector_for(model.location.name)
        sidecars: tuple[tuple[str, str], ...] = ()
        if setting is not None and (root.label != _PLAIN or os.path.isabs(setting.projector)):
            joined = files.joined(replace(sidecar, model=place), model, _beside(setting.projector))
            if joined is not None and joined is not model:
                model, sidecars = joined, ((f"{_models(root)}{_CONFIG}", setting.text()),)
        return Found(model, Source("program", program=self.name, name=place, sidecars=sidecars),
                     telling(model.name, place.removeprefix(_models(root)).rpartition("/")[0] or place))

    def left_of(self, path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        """The settings without our entries, and without projectors that go away."""
        return without(text, lambda projector: gone(_beside(projector))) if path.endswith(_CONFIG) else None

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """It has no delete: the person removes the files from the models folder."""
        for entry in entries:
            if entry.key == variant.key and not entry.path.startswith("mmproj/"):
                (root / entry.path).unlink()

    @staticmethod
    def _gguf(variant: Variant, name: str, root: Root, projectors: dict[str, str]) -> Iterator[Entry]:
        files = list(shard_names(variant, name))
        folder = _models(root) + (f"{name}/" if len(files) > 1 else "")
        for number, (file_name, file) in enumerate(files):
            yield Entry(f"{folder}{file_name}", weight(file), variant.key, witness=number == 0)
        projector = main_projector(variant)
        if projector and root.label != _PLAIN:
            called = f"mmproj-{name}.gguf"      # upstream's own advice, since most are called mmproj-F16.gguf
            projectors[files[0][0]] = str(root.path / "mmproj" / called) if root.owned else called
            yield Entry(f"mmproj/{called}", weight(projector), variant.key)


class _Own(NamedTuple):
    """What the person has: where it lies and where its projector does, relative to the root, "" outside.

    `names` are taken; `settings` are ours: file name -> projector.
    """

    place: str
    projector: str
    names: tuple[str, ...]
    settings: Mapping[str, str]


def _settings(sidecar: Sidecar, reader: Reader) -> Settings:
    text = reader.text(sidecar.path) or ""
    try:
        return Settings(text)
    except ValueError as error:
        reader.issue("unreadable", sidecar.path, f"these are no settings of TextGen ({error})", "mend or remove it")
        return Settings("")


def _beside(projector: str) -> str:
    """A projector as the settings name it, counted from the root: by its bare name it lies in `mmproj`."""
    return projector if os.path.isabs(projector) else f"mmproj/{projector}"


def _own(variant: Variant, root: Root) -> Iterator[_Own]:
    for source in own_sources(variant, TextGen.name):
        place = source.name or ""
        if inside(root.path, place) != place or not place.startswith(_models(root)):
            continue
        setting = next((found for _, text in source.sidecars if (found := read_setting(text))), None)
        projector = inside(root.path, _beside(setting.projector)) if setting else ""
        shared = {place.rpartition("/")[2]: setting.projector} if setting and setting.ours else {}
        names = (_stem(place.removeprefix(_models(root)).partition("/")[0]),
                 _stem(projector.rpartition("/")[2]).removeprefix("mmproj-"))
        yield _Own(place, projector, names, shared)


def _stem(name: str) -> str:
    return re.sub(r"(?i)(?:-\d{5}-of-\d{5})?\.gguf$", "", name)


def _own_entries(variant: Variant, own: _Own) -> Iterator[Entry]:
    if variant.format is Format.GGUF:
        yield from own_weights(variant, own.place, own.projector, witness=True)
    else:
        yield from folder_entries(own.place, variant, model_files(variant, code=False))


def _named(env: Env) -> Root:
    """The root that the person's setting means: a `user_data`, its `models`, or a models folder elsewhere."""
    folder = env.setting
    assert folder
    if folder.name == "models" and (folder.parent.name == "user_data" or _looks_like_user_data(env, folder.parent)):
        return Root(folder.parent, "setting")
    known = folder.name == "user_data" or _looks_like_user_data(env, folder)
    if known or env.reader.exists(folder / "models") or not (folder.name == "models" or env.reader.entries(folder)):
        return Root(folder, "setting")
    return Root(folder, "setting", label=_PLAIN)


def _looks_like_user_data(env: Env, folder: Path) -> bool:
    return any(env.reader.exists(folder / name) for name in _USER_DATA)


def _models(root: Root) -> str:
    return "" if root.label == _PLAIN else "models/"


def _folder_name(name: str, variant: Variant) -> str:
    if variant.format is not Format.EXL3:
        name = re.sub("(?i)exl3", "exl-3", name)
    return f"{name}-model" if name.casefold() in _PROGRAM_FOLDERS else name
