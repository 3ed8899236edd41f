"""mistral.rs: the Hugging Face cache for safetensors, and a folder of its own for GGUF that has no repository.

Facts: mistral.rs 9e922623 (0.9.2), wheel 0.9.5 run on CPU. Its loaders take `$HOME/.cache/huggingface/hub` whatever
HF_HUB_CACHE and HF_HOME say, unless told: hence `--hf-cache` in the launch. Models are fixed at start. It picks a GGUF
by the quantisation in its file name, and the projector (`mmproj*`) from beside it: original names, one folder for each.

    <farm>/mistralrs/gemma-3-4b-it-Q4_K_M/gemma-3-4b-it-Q4_K_M.gguf, mmproj-F16.gguf

Refused are the IQ quantisations, big-endian files, and byte-pair tokenizers without a known pre-tokenizer. Which GGUF
architectures it knows grows with each release (`gguf/normal_registry.rs` and the registries of its multimodal models),
so only those are refused that llama.cpp has known for years and no release of mistral.rs up to the one read: any other
is tried, and if it is unknown fails at start, by name. GPTQ and AWQ need CUDA, so they are refused where there is none,
on macOS; elsewhere a layout cannot see the GPU. Weights that MLX quantised are its AFQ. The guide's BF16 and FP16 are
types of numbers, not formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from helixstore.providers.layout import LINKS, Entry, Env, Facts, Found, Reader, Refusal, Root, Weight
from helixstore.values import Format, Variant

from .parts import hub_cache
from .parts.gguf_files import gguf_places, own_entries, refuse, shard_names, stem
from .parts.hf_folders import refuse_unservable
from .parts.hub_cache import HubCache, hub_root
from .parts.names import distinct, label, legal
from .parts.own import discover_own

__all__ = ["MistralRs"]

_TYPES = frozenset({"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K",
                    "Q5_K", "Q6_K", "Q8_K", "MXFP4"})
#: architectures of GGUF files without a loader
_UNKNOWN = frozenset({
    "arctic", "baichuan", "bert", "bitnet", "bloom", "chatglm", "codeshell", "command-r", "dbrx", "falcon", "gpt2",
    "gptj", "gptneox", "grok", "internlm2", "jais", "mamba", "mpt", "nomic-bert", "olmo", "olmoe", "openelm", "orion",
    "persimmon", "plamo", "qwen", "refact", "rwkv6", "stablelm", "starcoder", "t5", "xverse"})
_INTEGERS = re.compile(r"I(8|16|32|64)")
_WANTS = (Format.HF, Format.GGUF)
_METHODS = ("mxfp4", "fp8", "afq")
_WEIGHTS = re.compile(r"model-\d+-of-\d+\.safetensors|(model|consolidated)\.safetensors")


class MistralRs(HubCache):
    """mistral.rs, over the Hugging Face cache and a folder of GGUF files."""

    name = "mistralrs"
    title = "mistral.rs"
    checked = ("0.9.2", "0.9.5")
    formats = (Format.HF, Format.GGUF, Format.MLX, Format.FP8, Format.BITSANDBYTES, Format.GPTQ, Format.AWQ,
               Format.QUANTIZED)
    refresh = "restart mistralrs: its models are fixed at start"
    launch = ("mistralrs", "serve", "-m", "ORG/NAME", "--hf-cache", "{root}")

    def roots(self, env: Env) -> Sequence[Root]:
        """The cache as everybody has it, and for GGUF the folder that the person named or one that we own."""
        if env.setting is not None:
            return [hub_root(env), Root(env.setting, "providers.mistralrs.root", label="gguf")]
        return [hub_root(env), Root(env.farms / self.name, "helixstore's own", owned=True, label="gguf")]

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """GGUF of the classic and K quantisations, and safetensors."""
        if variant.format is Format.GGUF:
            return refuse(variant, facts, self.title) or _refuse_gguf(variant)
        if refusal := refuse_unservable(variant):
            return refusal
        names = {file.path for file in variant.files}
        if "model.safetensors.index.json" not in names and not any(_WEIGHTS.fullmatch(name) for name in names):
            return Refusal("mistral.rs finds weights by an index or by the names model.safetensors, "
                           "model-N-of-M.safetensors and consolidated.safetensors")
        return _refuse_format(variant, facts)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """In the cache everything that may lie there, GGUF under its repository; in the own folder every GGUF."""
        if root.label == "hub":
            return hub_cache.project(variants, facts)
        return _folders([variant for variant in variants if variant.format is Format.GGUF])

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """What lies in the cache, and at any depth in the folder of GGUF files."""
        return super().discover(root, reader) if root.label == "hub" else discover_own(root.path, reader, self.name)

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """`mistralrs cache delete`: the repository's whole folder. It has no delete for files outside the cache."""
        import shutil

        folders = {entry.path.split("/")[0] for entry in entries if entry.key == variant.key}
        if not all(folder.startswith("models--") for folder in folders):
            raise LookupError("mistral.rs deletes from the hub cache only")
        for folder in folders:
            shutil.rmtree(root / folder)


