"""What the files of a model folder mean together: format, quantisation, purpose, parameters.

Works on any parts with their locations, so that a folder on the disk and blobs named by a manifest read the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from helixstore.formats.config import Config, read_config, read_tokenizer
from helixstore.formats.inspection import Part
from helixstore.formats.opened import Opened
from helixstore.formats.safetensors import Safetensors, read_safetensors
from helixstore.values import Format, Header, Purpose, Role

__all__ = ["Description", "describe_folder", "merge", "safetensors_header"]

_CONFIGS = ("config.json", "params.json", "adapter_config.json", "model_index.json")
_QUANT_FILES = ("quantize_config.json", "quant_config.json")
#: Encoders by `model_type`; a class that ends in "Model" has no head that generates.
_ENCODERS = frozenset({
    "albert", "bert", "bge", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "eurobert", "gte",
    "jina_bert", "modernbert", "mpnet", "new", "nomic_bert", "roberta", "xlm-roberta", "xlm_roberta",
})
_DRAFT = re.compile(r"eagle|medusa|dflash|speculator", re.IGNORECASE)
_UNPACKED = frozenset({"F64", "F32", "F16", "BF16"})
#: Last parts of tensor names that describe packed weights and are no parameters of the model.
_SIDE = frozenset({
    "qzeros", "scales", "g_idx", "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point",
    "weight_shape", "weight_g_idx", "weight_global_scale", "input_scale", "input_global_scale", "output_scale",
    "k_scale", "v_scale", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "SCB", "weight_format",
    "bitsandbytes__nf4", "bitsandbytes__fp4", "q_scale", "q_scale_max", "q_groups", "q_group_map", "q_invperm",
    "q_perm", "q_weight", "suh", "svh", "su", "sv", "mcg", "mul1", "trellis", "workspace", "B_scale",
})


class Description(NamedTuple):
    """What parts mean together; the fields as in `Inspection`."""

    format: Format
    quantization: str
    purpose: Purpose
    header: Header
    notes: tuple[str, ...]


def describe_folder(parts: Sequence[Part], opened: Callable[[Path], Opened] = Opened) -> Description:
    """Read configuration, tokenizer and the headers of all safetensors among the parts.

    Args:
        parts: of one model; pickles among them are not opened.
        opened: opens a part by its location, which need not be on the disk.

    Raises:
        Unreadable, Incomplete: one of the files that are read.
    """
    by_path = {part.path: part for part in parts}
    config = _configuration(by_path, opened)
    weights = [part for part in parts if part.role is Role.WEIGHTS and part.path.endswith(".safetensors")]
    facts = []
    for part in weights:
        with opened(part.location) as file:
            facts.append(read_safetensors(file))
    totals = merge(facts)
    format_, quantization, notes = _format(by_path, config, totals)
    header = replace(
        safetensors_header(totals, config, format_), shards=max(1, len(weights)),
        chat_template=_template(by_path, opened), tokenizer=_tokenizer(by_path, opened),
    )
    purpose = _purpose(by_path, config)
    if not weights:
        return Description(Format.PYTORCH, config.quantization if config else "", purpose, header, ())
    return Description(format_, quantization, purpose, header, notes)


def _configuration(by_path: dict[str, Part], opened: Callable[[Path], Opened]) -> Config | None:
    name = next((name for name in _CONFIGS if name in by_path), None)
    config = read_config(by_path[name].location, opened) if name else None
    if config is None or config.format is not Format.HF:
        return config
    for other in _QUANT_FILES:                          # older quantisers did not touch config.json
        if other in by_path:
            old = read_config(by_path[other].location, opened)
            return replace(config, format=old.format, quantization=old.quantization, bits=old.bits, group=old.group)
    return config


def merge(facts: Sequence[Safetensors]) -> Safetensors:
    """The facts of several files as those of one."""
    totals = Safetensors(sum(one.size for one in facts))
    for one in facts:
        totals.tensors += one.tensors
        totals.exl2 += one.exl2
        totals.exl3 += one.exl3
        totals.metadata.update(one.metadata)
        for target, source in ((totals.bytes, one.bytes), (totals.counts, one.counts)):
            for dtype, number in source.items():
                target[dtype] = target.get(dtype, 0) + number
        for key, number in one.elements.items():
            totals.elements[key] = totals.elements.get(key, 0) + number
    return totals


def safetensors_header(totals: Safetensors, config: Config | None, format_: Format) -> Header:
    """The header of safetensors, with what the configuration adds, if there is one."""
    config = config or Config()
    return Header(
        architecture=config.architecture or totals.metadata.get("modelspec.architecture"),  # of image models
        parameters=_parameters(totals, config, format_) or None,
        context_length=config.context_length,
        tensors=totals.tensors,
        classes=config.classes,
        vocabulary=config.vocabulary,
        embedding_length=config.embedding_length,
        blocks=config.blocks,
        tensor_types=tuple(sorted(totals.counts.items(), key=lambda item: (-item[1], item[0]))),
    )


def _parameters(totals: Safetensors, config: Config, format_: Format) -> int:
    """Elements of the model as unpacked: what a packed integer holds, and nothing that only describes packing."""
    if format_ in (Format.HF, Format.SAFETENSORS):
        return sum(totals.elements.values())
    count = totals.exl2 + totals.exl3
    for (suffix, dtype), elements in totals.elements.items():
        if format_ is Format.MLX and suffix == "scales":
            count += elements * (config.group or 64)
        elif suffix in _SIDE or suffix.endswith("_scales") or (format_ is Format.MLX and suffix == "biases"):
            continue
        elif format_ is Format.MLX and dtype == "U32" and suffix == "weight":
            continue                                    # counted by its scales
        else:
            count += elements * _density(suffix, dtype, config.bits)
    return count


def _density(suffix: str, dtype: str, bits: int) -> int:
    """Weights that one stored element holds."""
    width = {"I32": 32, "U32": 32, "U8": 8}.get(dtype, 0)
    packed = suffix in ("qweight", "weight_packed", "B")
    packed |= dtype == "U8" and (suffix == "weight" or suffix.endswith("_blocks"))
    if not packed or not width:
        return 1
    return max(1, width // (bits or 4))


def _packed(totals: Safetensors, format_: Format) -> bool:
    """Whether the tensors are what the configuration's format says. Configurations lie: a quantiser's copied one
    beside unquantised weights is common."""
    suffixes = {suffix for suffix, _ in totals.elements}
    match format_:
        case Format.GPTQ | Format.AWQ:
            return not suffixes.isdisjoint({"qweight", "B"})
        case Format.MLX:
            return "scales" in suffixes
        case Format.EXL2:
            return totals.exl2 > 0
        case Format.EXL3:
            return totals.exl3 > 0
        case Format.FP8:
            return any(dtype.startswith("F8_") for dtype in totals.bytes)
        case Format.BITSANDBYTES | Format.COMPRESSED_TENSORS | Format.QUANTIZED:
            return bool(totals.bytes.keys() - _UNPACKED) or not suffixes.isdisjoint(_SIDE)
    return False


def _format(
    by_path: dict[str, Part], config: Config | None, totals: Safetensors
) -> tuple[Format, str, tuple[str, ...]]:
    """Format, quantisation and notes."""
    most = max(totals.bytes, key=lambda dtype: totals.bytes[dtype], default="")
    plain = Format.HF if "config.json" in by_path else Format.SAFETENSORS
    if config is not None and config.format is not Format.HF:
        if _packed(totals, config.format):
            return config.format, config.quantization or most, ()
        note = f"the configuration says {config.format}, but the weights are plain {most}"
        return plain, most, (note,)
    if most.startswith("F8_") and plain is Format.HF:
        return Format.FP8, "FP8", ()
    if any(suffix == "qweight" for suffix, _ in totals.elements):
        return Format.QUANTIZED, "unknown", ("the weights are packed, but no configuration says how",)
    return plain, most, ()


def _purpose(by_path: dict[str, Part], config: Config | None) -> Purpose:
    if "adapter_config.json" in by_path and "config.json" not in by_path:
        return Purpose.ADAPTER
    if not by_path.keys().isdisjoint({"modules.json", "config_sentence_transformers.json", "1_Pooling/config.json"}):
        return Purpose.EMBEDDING
    classes = config.classes if config else ()
    if any(_DRAFT.search(name) for name in classes):
        return Purpose.DRAFT
    if config and config.architecture in _ENCODERS and all(name.endswith(("Model", "MaskedLM")) for name in classes):
        return Purpose.EMBEDDING
    return Purpose.MODEL


def _template(by_path: dict[str, Part], opened: Callable[[Path], Opened]) -> bool:
    if any(part.role is Role.TEMPLATE for part in by_path.values()):
        return True
    part = by_path.get("tokenizer_config.json")
    return read_tokenizer(part.location, opened)[1] if part else False


def _tokenizer(by_path: dict[str, Part], opened: Callable[[Path], Opened]) -> str | None:
    part = by_path.get("tokenizer_config.json")
    return read_tokenizer(part.location, opened)[0] if part else None
