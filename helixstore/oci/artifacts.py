"""A model as an artifact: which manifest and configuration describe its files, which go up as they are.

Each file is one layer, raw: its digest is the file's own SHA-256, and nothing is packed or copied. The same model gives
the same bytes, always, so that pushing it again changes nothing.

`modelpack` is the CNCF's ModelPack (model-spec `docs/spec.md`, `docs/config.md`, `schema/config-schema.json`, v0.0.7):
    - RamaLama 0.25 takes it (`transports/oci/spec.py`, `oci_artifact.py`: every layer must have the annotation
      `org.cncf.model.filepath`), and hands it to Podman 5.7 or newer.
    - Docker Model Runner takes it since it reads `weight.v1.raw` (2026; `internal/partial/partial.go`,
      `internal/bundle/unpack.go` `UnpackFromLayers`): `config.format` says what the weights are, the first weights are
      the model. It takes a projector only in its own media type, so that a vision model runs without eyes from here.
    - modctl and KitOps take it; modctl refuses a layer whose type ends neither in `.raw` nor in `.tar`, so no other
      types are mixed in.
`docker` is Docker Model Runner's own (`types/config.go`, `internal/partial/partial.go`), which all its versions take,
projectors too, and RamaLama does not.

Both name the same layers. One index over both would serve neither: RamaLama does not ask for indexes, and a registry
answers 404 then (distribution `registry/handlers/manifests.go`: "OCI index found, but accept header does not support
OCI indexes").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from helixstore.errors import Failed
from helixstore.oci.manifest import OCI_MANIFEST, Descriptor
from helixstore.values import Family, File, Format, Role, Variant

__all__ = ["FILEPATH", "MODELPACK", "MODELPACK_CONFIG", "TITLE", "Artifact", "docker", "modelpack"]

MODELPACK = "application/vnd.cncf.model.manifest.v1+json"
MODELPACK_CONFIG = "application/vnd.cncf.model.config.v1+json"
#: annotations of a layer: where the file belongs, for ModelPack's and Docker's, and for oras
FILEPATH, TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"
_METADATA = "org.cncf.model.file.metadata+json"
_CNCF, _DOCKER = "application/vnd.cncf.model.", "application/vnd.docker.ai."
_KINDS = {
    Role.WEIGHTS: "weight.v1.raw", Role.PROJECTOR: "weight.v1.raw", Role.PICKLE: "weight.v1.raw",
    Role.CONFIG: "weight.config.v1.raw", Role.TOKENIZER: "weight.config.v1.raw", Role.INDEX: "weight.config.v1.raw",
    Role.TEMPLATE: "weight.config.v1.raw", Role.CODE: "code.v1.raw", Role.OTHER: "doc.v1.raw",
}
_ORDER = (Role.WEIGHTS, Role.PICKLE, Role.PROJECTOR)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is pushed: the layers' files, then the configuration, the manifest last.

    Attributes:
        manifest, media_type: its bytes and their type.
        config: the configuration's bytes.
        config_sha256: 64 hex digits.
        files: in the layers' order, each with its SHA-256.
    """

    manifest: bytes
    media_type: str
    config: bytes
    config_sha256: str
    files: tuple[File, ...]

    @property
    def sha256(self) -> str:
        """The digest by which a registry knows the manifest."""
        return hashlib.sha256(self.manifest).hexdigest()


def modelpack(variant: Variant) -> Artifact:
    """The model as ModelPack has it.

    Args:
        variant: whose files all have their SHA-256.

    Raises:
        Failed: one has not.
    """
    files = _ordered(variant)
    header, hub = variant.header, variant.hub
    told = {"name": variant.key.model, "family": header.architecture}
    if hub is not None:
        told |= {"sourceURL": f"https://{'.'.join(('huggingface', 'co'))}/{hub.repository}", "revision": hub.revision}
    config = {"architecture": header.architecture, "format": _format(variant.format), "quantization":
              variant.quantization, "paramSize": _short(header.parameters).lower()}
    content = {"descriptor": _said(told), "modelfs": {"type": "layers", "diffIds": [_digest(file) for file in files]},
               "config": _said(config)}
    return _artifact(content, MODELPACK_CONFIG, files, lambda file: _CNCF + _KINDS[file.role], MODELPACK)


