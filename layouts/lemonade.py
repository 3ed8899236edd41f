"""Lemonade: GGUF files in a folder that it watches, beside its own downloads in the Hugging Face cache.

Contract (lemonade-sdk/lemonade 0088180 and its documentation of 2026-10; `model_manager.cpp`, `path_*.cpp`; read, not
run, since no registry reached from here has it):
- `extra_models_dir` of `config.json` (`lemonade config set`, before 10 `--extra-models-dir` or the variable): every
  `.gguf` below is listed where it lies. At the top, and in the reserved `chat`, `embeddings` and `reranking`, a file is
  a model called by its stem; deeper a folder is one model called by its own name (several quantisations in it are
  several). `mmproj` in a file's name attaches it to the folder's model; shards belong together by their suffix. Models
  below `embeddings` run as such; all others chat. Links to files are followed, ones that lead nowhere are left out.
- it watches that folder; `/v1/delete` refuses what lies there, since it is the person's.
- its downloads (`models_dir`, "auto": the hub cache) have the cache's names, as real files without `blobs`; deleting
  one removes the snapshot's files and, of a link, the blob in the cache. GGUF known from the hub lies there as well, so
  that `lemonade pull` finds it.
- `user_models.json` names registered models: `org/repo:file.gguf`, or with `"source": "local_path"` an absolute path,
  which is found. It is not written: the running server has it in memory and saves it whole, over what others added, and
  what it would say is what lies in the watched folder.
- places since 2026-08: `~/.config/lemonade`, before `~/.cache/lemonade`; of the packaged services `/var/lib/lemonade`,
  `/Library/Application Support/lemonade`. A service must be able to read the folder: see `providers show --mounts`.

llama.cpp runs all of it. Safetensors go to a vLLM for ROCm that fetches by repository: that is the layout of vLLM.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root
from helixstore.values import Format, Purpose, Variant

from .parts import hub_cache, hub_found
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
from .parts.names import alike, distinct
from .parts.own import discover_own, loose

__all__ = ["Lemonade"]

_EXTRA, _HUB, _CONFIG = "extra", "hub", "config"
_RESERVED = ("chat", "embeddings", "reranking")
#: parts of paths that Lemonade's own documentation proposes for `extra_models_dir`, which are other programs' folders
_OTHERS = {".lmstudio": "LM Studio", "lm-studio": "LM Studio", "huggingface": "the Hugging Face cache",
           "llama.cpp": "llama.cpp"}
_SYSTEM = {
    "linux": ("/var/lib/lemonade", "/var/lib/lemonade/.cache/lemonade", "/opt/var/lib/lemonade/.cache/lemonade"),
    "darwin": ("/Library/Application Support/lemonade/.config", "/Library/Application Support/lemonade/.cache"),
    "win32": (),
}


class Lemonade(Layout):
    """Lemonade's watched folder, and its part of the hub cache."""

    name = "lemonade"
    title = "Lemonade"
    checked = ("2026-10",)
    formats = (Format.GGUF,)
    aliases = frozenset({"sha256", "gitsha1"})          # the hub cache's names
    bears_dangling = True
    launch = ("lemonade", "config", "set", "extra_models_dir={root}")

    def roots(self, env: Env) -> Sequence[Root]:
        """The watched folder, the person's or our own, then Lemonade's downloads, then what it has been told."""
        configs = list(_folders(env))
        config = next((found for folder in configs if (found := _read(env.reader.text(folder / "config.json")))), {})
        here = tuple(folder for folder in configs if env.reader.exists(folder))
        told = str(config.get("models_dir") or "auto")
        hub = hub_cache.hub_root(env)
        models = (hub.path, hub.origin) if told == "auto" else (env.expand(told), "models_dir of Lemonade")
        folder = here[0] if here else configs[0]
        return (_extra(env, config), Root(*models, label=_HUB, present=(folder,)),
                Root(folder, "Lemonade's configuration", label=_CONFIG))

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Whole GGUF models, embedding models too."""
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """In the watched folder each model, as a file or, with company, in a folder; in the cache what is the hub's."""
        if root.label == _HUB:
            yield from hub_cache.project(variants, facts)
        elif root.label == _EXTRA:
            own = {variant.key: gguf_places(variant, self.name) for variant in variants}
            taken = [path.removesuffix(".gguf") for places in own.values() for path, _ in places]
            names = distinct(variants, {variant.key: _name(variant) for variant in variants if not own[variant.key]},
                             taken=[part for path in taken for part in (path, path.rpartition("/")[0])])
            for variant in variants:
                for path, source in own[variant.key]:
                    yield from own_entries(path, source, variant)
                if variant.key in names:
                    yield from _entries(variant, names[variant.key])

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name) | alike(variant, "huggingface")

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """What lies in the watched folder, what was downloaded, and files that are registered by their path."""
        if root.label == _HUB:
            return hub_found.discover(root, reader)
        if root.label == _CONFIG:
            return _registered(root.path / "user_models.json", reader)
        return discover_own_gguf(root.path, reader)


