"""LocalAI: a YAML for each model at the top of the models path, the files in a folder below.

Contract (providers-1.md section 5; mudler/LocalAI 82c191a, v4.9):
- models path: `LOCALAI_MODELS_PATH` or `MODELS_PATH`, the launcher's `~/.localai/models`, else `models` in the working
  directory, which is why helixstore has one of its own.
- only `*.yaml` and `*.yml` at the top level are read, one model or a list of them in each; ours must be a regular file
  (one symbolic link makes every gallery operation fail) called `<name>.yaml`; anything at the top level without a known
  extension is listed as a model, folders apart.
- `parameters.model` and `mmproj` are relative, without a leading separator and without `..` anywhere. If the path were
  missing, a Python backend would take it for a repository and download it: the YAML comes after the files.
- backends are installed apart from LocalAI; an empty one is guessed for GGUF only. Many run no text model, and a Python
  one takes the name of a repository for `parameters.model`: those are nobody else's to run.
- galleries put the files flat into the models path; a GGUF there without a YAML can be asked for by its file name.
- LocalAI and people edit the YAML: only its paths are ours. Deleting unlinks the model file, the projector, the YAML.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helixstore.formats.names import extension
from helixstore.fs.names import printable
from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, Seen, Text
from helixstore.values import Format, LinkKind, Purpose, Source, Variant

from .parts import yaml_lines
from .parts.gguf_files import main_projector, projector_name, refuse, shard_names, stem, weight
from .parts.hf_folders import folder_entries, model_files, refuse_unservable
from .parts.names import alike, distinct, label, legal
from .parts.own import kept_text, own_sources
from .parts.sidecars import Files, Said, Sidecar, inside, own_weights, shown, telling
from .parts.yaml_tree import Tree, first_document, text_at

if TYPE_CHECKING:
    from helixstore.formats import Inspection

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
_LIMIT = 1 << 18                                    # bytes of a YAML file: templates and grammars may be long
#: names of backends that run text models: `cuda12-llama-cpp`, `vllm`, `sentencetransformers`
_TEXT_BACKENDS = re.compile(r"llama|vllm|sglang|transformers|mlx|gptq|exllama|rerank|^$")
_NO_TEXT = re.compile(r"audio|music|image|diffus|tts|whisper")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|(?:github|huggingface|hf|ollama|oci):", re.IGNORECASE)
#: endings of files, where a value without one may be the name of a repository
_FILES = frozenset({"gguf", "ggml", "bin", "safetensors", "pt", "pth", "ckpt"})


class LocalAI(Layout):
    """The models path."""

    name = "localai"
    title = "LocalAI"
    checked = ("4.9.0",)
    bears_dangling = False   # not known; a file at the top is listed as a model
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
        """The files of each model in `helix/<name>/`, then `<name>.yaml`; what LocalAI has itself stays as it is."""
        own = {variant.key: found for variant in variants if (found := list(_own(variant, root.path)))}
        made = [variant for variant in variants if variant.key not in own]
        taken = [name for found in own.values() for one in found for name in one.names]
        names = distinct(made, {variant.key: _model_name(variant) for variant in made}, taken=taken)
        texts: dict[str, Text] = {}
        for variant in variants:
            if variant.key not in own:
                yield from _entries(variant, names[variant.key])
            for one in own.get(variant.key, ()):
                yield from _own_entries(variant, one, texts)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """The models that the YAML files name, and GGUF files that none of them names."""
        files = Files(root, reader)
        listing = files.listing(root.path)
        said = [one for seen in listing.values() if seen.kind == "file" and not seen.name.startswith(".")
                and extension(seen.name) in ("yaml", "yml") for one in _configured(seen, root.path, reader)]
        for one in files.news(said):
            if model := _model(one, files, reader):
                sidecars = ((one.sidecar.path.name, one.text),)
                source = Source("program", program=self.name, name=one.name, sidecars=sidecars)
                yield Found(model, source, telling(model.name, one.name.replace("/", "-").replace(":", "-")))
        weights = (seen for seen in listing.values() if seen.kind == "file" and extension(seen.name) == "gguf")
        for seen, model in files.unnamed(weights, "model of LocalAI"):
            yield Found(model, Source("program", program=self.name, name=seen.name), telling(model.name, seen.name))

    def left_of(self, path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        """Nothing of a YAML whose one model goes away: LocalAI would take its path for the name of a repository."""
        try:
            configurations = _configurations(text.decode())
        except ValueError:
            return None
        models = [text_at(one, "parameters", "model") for one in configurations]
        return b"" if models and all(model and gone(model) for model in models) else None

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The model file and the projector that the YAML names, then the YAML; folders stay."""
        sidecar = root / next(entry.path for entry in entries if entry.witness and entry.key == variant.key)
        text = sidecar.read_text()
        for path in (yaml_lines.read(text, "parameters", "model"), yaml_lines.read(text, "mmproj")):
            if path and (root / path).is_file():
                (root / path).unlink()
        sidecar.unlink()


class _Own(NamedTuple):
    """What LocalAI has itself: the YAML ("": a GGUF by itself) and its text, the model's path, the projector's.

    `names` are taken, of the model and of the file.
    """

    sidecar: str
    text: str
    model: str
    projector: str
    names: tuple[str, ...]


