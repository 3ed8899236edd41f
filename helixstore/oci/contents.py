"""What files an artifact holds, whoever pushed it: ModelPack's, Docker's, oras's, Ollama's.

Names come from annotations and are checked (`fs.names`); where there are none they are made. Two files of one name, on
any system, or one that would be a folder of another, are refused. So is what could only be had by unpacking: archives,
container images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from helixstore.errors import Failed, UnsafeName
from helixstore.fs.names import check_relative, clash, printable
from helixstore.oci.artifacts import FILEPATH, MODELPACK, MODELPACK_CONFIG, TITLE
from helixstore.oci.manifest import Descriptor, Manifest

__all__ = ["Contents", "RemoteFile", "Text", "read_contents"]

_CNCF, _DOCKER, _OLLAMA = "application/vnd.cncf.model.", "application/vnd.docker.ai.", "application/vnd.ollama.image."
_IMAGE_LAYER = re.compile(r"application/vnd\.(?:docker\.image\.rootfs\.|oci\.image\.layer\.)")
_ARCHIVE = re.compile(r"(?:\.|\+|-)(?:tar|gzip|zstd)(?:$|[+.])")
_UNPACK = "io.deis.oras.content.unpack"             # oras's mark (oras-go `content/file`)
_OLLAMA_TEXTS = frozenset({"template", "prompt", "system", "params", "license", "messages"})
_OUTSIDE = re.compile(r"[^A-Za-z0-9._-]+")


class RemoteFile(NamedTuple):
    """One file of a model in a registry.

    Attributes:
        path: POSIX, relative, safe on every system.
        sha256: 64 hex digits; also the blob's name in the registry.
        bytes: its size.
        kind: the media type.
    """

    path: str
    sha256: str
    bytes: int
    kind: str


class Text(NamedTuple):
    """What Ollama says of a model beside its weights: `kind` is template, system, params, license or messages."""

    kind: str
    blob: Descriptor


class Contents(NamedTuple):
    """What an artifact holds.

    Attributes:
        kind: "modelpack", "docker-models", "ollama-layers" or "files".
        files: at least one.
        texts: Ollama's, which are no files of the model; with `config` what its own folder holds.
        config: the blob that describes the rest, as far as there is one.
    """

    kind: str
    files: tuple[RemoteFile, ...]
    texts: tuple[Text, ...] = ()
    config: Descriptor | None = None

    @property
    def bytes(self) -> int:
        """Of all different files together."""
        return sum({file.sha256: file.bytes for file in self.files}.values())


def read_contents(manifest: Manifest, name: str) -> Contents:
    """The files of an artifact.

    Args:
        manifest: as `Registry.model` gives it.
        name: how the model is called, for files that have no names: `llama3.2-1b`.

    Raises:
        Failed: it is no model that can be taken as it is; the message says what it is.
        UnsafeName: a file's name would lead elsewhere.
    """
    types = [layer.media_type for layer in manifest.layers]
    stem = _OUTSIDE.sub("-", name).strip("-._") or "model"
    if any(kind.startswith(_OLLAMA) for kind in types):
        return _ollama(manifest, stem)
    if any(_IMAGE_LAYER.match(one.media_type) and not _title(one) for one in manifest.layers):
        raise Failed(f"{name} is a container's image, no model", "see whether the name is right")
    packed = next((one.media_type for one in manifest.layers if _is_packed(one)), None)
    if packed is not None:
        raise Failed(f"{name} is packed in archives ({printable(packed)}), which would have to be unpacked",
                     "unpack it with the program that made it (kit, modctl, oras), then: helixstore add FOLDER")
    config = manifest.config.media_type if manifest.config else ""
    ours = manifest.artifact_type == MODELPACK or config == MODELPACK_CONFIG
    if ours or any(kind.startswith(_CNCF) for kind in types):
        called = "modelpack"
    else:
        called = "docker-models" if config.startswith(_DOCKER) else "files"
    return Contents(called, _checked(name, _named(manifest, stem, name)), (), manifest.config)


def _title(layer: Descriptor) -> str | None:
    return layer.annotations.get(FILEPATH) or layer.annotations.get(TITLE)


def _is_packed(layer: Descriptor) -> bool:
    """oras calls every file a layer of an image, `.tar` or not, and marks those that it packed."""
    if layer.annotations.get(_UNPACK) == "true":
        return True
    return not _IMAGE_LAYER.match(layer.media_type) and _ARCHIVE.search(layer.media_type) is not None


def _named(manifest: Manifest, stem: str, name: str) -> list[RemoteFile]:
    """Each layer under its name; Docker's of old, which have none, under the names that it gives them itself."""
    weights = [one for one in manifest.layers if one.media_type == f"{_DOCKER}gguf.v3"]
    tensors = [one for one in manifest.layers if one.media_type == f"{_DOCKER}safetensors"]
    made: dict[int, str] = {}
    for layers, end in ((weights, "gguf"), (tensors, "safetensors")):
        for number, layer in enumerate(layers, 1):
            base = stem if end == "gguf" else "model"
            one = f"{base}.{end}" if len(layers) == 1 else f"{base}-{number:05d}-of-{len(layers):05d}.{end}"
            made[id(layer)] = one
    others = {f"{_DOCKER}mmproj": f"mmproj-{stem}.gguf", f"{_DOCKER}license": "LICENSE",
              f"{_DOCKER}chat.template.jinja": "chat_template.jinja"}
    found = []
    for layer in manifest.layers:
        path = _title(layer) or made.get(id(layer)) or others.get(layer.media_type)
        if path is None:
            raise Failed(f"{name} holds a file without a name ({printable(layer.media_type)})",
                         "ask those who pushed it to push it again as ModelPack (oras: by file names)")
        found.append(RemoteFile(path, layer.sha256, layer.bytes, layer.media_type))
    return found


def _ollama(manifest: Manifest, stem: str) -> Contents:
    """Ollama's layers: weights, projectors and adapters as files, texts as texts (server/images.go `GetModel`)."""
    files: list[RemoteFile] = []
    texts: list[Text] = []
    count: dict[str, int] = {}
    for layer in manifest.layers:
        kind = layer.media_type.removeprefix(_OLLAMA)
        if kind in _OLLAMA_TEXTS:
            texts.append(Text(kind, layer))
            continue
        front = {"model": "", "projector": "mmproj-", "adapter": "adapter-", "draft": "draft-"}.get(kind)
        if front is None and kind != "embed":
            raise Failed(f"{stem} is made of parts that only Ollama puts together ({printable(kind[:60])})",
                         "pull it with Ollama")
        if front is not None:
            count[kind] = count.get(kind, 0) + 1
            number = f"-{count[kind]}" if count[kind] > 1 else ""
            files.append(RemoteFile(f"{front}{stem}{number}.gguf", layer.sha256, layer.bytes, layer.media_type))
    return Contents("ollama-layers", _checked(stem, files), tuple(texts), manifest.config)


def _checked(name: str, files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    for file in files:
        try:
            check_relative(file.path)
        except UnsafeName as error:
            raise UnsafeName(f"{name}: {error.message}", "ask those who pushed it to push it again with other names",
                             file.path) from None
    if pair := clash(file.path for file in files):
        one, other = map(printable, pair)
        raise Failed(f"{name} holds {one} and {other}, which cannot lie in one folder on every system",
                     "ask those who pushed it to push it again")
    if not files:
        raise Failed(f"{name} holds no files", "see whether the name is right")
    return tuple(sorted(files))
