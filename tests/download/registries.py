"""What tests of registries need: two machines, a model in Ollama's form, how many bytes came and went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helixstore import HelixStore
from support.ollama import CONFIG
from support.person import Person
from support.registry import StandIn

__all__ = ["TEXTS", "machine", "ollama_model", "weights_shown"]

TEXTS = {"template": "{{ .System }} {{ .Prompt }}", "system": "be brief", "params": '{"stop":["<end>"]}',
         "license": "Do as you like.\n"}
_TYPE = "application/vnd.ollama.image."


def machine(folder: Path) -> Person:
    """A home of its own with a store of its own."""
    folder.mkdir()
    person = Person(folder)
    HelixStore.init(every=True, environ=person.environ)
    return person


def ollama_model(registry: StandIn, tag: str, weights: bytes, texts: dict[str, str] = TEXTS,
                 kind: str = "model", **more: bytes) -> dict[str, Any]:
    """A model as Ollama pushes it; `more`: further layers by their kind."""
    def layer(kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": _TYPE + kind, "digest": f"sha256:{registry.put(data)}", "size": len(data)}

    config = json.dumps(CONFIG, separators=(",", ":")).encode()
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {**layer("", config), "mediaType": "application/vnd.docker.container.image.v1+json"},
        "layers": [layer(kind, weights), *(layer(name, data) for name, data in more.items()),
                   *(layer(name, text.encode()) for name, text in texts.items())]}
    registry.tag(tag, json.dumps(manifest, separators=(",", ":")).encode(),
                 "application/vnd.docker.distribution.manifest.v2+json")
    return manifest


def weights_shown(person: Person, model: str) -> dict[str, set[bytes]]:
    """Variant -> what programs read of its weights."""
    with person.open() as store:
        return {variant.id: {Path(path).read_bytes() for one in variant.providers.values() if one.state == "linked"
                             for path in one.paths if path.endswith((".gguf", ".safetensors"))}
                for variant in store.show(model).variants}
