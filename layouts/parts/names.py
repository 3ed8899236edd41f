"""Names of files and folders that programs show to people: legal everywhere, unique, and as the model is called.

A name comes from the variant alone, so that adding a variant renames no other; two that would differ only in case both
get the first digits of their manifest.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

from helixstore.fs.names import folded
from helixstore.providers.layout import unique_names
from helixstore.values import Key, Variant

__all__ = ["distinct", "label", "legal", "quantized_id"]

_LENGTH = 150                                   # bytes: leaves room for a shard suffix, a digest and an extension
_OUTSIDE = re.compile(r"[^\w.+-]+")             # letters and digits of any script, "_", ".", "+" and "-" stay
_OUTSIDE_ASCII = re.compile(r"[^A-Za-z0-9_.-]+")
_DOTS = re.compile(r"\.{2,}")                   # LocalAI refuses ".." anywhere in a path
_UNFINISHED = "incomplete-"                     # how GPT4All calls half a download: scans leave it out
_DEVICES = frozenset(                           # on Windows, with any extension
    ["con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(10))])


@lru_cache(maxsize=65536)
def legal(text: str, limit: int = _LENGTH, ascii_only: bool = False) -> str:
    """`text` as one path component that every system and every command line takes; never empty.

    Args:
        text: any text.
        limit: length of the result in bytes of UTF-8.
        ascii_only: for programs whose rules know ASCII letters only.
    """
    if ascii_only:
        kept = _OUTSIDE_ASCII.sub("-", text)
    else:
        kept = _OUTSIDE.sub("-", text if text.isascii() else unicodedata.normalize("NFC", text))
    kept = _DOTS.sub(".", kept).strip(".-+")
    if len(kept.encode()) > limit:
        kept = kept.encode()[:limit].decode(errors="ignore").rstrip(".-+")
    if not kept:
        return "model"
    lower = kept.casefold()
    return f"model-{kept}" if lower.startswith(_UNFINISHED) or lower.partition(".")[0] in _DEVICES else kept


def label(variant: Variant, ascii_only: bool = False) -> str:
    """The model's name with the quantisation, unless that is known already: `gemma-3-270m-Q4_K_M`."""
    model = legal(variant.key.model, ascii_only=ascii_only)
    quantization = legal(variant.quantization, 40, ascii_only) if variant.quantization else ""
    if quantization and quantization.casefold() not in model.casefold():
        return f"{model}-{quantization}"
    return model


def quantized_id(key: Key) -> str:
    """What tells a variant from the others of its model: `Q4_K_M`, or `Q4_K_M-1f2e3d4c` for a second one, or ""."""
    return key.variant.partition(":")[2].replace("@", "-").strip("-")


def distinct(
    variants: Iterable[Variant], wanted: Mapping[Key, str], fixed: Mapping[Key, str] | None = None,
    taken: Iterable[str] = (),
) -> dict[Key, str]:
    """Names that differ even where case is folded.

    Args:
        variants: those that share the folder.
        wanted: the name each would like, legal.
        fixed: names that must stay as they are, because the model lies there: they win over `wanted`.
        taken: names of what lies there beside, which nobody else may get.
    """
    fixed = fixed or {}
    digests = {variant.key: variant.manifest for variant in variants}
    names = unique_names({**wanted, **fixed}, digests, limit=1024)
    lie = {folded(name) for name in taken}
    return {key: f"{name[:1015]}-{digests[key][:8]}" if folded(name) in lie else name
            for key, name in names.items()} | dict(fixed)
