"""What the configuration beside safetensors says: architecture, context, and how the weights are quantised.

It may lie, be huge or be no JSON. Keys and names are those of transformers, GPTQModel, AutoAWQ, compressed-tensors,
bitsandbytes, exllamav2/3 and mlx-lm.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helixstore.errors import Unreadable
from helixstore.formats.jsonstream import LARGE, read_members
from helixstore.formats.opened import Opened, show
from helixstore.values import Format

__all__ = ["Config", "read_config", "read_tokenizer"]

_WANTED = frozenset({
    "_class_name", "architectures", "base_model_name_or_path", "compression_config", "dim", "dtype", "hidden_size",
    "llm_config", "max_position_embeddings", "max_seq_len", "max_sequence_length", "model_type", "n_ctx", "n_embd",
    "n_layer", "n_layers", "n_positions", "num_hidden_layers", "num_layers", "peft_type", "quantization",
    "quantization_config", "seq_length", "text_config", "torch_dtype", "vocab_size",
    # quantize_config.json of AutoGPTQ, quant_config.json of AutoAWQ
    "bits", "desc_act", "group_size", "q_group_size", "quant_method", "w_bit", "zero_point",
})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,95}")
_MAX_NUMBER = 1 << 40


@dataclass(frozen=True, slots=True)
class Config:
    """The facts of one config.json (or params.json, adapter_config.json, model_index.json).

    Attributes:
        architecture: `model_type`.
        classes: `architectures`.
        context_length: tokens.
        vocabulary: entries.
        embedding_length: width of the model.
        blocks: layers.
        format: HF, or a quantised format.
        quantization: "int4-g128", "nf4", "4.0bpw", ...; "" when the weights decide.
        bits: of one packed weight; 0 when not packed.
        group: weights that share one scale; 0 when not said.
    """

    architecture: str | None = None
    classes: tuple[str, ...] = ()
    context_length: int | None = None
    vocabulary: int | None = None
    embedding_length: int | None = None
    blocks: int | None = None
    format: Format = Format.HF
    quantization: str = ""
    bits: int = 0
    group: int = 0


@dataclass(slots=True)
class _Quantised:
    format: Format = Format.HF
    label: str = ""
    bits: int = 0
    group: int = 0
    members: dict[str, Any] = field(default_factory=dict)


def read_config(path: Path, opened: Callable[[Path], Opened] = Opened) -> Config:
    """The facts in a configuration file.

    Args:
        path: of the file.
        opened: opens it; it need not be on the disk.

    Raises:
        Unreadable, Incomplete: it cannot be read or is no JSON object.
    """
    with opened(path) as file:
        found = read_members(file, _WANTED.__contains__)
    if LARGE in found.values():
        raise Unreadable(f"{show(str(path))} has a value that is larger than any", path=path)
    inner: dict[str, Any] = next(
        (found[key] for key in ("text_config", "llm_config") if isinstance(found.get(key), dict)), {}
    )
    quantised = _quantised(found)
    if quantised.format is Format.HF:
        quantised = _quantised(inner)
    classes = found.get("architectures") or []

    def number(*keys: str) -> int | None:
        return next((value for source in (found, inner) for key in keys
                     if (value := _count(source.get(key))) is not None), None)

    return Config(
        architecture=_name(found.get("model_type")) or _name(found.get("_class_name")),
        classes=tuple(text for item in classes[:16] if (text := _name(item))) if isinstance(classes, list) else (),
        context_length=number("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len",
                              "seq_length", "n_ctx"),
        vocabulary=number("vocab_size"),
        embedding_length=number("hidden_size", "n_embd", "dim"),
        blocks=number("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        format=quantised.format,
        quantization=quantised.label,
        bits=quantised.bits,
        group=quantised.group,
    )


def read_tokenizer(path: Path, opened: Callable[[Path], Opened] = Opened) -> tuple[str | None, bool]:
    """The tokenizer's class, and whether there is a chat template, from a tokenizer_config.json.

    Args:
        path, opened: as for `read_config`.

    Raises:
        Unreadable, Incomplete: it cannot be read or is no JSON object.
    """
    with opened(path) as file:
        found = read_members(file, {"tokenizer_class", "chat_template"}.__contains__, "a tokenizer configuration")
    template = "chat_template" in found and found["chat_template"] not in ("", [])
    return _name(found.get("tokenizer_class")), template


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value < _MAX_NUMBER else None


def _quantised(found: dict[str, Any]) -> _Quantised:
    """Format, label, bits and group from the several places where quantisers write them."""
    for key in ("quantization_config", "compression_config", "quantization"):
        members = found.get(key)
        if isinstance(members, dict) and members:
            break
    else:
        members = found if "w_bit" in found or ("bits" in found and "group_size" in found) else None
    if members is None:
        return _Quantised()
    method = members.get("quant_method")
    method = method.lower() if isinstance(method, str) else ""
    bits = _count(members.get("bits")) or _count(members.get("w_bit")) or _count(members.get("wbits")) or 0
    group = _count(members.get("group_size")) or _count(members.get("q_group_size")) or 0
    result = _Quantised(bits=bits if bits <= 32 else 0, group=group, members=members)
    _name_it(result, method, key if members is not found else "file")
    return result


def _name_it(result: _Quantised, method: str, origin: str) -> None:
    members = result.members
    whole = f"int{result.bits}" + (f"-g{result.group}" if result.group else "")
    if method.startswith("gptq") or (origin == "file" and not method and "w_bit" not in members):
        result.format, result.label = Format.GPTQ, whole
    elif method.startswith("awq") or (origin == "file" and "w_bit" in members):
        result.format, result.label = Format.AWQ, whole
    elif method in ("compressed-tensors", "compressed_tensors") or "config_groups" in members:
        result.format = Format.COMPRESSED_TENSORS
        result.label, result.bits = _compressed(members)
    elif method == "bitsandbytes" or "load_in_4bit" in members or "load_in_8bit" in members:
        result.format = Format.BITSANDBYTES
        four = members.get("load_in_4bit") is True
        kind = members.get("bnb_4bit_quant_type")
        result.label = (kind if kind in ("nf4", "fp4") else "fp4") if four else "int8"
        result.bits = 4 if four else 8
    elif method in ("fp8", "fbgemm_fp8"):
        result.format, result.label, result.bits = Format.FP8, "FP8", 8
    elif method in ("exl2", "exl3"):
        result.format = Format.EXL2 if method == "exl2" else Format.EXL3
        rate = members.get("bits")
        result.label = f"{float(rate):.2f}".rstrip("0").rstrip(".") + "bpw" if isinstance(rate, int | float) else ""
    elif method:
        result.format, result.label = Format.QUANTIZED, _other(method, members)
    elif result.bits:
        mode = members.get("mode")
        result.format = Format.MLX
        result.label = whole if mode in (None, "affine") or not _name(mode) else str(mode)


def _other(method: str, members: dict[str, Any]) -> str:
    """ModelOpt, MXFP4, Quark, ...: the algorithm, else the method."""
    algorithm = members.get("quant_algo")
    if isinstance(algorithm, str) and _name(algorithm):
        return algorithm
    return method if _NAME.fullmatch(method) else "unknown"


def _compressed(members: dict[str, Any]) -> tuple[str, int]:
    """Label and bits of compressed-tensors, by its first group: W4A16, W8A8, FP8, NVFP4."""
    groups = members.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    first = first if isinstance(first, dict) else {}
    weights, inputs = first.get("weights"), first.get("input_activations")
    weights = weights if isinstance(weights, dict) else {}
    bits = _count(weights.get("num_bits")) or 0
    if not 0 < bits <= 32:
        return "", 0
    floating = weights.get("type") == "float"
    if floating:
        packed = str(members.get("format") or first.get("format") or "")
        return {(8, False): ("FP8", 8), (4, False): ("FP4", 4), (4, True): ("NVFP4", 4)}.get(
            (bits, "nvfp4" in packed), (f"FP{bits}", bits))
    active = _count(inputs.get("num_bits")) if isinstance(inputs, dict) else 16
    group = _count(weights.get("group_size"))
    return f"W{bits}A{active or 16}" + (f"-g{group}" if group else ""), bits
