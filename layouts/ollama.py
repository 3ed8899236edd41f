"""Ollama: blobs named by SHA-256, and manifests written by hand.

Contract (providers-1.md section 1, Ollama 0.33; an older real server, 0.5.4, lists and loads the same):
- `manifests/<host>/<namespace>/<model>/<tag>`, exactly four levels; `blobs/sha256-<64 hex>`, lower case.
- `ollama create` would rewrite the GGUF into a second copy with another digest; a manifest of our own names the same
  bytes. It needs a configuration blob, which `ollama list` shows, and one layer for the weights. It has no template
  layer: since 0.30 the chat template of the GGUF itself is used, before that the bare prompt.
- What Ollama has by itself keeps its manifests, one or several, and every small blob that they name, byte for byte.
- Case: a lookup replaces each part of a name by any spelling of that part in the whole tree (`getExistingName`), so one
  part must never be spelt in two ways: tags are spelt as those pulled from the hub usually are (`Q4_K_M`).
- A blob that no manifest names is deleted at the next start: the weights go first, the manifest last and soon after.
- `ollama cp` and `create` name the blobs that lie there, also those that are links of ours.

The desktop app keeps its own folder setting in `db.sqlite`, which is not text and is not read: name the folder with
`helixstore providers set ollama --root DIR`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from helixstore.errors import LayoutError, Unreadable
from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Pulled, Reader, Refusal, Root, Text
from helixstore.values import File, Format, Variant

from .parts import ollama_found, ollama_pulled
from .parts.gguf_files import main_projector, refuse, weight
from .parts.ollama_manifest import (
    DEFAULTS,
    Manifest,
    blob_path,
    configuration,
    digest_of,
    json_line,
    manifest_text,
    read_manifest,
)
from .parts.ollama_names import Name, made_names
from .parts.own import own_sources
from .parts.remembered import remembered

__all__ = ["Ollama"]

_SERVICE = Path("/usr/share/ollama/.ollama/models")


class Ollama(Layout):
    """`OLLAMA_MODELS`."""

    name = "ollama"
    title = "Ollama"
    checked = ("0.5.4", "0.33.0")
    bears_dangling = False   # a blob that a manifest names and that cannot be opened fails what touches all of them
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
        """For each variant the links to its blobs, its small blobs, then its manifest, or all that Ollama has of it."""
        own = {variant.key: places for variant in variants if (places := tuple(_own_places(variant)))}
        kept = [place.name for places in own.values() for place in places]
        names = made_names([variant for variant in variants if variant.key not in own], kept)
        for variant in variants:
            if variant.key in own:
                yield from _own_entries(variant, own[variant.key])
            else:
                yield from _made_entries(variant, names[variant.key])

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """The model of every manifest."""
        return ollama_found.discover(root, reader)

    def published(self, name: str, sha256: str) -> str:
        """In the registry that its name says (server/download.go: blobs are read there by ranges)."""
        full = Name.read(name)
        if full is None:
            return ""
        here = full.host.partition(":")[0] in ("localhost", "127.0.0.1")
        return f"http{'' if here else 's'}://{full.host}/v2/{full.namespace}/{full.model}/blobs/sha256:{sha256}"

    def pulled(self, host: str, repository: str, tag: str, manifest: str, texts: Mapping[str, str]) -> Pulled | None:
        """With template, parameters and all else that its manifest names."""
        return ollama_pulled.pulled(host, repository, tag, manifest, texts)

    def drifted(self, root: Root, reader: Reader) -> str:
        """Files where only folders of hosts and namespaces belong, or blobs that are all called otherwise."""
        hosts = reader.entries(root.path / "manifests")
        levels = [hosts, *(reader.entries(host.path) for host in hosts if host.kind == "folder")]
        if any(seen.kind == "file" and not seen.name.startswith(".") for level in levels for seen in level):
            return "files lie in manifests where folders of hosts and namespaces belong"
        blobs = [seen for seen in reader.entries(root.path / "blobs") if not seen.name.startswith(".")]
        if blobs and not any(seen.name.startswith("sha256-") for seen in blobs):
            return "none of its blobs is called sha256-..."
        return ""

    def needed(self, root: Path, reader: Reader) -> Mapping[str, Collection[str]]:
        """Blobs -> the manifests that name them."""
        return ollama_found.needed(root, reader)

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


class _Place(NamedTuple):
    """One name that a variant has in Ollama itself, with what lies there."""

    name: Name
    manifest: Manifest
    texts: Mapping[str, str]


def _own_places(variant: Variant) -> Iterator[_Place]:
    """The names that Ollama has for the variant itself, as far as their manifests are about these very files."""
    digests = {file.sha256 for file in variant.files}
    for source in own_sources(variant, Ollama.name):
        texts = dict(source.sidecars)
        name = Name.read(source.name or "")
        if name is None or name.path not in texts:
            continue
        try:
            manifest = read_manifest(texts[name.path])
        except Unreadable:
            continue
        if all(layer.digest in digests or blob_path(layer.digest) in texts for layer in manifest.all):
            yield _Place(name, manifest, texts)


def _own_entries(variant: Variant, places: Sequence[_Place]) -> Iterator[Entry]:
    """What lies in Ollama already. A manifest at a path that not every system takes is left to Ollama."""
    key, files = variant.key, {file.sha256: file for file in variant.files}
    linked: dict[str, bool] = {}
    texts: dict[str, str] = {}
    for place in places:
        for layer in place.manifest.all:
            if layer.digest in files:
                alone = layer.kind == "model" and not place.name.portable
                linked[layer.digest] = linked.get(layer.digest, False) or alone
        texts.update(place.texts)
    for digest, witness in linked.items():
        yield Entry(blob_path(digest), weight(files[digest]), key, witness)
    manifests = {place.name.path: place.name.portable for place in places}
    for path, text in texts.items():
        if manifests.get(path, True):
            witness = path in manifests                     # a manifest may be changed; a blob that is, is damaged
            body = Text(text.encode(), _moved_on if witness else None)
            yield Entry(path, body, key, witness, order=int(witness))


def _moved_on(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes:
    """A manifest that is as it was when the model was taken in gives way to another version of it; any other stays."""
    return ours if theirs is None or theirs == base else theirs


@remembered
def _made_entries(variant: Variant, name: Name) -> tuple[Entry, ...]:
    """What shows Ollama a model that came from elsewhere."""
    return tuple(_made(variant, name))


def _made(variant: Variant, name: Name) -> Iterator[Entry]:
    header, key = variant.header, variant.key
    renderer, parser, parameters = DEFAULTS.get(header.architecture or "", ("", "", {}))
    config = configuration(header.architecture or "unknown", header.parameters, header.file_type or 0, renderer, parser)
    texts = [config]
    layers = [("model", _sha256(variant.weights[0], variant), variant.weights[0].bytes)]
    yield Entry(blob_path(layers[0][1]), weight(variant.weights[0]), key)
    if projector := main_projector(variant):
        layers.append(("projector", _sha256(projector, variant), projector.bytes))
        yield Entry(blob_path(layers[1][1]), weight(projector), key)
    if parameters:
        texts.append(json_line(parameters))
        layers.append(("params", digest_of(texts[1]), len(texts[1])))
    for text in texts:
        yield Entry(blob_path(digest_of(text)), Text(text), key)
    manifest = manifest_text(config, layers).encode()
    yield Entry(name.path, Text(manifest, _keep_theirs), key, witness=True, order=1)


def _keep_theirs(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """A manifest of ours that the person has made anew is theirs; one that was there before us is in the way."""
    if theirs is None:
        return ours
    return theirs if base is not None else None


def _sha256(file: File, variant: Variant) -> str:
    if file.sha256 is None:
        raise LayoutError(f"the SHA-256 of {file.path} of {variant.key} is not known", "helixstore verify")
    return file.sha256.lower()


def _digests(manifest: Path) -> set[str]:
    content = json.loads(manifest.read_bytes())
    return {layer["digest"] for layer in (content["config"], *content["layers"])}
