"""What all programs that run llama.cpp have in common: which variants they can load, and the names of a model's files.

Facts from llama.cpp (b10573, b11434; `llama_model_loader`, `llama_split_path`): the names of further shards are
computed from the name of the first, never from what a link leads to, so the suffix `-00001-of-00003.gguf` must stay
and the part before it is free; a file's numbers have the byte order of the machine that reads it; a projector is a
file of its own, and weights that carry one inside (as some of Ollama's do) fail with a wrong number of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from helixstore.providers.layout import LINKS, Entry, Facts, Refusal, Weight
from helixstore.values import File, Format, LinkKind, Purpose, Role, Source, Variant

from .names import label, legal
from .own import own_places

__all__ = ["gguf_places", "main_projector", "own_entries", "projector_name", "refuse", "shard_names", "stem", "weight"]

_CALLED = {
    Format.HF: "Hugging Face safetensors", Format.GPTQ: "GPTQ", Format.AWQ: "AWQ", Format.FP8: "FP8 safetensors",
    Format.COMPRESSED_TENSORS: "compressed-tensors", Format.BITSANDBYTES: "bitsandbytes", Format.EXL2: "EXL2",
    Format.EXL3: "EXL3", Format.MLX: "MLX", Format.QUANTIZED: "quantised safetensors",
    Format.SAFETENSORS: "safetensors without a configuration", Format.PYTORCH: "a PyTorch pickle",
}
#: safetensors from which a GGUF can be made (conversion.md)
_CONVERTIBLE = frozenset({Format.HF, Format.GPTQ, Format.AWQ, Format.FP8, Format.COMPRESSED_TENSORS})
_PARTS = {
    Purpose.ADAPTER: "an adapter runs only on top of its base model",
    Purpose.PROJECTOR: "a projector runs only beside the model it belongs to",
    Purpose.DRAFT: "a draft head runs only beside the model it belongs to",
    Purpose.VOCABULARY: "the file holds a vocabulary and no weights",
}
_BIG_ENDIAN = frozenset({"s390x", "ppc64", "ppc", "sparc64", "mips", "mips64", "aarch64_be"})
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
#: names that say nothing of the model: `model`, `ggml-model-q4_0`, a hash, a quantisation alone
_GENERIC = re.compile(
    r"(?:ggml-?)?(?:model|weights|gguf)(?:[-_.](?:i?q\d\w*|b?f\d+|mxfp4\w*))?|i?q\d\w*|b?f(?:16|32)"
    r"|(?:sha256-)?[0-9a-f]{32,}", re.IGNORECASE)


def refuse(variant: Variant, facts: Facts, program: str, *, inside: bool = False) -> Refusal | None:
    """Why no program on top of llama.cpp loads this variant, or None.

    Args:
        variant: any variant.
        facts: of the machine: its byte order matters.
        program: the program's own name, for the reason.
        inside: it loads weights that carry their projector inside.
    """
    if variant.format is not Format.GGUF:
        wants = (Format.GGUF,) if variant.format in _CONVERTIBLE else ()
        return Refusal(f"{program} loads GGUF, and this is {_CALLED.get(variant.format, variant.format)}", wants)
    if reason := _PARTS.get(variant.purpose):
        return Refusal(reason)
    if not variant.weights:
        return Refusal("it has no weights")
    header = variant.header
    machine = "big" if facts.machine in _BIG_ENDIAN else "little"
    if header.byte_order != machine:
        return Refusal(f"its numbers are {header.byte_order}-endian and this machine's are {machine}-endian")
    if header.shards > 1 and header.shards != len(variant.weights):
        return Refusal(f"{len(variant.weights)} of its {header.shards} shards are there")
    if header.embedded_projector and not inside:
        return Refusal("the weights carry their projector inside, which only Ollama loads", (Format.GGUF,))
    return None


def stem(variant: Variant) -> str:
    """The name of the weights without shard suffix and extension: the original one if it tells the model.

    It does not when it is generic (`model.gguf`, a hash) or when the person called the model otherwise; then it is
    the model's name and quantisation.
    """
    first = next(file for file in variant.files if file.role is Role.WEIGHTS)
    return _original(first.path, variant.key.model, variant.quantization, variant.hub is not None) or label(variant)


@lru_cache(maxsize=65536)
def _original(path: str, model: str, quantization: str, hub: bool) -> str:
    """The stem of the file's own name, or "" when it does not tell the model."""
    name = path.rpartition("/")[2]
    if name[-5:].casefold() == ".gguf":
        name = name[:-5]
    name = _SHARD.sub("", name)
    if _GENERIC.fullmatch(name) or name.casefold() == quantization.casefold():
        return ""
    original = legal(name)
    if hub or original.casefold().startswith(legal(model).casefold().removesuffix("-gguf")):
        return original
    return ""


