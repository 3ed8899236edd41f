"""Docker Model Runner: an OCI store of models, with a list of them in one JSON file.

Contract (docker/model-runner 4d9aca2 and 60c6e25 of 2026: `internal/store`, `internal/bundle` and `types` below
`pkg/distribution`, `pkg/envconfig`; layout version 1.0.0; read, not run: no registry reached from here has it):

    models.json                          {"models": [{"id": "sha256:...", "tags": [...], "files": ["sha256:...", ...]}]}
    layout.json                          {"version": "1.0.0"}; made by the program, and `models.json` if missing
    manifests/sha256/<id>                an OCI manifest; its own SHA-256 is the model's id
    blobs/sha256/<digest>                layers as they are, and the manifest's configuration; no suffix
    bundles/sha256/<id>/model/           made at the first run: *hard links* of the blobs under names for llama.cpp

- where: `MODELS_PATH` (which is also LocalAI's: so only if such a store lies there), else `~/.docker/models`, as Docker
  Desktop has it. With Docker Engine on Linux the runner is a container, and its store the volume
  `docker-model-runner-models`, which belongs to a user of the container: it is looked at and never written into.
- a bundle is made with link(2), which on Linux would make another name of a symbolic link and in a container lead
  nowhere: blobs are hard links or reflinks.
- layers of the type `gguf.v3` are the weights, shards in their order; `mmproj` at most once. It runs llama.cpp on them.
  Safetensors are for its vLLM on Linux with CUDA, and need an archive of the small files that is nobody else's.
- a name without a host and with one part gets `ai/` before it, all get `:latest`; `hf.co/...` becomes the full name of
  the hub in lower case, tag included. Repositories are in lower case. Content that is there is not downloaded again.
- `docker model rm` removes the manifest, the bundle, blobs that no other model of the list names, then the entry. A
  model that helixstore takes away leaves its bundle, which the program made.
- the list is rewritten as a whole, two spaces deep, without a newline at its end; it is read anew at each command.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.errors import LayoutError
from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, Text
from helixstore.values import File, Format, Key, LinkKind, Role, Source, Variant

from .parts.gguf_files import main_projector, refuse, weight
from .parts.names import distinct, legal, quantized_id
from .parts.own import kept_text, own_sources
from .parts.remembered import remembered

if TYPE_CHECKING:
    from helixstore.formats import Inspection, Part

__all__ = ["DockerModels"]

_KINDS = (LinkKind.HARD, LinkKind.REFLINK)
_LIST = "models.json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_TYPE = "application/vnd.docker.ai."
_GGUF, _MMPROJ, _CONFIG = f"{_TYPE}gguf.v3", f"{_TYPE}mmproj", f"{_TYPE}model.config.v0.1+json"
#: the types of the open ModelPack specification that mean the same
_WEIGHTS = frozenset({_GGUF, "application/vnd.cncf.model.weight.v1.gguf", "application/vnd.cncf.model.weight.v1.raw"})
#: the host whose names come from the hub; spelt by parts, since it is a name here and no address
_HUB = ".".join(("huggingface", "co"))
_VOLUME = ("docker-model-runner-models", "_data")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_OUTSIDE = re.compile(r"[^a-z0-9]+")
_TEXT_BYTES = 1 << 20
_LIST_BYTES = 16 << 20


class DockerModels(Layout):
    """The store of Docker Model Runner."""

    name = "dockermodels"
    title = "Docker Model Runner"
    checked = ("1.0", "2026-05")
    formats = (Format.GGUF,)
    aliases = frozenset({"sha256"})

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else `MODELS_PATH` where it leads to such a store, the engine's volume, the default."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        path = env.variable("MODELS_PATH")
        if path is not None and any(env.reader.exists(path / name) for name in ("layout.json", _LIST)):
            return (Root(path, "MODELS_PATH"),)
        default = env.home / ".docker" / "models"
        if env.platform == "linux" and not env.reader.exists(default):
            for folder in (Path("/var/lib/docker"), env.data / "docker"):
                volume = folder.joinpath("volumes", *_VOLUME)
                if env.reader.exists(volume):
                    return (Root(volume, "volume of Docker Engine", forbid=(
                        f"{volume} belongs to the container of Docker Model Runner; a store of your own is named with: "
                        "helixstore providers set dockermodels --root DIR")),)
        return (Root(default, "default"),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Whole GGUF models, in shards too, with or without a projector."""
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """The blobs and the manifest of each model, then the list; pulled ones as Docker wrote them."""
        pulled = {variant.key: list(_pulled(variant)) for variant in variants}
        taken = [str(source.name) for models in pulled.values() for source, _, _ in models]
        names = _names([variant for variant in variants if not pulled[variant.key]], facts, taken)
        listed: dict[str, dict[str, Any]] = {}
        for variant in variants:
            for source, digest, manifest in pulled[variant.key]:
                yield from _kept(variant, source, digest, manifest, listed)
            if not pulled[variant.key]:
                made, digest, files = _made(variant, None)
                yield from made
                _list(listed, digest, names[variant.key], files)
        if listed:
            entries = sorted(listed.values(), key=lambda entry: str(entry["id"]))
            yield Entry(_LIST, Text(_encoded(entries), _merge), None, order=2)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """Every model of the list that is one whole GGUF, once for each of its tags; no settled ones of a settled list.
        """
        path = root.path / _LIST
        settled = reader.settled(path)
        listed = _read(reader.text(path, _LIST_BYTES)) if reader.exists(path) else {}
        if listed is None:
            reader.issue("unreadable", path, "is no list of models", "docker model purge")
        for digest, entry in (listed or {}).items():
            yield from _found(root.path, digest, entry["tags"], reader, settled)

    def left_of(self, path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        """The list without the models whose manifests go away; an empty one is as Docker leaves it."""
        listed = _read(text.decode(errors="replace")) if path == _LIST else None
        if listed is None:
            return None
        left = [entry for digest, entry in listed.items() if not gone(f"manifests/sha256/{digest[7:]}")]
        return text if len(left) == len(listed) else _encoded(left)

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """`docker model rm`: manifest, bundle, blobs that no other model names, the entry of the list."""
        for entry in entries:
            if not entry.witness or entry.key != variant.key:
                continue
            digest = f"sha256:{entry.path.rpartition('/')[2]}"
            listed = _read((root / _LIST).read_text()) or {}
            (root / entry.path).unlink()
            shutil.rmtree(root / "bundles" / "sha256" / digest[7:], ignore_errors=True)
            others = {name for each in listed.values() if each["id"] != digest for name in each["files"]}
            for name in listed.pop(digest)["files"]:
                if name not in others:
                    (root / "blobs" / "sha256" / name[7:]).unlink(missing_ok=True)
            (root / _LIST).write_bytes(_encoded(listed.values()))


# ---- names -----------------------------------------------------------------------------------------------------------

def _names(variants: Sequence[Variant], facts: Facts, taken: Iterable[str]) -> dict[Key, str]:
    """`repository:tag` for each: the hub's, or one in the namespace."""
    wanted: dict[Key, str] = {}
    for variant in variants:
        tag = legal(quantized_id(variant.key), 100, ascii_only=True) if quantized_id(variant.key) else "latest"
        repository = variant.hub.repository if variant.hub else None
        if repository and repository.count("/") == 1:
            wanted[variant.key] = f"{_HUB}/{'/'.join(map(_part, repository.split('/')))}:{tag.lower()}"
        else:
            wanted[variant.key] = f"{_part(facts.namespace)}/{_part(variant.key.model)}:{tag}"
    return distinct(variants, wanted, taken=taken)


@lru_cache(maxsize=65536)
def _part(text: str) -> str:
    """`text` as one part of a repository's name: lower-case letters and digits, one separator between them."""
    clean = re.sub(r"[._-]*-[._-]*|[._]{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", text.lower())).strip("._-")[:100]
    if not _OUTSIDE.sub("", clean):
        return f"model-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return clean.strip("._-")


