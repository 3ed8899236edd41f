"""Small real models, for layouts to be tried with: whole, valid files of a few hundred bytes, as a store keeps them.

    shelf = Shelf(folder)
    variant = shelf.gguf("tiny", "Q4_K_M", shards=2)

Readers of headers accept every file. The same arguments give the same bytes; `seed` makes other content of one shape.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from blake3 import blake3

from helixstore.values import File, Format, Header, Key, Purpose, Role, Source, Variant

__all__ = ["COMMIT", "Shelf", "gguf_bytes", "hub", "json_bytes", "role_of", "safetensors_bytes"]

#: a commit of a repository, for sources that are the hub's
COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"

#: GGUF tensor types: number, bytes of one block, elements of one block
_TYPES = {
    "F32": (0, 4, 1), "F16": (1, 2, 1), "Q8_0": (8, 34, 32), "Q4_K": (12, 144, 256), "Q6_K": (14, 210, 256),
    "IQ2_XXS": (16, 66, 256), "BF16": (30, 2, 1),
}
#: quantisation: number of general.file_type, type of most tensors
_QUANTS = {
    "F32": (0, "F32"), "F16": (1, "F16"), "Q8_0": (7, "Q8_0"), "Q4_K_M": (15, "Q4_K"), "Q6_K": (18, "Q6_K"),
    "IQ2_XXS": (19, "IQ2_XXS"), "BF16": (32, "BF16"),
}


# ---- bytes of single files -------------------------------------------------------------------------------------------

def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: object) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
        case list() if all(isinstance(item, str) for item in value):
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(item) for item in value)
    raise TypeError(type(value))


def gguf_bytes(metadata: Mapping[str, object], tensors: Mapping[str, str], seed: int = 0) -> bytes:
    """A whole GGUF v3 file: tensors of 256 elements each, name -> type."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    data = b""
    for number, (name, kind) in enumerate(tensors.items()):
        code, size, elements = _TYPES[kind]
        head += _text(name) + struct.pack("<IQIQ", 1, 256, code, len(data))
        body = bytes((seed * 7 + number * 31 + i) % 251 for i in range(256 // elements * size))
        data += body + bytes(-len(body) % 32)
    return head + bytes(-len(head) % 32) + data


def safetensors_bytes(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], seed: int = 0, metadata: Mapping[str, str] | None = None
) -> bytes:
    """A whole safetensors file: name -> (dtype, shape)."""
    width = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "I16": 2, "I64": 8, "U8": 1, "F8_E4M3": 1}
    header: dict[str, object] = {"__metadata__": dict(metadata or {"format": "pt"})}
    data = b""
    for number, (name, (dtype, shape)) in enumerate(tensors.items()):
        size = width[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + size]}
        data += bytes((seed * 13 + number * 17 + i) % 251 for i in range(size))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def json_bytes(value: object) -> bytes:
    """A JSON file."""
    return json.dumps(value, indent=2).encode()


# ---- the shelf: blobs on disk, variants over them --------------------------------------------------------------------

_ROLES = {
    "config.json": Role.CONFIG, "generation_config.json": Role.CONFIG, "quantize_config.json": Role.CONFIG,
    "quantization_config.json": Role.CONFIG, "tokenizer.json": Role.TOKENIZER, "tokenizer.model": Role.TOKENIZER,
    "tokenizer_config.json": Role.TOKENIZER, "special_tokens_map.json": Role.TOKENIZER,
    "chat_template.jinja": Role.TEMPLATE, "model.safetensors.index.json": Role.INDEX,
}


def role_of(path: str) -> Role:
    """What a file of this name is for."""
    name = PurePosixPath(path).name
    if name in _ROLES:
        return _ROLES[name]
    if "mmproj" in name:
        return Role.PROJECTOR
    if name.endswith((".gguf", ".safetensors")):
        return Role.WEIGHTS
    return {".py": Role.CODE, ".bin": Role.PICKLE}.get(PurePosixPath(name).suffix, Role.OTHER)


