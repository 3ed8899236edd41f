"""Many small, whole, different models for the benchmarks, in the two containers that people have."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

_TEXT, _U32 = 8, 4              # GGUF value types


def gguf(number: int) -> bytes:
    """A whole GGUF v3 of the architecture llama with one F32 tensor of 32 elements, different for each number."""
    pairs = [
        (b"general.architecture", _TEXT, b"llama"),
        (b"general.name", _TEXT, f"Small {number}".encode()),
        (b"general.file_type", _U32, 0),
        (b"llama.context_length", _U32, 2048),
        (b"llama.block_count", _U32, 1),
        (b"llama.embedding_length", _U32, 32),
        (b"tokenizer.ggml.model", _TEXT, b"llama"),
    ]
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)))
    for key, kind, value in pairs:
        out += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind)
        out += struct.pack("<Q", len(value)) + value if isinstance(value, bytes) else struct.pack("<I", value)
    name = b"token_embd.weight"
    out += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 32, 0, 0)
    out += bytes(-len(out) % 32)
    return bytes(out + struct.pack("<32f", *(float(number + i) for i in range(32))))


def hf_folder(folder: Path, number: int) -> None:
    """A whole Hugging Face folder: configuration, tokenizer, one safetensors file, different for each number."""
    folder.mkdir(parents=True)
    tensor = {"dtype": "F32", "shape": [32], "data_offsets": [0, 128]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    header += b" " * (-len(header) % 8)
    weights = struct.pack("<32f", *(float(number + i) for i in range(32)))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + weights)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
              "max_position_embeddings": 2048, "hidden_size": 32, "vocab_size": 1}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def large(folder: Path, mebibytes: int) -> None:
    """A Hugging Face folder whose weights have that size."""
    hf_folder(folder, 0)
    block, floats = os.urandom(1 << 20), mebibytes << 18
    tensor = {"dtype": "F32", "shape": [floats], "data_offsets": [0, floats * 4]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    header += b" " * (-len(header) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for number in range(mebibytes):
            file.write(number.to_bytes(8, "little") + block[8:])


def many(folder: Path, ggufs: int, folders: int) -> None:
    """Fill `folder` with that many models of each kind."""
    (folder / "gguf").mkdir(parents=True)
    for number in range(ggufs):
        (folder / "gguf" / f"small-{number:05}-F32.gguf").write_bytes(gguf(number))
    for number in range(folders):
        hf_folder(folder / "hf" / f"tiny-{number:05}", number)
