"""How much memory a model needs: computed from its numbers, never typed in.

Three things take it, and the rest is small beside them:

    weights     as large as their files; before the files are known, parameters times the bits of the quantisation
    cache       keys and values of every token of the context, in every layer
    working     what one batch of tokens needs while it is computed

Sources. Bits for each weight: the table that llama.cpp measured on Llama 3.1 8B (its `tools/quantize/README.md`,
commit 311c2c9f), else the tensor type's own (`formats.ggml`). Cache: llama.cpp keeps, in each layer, one row of K and
one of V for each cell of the context, `kv_heads x head_dim` long (the `llama_kv_cache_init` lines of its logs);
layers with a sliding window keep `min(context, PAD(window + batch, 256))` cells (llama.cpp's
`llama-kv-cache-iswa.cpp`, quoted in ikawrakow/ik_llama.cpp#1607; pull request ggml-org/llama.cpp#13194), once for
each conversation (measured in unslothai/unsloth#5225). Working:
with flash attention, which llama.cpp turns on where it can, the largest thing in the graph is the logits and the
hidden state of one batch, 4 bytes each. tests/catalogue/test_memory.py compares all three with figures from public
logs and with real files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from helixstore.errors import Usage
from helixstore.formats.ggml import FILE_TYPES, TENSOR_TYPES, allowed_types

__all__ = ["Need", "Shape", "bits_of", "bytes_of_cache", "bytes_of_weights", "bytes_of_working", "needed"]

BATCH = 512                     # tokens that llama.cpp computes at once (n_ubatch)
_PAD = 256                      # cells; llama.cpp rounds a cache up to that
_MAX = 1 << 62                  # what a header may claim; more is a lie

#: Bits for each weight of Llama 3.1 8B, embeddings and all, as llama.cpp measured them.
_MEASURED = {
    "IQ1_S": 2.0042, "IQ1_M": 2.1460, "IQ2_XXS": 2.3824, "IQ2_XS": 2.5882, "IQ2_S": 2.7403, "IQ2_M": 2.9294,
    "IQ3_XXS": 3.2548, "IQ3_XS": 3.4977, "IQ3_S": 3.6606, "IQ3_M": 3.7628, "IQ4_XS": 4.4597, "IQ4_NL": 4.6818,
    "Q2_K_S": 2.9697, "Q2_K": 3.1593, "Q3_K_S": 3.6429, "Q3_K_L": 4.2979, "Q4_K_S": 4.6672, "Q4_K_M": 4.8944,
    "Q5_K_S": 5.5704, "Q5_K_M": 5.7036, "Q6_K": 6.5633, "Q8_0": 8.5008,
}
_PLAIN = {"F64": 64.0, "F32": 32.0, "FP32": 32.0, "F16": 16.0, "FP16": 16.0, "BF16": 16.0, "FP8": 8.0, "NF4": 4.5,
          "FP4": 4.5}
_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values() if kind.block}
#: name of a GGUF's file type -> the tensor type that most of it is in
_BASES = dict(FILE_TYPES.values())
#: llama.cpp keeps the last matrix in Q6_K; of the measured model it is this share.
_LAST_BITS, _LAST_SHARE = 6.5625, 128_256 * 4_096 / 8_030_261_248
_WHOLE = re.compile(r"(?:INT([2348])|([2-8])-?BIT)(?:-G(\d{1,4}))?")
_RATE = re.compile(r"(\d{1,2}(?:\.\d{1,3})?)BPW")


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of an architecture that memory follows from.

    Attributes:
        layers: that keep keys and values.
        kv_heads: heads of keys and values in each; with compressed attention (DeepSeek's MLA), 1.
        head_dim: length of one head's key; with compressed attention, the length of the compressed row.
        value_dim: length of one head's value where it is another; 0 where values are not kept (compressed attention).
        hidden: length of the hidden state; 0 where it is not known.
        vocabulary: entries; 0 where it is not known.
        window: tokens that a layer with a sliding window sees; 0: there are none.
        windowed: how many of the layers have one.
    """

    layers: int
    kv_heads: int
    head_dim: int
    value_dim: int | None = None
    hidden: int = 0
    vocabulary: int = 0
    window: int = 0
    windowed: int = 0


class Need(NamedTuple):
    """What a model takes, in bytes."""

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


def bits_of(quantization: str) -> float | None:
    """Bits that one weight takes on average, scales included; None where the name says nothing.

    Args:
        quantization: "Q4_K_M", "UD-Q4_K_XL", "4bit", "int4-g128", "BF16", "4.0bpw", ...; case does not count.
    """
    name = _without_prefix(quantization)
    if name in _MEASURED or name in _PLAIN:
        return _MEASURED.get(name) or _PLAIN[name]
    if match := _RATE.fullmatch(name):
        return float(match[1])
    if match := _WHOLE.fullmatch(name):
        bits = int(match[1] or match[2])
        # a scale of 16 bits for each group, and a zero point: of 16 bits too in MLX, packed in GPTQ and AWQ
        group = int(match[3] or (64 if match[2] else 128)) or 128
        return bits + (16 + (16 if match[2] else bits)) / group
    return _of_type(name.removesuffix("_MOE"))