def discover_own_gguf(folder: Path, reader: Reader) -> Iterator[Found]:
    """The GGUF files below a folder, each called by where it lies; whatever else lies there is the person's."""
    for found in discover_own(folder, reader, Lemonade.name):
        yield found if found.inspection.format is Format.GGUF else loose(found.inspection)


# ---- where -----------------------------------------------------------------------------------------------------------

def _folders(env: Env) -> Iterator[Path]:
    """Where Lemonade keeps its settings, the newer places first."""
    if path := env.variable("LEMONADE_CACHE_DIR"):
        yield path
    config, cache = (env.config, env.cache) if env.platform != "win32" else (env.home / ".config", env.home / ".cache")
    yield config / "lemonade"
    yield cache / "lemonade"
    for system in _SYSTEM.get(env.platform, ()):
        yield Path(system)


def _read(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _extra(env: Env, config: Mapping[str, Any]) -> Root:
    """The folder that Lemonade watches: the person's setting, its own, or one of ours that it is to be told."""
    if env.setting:
        return Root(env.setting, "setting", label=_EXTRA)
    said = config.get("extra_models_dir")
    path = env.expand(said) if isinstance(said, str) and said.strip() else env.variable("LEMONADE_EXTRA_MODELS_DIR")
    ours = env.farms / Lemonade.name
    if path is None or path == ours:
        return Root(ours, "helixstore's own", owned=True, label=_EXTRA)
    other = next((_OTHERS[part] for part in path.parts if part in _OTHERS), "")
    reason = f"it is the folder of {other}, where Lemonade sees what is shared with that one" if other else ""
    return Root(path, "extra_models_dir of Lemonade", label=_EXTRA, forbid=reason)


# ---- entries ---------------------------------------------------------------------------------------------------------

def _name(variant: Variant) -> str:
    """The file's or folder's path without extension: embedding models lie in the folder that makes them such."""
    name = stem(variant).replace("mmproj", "mm-proj")
    name = f"{name}-model" if name in _RESERVED else name
    return f"embeddings/{name}" if variant.purpose is Purpose.EMBEDDING else name


def _entries(variant: Variant, path: str) -> Iterator[Entry]:
    above, _, name = path.rpartition("/")
    projector = main_projector(variant)
    folder = f"{path}/" if projector or len(variant.weights) > 1 else f"{above}/" if above else ""
    for number, (file_name, file) in enumerate(shard_names(variant, name)):
        yield Entry(f"{folder}{file_name}", weight(file), variant.key, witness=number == 0)
    if projector:
        yield Entry(f"{folder}{projector_name(projector.path)}", weight(projector), variant.key)


# ---- what is registered ----------------------------------------------------------------------------------------------

def _registered(path: Path, reader: Reader) -> Iterator[Found]:
    """The GGUF files that `user_models.json` names by absolute path: the person's, wherever they lie."""
    if not reader.exists(path):
        return
    for entry in _read(reader.text(path)).values():
        if not isinstance(entry, dict) or entry.get("source") != "local_path":
            continue
        several = entry.get("checkpoints")
        checkpoint = several.get("main") if isinstance(several, dict) else entry.get("checkpoint")
        if isinstance(checkpoint, str) and (file := Path(checkpoint)).is_absolute():
            yield from (loose(one) for one in reader.models(file.parent) if one.location == file)