# ---- entries ---------------------------------------------------------------------------------------------------------

@remembered
def _made(variant: Variant, _: None) -> tuple[list[Entry], str, list[str]]:
    """What shows Docker a model that came from elsewhere: its entries, its id, and the digests of its blobs."""
    layers = [(_GGUF, file) for file in variant.weights]
    if projector := main_projector(variant):
        layers.append((_MMPROJ, projector))
    digests = [_sha256(file, variant) for _, file in layers]
    config, manifest = _texts(
        variant.quantization, variant.header.parameters, variant.header.architecture, variant.bytes,
        tuple((kind, file.bytes, digest) for (kind, file), digest in zip(layers, digests, strict=True)))
    entries = [Entry(_blob(digest), weight(file, _KINDS), variant.key)
               for (_, file), digest in zip(layers, digests, strict=True)]
    entries.append(Entry(_blob(_digest(config)), Text(config), variant.key))
    name = _digest(manifest)
    entries.append(Entry(f"manifests/sha256/{name}", Text(manifest), variant.key, witness=True, order=1))
    return entries, f"sha256:{name}", [f"sha256:{digest}" for digest in (*digests, _digest(config))]


@lru_cache(maxsize=65536)
def _texts(quantization: str, parameters: int | None, architecture: str | None, size: int,
           layers: tuple[tuple[str, int, str], ...]) -> tuple[bytes, bytes]:
    """The configuration and the manifest. `layers`: kind, bytes and digest of each."""
    config = _json({
        "config": {key: value for key, value in (
            ("format", "gguf"), ("quantization", quantization), ("parameters", _short(parameters)),
            ("architecture", architecture), ("size", _short(size))) if value},
        "descriptor": {}, "rootfs": {"type": "rootfs", "diff_ids": [f"sha256:{digest}" for *_, digest in layers]}})
    return config, _json({
        "schemaVersion": 2, "mediaType": _MANIFEST, "config": _descriptor(_CONFIG, len(config), _digest(config)),
        "layers": [_descriptor(*layer) for layer in layers]})


