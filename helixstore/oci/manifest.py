"""Manifests as registries give them: read once, believed in nothing.

A manifest names blobs by digest and size (OCI image specification 1.1, "Image Manifest"; Docker's "schema 2" and
Ollama's are the same but for media types). An index names manifests. What is hostile or makes no sense is refused with
a reason: numbers that are none or too large, digests that are none, one digest with two sizes, keys that come twice
(two programs would read two things), a document that is both kinds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helixstore.errors import Failed
from helixstore.fs.names import printable

__all__ = ["ACCEPTED", "INDEX_TYPES", "LARGEST_MANIFEST", "OCI_MANIFEST", "Descriptor", "Index", "Manifest",
           "read_manifest"]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
#: what we say that we read
ACCEPTED = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json", *INDEX_TYPES)
#: bytes; registries need not take larger ones (distribution specification, "Pushing Manifests")
LARGEST_MANIFEST = 4 << 20
_LARGEST_BLOB = 1 << 46
_MOST = 20_000                  # blobs of one manifest; Ollama's models of single tensors have some thousands
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of a blob.

    Attributes:
        media_type: of its content.
        sha256: 64 hex digits, its name.
        bytes: its size.
        annotations: what else is said of it.
        artifact_type: of the artifact behind it, in an index.
    """

    media_type: str
    sha256: str
    bytes: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One artifact.

    Attributes:
        raw: the bytes whose digest is its name.
        sha256: of them.
        artifact_type: "" where none is said.
        config: the blob that describes the rest; None in some of Ollama's.
        layers: in their order.
        annotations: of the whole.
    """

    raw: bytes
    sha256: str
    media_type: str
    artifact_type: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Index:
    """Several artifacts under one name."""

    raw: bytes
    sha256: str
    manifests: tuple[Descriptor, ...]


def read_manifest(raw: bytes, content_type: str, name: str) -> Manifest | Index:
    """What a manifest or an index says.

    Args:
        raw: all of it.
        content_type: as the registry calls it, where the document does not say.
        name: for messages.

    Raises:
        Failed: it is neither, or not to be believed; the message says why.
    """
    try:
        content = json.loads(raw, object_pairs_hook=_once, parse_constant=_number)
    except _Hostile as error:
        raise _refused(name, str(error)) from None
    except (ValueError, RecursionError):
        raise _refused(name, "it is no JSON") from None
    try:
        return _read(raw, content, content_type.partition(";")[0].strip())
    except _Hostile as error:
        raise _refused(name, str(error)) from None


class _Hostile(Exception):
    """Why a manifest is refused, as a clause."""


def _read(raw: bytes, content: object, content_type: str) -> Manifest | Index:
    if not isinstance(content, dict):
        raise _Hostile("it is no JSON object")
    if "layers" in content and "manifests" in content:
        raise _Hostile("it is a manifest and an index at once")
    sha256 = hashlib.sha256(raw).hexdigest()
    if content.get("schemaVersion") != 2:
        raise _Hostile("its version is not 2")
    media_type = _text(content, "mediaType") or content_type
    if media_type in INDEX_TYPES or "manifests" in content:
        return Index(raw, sha256, _descriptors(content.get("manifests")))
    if "layers" not in content:
        raise _Hostile(f"it has no layers, and its type is {printable(media_type[:80])}")
    config = content.get("config")
    has_config = isinstance(config, dict) and config.get("digest") != ""
    read = Manifest(raw, sha256, media_type, _text(content, "artifactType"),
                    _descriptor(config) if has_config else None, _descriptors(content["layers"]), _annotations(content))
    sizes: dict[str, int] = {}
    for one in (*read.layers, *([read.config] if read.config else [])):
        if sizes.setdefault(one.sha256, one.bytes) != one.bytes:
            raise _Hostile(f"it says two sizes of the blob {one.sha256[:12]}")
    return read


def _descriptors(value: object) -> tuple[Descriptor, ...]:
    if not isinstance(value, list):
        raise _Hostile("its list of blobs is none")
    if len(value) > _MOST:
        raise _Hostile(f"it names more than {_MOST:,} blobs")
    return tuple(map(_descriptor, value))


def _descriptor(value: object) -> Descriptor:
    if not isinstance(value, dict):
        raise _Hostile("one of the blobs that it names is none")
    digest, size = value.get("digest"), value.get("size")
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if found is None:
        raise _Hostile(f"it names a blob by something that is no SHA-256 digest: {printable(str(digest)[:80])}")
    if type(size) is not int or not 0 <= size <= _LARGEST_BLOB:
        raise _Hostile(f"it says no size that can be of the blob {found[1][:12]}")
    media_type = _text(value, "mediaType")
    if not _TYPE.fullmatch(media_type):
        raise _Hostile(f"it says no type of the blob {found[1][:12]}")
    return Descriptor(media_type, found[1], size, _annotations(value), _text(value, "artifactType"))


def _annotations(value: Mapping[str, Any]) -> Mapping[str, str]:
    found = value.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise _Hostile("its annotations are no texts")
    return found


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise _Hostile(f"its {key} is no text")
    return found or ""


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _Hostile("a key comes twice in it")
    return content


def _number(text: str) -> object:
    raise _Hostile(f"{text} is no number")


def _refused(name: str, why: str) -> Failed:
    return Failed(f"the manifest of {name} is refused: {why}", "ask those who pushed it to push it again")