class Shelf:
    """A folder of files named by BLAKE3 as in a store (0444), and builders of variants over them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.blobs: dict[str, Path] = {}

    def put(self, path: str, data: bytes, role: Role | None = None) -> File:
        """The file of a variant with these bytes, which lie on the shelf afterwards."""
        digest = blake3(data).hexdigest()
        if digest not in self.blobs:
            blob = self.folder / digest
            blob.write_bytes(data)
            blob.chmod(0o444)
            self.blobs[digest] = blob
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        xet = hashlib.sha256(b"xet" + data).hexdigest()     # stands for the real one, which takes a process of its own
        return File(path, len(data), digest, role or role_of(path), hashlib.sha256(data).hexdigest(), git, xet)

    def variant(
        self, name: str, files: Mapping[str, bytes], format: Format, quantization: str, header: Header | None = None, *,
        purpose: Purpose = Purpose.MODEL, sources: Sequence[Source] = (), pinned: bool = False,
    ) -> Variant:
        """A variant of any files; its header is not read from them but given."""
        made = tuple(sorted((self.put(path, data) for path, data in files.items()), key=lambda file: file.path))
        manifest = blake3(json.dumps([(f.path, f.blake3) for f in made]).encode()).hexdigest()
        key = Key(name, f"{format.value}:{quantization}")
        return Variant(key, manifest, format, quantization, purpose, header or Header(), made, tuple(sources), pinned)

    def gguf(
        self, name: str = "tiny", quantization: str = "Q4_K_M", *, shards: int = 1, projector: bool = False,
        architecture: str = "llama", seed: int = 0, template: bool = True, stem: str | None = None,
        tokenizer: tuple[str, str] = ("gpt2", "llama-bpe"), sources: Sequence[Source] = (),
    ) -> Variant:
        """One GGUF, several shards, or one with a projector beside it (`mmproj-<name>-F16.gguf`)."""
        file_type, kind = _QUANTS[quantization]
        metadata: dict[str, object] = {
            "general.architecture": architecture, "general.name": name, "general.file_type": file_type,
            f"{architecture}.context_length": 4096, f"{architecture}.embedding_length": 16,
            f"{architecture}.block_count": shards, "tokenizer.ggml.model": tokenizer[0],
            "tokenizer.ggml.pre": tokenizer[1], "tokenizer.ggml.tokens": ["a", "b", "c"],
        }
        if template:
            metadata["tokenizer.chat_template"] = "{{ messages }}"
        stem = stem or f"{name}-{quantization}"
        files: dict[str, bytes] = {}
        for number in range(shards):
            names = ("attn_q", "attn_k", "attn_norm")
            tensors = {f"blk.{number}.{n}.weight": "F32" if n == "attn_norm" else kind for n in names}
            if number == 0:
                tensors = {"token_embd.weight": kind, **tensors}
            path = f"{stem}.gguf" if shards == 1 else f"{stem}-{number + 1:05d}-of-{shards:05d}.gguf"
            split: dict[str, object] = {}
            if shards > 1:
                split = {"split.no": number, "split.count": shards, "split.tensors.count": 3 * shards + 1}
            files[path] = gguf_bytes({**(metadata if number == 0 else {}), **split}, tensors, seed + number)
        if projector:
            files[f"mmproj-{name}-F16.gguf"] = gguf_bytes(
                {"general.architecture": "clip", "general.type": "mmproj", "general.file_type": 1,
                 "clip.has_vision_encoder": True, "clip.projector_type": "mlp"},
                {"v.blk.0.attn_q.weight": "F16", "mm.0.weight": "F16"}, seed + 99)
        header = Header(
            architecture, (3 * shards + 1) * 256, 4096, template, file_type, 3 * shards + 1, "little",
            "/".join(tokenizer), shards, name, vocabulary=3, embedding_length=16, blocks=shards,
            tensor_types=((kind, 2 * shards + 1), ("F32", shards)))
        return self.variant(name, files, Format.GGUF, quantization, header, sources=sources)

    def hf(
        self, name: str = "tiny-hf", quantization: str = "BF16", *, shards: int = 1, format: Format = Format.HF,
        config: Mapping[str, object] | None = None, extra: Mapping[str, bytes] | None = None,
        index: bool | None = None, without: Iterable[str] = (), seed: int = 0, sources: Sequence[Source] = (),
    ) -> Variant:
        """A model folder: configuration, tokenizer, template, one or several safetensors with their index."""
        dtype = {"BF16": "BF16", "F16": "F16", "F32": "F32"}.get(quantization, "F16")
        settings: dict[str, object] = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "num_hidden_layers": shards,
            "num_attention_heads": 2, "vocab_size": 3, "max_position_embeddings": 2048,
            "torch_dtype": {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype], **(config or {})}
        files: dict[str, bytes] = {
            "config.json": json_bytes(settings), "generation_config.json": json_bytes({"eos_token_id": 2}),
            "tokenizer.json": json_bytes({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}),
            "tokenizer_config.json": json_bytes({"tokenizer_class": "PreTrainedTokenizerFast"}),
            "chat_template.jinja": b"{{ messages }}", "README.md": f"# {name}\n".encode()}
        weights: dict[str, str] = {}
        for number in range(shards):
            path = "model.safetensors" if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            tensors = self._tensors(format, number, dtype)
            weights |= dict.fromkeys(tensors, path)
            said = {"format": format.value} if format is Format.MLX else None
            files[path] = safetensors_bytes(tensors, seed + number, said)
        if index if index is not None else shards > 1:
            files["model.safetensors.index.json"] = json_bytes({"metadata": {"total_size": 128}, "weight_map": weights})
        files |= extra or {}
        for path in without:
            del files[path]
        header = Header(
            "llama", 64 * shards, 2048, True, tensors=len(weights), tokenizer="PreTrainedTokenizerFast",
            shards=shards, classes=("LlamaForCausalLM",), vocabulary=3, embedding_length=8, blocks=shards)
        return self.variant(name, files, format, quantization, header, sources=sources)

    @staticmethod
    def _tensors(format: Format, layer: int, dtype: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        base = f"model.layers.{layer}.self_attn.q_proj"
        match format:
            case Format.GPTQ:
                return {f"{base}.qweight": ("I32", (1, 8)), f"{base}.qzeros": ("I32", (1, 1)),
                        f"{base}.scales": ("F16", (1, 8)), f"{base}.g_idx": ("I32", (8,))}
            case Format.AWQ:
                return {f"{base}.qweight": ("I32", (8, 1)), f"{base}.qzeros": ("I32", (1, 1)),
                        f"{base}.scales": ("F16", (1, 8))}
            case Format.MLX:
                return {f"{base}.weight": ("U32", (8, 1)), f"{base}.scales": ("F16", (8, 1)),
                        f"{base}.biases": ("F16", (8, 1))}
            case Format.EXL3:
                return {f"{base}.trellis": ("I16", (1, 1, 64)), f"{base}.suh": ("F16", (8,)),
                        f"{base}.svh": ("F16", (8,))}
            case Format.EXL2:
                return {f"{base}.q_weight": ("I32", (1, 8)), f"{base}.q_scale": ("I32", (1, 1)),
                        f"{base}.q_groups": ("I16", (2,)), f"{base}.q_invperm": ("I16", (8,))}
            case Format.FP8:
                return {f"{base}.weight": ("F8_E4M3", (8, 8)), f"{base}.weight_scale": ("F32", (1,))}
            case Format.COMPRESSED_TENSORS:
                return {f"{base}.weight_packed": ("I32", (8, 1)), f"{base}.weight_scale": ("BF16", (8, 1)),
                        f"{base}.weight_shape": ("I64", (2,))}
            case Format.BITSANDBYTES:
                return {f"{base}.weight": ("U8", (32, 1)), f"{base}.weight.absmax": ("F32", (1,)),
                        f"{base}.weight.quant_map": ("F32", (16,))}
            case Format.QUANTIZED:
                return {f"{base}.weight_blocks": ("U8", (8, 4)), f"{base}.weight_scales": ("U8", (8, 1))}
            case _:
                return {f"{base}.weight": (dtype, (8, 8))}

    def gptq(
        self, name: str = "tiny-GPTQ", bits: int = 4, group: int = 128, *, sym: bool = True,
        sources: Sequence[Source] = (),
    ) -> Variant:
        """A model folder quantised by GPTQ."""
        said = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": False, "sym": sym}
        return self.hf(name, f"int{bits}-g{group}", format=Format.GPTQ, config={"quantization_config": said},
                       extra={"quantize_config.json": json_bytes(said)}, sources=sources)

    def awq(self, name: str = "tiny-AWQ", *, sources: Sequence[Source] = ()) -> Variant:
        """A model folder quantised by AWQ."""
        said = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
        return self.hf(name, "int4-g128", format=Format.AWQ, config={"quantization_config": said}, sources=sources)

    def mlx(self, name: str = "tiny-4bit", *, index: bool = True, sources: Sequence[Source] = ()) -> Variant:
        """A model folder whose weights MLX has quantised."""
        return self.hf(name, "int4-g64", format=Format.MLX, index=index,
                       config={"quantization": {"group_size": 64, "bits": 4}}, sources=sources)

    def exl3(self, name: str = "tiny-exl3-4.0bpw", *, sources: Sequence[Source] = ()) -> Variant:
        """A model folder of EXL3."""
        said = {"quant_method": "exl3", "version": "0.0.6", "bits": 4.0, "head_bits": 6}
        return self.hf(name, "4bpw", format=Format.EXL3, config={"quantization_config": said},
                       extra={"quantization_config.json": json_bytes({**said, "tensor_storage": {}})}, sources=sources)


def hub(repository: str, revision: str = COMMIT) -> Source:
    """A source whose files have been verified against that commit's listing."""
    return Source("hub", repository=repository, revision=revision)