def _kept(
    variant: Variant, source: Source, digest: str, manifest: Mapping[str, Any], listed: dict[str, dict[str, Any]]
) -> Iterator[Entry]:
    """The entries of a model that Docker has by itself, once for all its tags."""
    names = [part["digest"] for part in (*manifest["layers"], manifest["config"])]
    if digest not in listed:
        files, texts = {f"sha256:{file.sha256}": file for file in variant.files}, dict(source.sidecars)
        for name in dict.fromkeys(names):
            here = weight(files[name], _KINDS) if name in files else kept_text(texts[_blob(name[7:])])
            yield Entry(_blob(name[7:]), here, variant.key)
        path = f"manifests/sha256/{digest[7:]}"
        yield Entry(path, kept_text(texts[path]), variant.key, witness=True, order=1)
    _list(listed, digest, "" if source.name == digest else str(source.name), names)


def _pulled(variant: Variant) -> Iterator[tuple[Source, str, Mapping[str, Any]]]:
    """The sources that say what the variant is called in Docker, each with its model's id and manifest."""
    digests = {f"sha256:{file.sha256}" for file in variant.files}
    for source in own_sources(variant, DockerModels.name):
        texts = dict(source.sidecars)
        for path, text in source.sidecars:
            digest, manifest = f"sha256:{path.rpartition('/')[2]}", _manifest(text)
            if manifest and path == f"manifests/sha256/{_digest(text.encode())}" and all(
                    part["digest"] in digests or _blob(part["digest"][7:]) in texts
                    for part in (*manifest["layers"], manifest["config"])):
                yield source, digest, manifest


def _list(listed: dict[str, dict[str, Any]], digest: str, tag: str, files: list[str]) -> None:
    entry = listed.setdefault(digest, {"id": digest, "tags": [], "files": files})
    if tag and tag not in entry["tags"]:
        entry["tags"].append(tag)


def _sha256(file: File, variant: Variant) -> str:
    if file.sha256 is None:
        raise LayoutError(f"the SHA-256 of {file.path} of {variant.key} is not known", "helixstore verify")
    return file.sha256.lower()


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _descriptor(kind: str, size: int, digest: str) -> dict[str, object]:
    return {"mediaType": kind, "size": size, "digest": f"sha256:{digest}"}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _short(number: int | None) -> str:
    """A count as `docker model ls` shows it: `8.03B`, `361.82M`."""
    for size, suffix in ((10**9, "B"), (10**6, "M"), (1000, "K")):
        if number and number >= size:
            return f"{number / size:.2f}{suffix}"
    return str(number) if number else ""


# ---- the list --------------------------------------------------------------------------------------------------------

