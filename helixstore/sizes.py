"""Sizes as people read and write them: bytes in decimal units, as disks are sold, and parameters of models."""

from __future__ import annotations

import re

__all__ = ["bytes_of", "parameters", "size"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_TYPED = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]i?b?|)", re.IGNORECASE)


def size(number: int) -> str:
    """A number of bytes for people: 999 B, 1.2 kB, 40.2 GB."""
    if abs(number) < 1000:
        return f"{number} B"
    value, unit = float(number), 0
    while abs(value) >= 999.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}"


def bytes_of(text: str) -> int | None:
    """Bytes that a size means, as people write it: "16GB", "24 GiB", "8g", "123456"; None where it means none."""
    match = _TYPED.fullmatch(text.strip())
    if match is None:
        return None
    base = 1024 if "i" in match[2].lower() else 1000
    return int(float(match[1]) * base ** " kmgt".index(match[2][:1].lower() or " "))


def parameters(number: int | None) -> str:
    """How many parameters a model has, for people: 8B, 1.5B, 494M; "" when unknown."""
    if not number:
        return ""
    for limit, unit in ((1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            value = number / limit
            return (f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:.0f}") + unit
    return str(number)
