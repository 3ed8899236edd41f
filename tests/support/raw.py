"""Model files byte by byte, so that a test can make them lie. Nothing here checks anything."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["gguf", "gguf_array", "gguf_string", "model_gguf", "number", "safetensors", "tensor", "text"]

_TYPES = {4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 0: "B", 2: "H"}


def gguf_string(value: bytes | str, order: str = "<") -> bytes:
    """A length and the bytes."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(data)) + data


def number(key: str, value: float, kind: int = 4, order: str = "<") -> bytes:
    """A key with a number."""
    return gguf_string(key, order) + struct.pack(order + "I" + _TYPES[kind], kind, value)


def text(key: str, value: bytes | str, order: str = "<") -> bytes:
    """A key with a string."""
    return gguf_string(key, order) + struct.pack(order + "I", 8) + gguf_string(value, order)


def gguf_array(key: str, kind: int, count: int, items: bytes = b"", order: str = "<") -> bytes:
    """A key with an array that claims `count` entries."""
    return gguf_string(key, order) + struct.pack(order + "IIQ", 9, kind, count) + items


def tensor(name: bytes | str, shape: Sequence[int], kind: int, offset: int, order: str = "<") -> bytes:
    """A tensor's entry."""
    return gguf_string(name, order) + struct.pack(f"{order}I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(
    values: Sequence[bytes] = (), tensors: Sequence[bytes] = (), data: int = 0, *, order: str = "<", version: int = 3,
    keys: int | None = None, count: int | None = None, alignment: int = 32,
) -> bytes:
    """A GGUF file.

    Args:
        values: made by `text`, `number`, `gguf_array`.
        tensors: made by `tensor`.
        data: bytes behind the header.
        order: "<" or ">".
        version: in its head.
        keys: how many keys it claims; None: as many as there are.
        count: how many tensors it claims.
        alignment: of the data.
    """
    head = b"GGUF" + struct.pack(
        order + "IQQ", version, len(tensors) if count is None else count, len(values) if keys is None else keys)
    body = head + b"".join(values) + b"".join(tensors)
    return body + b"\0" * (-len(body) % alignment) + b"\0" * data


def model_gguf(
    *extra: bytes, architecture: str = "llama", file_type: int | None = 1, seed: int = 0,
    shard: tuple[int, int] | None = None, layers: int = 2, vocabulary: bool = True, order: str = "<",
) -> bytes:
    """A whole small model: F16 matrices of 32 x 32, each with its own bytes.

    Args:
        extra: more values.
        architecture: in its head.
        file_type: in its head; None: no such key.
        seed: other bytes for another number.
        shard: number from 0 and count.
        layers: tensors, all in layers.
        vocabulary: three tokens.
        order: "<" or ">".
    """
    values = [text("general.architecture", architecture, order),
              number(f"{architecture}.context_length", 2048, order=order),
              number(f"{architecture}.block_count", layers, order=order)]
    if file_type is not None:
        values.append(number("general.file_type", file_type, order=order))
    if vocabulary:
        values.append(gguf_array("tokenizer.ggml.tokens", 8, 3, b"".join(gguf_string(t, order) for t in "abc"), order))
    first = 0
    if shard is not None:
        values += [number("split.no", shard[0], 2, order), number("split.count", shard[1], 2, order),
                   number("split.tensors.count", layers * shard[1], 5, order)]
        first = shard[0] * layers
    tensors = [tensor(f"blk.{first + n}.attn_q.weight", (32, 32), 1, n * 2048, order) for n in range(layers)]
    body = gguf([*values, *extra], tensors, order=order)
    return body + bytes((seed + n) % 256 for n in range(2048)) * layers


def safetensors(
    tensors: Mapping[str, tuple[str, Sequence[int], int, int]], data: int, *, length: int | None = None,
    header: bytes | None = None, metadata: Any = None,
) -> bytes:
    """A safetensors file.

    Args:
        tensors: name -> dtype, shape, begin, end.
        data: bytes behind the header.
        length: of the header, as it claims; None: the true one.
        header: in place of the one that `tensors` gives.
        metadata: under `__metadata__`.
    """
    if header is None:
        entries: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
        for name, (dtype, shape, begin, end) in tensors.items():
            entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        header = json.dumps(entries, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + b"\0" * data
