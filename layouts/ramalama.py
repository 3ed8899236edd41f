"""RamaLama: a store of refs, snapshots and blobs for each model, beside one another as its transports name them.

Contract (the wheel of 0.25.0 run and read: `model_store/`, `config.py`, `transports/`; 0.24 keeps the same files):

    <store>/huggingface/ORG/NAME/
        refs/TAG.json                    {"hash": SNAPSHOT, "files": [{"hash", "name", "type"}], "path", "version"}
        snapshots/SNAPSHOT/<name>        the same file as blobs/<hash>: a hard link, else a symbolic one, else a copy
        blobs/<hash>

- base: `--store`, `RAMALAMA_STORE`, `store` in `ramalama.conf`, else `$XDG_DATA_HOME/ramalama` (for root
  `/var/lib/ramalama`); the models lie in its `store`. The first folder is the transport, and TRANSPORT://ORG/NAME:TAG
  is what the person types; a model whose files are all there is never looked for online.
- everything in `refs` is read as JSON, so nothing else may lie there. A wrong `path` is rewritten; another `version`
  makes RamaLama take the chat template out of the GGUF into a blob of its own, and list that.
- blobs are opened, and mounted into containers, by the ref's `hash`, which is any name: RamaLama itself uses the
  SHA-256 of the content for weights and of the file's name for the rest. Without a container llama.cpp finds shards by
  the name of the first, so here a shard's blob has a shard's name.
- tags of `huggingface` are looked up in capitals. No folder may be called as one of a model's own three.
- `ls` leaves out files that are not there. `rm` unlinks the blobs that no other tag names, the snapshot, then the ref:
  a link to the store's bytes goes, never the bytes.

llama.cpp runs GGUF, vLLM (in a container) safetensors, MLX on Macs MLX. Its OCI transport belongs to Podman.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helixstore.errors import LayoutError
from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, Text
from helixstore.values import File, Format, Key, Role, Source, Variant

from .parts.gguf_files import main_projector, refuse, shard_names, stem
from .parts.hf_folders import body, folder_names, is_repository, model_files, refuse_unservable, repository_name
from .parts.names import alike, distinct, legal, quantized_id
from .parts.own import kept_text, own_sources

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = ["RamaLama"]

_VERSION = "v1.0.1"                     # of the ref files that 0.14 to 0.25 write
_TRANSPORT = "huggingface"
_OWN = frozenset({"blobs", "refs", "snapshots"})
_SYSTEM = Path("/var/lib/ramalama")
_VLLM = (Format.HF, Format.FP8, Format.AWQ, Format.GPTQ, Format.COMPRESSED_TENSORS)
_DEPTH = 32                             # folders between the store and a model: `file` models lie under their own path
_LEVELS = 4                             # folders inside a snapshot


class _Piece(NamedTuple):
    """One file of a model: what RamaLama calls it, its blob's name and its type."""

    name: str
    blob: str
    type: str
    file: File


class RamaLama(Layout):
    """RamaLama's own store."""

    name = "ramalama"
    title = "RamaLama"
    checked = ("0.25.0",)
    formats = (Format.GGUF, *_VLLM, Format.MLX)
    aliases = frozenset({"sha256"})
    bears_dangling = True

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else `RAMALAMA_STORE`, else what `ramalama.conf` says, else the default."""
        if env.setting:
            return (Root(env.setting / "store", "setting"),)
        if path := env.variable("RAMALAMA_STORE"):
            return (Root(path / "store", "RAMALAMA_STORE", present=(path,)),)
        if found := _configured(env):
            base, origin = found
            return (Root(base / "store", origin, present=(base,)),)
        root = env.platform != "win32" and env.home in (Path("/root"), Path("/var/root"))
        base = _SYSTEM if root else env.data / "ramalama"
        return (Root(base / "store", "default", present=(base,)),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF; safetensors through its vLLM runtime; MLX on Apple silicon."""
        if variant.format in _VLLM:
            return refuse_unservable(variant)
        if variant.format is Format.MLX:
            if not facts.apple_silicon:
                return Refusal("RamaLama runs MLX models only on a Mac with Apple silicon")
            return refuse_unservable(variant)
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """For each model its blobs, the snapshot with their names, then the ref; own ones as RamaLama wrote them."""
        own = {variant.key: [source for source in own_sources(variant, self.name) if _ref(source)[1]]
               for variant in variants}
        others = [variant for variant in variants if not own[variant.key]]
        names = _names(others, facts, [_place(source.name or "") for sources in own.values() for source in sources])
        for variant in variants:
            if not own[variant.key]:
                yield from _entries(variant, names[variant.key], root)
            for source in own[variant.key]:
                yield from _kept(variant, source)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """Every model that a ref names and whose snapshot is there, with the ref and what else it lists as text."""
        for folder in _models(root.path, reader):
            for seen in reader.entries(folder / "refs"):
                if seen.kind == "file" and seen.name.endswith(".json"):
                    yield from _found(root.path, folder, seen.path, reader)

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """`ramalama rm`: blobs that no other tag of the model lists, the snapshot, the ref; folders stay."""
        for entry in entries:
            if not entry.witness or entry.key != variant.key:
                continue
            ref = root / entry.path
            model = ref.parent.parent
            listed = json.loads(ref.read_text())
            beside = [json.loads(path.read_text()) for path in ref.parent.glob("*.json") if path != ref]
            taken = {file["name"] for other in beside for file in other["files"]}
            for file in listed["files"]:
                if file["name"] not in taken:
                    (model / "blobs" / _sanitized(file["hash"])).unlink(missing_ok=True)
            if all(other["hash"] != listed["hash"] for other in beside):
                shutil.rmtree(model / "snapshots" / _sanitized(listed["hash"]), ignore_errors=True)
            ref.unlink()


