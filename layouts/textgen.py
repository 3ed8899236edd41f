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
- `models/config-user.yaml`: regular expressions against the file's name; the interface writes the name and `$`. It
  belongs to the person: only entries marked `# helixstore` are ours, and one that the interface has rewritten is not.
- the projector is a bare name below `user_data/mmproj`, or a full path where `user_data` is not the one it runs with.
- GPTQ, AWQ and EXL2 have no loader any more (January 2025, March 2026); Transformers has no package for them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from helixstore.providers.layout import Entry, Env, Facts, Layout, Refusal, Root, Text
from helixstore.values import Format, Variant

from . import yaml_lines
from .gguf_files import main_projector, refuse, shard_names, stem, weight
from .hf_folders import folder_entries, folder_names, model_files, refuse_unservable
from .names import distinct

__all__ = ["TextGen"]

_MARK = "  # helixstore"
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
        return refuse_unservable(variant)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """GGUF flat or, split, in a folder; other models in a folder each; projectors apart, named in the settings."""
        gguf = [variant for variant in variants if variant.format is Format.GGUF]
        others = [variant for variant in variants if variant.format is not Format.GGUF]
        called = folder_names(others)
        folders = {variant.key: _folder_name(called[variant.key], variant) for variant in others}
        names = distinct(variants, {**{variant.key: stem(variant) for variant in gguf}, **folders})
        projectors: dict[str, str] = {}
        for variant in gguf:
            yield from self._gguf(variant, names[variant.key], root, projectors)
        for variant in others:
            folder = f"{_models(root)}{names[variant.key]}"
            yield from folder_entries(folder, variant, model_files(variant, code=False))
        if projectors:
            yield Entry("models/config-user.yaml", Text(_config(projectors), _merge), None, order=2)

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


def _config(projectors: Mapping[str, str]) -> bytes:
    return "".join(
        f"{file_name}$:\n  mmproj: {yaml_lines.quote(projectors[file_name])}{_MARK}\n"
        for file_name in sorted(projectors)).encode()


def _merge(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """Theirs, with our entries added, brought up to date, or, where they are not wanted any more, taken out."""
    if theirs is None or theirs == base:
        return ours
    try:
        text, wanted = theirs.decode(), ours.decode()
    except UnicodeDecodeError:
        return None
    present = list(yaml_lines.keys(text))
    if text.strip() and not present:
        return None
    new = {key: yaml_lines.read(wanted, key, "mmproj") for key in yaml_lines.keys(wanted)}
    for key in present:
        block = yaml_lines.block(text, key)
        if block.count("\n") == 2 and block.rstrip().endswith(_MARK) and key not in new:
            text = yaml_lines.remove(text, key)
    for key, value in new.items():
        line = f"{yaml_lines.quote(value or '')}{_MARK}"
        if key not in present:
            text = text if not text or text.endswith("\n") else f"{text}\n"
            text += f"{key}:\n  mmproj: {line}\n"
        elif yaml_lines.read(text, key, "mmproj") is None or _MARK.strip() in yaml_lines.block(text, key, "mmproj"):
            text = yaml_lines.write(text, line, key, "mmproj")
    return text.encode()
