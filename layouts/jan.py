"""Jan: one folder with a `model.yml` for each model, below its data folder.

Contract (providers-1.md section 3; janhq/jan of 2026, `core/app/commands.rs` 00e7925a, llamacpp and MLX extensions):
- data folder: `JAN_DATA_FOLDER` (the command line), `data_folder` of the app's `settings.json`, else `Jan/data` in the
  system's data directory. Models: `llamacpp/models/<id>/model.yml`, MLX `mlx/models/<id>/model.yml`; ids of letters,
  digits and `_-./`, and nothing below a folder with a `model.yml` is looked at.
- `model_path` is relative to the data folder or absolute; a file that the person imported lies anywhere.
- Ours are absolute. Jan takes that for an imported file; it would remove the parent of some relative ones.
  The weights lie beside `model.yml` in a real folder: Jan's delete follows a folder that is a link and wipes what is
  behind it, while links inside a real folder are only unlinked. No path into the store is ever written.
- Jan rewrites `model.yml` in place as it lists, and people set options in it: only the paths in it are ours.
- up to 0.6.4 (cortex) the files lay below `models` in the data folder; the first later release writes a `model.yml` for
  each that names it there, so that is where they are found.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helixstore.formats.names import base_name, quantization_in_name
from helixstore.fs.names import printable
from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, Text
from helixstore.values import Format, LinkKind, Purpose, Source, Variant

from .parts import yaml_lines
from .parts.gguf_files import main_projector, projector_name, refuse, shard_names, stem, weight
from .parts.hf_folders import folder_entries, model_files, refuse_unservable
from .parts.names import alike, distinct, label, legal
from .parts.own import kept_text, own_sources
from .parts.sidecars import Files, Said, Sidecar, inside, own_weights
from .parts.yaml_tree import first_document, text_at

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = ["Jan"]

_KINDS = (LinkKind.HARD, LinkKind.REFLINK, LinkKind.SYMBOLIC)
_PATHS = (("model_path",), ("mmproj_path",))         # in model.yml
_GGUF, _MLX = "llamacpp/models", "mlx/models"
_LIMIT = 1 << 18                                     # bytes of a `model.yml`; a chat template in it may be long
_LEVELS = 12                                         # parts of an id


class Jan(Layout):
    """The data folder of the Jan application."""

    name = "jan"
    title = "Jan"
    checked = ("0.7",)
    bears_dangling = False   # not known; the model stays listed and fails to load
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
        return (Root(_data(env) / (env.environ.get("APP_NAME", "").strip() or "Jan") / "data", "default"),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF, and MLX on Apple silicon."""
        if variant.format is Format.MLX:
            if not facts.apple_silicon:
                return Refusal("Jan runs MLX models only on a Mac with Apple silicon")
            return refuse_unservable(variant)
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """The files of each model in a folder of its own, then its `model.yml`; Jan's own models as they are."""
        own = {variant.key: found for variant in variants if (found := list(_own(variant, root.path)))}
        texts: dict[str, Text] = {}
        for where, group in ((_GGUF, [v for v in variants if v.format is not Format.MLX]),
                             (_MLX, [v for v in variants if v.format is Format.MLX])):
            made = [variant for variant in group if variant.key not in own]
            names = distinct(made, {v.key: _model_id(v) for v in made}, taken=_first_parts(own.values(), where))
            for variant in made:
                yield from _entries(variant, str(root.path), f"{where}/{names[variant.key]}")
            for variant in group:
                for one in own.get(variant.key, ()):
                    yield from _own_entries(variant, one, texts)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """The models that Jan lists, by their `model.yml`, wherever their files lie."""
        files = Files(root, reader)
        said = [one for where in (_GGUF, _MLX) for id, path in _sidecars(root.path / where, files, reader, ())
                if (one := _said(id if where == _GGUF else f"{where}/{id}", path, reader))]
        for one in files.news(said):
            mlx = one.name.startswith(f"{_MLX}/")
            model = _mlx(one, files, reader) if mlx else files.gguf(one.sidecar, one.main, one.projector)
            if model is not None:
                name, repository = _called(one.name.removeprefix(f"{_MLX}/"))
                sidecars = ((one.sidecar.path.relative_to(root.path).as_posix(), one.text),)
                yield Found(model, Source("program", repository, None, self.name, one.name, sidecars), name)

    def left_of(self, path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        """Nothing of a `model.yml` whose model goes away: Jan would list a model that fails."""
        return b"" if (main := _paths(text.decode(errors="replace"))[0]) and gone(main) else None

    def drifted(self, root: Root, reader: Reader) -> str:
        """The data of Jan up to 0.6.4, which kept its models elsewhere; a later one moves them when it first starts."""
        now = any(reader.exists(root.path / name) for name in ("llamacpp", "mlx"))
        if not now and any(seen.kind == "folder" for seen in reader.entries(root.path / "models")):
            return "it is the data folder of Jan 0.6.4 or older, whose models a later Jan moves when it starts"
        return ""

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


class _Own(NamedTuple):
    """A model of Jan's: its sidecar, and where its files lie, relative to the root; "" elsewhere."""

    sidecar: str
    text: str
    first: str
    projector: str


def _sidecars(folder: Path, files: Files, reader: Reader, id: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """(id, path) of every `model.yml`: depth first, nothing below one, no folder that is a link."""
    listing = files.listing(folder)
    if id and (seen := listing.get("model.yml")) is not None and seen.kind != "folder":
        if seen.linked:
            reader.note(seen.path, "is a link, which Jan would overwrite; what it names is left as it is")
        else:
            yield "/".join(id), seen.path
        return
    for seen in listing.values():
        if seen.kind == "folder" and not seen.linked and len(id) < _LEVELS:
            yield from _sidecars(seen.path, files, reader, (*id, seen.name))


def _said(name: str, path: Path, reader: Reader) -> Said | None:
    sidecar = Sidecar(path, printable(name), "delete the model in Jan, or import its file again")
    text = reader.text(path, _LIMIT)
    if text is None:
        return None
    try:
        settings = first_document(text)
    except ValueError as error:
        reader.issue("unreadable", path, f"{sidecar.model}: this is no YAML ({error})",
                     "delete the model in Jan and import its file again")
        return None
    if not text_at(settings, "model_path"):
        reader.issue("incomplete", path, f"{sidecar.model} names no model file", sidecar.remedy)
        return None
    return Said(sidecar, name, text, text_at(settings, "model_path"), text_at(settings, "mmproj_path"))


def _mlx(said: Said, files: Files, reader: Reader) -> Inspection | None:
    """The folder that `model_path` names, or in which the weights lie that it names; without Jan's own file in it."""
    path = files.place(said.sidecar, said.main)
    if path is None:
        return None
    model = files.folder(path if files.is_folder(path) else path.parent)
    if model is None:
        reader.note(said.sidecar.path, f"{path.name} is no model that another program could run")
        return None
    return replace(model, parts=tuple(part for part in model.parts if part.path != "model.yml"))


def _called(id: str) -> tuple[str, str | None]:
    """The model's name, and what its quantisations have in common, where the id begins with who made it."""
    *above, last = id.split("/")
    if above and quantization_in_name(last).casefold() == last.casefold():
        return above[-1], "/".join(above)
    name = base_name(last)
    return name, "/".join((*above, name)) if above else None


def _own(variant: Variant, root: Path) -> Iterator[_Own]:
    for source in own_sources(variant, Jan.name):
        for path, text in source.sidecars:
            if path.endswith("/model.yml"):
                main, projector = _paths(text)
                yield _Own(path, text, inside(root, main), inside(root, projector) if projector else "")


@lru_cache(maxsize=16384)
def _paths(text: str) -> tuple[str, str]:
    try:
        settings = first_document(text)
    except ValueError:                      # it was read before it was kept, by an earlier version perhaps
        return "", ""
    return text_at(settings, "model_path"), text_at(settings, "mmproj_path")


def _first_parts(own: Iterable[Sequence[_Own]], where: str) -> set[str]:
    """The first parts of the ids that Jan has: below a folder with a `model.yml` it looks at nothing."""
    return {one.sidecar[len(where) + 1:].partition("/")[0]
            for found in own for one in found if one.sidecar.startswith(f"{where}/")}


def _own_entries(variant: Variant, own: _Own, texts: dict[str, Text]) -> Iterator[Entry]:
    if variant.format is Format.MLX:
        folder = own.first.rpartition("/")[0] if own.first.endswith(".safetensors") else own.first
        for entry in folder_entries(folder, variant, model_files(variant, code=False), _KINDS) if folder else ():
            yield Entry(entry.path, entry.body, entry.key, order=entry.order)
    else:
        yield from own_weights(variant, own.first, own.projector, _KINDS)
    yield Entry(own.sidecar, texts.setdefault(own.sidecar, kept_text(own.text)), variant.key, witness=True, order=2)


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