# ---- where -----------------------------------------------------------------------------------------------------------

def _configured(env: Env) -> tuple[Path, str] | None:
    """`store` of the last configuration file that has one, as RamaLama reads them: `x.conf`, then `x.conf.d`."""
    named = env.variable("RAMALAMA_CONFIG")
    files = [named] if named is not None and env.reader.exists(named) else list(_files(env))
    found = None
    for file in files:
        try:
            section = tomllib.loads(env.reader.text(file) or "").get("ramalama")
        except tomllib.TOMLDecodeError:
            continue
        value = section.get("store") if isinstance(section, dict) else None
        if isinstance(value, str) and value.strip():
            found = env.expand(value), str(file)
    return found


def _files(env: Env) -> Iterator[Path]:
    if env.platform == "win32":
        local = env.variable("LOCALAPPDATA") or env.home / "AppData" / "Local"
        folders = [local, env.variable("APPDATA") or env.home / "AppData" / "Roaming"]
    else:
        folders = [Path("/etc"), env.data, env.config]
    for folder in folders:
        file = folder / "ramalama" / "ramalama.conf"
        if env.reader.exists(file):
            yield file
        yield from (seen.path for seen in env.reader.entries(file.with_name("ramalama.conf.d"))
                    if seen.name.endswith(".conf"))


# ---- names -----------------------------------------------------------------------------------------------------------

def _names(variants: Sequence[Variant], facts: Facts, taken: Iterable[str]) -> dict[Key, str]:
    """`huggingface/ORG/NAME/TAG` for each, no two alike, and none like what is there already."""
    namespace = _part(repository_name(facts.namespace))
    folders = folder_names([v for v in variants if v.format is not Format.GGUF])
    wanted: dict[Key, str] = {}
    for variant in variants:
        hub = variant.hub
        if hub is not None and is_repository(hub.repository) and "/" in (hub.repository or ""):
            repository = "/".join(map(_part, str(hub.repository).split("/")))
        else:
            repository = f"{namespace}/{_part(folders.get(variant.key) or repository_name(variant.key.model))}"
        tag = legal(quantized_id(variant.key), 80, ascii_only=True) if variant.format is Format.GGUF else "latest"
        wanted[variant.key] = f"{_TRANSPORT}/{repository}/{tag if quantized_id(variant.key) else 'latest'}"
    places = list(taken)
    spelt: dict[str, str] = {}                  # one folder is never spelt in two ways
    for folder in (place.rpartition("/")[0] for place in (*places, *sorted(wanted.values()))):
        spelt.setdefault(folder.casefold(), folder)
    for key, name in wanted.items():
        folder, _, tag = name.rpartition("/")
        wanted[key] = f"{spelt[folder.casefold()]}/{tag}"
    occupied = {place.casefold() for place in places}
    for variant in variants:
        if wanted[variant.key].casefold() in occupied:
            wanted[variant.key] += f"-{variant.manifest[:8]}"
    return {key: _in_capitals(name) for key, name in distinct(variants, wanted).items()}


