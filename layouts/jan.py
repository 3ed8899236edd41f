"""Jan: one folder with a `model.yml` for each model, below its data folder.

Contract (providers-1.md section 3; janhq/jan of 2026, `core/app/commands.rs` 00e7925a, llamacpp and MLX extensions):
- data folder: `JAN_DATA_FOLDER` (the command line), `data_folder` of the app's `settings.json`, else `Jan/data` in the
  system's data directory. Models: `llamacpp/models/<id>/model.yml`, MLX `mlx/models/<id>/model.yml`; ids of letters,
  digits and `_-./`, and nothing below a folder with a `model.yml` is looked at.
- `model_path` is absolute here. Jan takes that for an imported file; it would remove the parent of some relative ones.
  The weights lie beside `model.yml` in a real folder: Jan's delete follows a folder that is a link and wipes what is
  behind it, while links inside a real folder are only unlinked. No path into the store is ever written.
- Jan rewrites `model.yml` in place as it lists, and people set options in it: only the paths in it are ours.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from helixstore.providers.layout import Entry, Env, Facts, Layout, Refusal, Root, Text
from helixstore.values import Format, LinkKind, Purpose, Variant

from . import yaml_lines
from .gguf_files import main_projector, refuse, shard_names, stem, weight
from .hf_folders import folder_entries, model_files, refuse_unservable
from .llamacpp import projector_name
from .names import distinct, label, legal

__all__ = ["Jan"]

_KINDS = (LinkKind.HARD, LinkKind.REFLINK, LinkKind.SYMBOLIC)
_PATHS = (("model_path",), ("mmproj_path",))         # in model.yml
_GGUF, _MLX = "llamacpp/models", "mlx/models"


class Jan(Layout):
    """The data folder of the Jan application."""

    name = "jan"
    title = "Jan"
    checked = ("0.7",)
    formats = (Format.GGUF, Format.MLX)
    refresh = "open Jan's Hub or settings, or restart Jan"

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else `JAN_DATA_FOLDER`, else what Jan's settings say, else the system's default."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        if path := env.variable("JAN_DATA_FOLDER"):
            return (Root(path, "JAN_DATA_FOLDER"),)
        for settings in _settings(env):
            if folder := _data_folder(env.reader.text(settings)):
                return (Root(env.expand(folder), "settings.json of Jan", present=(settings,)),)
        return (Root(_data(env) / (env.environ.get("APP_NAME") or "Jan") / "data", "default"),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF, and MLX on Apple silicon."""
        if variant.format is Format.MLX:
            if not facts.apple_silicon:
                return Refusal("Jan runs MLX models only on a Mac with Apple silicon")
            return refuse_unservable(variant)
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """The files of each model in a folder of its own, then its `model.yml`."""
        for where, group in ((_GGUF, [v for v in variants if v.format is not Format.MLX]),
                             (_MLX, [v for v in variants if v.format is Format.MLX])):
            names = distinct(group, {v.key: _model_id(v) for v in group})
            for variant in group:
                yield from _entries(variant, str(root.path), f"{where}/{names[variant.key]}")

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The model's folder, resolved, is removed with all that is in it."""
        witness = next(entry.path for entry in entries if entry.witness and entry.key == variant.key)
        shutil.rmtree((root / witness).parent.resolve())


def _data(env: Env) -> Path:
    if env.platform == "darwin":
        return env.home / "Library" / "Application Support"
    if env.platform == "win32":
        return env.variable("APPDATA") or env.home / "AppData" / "Roaming"
    return env.data


def _settings(env: Env) -> Iterator[Path]:
    """Where Jan's settings lie, and where older releases kept them."""
    data = _data(env)
    yield data / "Jan" / "settings.json"
    yield data / "jan.ai.app" / "settings.json"
    if env.platform == "linux":
        yield env.config / "Jan" / "settings.json"


def _data_folder(settings: str | None) -> str | None:
    try:
        value = json.loads(settings or "null")
    except ValueError:
        return None
    folder = value.get("data_folder") if isinstance(value, dict) else None
    return folder if isinstance(folder, str) and folder.strip() else None


def _model_id(variant: Variant) -> str:
    return legal(label(variant) if variant.format is Format.MLX else stem(variant), ascii_only=True)


def _entries(variant: Variant, root: str, folder: str) -> Iterator[Entry]:
    base = os.sep.join((root, *folder.split("/"), ""))
    projector = main_projector(variant)
    if variant.format is Format.MLX:
        first = variant.weights[0].path
        for entry in folder_entries(folder, variant, model_files(variant, code=False), _KINDS):
            yield Entry(entry.path, entry.body, entry.key, order=entry.order)
    else:
        files = list(shard_names(variant, folder.rpartition("/")[2]))
        first = files[0][0]
        for name, file in files:
            yield Entry(f"{folder}/{name}", weight(file, _KINDS), variant.key)
    paths = {"model_path": base + first}
    if projector:
        paths["mmproj_path"] = base + projector_name(projector.path)
        yield Entry(f"{folder}/{projector_name(projector.path)}", weight(projector, _KINDS), variant.key)
    lines = {key: yaml_lines.quote(path) for key, path in paths.items()}
    lines["name"] = yaml_lines.quote(label(variant))
    lines["size_bytes"] = str(variant.bytes)
    lines["embedding"] = "true" if variant.purpose is Purpose.EMBEDDING else "false"
    data = "".join(f"{key}: {value}\n" for key, value in lines.items()).encode()
    merge = partial(yaml_lines.merge_paths, _PATHS, partial(_leads_into, folder))
    yield Entry(f"{folder}/model.yml", Text(data, merge), variant.key, witness=True, order=2)


def _leads_into(folder: str, path: str) -> bool:
    """Whether a path, perhaps of another place of the data folder or of Windows, names a file in this folder."""
    return f"/{path}".replace("\\", "/").rpartition("/")[0].endswith(f"/{folder}")