def _read(text: str | None) -> dict[str, dict[str, Any]] | None:
    """The list by id; None when it is none."""
    try:
        models = json.loads(text or "{}").get("models") or []
        listed = {entry["id"]: {"tags": [], "files": []} | {k: v for k, v in entry.items() if v is not None}
                  for entry in models}
        well = all(isinstance(key, str) and isinstance(entry["tags"], list) and isinstance(entry["files"], list)
                   for key, entry in listed.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return listed if well else None


def _encoded(entries: Iterable[Mapping[str, Any]]) -> bytes:
    listed = ",\n    ".join(_indented(json.dumps(entry, ensure_ascii=False)) for entry in entries)
    return (f'{{\n  "models": [\n    {listed}\n  ]\n}}' if listed else '{\n  "models": []\n}').encode()


@lru_cache(maxsize=65536)
def _indented(entry: str) -> str:
    """An entry of the list as it stands there; thousands are the same each time."""
    return json.dumps(json.loads(entry), indent=2, ensure_ascii=False).replace("\n", "\n    ")


def _merge(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """Their list, with what is ours added, brought up to date, or taken out; what Docker took out stays out."""
    if theirs is None or theirs == base:
        return ours
    before, there, wanted = (_read(text.decode(errors="replace")) for text in (base or b"", theirs, ours))
    if before is None or there is None or wanted is None:
        return None
    merged = dict(there)
    for digest, entry in before.items():
        if digest not in wanted and there.get(digest) == entry:
            del merged[digest]
    for digest, entry in wanted.items():
        if there.get(digest) == before.get(digest):     # as we left it, or never there
            merged[digest] = entry
    return theirs if merged == there else ours if merged == wanted else _encoded(merged.values())


# ---- what is there ---------------------------------------------------------------------------------------------------

def _manifest(text: str | None) -> Mapping[str, Any] | None:
    """A manifest whose every part has a type and a digest."""
    try:
        manifest = json.loads(text or "null")
        well = all(isinstance(part["mediaType"], str) and _DIGEST.fullmatch(part["digest"])
                   for part in (*manifest["layers"], manifest["config"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return manifest if well and isinstance(manifest, dict) else None


def _found(root: Path, digest: str, tags: Sequence[object], reader: Reader, settled: bool) -> Iterator[Found]:
    path = root / "manifests" / "sha256" / digest[7:]
    if not _DIGEST.fullmatch(digest) or not reader.exists(path):
        return
    text = reader.text(path)
    manifest = _manifest(text)
    if text is None or manifest is None:
        reader.issue("unreadable", path, "is no manifest of a model", f"docker model rm {digest}")
        return
    if settled and all(map(reader.settled, (path, *(
            root / _blob(part["digest"][7:]) for part in (*manifest["layers"], manifest["config"]))))):
        return
    weights = [layer for layer in manifest["layers"] if layer["mediaType"] in _WEIGHTS]
    projectors = [layer for layer in manifest["layers"] if layer["mediaType"] == _MMPROJ]
    if not weights or len(projectors) > 1:
        reader.note(path, "it has no weights that other programs read")
        return
    sidecars = [(f"manifests/sha256/{digest[7:]}", text)]
    for layer in (*manifest["layers"], manifest["config"]):
        if layer in weights or layer in projectors:
            continue
        small = reader.text(root / _blob(layer["digest"][7:]), _TEXT_BYTES)
        if small is None or _digest(small.encode()) != layer["digest"][7:]:
            reader.note(path, "one of its small parts is no text, or not what its name says")
            return
        sidecars.append((_blob(layer["digest"][7:]), small))
    main = _joined(root, path, weights, reader)
    eyes = [reader.model(root / _blob(layer["digest"][7:])) for layer in projectors]
    if main is None or None in eyes:
        return
    for tag in [tag for tag in tags if isinstance(tag, str)] or [digest]:
        repository, _, version = tag.rpartition(":") if tag != digest else ("", "", "")
        model = repository.rpartition("/")[2] or digest[7:19]
        known = version.lower() in ("", "latest", main.quantization.lower())
        parts = tuple(_called(legal(model + (f"-{main.quantization}" if main.quantization else "")), main, eyes))
        claims = {part.path: layer["digest"][7:]
                  for part, layer in zip(parts, (*weights, *projectors), strict=True)}
        source = Source("program", repository or None, None, DockerModels.name, tag, tuple(sorted(sidecars)))
        yield Found(replace(main, name=model, parts=parts), source, model if known else f"{model}:{version}",
                    claims=claims)


def _joined(root: Path, path: Path, layers: Sequence[Mapping[str, Any]], reader: Reader) -> Inspection | None:
    """The weights as one model: one whole GGUF, or its shards in their order."""
    found = []
    for layer in layers:
        one = reader.model(root / _blob(layer["digest"][7:]))
        if one is None:
            return None
        if one.format is not Format.GGUF or one.header.shards != len(layers):
            reader.note(path, "its weights are no whole GGUF, and only Docker Model Runner reads them")
            return None
        found.append(one)
    types: Counter[str] = Counter()
    for one in found:
        types.update(dict(one.header.tensor_types))
    header = replace(
        found[0].header, parameters=sum(one.header.parameters or 0 for one in found) or None,
        tensors=sum(one.header.tensors for one in found), tensor_types=tuple(types.most_common()))
    return replace(found[0], header=header, parts=tuple(one.parts[0] for one in found), missing=())


def _called(name: str, main: Inspection, projectors: Sequence[Inspection | None]) -> Iterator[Part]:
    """The parts under names that tell what they are, since the blobs' do not."""
    count = len(main.parts)
    for number, part in enumerate(main.parts, 1):
        yield replace(part, path=f"{name}.gguf" if count == 1 else f"{name}-{number:05d}-of-{count:05d}.gguf")
    for one in projectors:
        if one is not None:
            yield replace(one.parts[0], path=f"mmproj-{name}.gguf", role=Role.PROJECTOR)