def _part(name: str) -> str:
    """`name`, unless RamaLama would take it for a folder of its own, or `.json` in it for the end of a ref's name."""
    name = name.replace(".json", "-json")
    return f"{name}-model" if name in _OWN else name


def _in_capitals(name: str) -> str:
    path, _, tag = name.rpartition("/")
    return f"{path}/{tag if tag == 'latest' else tag.upper()}"


def _place(called: str) -> str:
    """`huggingface/ORG/NAME/TAG` of what RamaLama calls `huggingface://ORG/NAME:TAG`."""
    transport, _, rest = called.partition("://")
    path, _, tag = rest.strip("/").rpartition(":")
    return f"{transport}/{path}/{tag}"


def _sanitized(digest: str) -> str:
    return digest.replace(":", "-")


# ---- entries ---------------------------------------------------------------------------------------------------------

def _entries(variant: Variant, name: str, root: Root) -> Iterator[Entry]:
    folder, _, tag = name.rpartition("/")
    snapshot = f"sha256-{variant.manifest}"
    pieces = list(_pieces(variant))
    yield from _linked(variant, folder, snapshot, pieces)
    path = f"{folder}/refs/{tag}.json"
    listed = [{"hash": piece.blob, "name": piece.name, "type": piece.type} for piece in pieces]
    ref = {"files": listed, "hash": snapshot, "path": os.path.join(root.path, *path.split("/")), "version": _VERSION}
    yield Entry(path, Text(json.dumps(ref, indent=2, sort_keys=True).encode(), _merge), variant.key, True, order=2)


def _linked(variant: Variant, folder: str, snapshot: str, pieces: Sequence[_Piece]) -> Iterator[Entry]:
    """The blobs, each once, and the snapshot's names of them."""
    seen: set[str] = set()
    for piece in pieces:
        blob = _sanitized(piece.blob)
        if blob not in seen:
            seen.add(blob)
            yield Entry(f"{folder}/blobs/{blob}", body(piece.file), variant.key)
        yield Entry(f"{folder}/snapshots/{snapshot}/{piece.name}", body(piece.file), variant.key, order=1)


def _pieces(variant: Variant) -> Iterator[_Piece]:
    if variant.format is not Format.GGUF:
        for file in model_files(variant, code=variant.hub is not None):
            kind = "safetensor" if file.role is Role.WEIGHTS else "other"
            yield _Piece(file.path, f"sha256-{_sha256(file, variant)}", kind, file)
        return
    first = _sha256(variant.weights[0], variant)
    for called, file in shard_names(variant, stem(variant)):
        shard = called.rpartition("-of-")[0].rpartition("-")[2] if len(variant.weights) > 1 else ""
        blob = f"sha256-{first}-{shard}-of-{len(variant.weights):05d}.gguf" if shard else f"sha256-{first}"
        yield _Piece(called, blob, "gguf", file)
    if projector := main_projector(variant):
        name = legal(projector.path.rpartition("/")[2])
        yield _Piece(name, f"sha256-{_sha256(projector, variant)}", "mmproj", projector)


def _sha256(file: File, variant: Variant) -> str:
    if file.sha256 is None:
        raise LayoutError(f"the SHA-256 of {file.path} of {variant.key} is not known", "helixstore verify")
    return file.sha256.lower()


