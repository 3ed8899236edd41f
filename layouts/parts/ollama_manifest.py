"""Ollama's manifests and configuration blobs: read as it writes them, written as it would.

Facts (0.33: manifest/manifest.go, manifest/layer.go, types/model/config.go, server/images.go `GetModel`): JSON with
`config` and `layers`, each with `mediaType`, `digest` and `size`; the kind of a layer is the last part of its type.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from helixstore.errors import Unreadable
from helixstore.fs.names import printable

__all__ = ["DEFAULTS", "FILE_TYPES", "Layer", "Manifest", "blob_path", "configuration", "digest_of", "human_number",
           "json_line", "manifest_text", "read_manifest"]

_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
#: names of `general.file_type`; 0 and whatever is not here is "unknown" (fs/ggml/type.go)
FILE_TYPES: Mapping[int, str] = {
    1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}
#: renderer, parser and parameters that `ollama create` adds for an architecture (server/create.go)
DEFAULTS: Mapping[str, tuple[str, str, Mapping[str, object]]] = {
    "gemma4": ("gemma4", "gemma4", {"stop": ["<turn|>"]}),
    "laguna": ("laguna", "laguna", {}),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe", "nemotron_h_omni"), ("nemotron-3-nano", "nemotron-3-nano", {})),
}


class Layer(NamedTuple):
    """One blob of a model: `kind` is "model", "projector", "template", ...; `digest` 64 hex digits; bytes or None."""

    kind: str
    digest: str
    bytes: int | None


class Manifest(NamedTuple):
    """What a manifest names.

    Attributes:
        text: all of it.
        config: None in some that were written by hand.
        layers: in their order.
        derived: the weights were taken from another model of this folder, as `create` notes.
    """

    text: str
    config: Layer | None
    layers: tuple[Layer, ...]
    derived: bool

    def of(self, *kinds: str) -> tuple[Layer, ...]:
        """The layers of these kinds, in their order."""
        return tuple(layer for layer in self.layers if layer.kind in kinds)

    @property
    def all(self) -> tuple[Layer, ...]:
        """Every blob that it names."""
        return (self.config, *self.layers) if self.config else self.layers


@lru_cache(maxsize=65536)
def read_manifest(text: str) -> Manifest:
    """What a manifest says.

    Raises:
        Unreadable: it is none; the message says why, as a clause.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError:
        raise Unreadable("it is not JSON") from None
    layers = content.get("layers") if isinstance(content, dict) else None
    if not isinstance(layers, list):
        raise Unreadable("it has no layers")
    config = content.get("config")
    named = isinstance(config, dict) and config.get("digest")
    derived = any(isinstance(layer, dict) and layer.get("from") for layer in layers)
    return Manifest(text, _layer(config) if named else None, tuple(map(_layer, layers)), derived)


def _layer(value: object) -> Layer:
    if not isinstance(value, dict):
        raise Unreadable("one of its layers is none")
    kind, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise Unreadable(f"it names a blob by something that is no digest: {printable(str(digest)[:80])}")
    name = kind.removeprefix(_LAYER_TYPE) if isinstance(kind, str) else ""
    return Layer(name, match[1], size if isinstance(size, int) and size >= 0 else None)


def blob_path(digest: str) -> str:
    """Where a blob lies, relative to the root."""
    return f"blobs/sha256-{digest}"


@lru_cache(maxsize=4096)
def digest_of(data: bytes) -> str:
    """The SHA-256 by which Ollama names a small blob."""
    return hashlib.sha256(data).hexdigest()


def manifest_text(config: bytes, layers: Sequence[tuple[str, str, int]]) -> str:
    """The manifest's JSON, compact and with a newline: its digest is the id that `ollama list` shows.

    Put together by hand, since it holds nothing that JSON would escape and ten thousand are made in one go.

    Args:
        config: the configuration blob.
        layers: kind, digest, size in bytes.
    """
    listed = ",".join(_descriptor(_LAYER_TYPE + kind, digest, size) for kind, digest, size in layers)
    return (
        f'{{"schemaVersion":2,"mediaType":"{_MANIFEST_TYPE}",'
        f'"config":{_descriptor(_CONFIG_TYPE, digest_of(config), len(config))},"layers":[{listed}]}}\n')


def _descriptor(kind: str, digest: str, size: int) -> str:
    return f'{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}'


@lru_cache(maxsize=4096)
def configuration(architecture: str, parameters: int | None, file_type: int, renderer: str, parser: str) -> bytes:
    """The configuration blob, in the order of the fields of `ConfigV2`."""
    config: dict[str, object] = {
        "model_format": "gguf", "model_family": architecture, "model_families": [architecture],
        "model_type": human_number(parameters) if parameters else "", "file_type": FILE_TYPES.get(file_type, "unknown"),
    }
    if renderer:
        config |= {"renderer": renderer, "parser": parser}
    return json_line(config | {"architecture": "amd64", "os": "linux"})


def json_line(value: object) -> bytes:
    """Compact, with a newline, as Ollama writes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def human_number(count: int) -> str:
    """A number of parameters as Ollama writes it (`format.HumanNumber`): `8.0B`, `268.10M`, `7B`, `512K`."""
    for size, suffix, digits in ((10**9, "B", 1), (10**6, "M", 2), (1000, "K", 0)):
        if count >= size:
            return f"{count / size:.{digits if count % size else 0}f}{suffix}"
    return str(count)
