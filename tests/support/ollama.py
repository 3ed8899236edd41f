"""Ollama's own doings, as its server leaves them on the disk: pull, create, cp, rm, and the prune at its start.

Facts: providers-1.md section 1.3 and 1.4; `create` and `rm` were compared with the real server of tests/programs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layouts.parts.ollama_names import Name

__all__ = ["CONFIG", "OllamaFolder"]

CONFIG = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "8.0B",
          "file_type": "F16", "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
_TYPE = "application/vnd.ollama.image."
_OLD = (1_700_000_000, 1_700_000_000)


@dataclass
class OllamaFolder:
    """One `OLLAMA_MODELS`."""

    root: Path

    def path(self, name: str) -> Path:
        """Where the manifest of a model lies."""
        full = Name.read(name)
        assert full is not None, name
        return self.root / full.path

    def blob(self, data: bytes) -> Path:
        """Where bytes lie."""
        return self.root / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}"

    def put(self, data: bytes) -> dict[str, Any]:
        """A blob, unless it is there, and its descriptor."""
        path = self.blob(data)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + "-partial")
            partial.write_bytes(data)
            partial.chmod(0o644)
            os.utime(partial, _OLD)
            partial.replace(path)
        return {"digest": path.name.replace("-", ":"), "size": len(data)}

    def pull(
        self, name: str, weights: bytes, *, projector: bytes | None = None, config: Mapping[str, Any] = CONFIG,
        texts: Sequence[tuple[str, str]] = (("template", "{{ .Prompt }}\n"), ("license", "Do as you like.\n"),
                                            ("params", '{"stop":["<|end|>"]}')),
    ) -> Path:
        """A model from a registry; texts: kind of layer -> content. What it replaces goes when nobody names it."""
        layers = [{"mediaType": _TYPE + "model", **self.put(weights)}]
        if projector is not None:
            layers.append({"mediaType": _TYPE + "projector", **self.put(projector)})
        layers += [{"mediaType": _TYPE + kind, **self.put(text.encode())} for kind, text in texts]
        return self.write(name, json.dumps(dict(config), separators=(",", ":")).encode(), layers)

    def write(self, name: str, config: bytes, layers: Sequence[Mapping[str, Any]]) -> Path:
        """The manifest, in place of what was there."""
        kind = "application/vnd.docker.container.image.v1+json"
        return self.manifest(name, {
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": kind, **self.put(config)}, "layers": list(layers)})

    def manifest(self, name: str, content: object) -> Path:
        """A manifest with any content."""
        path = self.path(name)
        before = self.named(path) if path.exists() else set()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(content, separators=(",", ":")).encode() + b"\n")
        self._drop(before)
        return path

    def create(self, name: str, base: str, **texts: str) -> Path:
        """`ollama create` of a model that differs from `base` in its texts: system="...", template="..."."""
        content = json.loads(self.path(base).read_bytes())
        layers = [{**layer, "from": base} if layer["mediaType"] == _TYPE + "model" else layer
                  for layer in content["layers"] if layer["mediaType"].rpartition(".")[2] not in texts]
        layers += [{"mediaType": _TYPE + kind, **self.put(text.encode())} for kind, text in texts.items()]
        for layer in layers:
            os.utime(self.root / "blobs" / layer["digest"].replace(":", "-"))        # `touchLayer`, through any link
        config = json.loads((self.root / "blobs" / content["config"]["digest"].replace(":", "-")).read_bytes())
        rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
        return self.write(name, json.dumps({**config, "rootfs": rootfs}, separators=(",", ":")).encode(), layers)

    def cp(self, old: str, new: str) -> Path:
        """`ollama cp`: the manifest alone."""
        path = self.path(new)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.path(old).read_bytes())
        return path

    def rm(self, name: str) -> None:
        """`ollama rm`: the manifest, the blobs that no other names, folders that are empty then."""
        path = self.path(name)
        before = self.named(path)
        path.unlink()
        for folder in path.parents:
            if folder == self.root or any(folder.iterdir()):
                break
            folder.rmdir()
        self._drop(before)

    def prune(self) -> None:
        """What the server does at its start: every blob goes that no manifest names, none being of the last hour."""
        kept = set().union(*map(self.named, self.root.glob("manifests/*/*/*/*")))
        for path in (self.root / "blobs").iterdir():
            if path.name not in kept:
                path.unlink()

    def names(self) -> list[str]:
        """`ollama list`."""
        found = []
        for path in self.root.glob("manifests/*/*/*/*"):
            name = Name.of(path.relative_to(self.root).parts[1:])
            assert name is not None, path
            found.append(name.shown)
        return sorted(found)

    def shown(self, name: str) -> dict[str, Any]:
        """`ollama show`: the content of every layer by its kind, of weights their digest; a missing one raises."""
        content = json.loads(self.path(name).read_bytes())
        kinds = {"config": content["config"], **{x["mediaType"].removeprefix(_TYPE): x for x in content["layers"]}}
        found: dict[str, Any] = {}
        for kind, layer in kinds.items():
            data = (self.root / "blobs" / layer["digest"].replace(":", "-")).read_bytes()
            assert hashlib.sha256(data).hexdigest() == layer["digest"][7:], kind
            found[kind] = layer["digest"] if kind in ("model", "projector") else data.decode()
        return found

    @staticmethod
    def named(manifest: Path) -> set[str]:
        """The file names of the blobs that a manifest names."""
        content = json.loads(manifest.read_bytes())
        return {layer["digest"].replace(":", "-") for layer in (content["config"], *content["layers"])}

    def _drop(self, digests: set[str]) -> None:
        kept = set().union(*map(self.named, self.root.glob("manifests/*/*/*/*")))
        for name in digests - kept:
            (self.root / "blobs" / name).unlink(missing_ok=True)