def docker(variant: Variant) -> Artifact:
    """The model as Docker Model Runner has it: GGUF in the form that all its versions read, else with files by name.

    Raises:
        Failed: it does not run such a format, or a file's SHA-256 is not known.
    """
    if variant.format.family is Family.PICKLE:
        raise Failed(f"Docker Model Runner runs GGUF and safetensors, and {variant.key} is neither",
                     "push it as it is usually pushed, without --for docker")
    files, header = _ordered(variant), variant.header
    gguf = variant.format is Format.GGUF
    told = {"format": _format(variant.format), "quantization": variant.quantization,
            "parameters": _short(header.parameters), "architecture": header.architecture, "size": _short(variant.bytes)}
    content = {"config": _said(told), "descriptor": {},
               "rootfs": {"type": "rootfs", "diff_ids": [_digest(file) for file in files]}}
    kinds = {Role.WEIGHTS: "gguf.v3" if gguf else "safetensors", Role.PROJECTOR: "mmproj",
             Role.TEMPLATE: "chat.template.jinja"}
    single = sum(file.role is Role.TEMPLATE for file in files) == 1

    def kind(file: File) -> str:
        named = file.role in kinds and (file.role is not Role.TEMPLATE or (single and file.path.endswith(".jinja")))
        return _DOCKER + (kinds[file.role] if named else "model.file")

    return _artifact(content, f"{_DOCKER}model.config.v0.{1 if gguf else 2}+json", files, kind, "")


def _ordered(variant: Variant) -> tuple[File, ...]:
    """Weights first, shards in order: the first is what is loaded."""
    unknown = [file.path for file in variant.files if file.sha256 is None]
    if unknown:
        raise Failed(f"the SHA-256 of {unknown[0]} of {variant.key} is not known", "helixstore verify")
    return tuple(sorted(variant.files, key=lambda file: (
        _ORDER.index(file.role) if file.role in _ORDER else len(_ORDER), file.path)))


def _artifact(config: Mapping[str, object], config_type: str, files: Sequence[File], kind: Callable[[File], str],
              artifact_type: str) -> Artifact:
    data = _json(config)
    digest = hashlib.sha256(data).hexdigest()
    manifest: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if artifact_type:
        manifest["artifactType"] = artifact_type
    manifest["config"] = _layer(Descriptor(config_type, digest, len(data)))
    manifest["layers"] = [
        _layer(Descriptor(kind(file), file.sha256 or "", file.bytes, {
            FILEPATH: file.path, _METADATA: _metadata(file), TITLE: file.path})) for file in files]
    return Artifact(_json(manifest), OCI_MANIFEST, data, digest, tuple(files))


def _metadata(file: File) -> str:
    """Constant but for the size: what the person's file has is of no use elsewhere (spec, "Reproducibility")."""
    return json.dumps({"name": file.path.rpartition("/")[2], "mode": 0o644, "uid": 0, "gid": 0, "size": file.bytes,
                       "mtime": "1970-01-01T00:00:00Z", "typeflag": ord("0")}, separators=(",", ":"))


def _layer(one: Descriptor) -> dict[str, object]:
    found: dict[str, object] = {"mediaType": one.media_type, "digest": f"sha256:{one.sha256}", "size": one.bytes}
    return found | ({"annotations": dict(one.annotations)} if one.annotations else {})


def _digest(file: File) -> str:
    return f"sha256:{file.sha256}"


def _format(kind: Format) -> str:
    """What is in the files; how it is quantised stands beside it."""
    return {Family.GGUF: "gguf", Family.SAFETENSORS: "safetensors", Family.PICKLE: "pt"}[kind.family]


def _short(count: int | None) -> str:
    """`8.03B`, `361.82M`; "" for none."""
    for size, suffix in ((10**9, "B"), (10**6, "M"), (1000, "K")):
        if count and count >= size:
            return f"{count / size:.2f}".rstrip("0").rstrip(".") + suffix
    return str(count) if count else ""


def _said(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
