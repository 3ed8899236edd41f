"""Ollama: blobs named by SHA-256, and manifests written by hand.

Contract (providers-1.md section 1, Ollama 0.33; an older real server, 0.5.4, lists and loads the same):
- `manifests/<host>/<namespace>/<model>/<tag>`, exactly four levels; `blobs/sha256-<64 hex>`, lower case.
- `ollama create` would rewrite the GGUF into a second copy with another digest; a manifest of our own names the same
  bytes. It needs a configuration blob, which `ollama list` shows, and one layer for the weights. It has no template
  layer: since 0.30 the chat template of the GGUF itself is used, before that the bare prompt.
- Case: a lookup replaces each part of a name by any spelling of that part in the whole tree (`getExistingName`), so one
  part must never be spelt in two ways: tags are spelt as those pulled from the hub usually are (`Q4_K_M`).
- A blob that no manifest names is deleted at the next start: the weights go first, the manifest last and soon after.

The desktop app keeps its own folder setting in `db.sqlite`, which is not text and is not read: name the folder with
`helixstore providers set ollama --root DIR`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from helixstore.errors import LayoutError
from helixstore.providers.layout import Entry, Env, Facts, Layout, Refusal, Root, Text
from helixstore.values import File, Format, Key, Variant

from .gguf_files import main_projector, refuse, weight
from .names import distinct, legal, quantized_id

__all__ = ["DEFAULT_HOST", "FILE_TYPES", "Ollama", "human_number"]

#: the host of Ollama's own library, which it leaves out of the names it shows
DEFAULT_HOST = ".".join(("registry", "ollama", "ai"))
_SERVICE = Path("/usr/share/ollama/.ollama/models")
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.ollama.image."
#: names of `general.file_type`; 0 and whatever is not here is "unknown" (fs/ggml/type.go)
FILE_TYPES: Mapping[int, str] = {
    1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}
#: renderer, parser and parameters that `ollama create` adds for an architecture (server/create.go)
_DEFAULTS: Mapping[str, tuple[str, str, Mapping[str, object]]] = {
    "gemma4": ("gemma4", "gemma4", {"stop": ["<turn|>"]}),
    "laguna": ("laguna", "laguna", {}),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe", "nemotron_h_omni"), ("nemotron-3-nano", "nemotron-3-nano", {})),
}
#: host, namespace, model, tag (types/model/name.go); a port in the host cannot be a folder's name everywhere
_PARTS = tuple(re.compile(pattern, re.ASCII) for pattern in (
    r"\w[\w.-]{0,349}", r"\w[\w-]{0,79}", r"\w[\w.-]{0,79}", r"\w[\w.-]{0,79}"))


class Ollama(Layout):
    """`OLLAMA_MODELS`."""

    name = "ollama"
    title = "Ollama"
    checked = ("0.5.4", "0.33.0")
    formats = (Format.GGUF,)
    aliases = frozenset({"sha256"})

    def roots(self, env: Env) -> Sequence[Root]:
        """Setting, `OLLAMA_MODELS`, the folder of the system service where there is one, `~/.ollama/models`."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        if value := env.environ.get("OLLAMA_MODELS", "").strip().strip("\"'"):
            return (Root(env.expand(value), "OLLAMA_MODELS"),)
        if env.platform == "linux" and env.reader.exists(_SERVICE):
            return (Root(_SERVICE, "the system service's folder", forbid=_service_reason(env)),)
        home = env.home / ".ollama"
        return (Root(home / "models", "default", present=(home,)),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """One whole GGUF, with or without a projector."""
        if reason := refuse(variant, facts, self.title, inside=True):
            return reason
        if len(variant.weights) > 1:
            return Refusal("split GGUF cannot be served from Ollama's blobs, which have no shard names", (Format.GGUF,))
        return None

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """For each variant the links to its blobs, its configuration blob, then its manifest."""
        names = _names(variants)
        for variant in variants:
            yield from _entries(variant, names[variant.key])

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """`ollama rm`: the manifest, then each of its blobs that no other manifest names, then empty folders."""
        manifest = root / next(entry.path for entry in entries if entry.witness and entry.key == variant.key)
        named = _digests(manifest)
        manifest.unlink()
        others = {digest for path in (root / "manifests").glob("*/*/*/*") for digest in _digests(path)}
        for digest in named - others:
            (root / "blobs" / digest.replace(":", "-")).unlink(missing_ok=True)
        for folder in manifest.parents:
            if folder == root or any(folder.iterdir()):
                break
            folder.rmdir()


def _service_reason(env: Env) -> str:
    if env.home in _SERVICE.parents:
        return ""
    user = env.environ.get("USER") or "$USER"
    return (
        f"{_SERVICE} belongs to the system service's user `ollama`; to share models with it: "
        f"sudo setfacl -R -m u:{user}:rwX,d:u:{user}:rwX {_SERVICE} && "
        f"helixstore providers set ollama --root {_SERVICE}")


def human_number(count: int) -> str:
    """A number of parameters as Ollama writes it (`format.HumanNumber`): `8.0B`, `268.10M`, `7B`, `512K`."""
    for size, suffix, digits in ((10**9, "B", 1), (10**6, "M", 2), (1000, "K", 0)):
        if count >= size:
            return f"{count / size:.{digits if count % size else 0}f}{suffix}"
    return str(count)


def _names(variants: Sequence[Variant]) -> dict[Key, str]:
    """`host/namespace/model/tag` for each: Ollama's own name back where it has one, no part spelt in two ways."""
    own = {variant.key: name for variant in variants if (name := _own_name(variant))}
    folded = [name.casefold() for name in own.values()]
    fixed = {key: name for key, name in own.items() if folded.count(name.casefold()) == 1} if own else {}
    names = distinct(variants, {v.key: own.get(v.key) or _made_name(v) for v in variants}, fixed)
    if not _differ_in_case(names.values()):
        return names
    spellings: list[dict[str, str]] = [{} for _ in _PARTS]
    for key in sorted(names, key=lambda key: (key not in fixed, names[key])):
        for level, part in enumerate(names[key].split("/")):
            spellings[level].setdefault(part.casefold(), part)
    return {key: name if key in fixed else _respelt(name, spellings) for key, name in names.items()}


def _differ_in_case(names: Iterable[str]) -> bool:
    levels = [set(level) for level in zip(*(name.split("/") for name in names), strict=True)]
    return any(len({part.casefold() for part in level}) != len(level) for level in levels)


def _respelt(name: str, spellings: Sequence[Mapping[str, str]]) -> str:
    return "/".join(known[part.casefold()] for known, part in zip(spellings, name.split("/"), strict=True))


def _own_name(variant: Variant) -> str | None:
    for source in variant.sources:
        if source.program != Ollama.name or not source.name:
            continue
        path, _, tag = source.name.rpartition(":") if ":" in source.name.rpartition("/")[2] else (source.name, "", "")
        parts = path.split("/")
        full = [*(DEFAULT_HOST, "library")[:3 - len(parts)], *parts, tag or "latest"]
        if len(full) == len(_PARTS) and all(rule.fullmatch(part) for rule, part in zip(_PARTS, full, strict=True)):
            return "/".join(full)
    return None


def _made_name(variant: Variant) -> str:
    model = legal(variant.key.model, 80, ascii_only=True)
    tag = legal(quantized_id(variant.key), 71, ascii_only=True) if quantized_id(variant.key) else "latest"
    return f"{DEFAULT_HOST}/library/{model}/{tag}"


def _entries(variant: Variant, name: str) -> Iterator[Entry]:
    header, key = variant.header, variant.key
    renderer, parser, parameters = _DEFAULTS.get(header.architecture or "", ("", "", {}))
    config = _config(header.architecture or "unknown", header.parameters, header.file_type or 0, renderer, parser)
    texts = [config]
    layers = [("model", _sha256(variant.weights[0], variant), variant.weights[0].bytes)]
    yield Entry(_blob(layers[0][1]), weight(variant.weights[0]), key)
    if projector := main_projector(variant):
        layers.append(("projector", _sha256(projector, variant), projector.bytes))
        yield Entry(_blob(layers[1][1]), weight(projector), key)
    if parameters:
        texts.append(_encode(parameters))
        layers.append(("params", _digest(texts[1]), len(texts[1])))
    for text in texts:
        yield Entry(_blob(_digest(text)), Text(text), key)
    yield Entry(f"manifests/{name}", Text(_manifest(config, layers)), key, witness=True, order=1)


def _manifest(config: bytes, layers: Sequence[tuple[str, str, int]]) -> bytes:
    """The manifest's JSON, compact and with a newline: its digest is the id that `ollama list` shows.

    Put together by hand, since it holds nothing that JSON would escape and ten thousand are made in one go.
    """
    listed = ",".join(_descriptor(_LAYER_TYPE + kind, digest, size) for kind, digest, size in layers)
    return (
        f'{{"schemaVersion":2,"mediaType":"{_MANIFEST_TYPE}",'
        f'"config":{_descriptor(_CONFIG_TYPE, _digest(config), len(config))},"layers":[{listed}]}}\n').encode()


def _descriptor(kind: str, digest: str, size: int) -> str:
    return f'{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}'


@lru_cache(maxsize=4096)
def _config(architecture: str, parameters: int | None, file_type: int, renderer: str, parser: str) -> bytes:
    """The configuration blob, in the order of the fields of `ConfigV2`."""
    config: dict[str, object] = {
        "model_format": "gguf", "model_family": architecture, "model_families": [architecture],
        "model_type": human_number(parameters) if parameters else "", "file_type": FILE_TYPES.get(file_type, "unknown"),
    }
    if renderer:
        config |= {"renderer": renderer, "parser": parser}
    return _encode(config | {"architecture": "amd64", "os": "linux"})


def _encode(value: object) -> bytes:
    """Compact, with a newline, as Ollama writes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@lru_cache(maxsize=4096)
def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(digest: str) -> str:
    return f"blobs/sha256-{digest}"


def _sha256(file: File, variant: Variant) -> str:
    if file.sha256 is None:
        raise LayoutError(f"the SHA-256 of {file.path} of {variant.key} is not known", "helixstore verify")
    return file.sha256.lower()


def _digests(manifest: Path) -> set[str]:
    content = json.loads(manifest.read_bytes())
    return {layer["digest"] for layer in (content["config"], *content["layers"])}