def _folders(variants: Sequence[Variant]) -> Iterator[Entry]:
    """A folder for each, called by model and quantisation; what the person put there keeps its place."""
    own = {variant.key: gguf_places(variant, MistralRs.name) for variant in variants}
    taken = [path.partition("/")[0] for places in own.values() for path, _ in places]
    names = distinct(variants, {v.key: label(v) for v in variants if not own[v.key]}, taken=taken)
    for variant in variants:
        for path, source in own[variant.key]:
            yield from own_entries(path, source, variant)
        if variant.key in names:
            yield from _folder(names[variant.key], variant)


def _folder(folder: str, variant: Variant) -> Iterator[Entry]:
    projectors = {legal(PurePosixPath(file.path).stem): file for file in variant.projectors}
    for name, file in projectors.items():
        if "mmproj" not in name.casefold():
            name = f"mmproj-{name}"
        yield Entry(f"{folder}/{name}.gguf", Weight(file.blake3, file.bytes, LINKS), variant.key)
    for number, (name, file) in enumerate(shard_names(variant, stem(variant))):
        yield Entry(f"{folder}/{name}", Weight(file.blake3, file.bytes, LINKS), variant.key, number == 0, order=1)


def _refuse_gguf(variant: Variant) -> Refusal | None:
    if variant.header.architecture in _UNKNOWN:
        return Refusal(f"mistral.rs has no loader for GGUF of the architecture {variant.header.architecture}")
    types = {name for name, _ in variant.header.tensor_types if not _INTEGERS.fullmatch(name)}
    if strange := sorted(types - _TYPES):
        return Refusal(f"mistral.rs does not read the tensor types {', '.join(strange)}", _WANTS)
    if variant.quantization.startswith("IQ"):
        return Refusal("mistral.rs does not read the IQ quantisations", _WANTS)
    if variant.header.tokenizer in ("gpt2", "gpt2/default"):
        return Refusal("its tokenizer names no pre-tokenizer, which mistral.rs needs", (Format.HF,))
    return None


def _refuse_format(variant: Variant, facts: Facts) -> Refusal | None:
    match variant.format:
        case Format.GPTQ | Format.AWQ if facts.platform == "darwin":
            return Refusal(f"mistral.rs runs {variant.format.value.upper()} on CUDA only, which no Mac has", _WANTS)
        case Format.EXL2 | Format.EXL3:
            return Refusal("mistral.rs has no loader for EXL2 and EXL3", _WANTS)
        case Format.COMPRESSED_TENSORS:
            return Refusal("mistral.rs does not read compressed-tensors", _WANTS)
        case Format.QUANTIZED if not any(variant.quantization.casefold().startswith(m) for m in _METHODS):
            quantization = variant.quantization or "of this model"
            return Refusal(f"mistral.rs does not know the quantisation {quantization}", _WANTS)
        case _:
            return None
