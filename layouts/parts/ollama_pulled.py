"""A model that comes from a registry in Ollama's form by another way, as Ollama itself would have pulled it.

Facts (0.33, server/images.go `PullModel`): the manifest is kept as the registry has it, under the name that was asked
for, and every blob under its digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from helixstore.errors import Failed
from helixstore.providers.layout import Pulled
from helixstore.values import Source

from .names import legal
from .ollama_found import only_ollama
from .ollama_manifest import blob_path, read_manifest
from .ollama_names import Name

__all__ = ["pulled"]


def pulled(host: str, repository: str, tag: str, manifest: str, texts: Mapping[str, str]) -> Pulled | None:
    """See `Layout.pulled`. The port of a host is left out: not every system takes it in a path."""
    namespace, _, model = repository.rpartition("/")
    name = Name.of((host.partition(":")[0], namespace, model, tag))
    read = read_manifest(manifest)
    if reason := only_ollama(read):
        raise Failed(f"{model}:{tag} cannot be shared: {reason}", "pull it with Ollama")
    if name is None:
        return None
    kept = {name.path: manifest, **{blob_path(digest): text for digest, text in texts.items()}}
    source = Source("program", name.family, None, "ollama", name.shown, tuple(sorted(kept.items())))
    quantization = _quantization(texts.get(read.config.digest, "") if read.config else "")
    return Pulled(source, name.title, f"{name.stem}-{quantization}" if quantization else name.stem)


def _quantization(config: str) -> str:
    """What the configuration says; it becomes a part of a file name."""
    try:
        said = json.loads(config)["file_type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return legal(said, 20, ascii_only=True) if isinstance(said, str) and said not in ("", "unknown") else ""