def bytes_of_weights(parameters: int, quantization: str, shape: Shape | None = None, plain: int = 0) -> int:
    """The size of the weights before their files are known; where they are, their size is the answer.

    Args:
        parameters: all of them: those of a mixture of experts lie in memory too while they sleep.
        quantization: as for `bits_of`.
        shape: where it is known. In a GGUF the last matrix is kept finer than the rest, and rows whose length is no
            multiple of 256 cannot be packed as tightly: small models are larger than their bits say.
        plain: how many of the parameters stay at 16 bits, as the embeddings do in GPTQ and AWQ.

    Raises:
        Usage: the quantisation's name says nothing, or a number makes no sense.
    """
    bits = bits_of(quantization)
    if bits is None:
        raise Usage(f"how large weights are in {quantization!r} is not known", "name a quantisation such as Q4_K_M")
    _check(parameters=parameters, plain=plain)
    plain = min(plain, parameters)
    name = _without_prefix(quantization)
    if shape is None or plain or name in _PLAIN or not (name in _BASES or name in _MEASURED):
        return round((parameters - plain) * bits / 8) + 2 * plain
    _check(hidden=shape.hidden, vocabulary=shape.vocabulary)
    whole = parameters * bits
    last = min(shape.hidden * shape.vocabulary, parameters)
    fine = max(bits, _LAST_BITS)
    if name in _MEASURED and bits < fine:                # the measured model has its last matrix in it
        bits = (bits - _LAST_SHARE * fine) / (1 - _LAST_SHARE)
    if shape.hidden % 256:
        fine = max(fine, 8.5)
        bits = max(bits, *(_bits_of_type(kind) for kind in allowed_types(_BASES.get(name, ""))))
    return round(max(whole, last * fine + (parameters - last) * bits) / 8)


def bytes_of_cache(shape: Shape, context: int, kind: str = "F16", *, batch: int = BATCH, at_once: int = 1) -> int:
    """The size of the cache of keys and values, as llama.cpp allots it when it starts.

    Args:
        shape: of the model.
        context: tokens, of all conversations together.
        kind: type of its entries: F16, Q8_0, Q4_0, ...
        batch: tokens computed at once.
        at_once: conversations at once; layers with a sliding window keep one window for each.

    Raises:
        Usage: there is no such type, or a number makes no sense.
    """
    found = _TYPES.get(kind.upper())
    if found is None:
        raise Usage(f"a cache of type {kind!r} is not known", "F16, BF16, F32, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0 or IQ4_NL")
    value_dim = shape.head_dim if shape.value_dim is None else shape.value_dim
    _check(layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, value_dim=value_dim,
           context=context, window=shape.window, windowed=shape.windowed, batch=batch, at_once=at_once)
    row = sum(-(-shape.kv_heads * length // found.block) * found.bytes for length in (shape.head_dim, value_dim))
    windowed = min(shape.windowed, shape.layers) if shape.window else 0
    cells = _padded(context)
    inside = max(at_once, 1) * min(_padded(context // max(at_once, 1)), _padded(shape.window + batch))
    return row * (cells * (shape.layers - windowed) + inside * windowed)


def bytes_of_working(shape: Shape, *, batch: int = BATCH) -> int:
    """What computing one batch takes beside weights and cache, with flash attention.

    Args:
        shape: of the model; where hidden or vocabulary are not known, they are not counted.
        batch: tokens computed at once.
    """
    _check(hidden=shape.hidden, vocabulary=shape.vocabulary, batch=batch)
    return 4 * batch * (shape.vocabulary + shape.hidden)


def needed(weights: int, shape: Shape, context: int, kind: str = "F16", *, batch: int = BATCH) -> Need:
    """All of it.

    Args:
        weights: bytes of the files, projector included, or what `bytes_of_weights` says.
        shape: of the model.
        context, kind, batch: as for `bytes_of_cache`.

    Raises:
        Usage: as `bytes_of_cache`.
    """
    _check(weights=weights)
    return Need(weights, bytes_of_cache(shape, context, kind, batch=batch), bytes_of_working(shape, batch=batch))


def _of_type(name: str) -> float | None:
    """By the measured name or tensor type that a name starts with: Q4_K_XL -> Q4_K_M, Q3_K_M -> between S and L."""
    if name == "Q3_K_M":
        return (_MEASURED["Q3_K_S"] + _MEASURED["Q3_K_L"]) / 2
    if name in ("Q4", "Q5", "Q8"):
        name += "_0"
    if name in _TYPES:
        return _bits_of_type(name)
    stem, _, _ = name.rpartition("_")
    for known in (f"{stem}_M", f"{stem}_L", stem):
        if known in _MEASURED:
            return _MEASURED[known]
    return _of_type(stem) if stem else None


def _bits_of_type(name: str) -> float:
    """Of a tensor type; 0 where it is not known."""
    return _TYPES[name].bytes * 8 / _TYPES[name].block if name in _TYPES else 0.0


def _without_prefix(quantization: str) -> str:
    """Without what tells how it was made: UD-Q4_K_M -> Q4_K_M."""
    return re.sub(r"^(?:UD|I1)[-_.]", "", quantization.upper())


def _padded(cells: int) -> int:
    return -(-cells // _PAD) * _PAD


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if not 0 <= number < _MAX:
            raise Usage(f"{name.replace('_', ' ')} of {number:,} makes no sense", "look at what was given")
