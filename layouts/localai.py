"""LocalAI: a YAML for each model at the top of the models path, the files in a folder below.

Contract (providers-1.md section 5; mudler/LocalAI 82c191a, v4.9):
- models path: `LOCALAI_MODELS_PATH` or `MODELS_PATH`, the launcher's `~/.localai/models`, else `models` in the working
  directory, which is why helixstore has one of its own.
- only `*.yaml` at the top level is read, each must be a regular file (one symbolic link makes every gallery operation
  fail) called `<name>.yaml`; anything at the top level without a known extension is listed as a model, folders apart.
- `parameters.model` and `mmproj` are relative, without a leading separator and without `..` anywhere. If the path were
  missing, a Python backend would take it for a repository and download it: the YAML comes after the files.
- backends are installed apart from LocalAI; an empty one is guessed for GGUF only.
- LocalAI and people edit the YAML: only its paths are ours. Deleting unlinks the model file, the projector, the YAML.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from helixstore.providers.layout import Entry, Env, Facts, Layout, Refusal, Root, Text
from helixstore.values import Format, LinkKind, Purpose, Variant

from . import yaml_lines
from .gguf_files import main_projector, refuse, shard_names, stem, weight
from .hf_folders import folder_entries, model_files, refuse_unservable
from .llamacpp import projector_name
from .names import distinct, label, legal

__all__ = ["LocalAI"]

_FOLDER = "helix"
_PATHS = (("parameters", "model"), ("mmproj",))     # in a model's YAML file
#: `file://` addresses and distributed workers resolve symbolic links and refuse what is outside
_KINDS = (LinkKind.HARD, LinkKind.REFLINK, LinkKind.SYMBOLIC)
#: the backend for a model folder
_BACKENDS = {
    Format.HF: "transformers", Format.BITSANDBYTES: "transformers", Format.GPTQ: "vllm", Format.AWQ: "vllm",
    Format.FP8: "vllm", Format.COMPRESSED_TENSORS: "vllm", Format.MLX: "mlx",
}


class LocalAI(Layout):
    """The models path."""

    name = "localai"
    title = "LocalAI"
    checked = ("4.9.0",)
    formats = (Format.GGUF, *_BACKENDS)
    refresh = "none for a new model; POST /models/reload for one that was changed or removed"
    launch = ("local-ai", "run", "--models-path", "{root}")

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else the variables, else the launcher's folder if it exists, else one of our own."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        for variable in ("LOCALAI_MODELS_PATH", "MODELS_PATH"):
            if path := env.variable(variable):
                return (Root(path, variable),)
        launcher = env.home / ".localai" / "models"
        if env.reader.exists(launcher):
            return (Root(launcher, "LocalAI's launcher"),)
        return (Root(env.farms / self.name, "helixstore's own", owned=True),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF through llama-cpp, model folders through transformers, vllm or mlx."""
        if variant.format is Format.GGUF:
            return refuse(variant, facts, self.title)
        if variant.format not in _BACKENDS:
            return Refusal(f"no backend of LocalAI loads {variant.format.value}")
        if variant.format is Format.MLX and not facts.apple_silicon:
            return Refusal("LocalAI's mlx backend runs only on a Mac with Apple silicon")
        return refuse_unservable(variant)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """The files of each model in `helix/<name>/`, then `<name>.yaml`."""
        names = distinct(variants, {variant.key: _model_name(variant) for variant in variants})
        for variant in variants:
            name = names[variant.key]
            folder = f"{_FOLDER}/{name}"
            if variant.format is Format.GGUF:
                yield from _gguf_entries(variant, folder, name)
            else:
                for entry in folder_entries(folder, variant, model_files(variant, code=False), _KINDS):
                    yield Entry(entry.path, entry.body, entry.key, order=entry.order)
            merge = partial(yaml_lines.merge_paths, _PATHS, partial(_leads_into, folder))
            text = Text(_yaml(variant, name, folder).encode(), merge)
            yield Entry(f"{name}.yaml", text, variant.key, witness=True, order=2)

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The model file and the projector that the YAML names, then the YAML; folders stay."""
        sidecar = root / next(entry.path for entry in entries if entry.witness and entry.key == variant.key)
        text = sidecar.read_text()
        for path in (yaml_lines.read(text, "parameters", "model"), yaml_lines.read(text, "mmproj")):
            if path and (root / path).is_file():
                (root / path).unlink()
        sidecar.unlink()


def _model_name(variant: Variant) -> str:
    return legal(stem(variant) if variant.format is Format.GGUF else label(variant), ascii_only=True)


def _gguf_entries(variant: Variant, folder: str, name: str) -> Iterator[Entry]:
    for file_name, file in shard_names(variant, name):
        yield Entry(f"{folder}/{file_name}", weight(file, _KINDS), variant.key)
    if projector := main_projector(variant):
        yield Entry(f"{folder}/{projector_name(projector.path)}", weight(projector, _KINDS), variant.key)


def _yaml(variant: Variant, name: str, folder: str) -> str:
    gguf = variant.format is Format.GGUF
    backend = "llama-cpp" if gguf else _BACKENDS[variant.format]
    model = f"{folder}/{next(shard_names(variant, name))[0]}" if gguf else folder
    lines = [f"name: {yaml_lines.quote(name)}", f"backend: {backend}",
             "parameters:", f"  model: {yaml_lines.quote(model)}"]
    if variant.purpose is Purpose.EMBEDDING:
        lines.append("embeddings: true")
    elif backend == "transformers":
        lines.append("type: AutoModelForCausalLM")
    if gguf and (projector := main_projector(variant)):
        lines.append(f"mmproj: {yaml_lines.quote(f'{folder}/{projector_name(projector.path)}')}")
    if variant.header.chat_template and variant.purpose is Purpose.MODEL:
        lines += ["template:", "  use_tokenizer_template: true"]
    return "\n".join(lines) + "\n"


def _leads_into(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
