"""What each program would list and open in its folder, by the rules that its source shows; helixstore is not asked.

Every view is: the name under which the program lists a model -> the SHA-256 of its weights, shards in order. A path
that cannot be opened fails the test that asks.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["VIEWS", "View", "digest", "ollama_details", "ollama_digests", "sha256"]

View = dict[str, tuple[str, ...]]
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf$")
_known: dict[tuple[int, int], str] = {}


def digest(path: Path) -> str:
    """SHA-256 of what the path opens, each inode read once."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = status.st_ino, status.st_ctime_ns
        if key not in _known:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[key]


def sha256(data: bytes) -> str:
    """SHA-256 of bytes, hex."""
    return hashlib.sha256(data).hexdigest()


def _gguf(first: Path) -> tuple[str, ...]:
    """A GGUF with its further shards, whose names are computed from the first's as llama.cpp does."""
    match = _SHARD.match(first.name)
    if not match:
        return (digest(first),)
    return tuple(digest(first.with_name(f"{match[1]}-{n:05d}-of-{match[3]}.gguf")) for n in range(1, int(match[3]) + 1))


def _later_shard(name: str) -> bool:
    match = _SHARD.match(name)
    return match is not None and match[2] != "00001"


def _folders(root: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Folders with a configuration and safetensors, one level deep."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if (folder / "config.json").is_file():
            json.loads((folder / "config.json").read_bytes())
            yield folder.name, tuple(digest(path) for path in sorted(folder.glob("*.safetensors")))


def ollama(root: Path) -> View:
    """`ollama list`: manifests four levels deep; each digest must be a blob, and be true."""
    found: View = {}
    for path in sorted((root / "manifests").glob("*/*/*/*")):
        manifest = json.loads(path.read_bytes())
        weights = []
        for layer in (manifest["config"], *manifest["layers"]):
            blob = root / "blobs" / layer["digest"].replace(":", "-")
            assert "sha256-" + digest(blob) == blob.name, blob
            assert blob.stat().st_size == layer["size"], blob
            if layer["mediaType"].endswith("image.model"):
                weights.append(digest(blob))
        if weights:
            found["/".join(path.parts[-4:])] = tuple(weights)
    return found


def ollama_digests(manifest: Path) -> set[str]:
    """The names of the blobs that a manifest needs."""
    content = json.loads(manifest.read_bytes())
    return {layer["digest"].replace(":", "-") for layer in (content["config"], *content["layers"])}


def ollama_details(root: Path) -> dict[str, dict[str, str]]:
    """`ollama show`: the small layers of each manifest."""
    found = {}
    for path in sorted((root / "manifests").glob("*/*/*/*")):
        layers = json.loads(path.read_bytes())["layers"]
        found["/".join(path.parts[-4:])] = {
            layer["mediaType"].rpartition(".")[2]: (root / "blobs" / layer["digest"].replace(":", "-")).read_text()
            for layer in layers if not layer["mediaType"].endswith(("model", "projector", "tensor"))}
    return found


def hub(root: Path) -> View:
    """By repository and commit, as huggingface_hub's own scan reads it; any warning fails."""
    from huggingface_hub import scan_cache_dir

    info = scan_cache_dir(root)
    assert not info.warnings, info.warnings
    found: View = {}
    for repository in info.repos:
        for revision in repository.revisions:
            for file in sorted(revision.files, key=lambda file: str(file.file_path)):
                if file.file_name.endswith((".safetensors", ".gguf")):
                    name = f"{repository.repo_id}@{revision.commit_hash}"
                    if file.file_name.endswith(".gguf"):
                        name += f"/{file.file_name}"
                    found[name] = (*found.get(name, ()), digest(file.file_path))
    return found


def lmstudio(root: Path) -> View:
    """Exactly two folders deep; nothing may dangle."""
    return {str(path.relative_to(root)): _gguf(path) for path in sorted(root.glob("*/*/*.gguf"))
            if "mmproj" not in path.name and not _later_shard(path.name)}


def jan(root: Path) -> View:
    """Every `model.yml`, none below another; its path relative to the data folder, or absolute."""
    models, found = root / "llamacpp/models", {}
    for path in sorted(models.rglob("model.yml")):
        for key in ("model_path", "mmproj_path"):
            match = re.search(rf"^{key}: *[\"']?(.*?)[\"']?$", path.read_text(), re.MULTILINE)
            if match:
                weights = Path(match[1]) if match[1].startswith("/") else root / match[1]
                assert weights.is_file(), f"{path} names {weights}"
                if key == "model_path":
                    found[str(path.parent.relative_to(models))] = _gguf(weights)
    return found


def llamacpp(root: Path) -> View:
    """`load_from_models_dir`: files by stem, folders by name."""
    found: View = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_file() and path.name.endswith(".gguf"):
            found[path.name[:-5]] = (digest(path),)
        elif path.is_dir():
            files = [one for one in sorted(path.iterdir()) if one.name.endswith(".gguf") and "mmproj" not in one.name]
            first = [one for one in files if "-00001-of-" in one.name] or files[-1:]
            if first:
                found[path.name] = _gguf(first[0])
    return found


def localai(root: Path) -> View:
    """Each YAML at the top: a regular file called as the model, its path relative and inside."""
    found: View = {}
    for path in sorted(root.glob("*.yaml")):
        text = path.read_text()
        assert not path.is_symlink()
        assert re.search(r"^name: *[\"']?(.*?)[\"']?$", text, re.MULTILINE)[1] == path.stem     # type: ignore[index]
        model = re.search(r"^  model: *[\"']?(.*?)[\"']?$", text, re.MULTILINE)[1]              # type: ignore[index]
        assert not model.startswith("/")
        assert ".." not in model
        place = root / model
        if place.is_dir():
            found[path.stem] = tuple(digest(file) for file in sorted(place.glob("*.safetensors")))
        else:
            found[path.stem] = _gguf(place)
    return found


def koboldai(root: Path) -> View:
    """`.kcpps` of the folder and one level below, and `.gguf` there."""
    found: View = {}
    for path in sorted([*root.glob("*"), *root.glob("*/*")]):
        if path.suffix == ".kcpps":
            settings = json.loads(path.read_bytes())
            weights = settings.get("model_param") or settings.get("embeddingsmodel")
            found[str(path.relative_to(root))] = _gguf(Path(weights))
            if settings.get("mmproj"):
                digest(Path(settings["mmproj"]))
        elif path.suffix == ".gguf":
            found[str(path.relative_to(root))] = _gguf(path)
    return found


def gpt4all(root: Path) -> View:
    """Every `.gguf` at any depth, by its bare name, which must be its own."""
    files = [path for path in sorted(root.rglob("*.gguf")) if not path.name.startswith("incomplete")]
    assert len({path.name for path in files}) == len(files)
    return {path.name: (digest(path),) for path in files}


def textgen(root: Path) -> View:
    """`user_data/models`: GGUF at any depth, folders at the top."""
    models = root / "models"
    found = {str(path.relative_to(models)): _gguf(path) for path in sorted(models.rglob("*.gguf"))
             if not _later_shard(path.name)}
    return {**found, **dict(_folders(models))}


def tabbyapi(root: Path) -> View:
    """Every folder is a model; it reads all safetensors that lie there."""
    return dict(_folders(root))


def fastchat(root: Path) -> View:
    """A folder for each worker."""
    return dict(_folders(root))


def mistralrs(root: Path) -> View:
    """The folder of GGUF models, `-m FOLDER -f FILE`."""
    return {str(path.relative_to(root)): _gguf(path) for path in sorted(root.glob("*/*.gguf"))
            if "mmproj" not in path.name and not _later_shard(path.name)}


VIEWS: dict[str, Callable[[Path], View]] = {
    "ollama": ollama, "vllm": hub, "mlx": hub, "lmstudio": lmstudio, "jan": jan, "llamacpp": llamacpp,
    "localai": localai, "koboldai": koboldai, "gpt4all": gpt4all, "textgen": textgen, "tabbyapi": tabbyapi,
    "fastchat": fastchat, "mistralrs": mistralrs,
}
