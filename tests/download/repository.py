"""Weights of any size for a repository."""

from __future__ import annotations

import random

from support.raw import gguf, number, tensor, text

MIB = 1 << 20


def weights(seed: int, mebibytes: int, *, quantized: bool = False) -> bytes:
    """A whole GGUF of about that size, F16 or Q8_0."""
    row = 1088 if quantized else 2048
    rows = mebibytes * MIB // row
    values = [text("general.architecture", "llama"), number("llama.context_length", 2048),
              number("llama.block_count", 1), number("general.file_type", 7 if quantized else 1)]
    head = gguf(values, [tensor("blk.0.attn_q.weight", (1024, rows), 8 if quantized else 1, 0)])
    return head + random.Random(seed).randbytes(row * rows)
