"""Sizes and numbers as people type them: 16GB, 8B."""

from __future__ import annotations

import re

import typer

from helixstore.sizes import bytes_of

__all__ = ["memory_of", "parameters_of", "tokens_of"]

_COUNT = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([kmbt]?)", re.IGNORECASE)


def memory_of(text: str) -> int | None:
    """Bytes; None where nothing was typed.

    Raises:
        typer.BadParameter: it is no size.
    """
    if not text:
        return None
    found = bytes_of(text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no size such as 16GB", param_hint="--memory")
    return found


def parameters_of(text: str) -> int:
    """How many parameters at most, as names round them: 8B takes one of 8.9, 1.5B one of 1.59; 0: nothing was typed.

    Raises:
        typer.BadParameter: it is no number.
    """
    match = _COUNT.fullmatch(text.strip()) if text else None
    if text and match is None:
        raise typer.BadParameter(f"{text!r} is no number such as 8B or 500M", param_hint="--max-parameters")
    if match is None:
        return 0
    step: float = 10.0 ** -len(match[1].partition(".")[2])
    unit: float = 1000.0 ** " kmbt".index(match[2].lower() or " ")
    return round((float(match[1]) + step) * unit) - 1


def tokens_of(text: str) -> int:
    """Tokens; 0 where nothing was typed. `32k` is 32,768 and `1m` 1,048,576, as models have it.

    Raises:
        typer.BadParameter: it is no number.
    """
    match = _COUNT.fullmatch(text.strip()) if text else None
    if text and (match is None or match[2].lower() not in ("", "k", "m")):
        raise typer.BadParameter(f"{text!r} is no number of tokens such as 8192 or 32k", param_hint="--context")
    return int(float(match[1]) * 1024 ** " km".index(match[2].lower() or " ")) if match else 0