def _merge(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """What lies there, if it names the same snapshot: RamaLama adds chat templates, and its own path when moved."""
    if theirs is None or theirs == base:
        return ours
    try:
        there, wanted = json.loads(theirs), json.loads(ours)
        same = there["hash"] == wanted["hash"]
    except (ValueError, KeyError, TypeError):
        return None
    return theirs if same else None


def _ref(source: Source) -> tuple[str, Mapping[str, Any]]:
    """The ref among the source's sidecars, its path and what it says; nothing when there is none."""
    found = next(((path, listed) for path, text in source.sidecars
                  if path.rpartition("/")[0].endswith("/refs") and (listed := _listed(text))), ("", {}))
    return found if _safe([path for path, _ in source.sidecars]) else ("", {})


def _kept(variant: Variant, source: Source) -> Iterator[Entry]:
    """The entries of a model that RamaLama pulled, from the ref that it wrote."""
    ref, listed = _ref(source)
    files = {file.path.rpartition("/")[2] if variant.format is Format.GGUF else file.path: file
             for file in variant.files}
    pieces = []
    for file in listed.get("files", ()):
        name = file["name"].rpartition("/")[2] if variant.format is Format.GGUF else file["name"]
        if name in files:
            pieces.append(_Piece(file["name"], file["hash"], file["type"], files[name]))
    yield from _linked(variant, ref.rpartition("/refs/")[0], _sanitized(listed["hash"]), pieces)
    for path, text in source.sidecars:
        if path == ref:
            yield Entry(path, Text(text.encode(), _merge), variant.key, True, order=2)
        else:
            yield Entry(path, kept_text(text), variant.key)


# ---- what is there ---------------------------------------------------------------------------------------------------

def _models(folder: Path, reader: Reader, depth: int = 0) -> Iterator[Path]:
    """The folders that have `refs`, below the transports'; deeper ones are not models."""
    below = [seen for seen in reader.entries(folder) if seen.kind == "folder" and not seen.linked]
    if depth and any(seen.name == "refs" for seen in below):
        yield folder
    elif depth < _DEPTH:
        for seen in below:
            yield from _models(seen.path, reader, depth + 1)


def _listed(text: str | None) -> Mapping[str, Any] | None:
    """A ref file's content, if it is one."""
    try:
        listed = json.loads(text or "null")
        well = isinstance(listed["hash"], str) and all(
            isinstance(file[key], str) for file in listed["files"] for key in ("hash", "name", "type"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not well or not _safe([file["name"] for file in listed["files"]]):
        return None
    hashes = [listed["hash"], *(file["hash"] for file in listed["files"])]
    return listed if _safe(hashes) and not any("/" in each or "\\" in each for each in hashes) else None


def _safe(names: Sequence[str]) -> bool:
    """Whether none of these names leads out of its folder."""
    return all(part not in ("", ".", "..") for name in names for part in name.replace("\\", "/").split("/"))


def _found(root: Path, folder: Path, ref: Path, reader: Reader) -> Iterator[Found]:
    text = reader.text(ref)
    listed = _listed(text)
    relative = folder.relative_to(root).as_posix()
    transport, _, path = relative.partition("/")
    called = f"{transport}://{path}:{ref.name.removesuffix('.json')}"
    if text is None or listed is None:
        reader.issue("unreadable", ref, "is no ref file of RamaLama", f"ramalama rm {called}")
        return
    snapshot = folder / "snapshots" / _sanitized(listed["hash"])
    names = {file["name"] for file in listed["files"]}
    for inspection in reader.models(snapshot, _LEVELS):
        inside = {part.location.relative_to(snapshot).as_posix() for part in inspection.parts
                  if part.location.is_relative_to(snapshot)}
        if not inside & names:
            continue
        sidecars = [(ref.relative_to(root).as_posix(), text)]
        for file in listed["files"]:
            if file["name"] not in inside:
                sidecars += _small(root, folder, snapshot, file, reader)
        parts = path.split("/")
        repository = "/".join(parts[:2]) if transport == _TRANSPORT else None
        source = Source("program", repository, None, RamaLama.name, called, tuple(sorted(sidecars)))
        file = parts[-1].endswith((".gguf", ".safetensors"))    # named by itself: `file://`, `hf://ORG/NAME/FILE`
        name = inspection.name if file else parts[-1]
        yield Found(inspection, source, name)
        blobs = {file["name"]: folder / "blobs" / _sanitized(file["hash"]) for file in listed["files"]}
        if (again := _as_blobs(inspection, snapshot, blobs, reader)) is not None:
            yield Found(again, Source("file", name=again.location.name), name)


def _as_blobs(
    inspection: Inspection, snapshot: Path, blobs: Mapping[str, Path], reader: Reader
) -> Inspection | None:
    """The same files by their other names: RamaLama has each twice, as one file or, where it cannot link, as two."""
    parts = tuple(replace(part, location=blobs.get(part.location.relative_to(snapshot).as_posix(), snapshot))
                  for part in inspection.parts)
    if not all(part.location != snapshot and reader.exists(part.location) for part in parts):
        return None
    return replace(inspection, location=parts[0].location, parts=parts)


def _small(
    root: Path, folder: Path, snapshot: Path, file: Mapping[str, str], reader: Reader
) -> Iterator[tuple[str, str]]:
    """A listed file that is no part of the model, a chat template say: under both of its names."""
    for path in (folder / "blobs" / _sanitized(file["hash"]), snapshot / file["name"]):
        if reader.exists(path) and (text := reader.text(path)) is not None:
            yield path.relative_to(root).as_posix(), text
