"""The numbers of an architecture, read from what is known before a model is fetched: a GGUF's header or a config.json.

Both can be had by one request for a few kilobytes, and neither is trusted: what is no sensible number counts as not
said. Keys of a GGUF: ggml's `docs/gguf.md`. Which layers have a sliding window is in no GGUF header; llama.cpp knows
it by the architecture (2 and 6 layers to a period in Gemma 2 and 3, as in litgpt's `config.py`; 2 in gpt-oss, see
gpustack/gguf-parser-go#32). Of an architecture that is not listed here every layer is counted in full, so that what
is computed is rather too much than too little. A config.json says it layer by layer (`layer_types`), or by a period
(`sliding_window_pattern`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helixstore.catalogue.memory import Shape

__all__ = ["shape_of_config", "shape_of_gguf"]

#: architecture in a GGUF -> of so many layers the last sees everything, the others a window
_PERIODS = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2}
_MAX = 1 << 31


def shape_of_gguf(values: Mapping[str, object], lengths: Mapping[str, int]) -> Shape | None:
    """The shape that the header of a GGUF tells; None where it does not tell enough, as with an encoder's.

    Args:
        values, lengths: of the header, as `formats.gguf.Gguf` has them.
    """
    architecture = str(values.get("general.architecture", ""))

    def number(key: str) -> int:
        return _number(values.get(f"{architecture}.{key}"))

    layers, hidden = number("block_count"), number("embedding_length")
    heads = number("attention.head_count")
    kv_heads = number("attention.head_count_kv")
    if not kv_heads and f"{architecture}.attention.head_count_kv" not in lengths:
        kv_heads = heads                                # the key may be left out; a list may not be guessed
    head_dim = number("attention.key_length") or (hidden // heads if heads else 0)
    compressed = number("attention.kv_lora_rank")
    value_dim: int | None = number("attention.value_length") or None
    if compressed:
        kv_heads, head_dim, value_dim = 1, compressed + number("rope.dimension_count"), 0
    if not (layers and kv_heads and head_dim):
        return None
    window = number("attention.sliding_window")
    period = _PERIODS.get(architecture, 0) if window else 0
    return Shape(layers, kv_heads, head_dim, None if value_dim == head_dim else value_dim, hidden,
                 number("vocab_size") or lengths.get("tokenizer.ggml.tokens", 0), window if period else 0,
                 layers - layers // period if period else 0)


def shape_of_config(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json tells, of the text part where there are several; None where it does not.

    Args:
        config: the parsed file.
    """
    for key in ("text_config", "llm_config", "language_config"):
        inner = config.get(key)
        if isinstance(inner, Mapping) and _number(inner.get("num_hidden_layers")):
            config = {**config, **inner}
            break

    def number(*keys: str) -> int:
        return next((found for key in keys if (found := _number(config.get(key)))), 0)

    layers, hidden = number("num_hidden_layers", "n_layer", "num_layers"), number("hidden_size", "n_embd")
    heads = number("num_attention_heads", "n_head")
    kv_heads = number("num_key_value_heads") or heads
    head_dim = number("head_dim") or (hidden // heads if heads else 0)
    value_dim: int | None = None
    if compressed := number("kv_lora_rank"):
        kv_heads, head_dim, value_dim = 1, compressed + number("qk_rope_head_dim"), 0
    if not (layers and kv_heads and head_dim):
        return None
    window = number("sliding_window")
    windowed = min(layers, _windowed(config, layers)) if window else 0
    return Shape(layers, kv_heads, head_dim, value_dim, hidden, number("vocab_size"),
                 window if windowed else 0, windowed)


def _windowed(config: Mapping[str, Any], layers: int) -> int:
    """How many layers have the sliding window."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        return sum(kind == "sliding_attention" for kind in kinds)
    if period := _number(config.get("sliding_window_pattern")):
        return layers - layers // period
    return 0


def _number(value: object) -> int:
    """A count that can be one, else 0."""
    return value if type(value) is int and 0 < value < _MAX else 0
