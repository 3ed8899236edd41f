"""What the header of a GGUF means: purpose, quantisation, and the facts that layouts ask for."""

from __future__ import annotations

import re

from helixstore.errors import Unreadable
from helixstore.formats.ggml import FILE_TYPES, UNQUANTIZED, allowed_types
from helixstore.formats.gguf import Gguf
from helixstore.values import Header, Purpose

__all__ = ["gguf_header", "gguf_purpose", "gguf_quantization", "is_model", "shard_of"]

_ARCHITECTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Encoders: nothing generates text with them. From llama.cpp's architecture names.
_EMBEDDING = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "llama-embed", "t5encoder",
})
#: Heads that only draft for another model; llama.cpp refuses to load them alone.
_DRAFT = frozenset({"eagle3", "dflash", "gemma4-assistant"})
_GUESSED = 1024                                         # a flag in general.file_type: the converter guessed


def _text(facts: Gguf, key: str) -> str | None:
    value = facts.values.get(key)
    if not isinstance(value, str) or not value.strip():
        return None
    return "".join(c if c.isprintable() else " " for c in value).strip()[:256]


def _number(facts: Gguf, key: str) -> int | None:
    value = facts.values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _architecture(facts: Gguf) -> str | None:
    value = facts.values.get("general.architecture")
    if value is None and "general.architecture" not in facts.lengths:
        return None
    if not isinstance(value, str) or not _ARCHITECTURE.fullmatch(value):
        raise Unreadable(f"its architecture is {str(value)[:64]!a}")
    return value


def shard_of(facts: Gguf) -> tuple[int, int, int | None]:
    """Number (from 0) and count of shards, and the tensors of all of them together, if it says so.

    Raises:
        Unreadable: the number is not below the count, or the count is beyond what the file names allow.
    """
    number, count = _number(facts, "split.no") or 0, _number(facts, "split.count") or 1
    if number >= count or count > 99999:
        raise Unreadable(f"it says that it is shard {number + 1:,} of {count:,}")
    return number, count, _number(facts, "split.tensors.count")


def is_model(facts: Gguf) -> bool:
    """False for importance matrices, which are GGUF files but nothing that a program runs."""
    return facts.values.get("general.type") != "imatrix" and facts.values.get("general.architecture") != "imatrix"


def gguf_purpose(facts: Gguf, file_name: str = "") -> Purpose:
    """What the file can do, from its header; drafts also from the name, as the programs tell them.

    Args:
        facts: the header of the first shard.
        file_name: for the prefixes `mtp-`, `eagle3-`, `dflash-`, `dspark-` that llama.cpp's router goes by.
    """
    architecture = _text(facts, "general.architecture") or ""
    kind = _text(facts, "general.type") or "model"
    if kind in ("mmproj", "projector") or architecture == "clip":
        return Purpose.PROJECTOR
    if kind == "adapter" or "adapter.type" in facts.values or architecture == "controlvector":
        return Purpose.ADAPTER
    blocks = f"{architecture}.block_count" in facts.values
    if f"{architecture}.vision.block_count" in facts.values and not blocks and not facts.has_layers:
        return Purpose.PROJECTOR
    if facts.tensors == 0 and shard_of(facts)[1] == 1:
        return Purpose.VOCABULARY
    if architecture in _DRAFT or file_name.lower().startswith(("mtp-", "eagle3-", "dflash-", "dspark-")):
        return Purpose.DRAFT
    if architecture in _EMBEDDING or (_number(facts, f"{architecture}.pooling_type") or 0) > 0:
        return Purpose.EMBEDDING
    return Purpose.MODEL


def gguf_quantization(file_type: int | None, weights: dict[str, int]) -> tuple[str, str]:
    """The name of the quantisation, and a note when it is not the one that the header claims.

    Args:
        file_type: `general.file_type`, or None.
        weights: tensor type -> elements in matrices.
    """
    most = max(weights, key=lambda name: weights[name], default="")
    number = None if file_type is None else file_type & ~_GUESSED
    claimed = FILE_TYPES.get(number) if number is not None else None
    if not most:
        return (claimed[0] if claimed else ""), ""
    if claimed is None:
        why = "does not name its file type" if file_type is None else f"has the unknown file type {file_type}"
        return most, f"the header {why}; {most} is what most of its weights are"
    name, base = claimed
    if base in UNQUANTIZED:
        sound = most == base or (most == "F32" and base in weights)
    else:
        sound = most not in UNQUANTIZED and bool(allowed_types(base) & weights.keys())
    return (name, "") if sound else (most, f"the header claims {name}, but most of its weights are {most}")


def gguf_header(facts: Gguf) -> Header:
    """The facts that layouts and people ask for.

    Raises:
        Unreadable: an architecture that is no name, or a shard number that makes no sense.
    """
    architecture = _architecture(facts)
    tokenizer = [text for key in ("model", "pre") if (text := _text(facts, f"tokenizer.ggml.{key}"))]
    template = any(
        length > 0 for key, length in facts.lengths.items()
        if key == "tokenizer.chat_template" or key.startswith("tokenizer.chat_template.")
    )
    ordered = sorted(facts.types.items(), key=lambda item: (-item[1], item[0]))
    return Header(
        architecture=architecture,
        parameters=facts.parameters or None,
        context_length=_number(facts, f"{architecture}.context_length"),
        chat_template=template,
        file_type=_number(facts, "general.file_type"),
        tensors=facts.tensors,
        byte_order=facts.byte_order,
        tokenizer="/".join(tokenizer) or None,
        shards=shard_of(facts)[1],
        name=_text(facts, "general.name"),
        embedded_projector=facts.has_tower and facts.has_layers and architecture != "clip",
        vocabulary=facts.lengths.get("tokenizer.ggml.tokens") or _number(facts, f"{architecture}.vocab_size"),
        embedding_length=_number(facts, f"{architecture}.embedding_length"),
        blocks=_number(facts, f"{architecture}.block_count"),
        tensor_types=tuple(ordered),
    )