def _configured(seen: Seen, root: Path, reader: Reader) -> Iterator[Said]:
    """What one YAML file says of models whose files lie here."""
    text = reader.text(seen.path, _LIMIT)
    if text is None:
        return
    if seen.linked:
        reader.note(seen.path, "is a link, with which LocalAI's galleries fail; what it names is left as it is")
        return
    try:
        configurations = _configurations(text)
    except ValueError as error:
        reader.issue("unreadable", seen.path, f"{printable(seen.name)} is no YAML ({error})",
                     "mend it in LocalAI's editor, or remove it")
        return
    for configuration in configurations:
        name = text_at(configuration, "name") or seen.name.rpartition(".")[0]
        sidecar = Sidecar(seen.path, shown(name), "install the model again in LocalAI, or delete it there")
        value, projector = text_at(configuration, "parameters", "model"), text_at(configuration, "mmproj")
        backend = text_at(configuration, "backend")
        if not value:
            reader.note(seen.path, f"{sidecar.model} names no file: it runs elsewhere, or is made of other models")
        elif _ADDRESS.match(value):
            reader.note(seen.path, f"{sidecar.model} names an address, which LocalAI downloads itself")
        elif not _TEXT_BACKENDS.search(backend) or _NO_TEXT.search(backend):
            reader.note(seen.path, f"{sidecar.model} is run by LocalAI's backend {shown(backend)}, and nowhere else")
        elif climbing := next((v for v in (value, projector) if ".." in v or os.path.isabs(v)), ""):
            reader.issue("unsafe", seen.path, f"{sidecar.model} names {shown(climbing)}, which LocalAI refuses: paths "
                         "are counted from the models path and stay in it", "move the file there, and edit the model")
        elif extension(value) not in _FILES and "llama" not in backend and not reader.exists(root / value):
            reader.note(seen.path, f"{sidecar.model} names {shown(value)}, which its backend downloads by name")
        else:
            yield Said(sidecar, name, text, value, projector)


@lru_cache(maxsize=16384)
def _configurations(text: str) -> tuple[Tree, ...]:
    """The mappings in a YAML file: one model, or a list of them.

    Raises:
        ValueError: it is no YAML.
    """
    document = first_document(text)
    return tuple(one for one in (document if isinstance(document, list) else [document]) if isinstance(one, dict))


def _model(said: Said, files: Files, reader: Reader) -> Inspection | None:
    """The GGUF or the folder that a YAML names; what is neither was told to the reader."""
    backend = text_at(_called(said.name, said.sidecar.path.name, said.text), "backend")
    if extension(said.main) == "gguf" or "llama" in backend or not backend:
        return files.gguf(said.sidecar, said.main, said.projector)
    path = files.place(said.sidecar, said.main)
    if path is None:
        return None
    model = files.folder(path) if files.is_folder(path) else files.single(path)
    if model is None or model.unsafe:
        reader.note(said.sidecar.path, f"{shown(said.main)} is no model that another program could run")
        return None
    return model


def _own(variant: Variant, root: Path) -> Iterator[_Own]:
    for source in own_sources(variant, LocalAI.name):
        name = source.name or ""
        for path, text in source.sidecars:
            configuration = _called(name, path, text)
            model, projector = text_at(configuration, "parameters", "model"), text_at(configuration, "mmproj")
            yield _Own(path, text, inside(root, model) if model else "", inside(root, projector) if projector else "",
                       (name, path.rpartition(".")[0]))
        if not source.sidecars and "/" not in name:
            yield _Own("", "", name, "", ())


def _called(name: str, path: str, text: str) -> Tree:
    """The configuration of that name in a YAML file."""
    try:
        configurations = _configurations(text)
    except ValueError:                      # it was read before it was kept, by an earlier version perhaps
        return None
    return next((one for one in configurations if (text_at(one, "name") or path.rpartition(".")[0]) == name), None)


def _own_entries(variant: Variant, own: _Own, texts: dict[str, Text]) -> Iterator[Entry]:
    if variant.format is Format.GGUF:
        yield from own_weights(variant, own.model, own.projector, _KINDS, witness=not own.sidecar)
    elif own.model:
        for entry in folder_entries(own.model, variant, model_files(variant, code=False), _KINDS):
            yield Entry(entry.path, entry.body, entry.key, order=entry.order)
    if own.sidecar:
        text = texts.setdefault(own.sidecar, kept_text(own.text))
        yield Entry(own.sidecar, text, variant.key, witness=True, order=2)


def _entries(variant: Variant, name: str) -> Iterator[Entry]:
    folder = f"{_FOLDER}/{name}"
    if variant.format is Format.GGUF:
        yield from _gguf_entries(variant, folder, name)
    else:
        for entry in folder_entries(folder, variant, model_files(variant, code=False), _KINDS):
            yield Entry(entry.path, entry.body, entry.key, order=entry.order)
    merge = partial(yaml_lines.merge_paths, _PATHS, partial(_leads_into, folder))
    text = Text(_yaml(variant, name, folder).encode(), merge)
    yield Entry(f"{name}.yaml", text, variant.key, witness=True, order=2)


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
