"""llama.cpp: `llama-server` as a router over a folder of models; and its own downloads, old and new, where they lie.

Contract (providers-2.md section 2; `load_from_models_dir` in `common/preset.cpp`, b10573 and b11434):
- a `.gguf` file in the folder is a model, called by its stem; a folder is one model, called by its own name: the file
  with `-00001-of-`, else the last GGUF in the order of the directory; a file with `mmproj` in its name is attached to
  it, and ones that begin with `mtp-`, `dspark-`, `dflash-` become its draft. So one model per folder, and shards and
  projectors never in the root, where each part would be a model of its own.
- deeper folders, other extensions and `X.GGUF` are not seen; dangling links are skipped; links are followed.
- names go into preset files by hand sooner or later: no `#`, `;`, `:`.

The router cannot delete from this folder ("is not removable"), so there is no `delete_as_program_does`. Its second
source since b8508 is the hub cache (`hub`), which is looked at and projected into by the layouts of that cache; a model
deleted there by the router (`DELETE /models`) is hidden in both.

Before that, `-hf` downloaded into one flat folder (`cache`; b11434 still puts plain addresses there):

    <org>_<repo>_<file>.gguf            of a split one each part; a `/` in the file's name is a `_` too
    <the same>.json, or .etag           {"url", "etag", "lastModified"}; later the etag alone
    manifest=<org>=<repo>=<tag>.json    the hub's answer, which names `ggufFile` and `mmprojFile`; first `<org>_<repo>`

These say the repository, and no revision: what lies there is a program's, not the hub's. Nothing is put there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root
from helixstore.values import Format, Key, Variant

from .parts import hub_found
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
from .parts.hf_folders import is_repository
from .parts.hub_cache import hub_root
from .parts.names import alike, distinct, legal
from .parts.own import below, found_own, loose

__all__ = ["LlamaCpp"]

#: words by which the router takes a file for a projector or a draft
_SPECIAL = re.compile(r"mmproj|^(?:mtp|dspark|dflash|eagle3)-", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}", re.IGNORECASE)
_MODELS, _CACHE, _HUB = "models", "cache", "hub"
#: the address of a file on a hub, as llama.cpp makes it
_ADDRESS = re.compile(r"https?://[^/]+/([^/]+/[^/]+)/resolve/[^/]+/.+")
_MANIFEST = re.compile(r"manifest=(.+)=[^=]*\.json")


class LlamaCpp(Layout):
    """The router's `--models-dir`, and llama.cpp's caches."""

    name = "llamacpp"
    title = "llama.cpp"
    checked = ("b10434", "b10573", "b11434")
    formats = (Format.GGUF,)
    refresh = "GET /models?reload=1 on the running server; POST /models/unload first for a model that was replaced"
    bears_dangling = True
    launch = ("llama-server", "--models-dir", "{root}")

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else `LLAMA_ARG_MODELS_DIR`, else a folder of helixstore's own; then the caches."""
        if env.setting:
            models = Root(env.setting, "setting", label=_MODELS)
        elif path := env.variable("LLAMA_ARG_MODELS_DIR"):
            models = Root(path, "LLAMA_ARG_MODELS_DIR", label=_MODELS)
        else:
            models = Root(env.farms / self.name, "helixstore's own", owned=True, label=_MODELS)
        told = env.variable("LLAMA_CACHE")
        flat, hub = told or _flat_cache(env), told or hub_root(env).path
        origin = "LLAMA_CACHE" if told else "default"
        # that there is a hub cache does not tell that there is a llama.cpp
        return (models, Root(hub, origin, label=_HUB, present=(flat,)), Root(flat, origin, label=_CACHE))

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Whole GGUF models and embedding models; adapters and heads belong to a model."""
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """A file in the root, or a folder for shards and for a model with a projector; what lies there stays so."""
        if root.label in (_HUB, _CACHE):
            return
        own = {variant.key: gguf_places(variant, self.name) for variant in variants}
        taken = [path.partition("/")[0].removesuffix(".gguf") for places in own.values() for path, _ in places]
        wanted: dict[Key, str] = {variant.key: _model_id(variant) for variant in variants if not own[variant.key]}
        names = distinct(variants, wanted, taken=taken)
        for variant in variants:
            for path, source in own[variant.key]:
                yield from own_entries(path, source, variant)
            if variant.key in names:
                yield from _entries(variant, names[variant.key])

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """What the router lists, and what lies too deep for it; the downloads of either cache."""
        if root.label == _HUB:
            yield from hub_found.discover(root, reader)
        elif root.label == _CACHE:
            yield from _downloads(root.path, reader)
        else:
            for inspection in reader.models(root.path, -1):
                where = below(root.path, inspection.location)
                seen = inspection.format is Format.GGUF and where.count("/") < 2 and where.endswith(".gguf")
                yield found_own(inspection, self.name, where, root.path) if seen else loose(inspection)


def _entries(variant: Variant, name: str) -> Iterator[Entry]:
    projector = main_projector(variant)
    folder = f"{name}/" if projector or len(variant.weights) > 1 else ""
    for number, (file_name, file) in enumerate(shard_names(variant, name)):
        yield Entry(f"{folder}{file_name}", weight(file), variant.key, witness=number == 0)
    if projector:
        yield Entry(f"{folder}{projector_name(projector.path)}", weight(projector), variant.key)


def _model_id(variant: Variant) -> str:
    """The stem, free of what the router reads in names; `.gguf` would vanish from the middle of one."""
    name = stem(variant).replace(".gguf", "").replace(".GGUF", "")
    name = _SHARD.sub("", name)
    return legal(_SPECIAL.sub(lambda match: f"model-{match[0]}" if match[0].endswith("-") else "mm-proj", name))


def _flat_cache(env: Env) -> Path:
    """Where downloads of plain addresses go, and where all went before b8508 (`fs_get_cache_directory`)."""
    if env.platform == "darwin":
        return env.home / "Library" / "Caches" / "llama.cpp"
    if env.platform == "win32":
        return (env.variable("LOCALAPPDATA") or env.home / "AppData" / "Local") / "llama.cpp"
    return env.cache / "llama.cpp"


def _downloads(folder: Path, reader: Reader) -> Iterator[Found]:
    """The models of the flat cache, each under the repository that llama.cpp noted, if it did."""
    found = reader.models(folder)
    if not found:
        return
    listed = _listed(folder, reader)
    for inspection in found:
        name = inspection.location.name
        repository = listed.get(re.sub(r"-\d{5}-of-", "-00001-of-", name)) or _address(folder / f"{name}.json", reader)
        model = repository.rpartition("/")[2] if repository else ""
        yield found_own(inspection, LlamaCpp.name, f"{_CACHE}:{name}", folder, model, repository)


def _listed(folder: Path, reader: Reader) -> dict[str, str]:
    """File name -> repository, by the hub's answers that were kept."""
    listed: dict[str, str] = {}
    for seen in reader.entries(folder):
        match = _MANIFEST.fullmatch(seen.name) if seen.kind == "file" else None
        if match is None:
            continue
        repository = match[1].replace("=", "/") if "=" in match[1] else match[1].replace("_", "/")
        answer = _object(reader.text(seen.path))
        named = [answer.get(key) for key in ("ggufFile", "mmprojFile")]
        files = [file.get("rfilename") for file in named if isinstance(file, dict)]
        if is_repository(repository) and repository.count("/") == 1:
            flat = repository.replace("/", "_")
            listed |= {f"{flat}_{file}".replace("/", "_"): repository for file in files if isinstance(file, str)}
    return listed


def _address(path: Path, reader: Reader) -> str | None:
    """The repository in the address that a file was downloaded from."""
    if not reader.exists(path):
        return None
    address = _object(reader.text(path)).get("url")
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    return match[1] if match and is_repository(match[1]) else None


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