def shard_names(variant: Variant, name: str) -> Iterator[tuple[str, File]]:
    """The file name of each file of weights: `name.gguf`, or `name-00001-of-00003.gguf` and so on.

    Args:
        variant: its weights are in the order of their shards.
        name: without shard suffix and extension.
    """
    weights = variant.weights
    if len(weights) == 1:
        yield f"{name}.gguf", weights[0]
        return
    for number, file in enumerate(weights, 1):
        yield f"{name}-{number:05d}-of-{len(weights):05d}.gguf", file


def gguf_places(variant: Variant, program: str) -> list[tuple[str, Source]]:
    """`own_places` that can be the names of this GGUF: of one file, or of the first shard of as many."""
    count = len(variant.weights)
    ending = ".gguf" if count == 1 else f"-00001-of-{count:05d}.gguf"
    return [place for place in own_places(variant, program) if place[0].endswith(ending)]


def own_entries(
    path: str, source: Source, variant: Variant, kinds: tuple[LinkKind, ...] = LINKS, projectors: bool = True
) -> Iterator[Entry]:
    """The entries of a GGUF where it lies in the program's own folder.

    Args:
        path: of the weights, the first shard's, relative to the root; from `gguf_places`.
        source: that says so, and where the projectors lie.
        variant: its files.
        kinds: of links, for the weights.
        projectors: those that lie there are wanted too.
    """
    folder, _, name = path.rpartition("/")
    folder += "/" if folder else ""
    weights = variant.weights
    names = [name] if len(weights) == 1 else [each for each, _ in shard_names(variant, _SHARD.sub("", name[:-5]))]
    for number, (each, file) in enumerate(zip(names, weights, strict=True)):
        yield Entry(f"{folder}{each}", weight(file, kinds), variant.key, witness=number == 0)
    beside = [where for where, text in source.sidecars if not text and where.rpartition("/")[0] == folder[:-1]]
    for where, file in zip(beside, variant.projectors if projectors else (), strict=False):
        yield Entry(where, weight(file, kinds), variant.key)


def main_projector(variant: Variant) -> File | None:
    """The one projector to use where a program takes one: F16, else BF16, else the first."""
    found = [file for file in variant.files if file.role is Role.PROJECTOR]
    return min(found, key=_projector_rank) if found else None


def _projector_rank(file: File) -> tuple[int, str]:
    name = file.path.casefold()
    return (1 if "bf16" in name else 0 if "f16" in name else 2, name)


def weight(file: File, kinds: tuple[LinkKind, ...] = LINKS) -> Weight:
    """A link to the file's blob."""
    return Weight(file.blake3, file.bytes, kinds)


def projector_name(path: str) -> str:
    """A projector's own file name, with `mmproj` in it and the extension in lower case."""
    name = path.rpartition("/")[2]
    name = legal(name[:-5] if name[-5:].casefold() == ".gguf" else name)
    return f"{name}.gguf" if "mmproj" in name else f"mmproj-{name}.gguf"
