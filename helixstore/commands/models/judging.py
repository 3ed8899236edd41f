"""Whether a provider can run a form of a model on this computer: its layout's word, then the memory.

The same question is asked of what could be downloaded (`prospects`) and of what is here (`queries`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from helixstore.catalogue import Shape, shape_of_config, shape_of_gguf
from helixstore.download.fitting import CONTEXT, Fit, fits, would_fit
from helixstore.errors import HelixError
from helixstore.formats.gguf import read_gguf
from helixstore.formats.jsonstream import parse
from helixstore.formats.opened import Opened
from helixstore.hardware import Hardware
from helixstore.results import Verdict
from helixstore.session import Machine
from helixstore.sizes import size
from helixstore.sync.projection import refused_state
from helixstore.values import Family, File, State, Variant

__all__ = ["Demand", "demand_here", "judge", "too_large"]

_CONFIG_BYTES = 1 << 20         # of a configuration, at most


class Demand(NamedTuple):
    """What a form asks for: how it fits, and what that follows from. `parameters`: 0 where they are not known."""

    fit: Fit[Any]
    shape: Shape | None
    parameters: int
    context: int


def judge(machine: Machine, provider: str, variant: Variant, demand: Demand, hardware: Hardware) -> Verdict:
    """Whether a provider can run a form here, and if not, which conversion would help.

    Args:
        machine: whose layouts.
        provider: its name.
        variant: the form.
        demand: how it fits.
        hardware: of this computer.
    """
    layout, key = machine.layout(provider), variant.key
    refusal = layout.accepts(variant, replace(machine.facts, gpu=hardware.gpu))
    if refusal is not None:
        after = refused_state(variant, refusal) is State.CONVERTIBLE
        return Verdict(provider, key.model, key.variant, "after conversion" if after else "no", refusal.reason,
                       str(refusal.wants[0]) if after else None)
    fit = demand.fit
    if fit.room is not None:
        return Verdict(provider, key.model, key.variant, "yes",
                       f"needs {size(fit.need)} of {size(fit.room.bytes)}, {fit.room.name}")
    smaller = would_fit(demand.parameters, demand.shape, hardware, layout.formats, demand.context)
    reason = too_large(fit, demand.context, hardware)
    if smaller is not None:
        return Verdict(provider, key.model, key.variant, "after conversion",
                       f"{reason}; as {smaller[0]} in {smaller[1]} it would fit", str(smaller[0]))
    return Verdict(provider, key.model, key.variant, "no", reason)


def too_large(fit: Fit[Any], context: int, hardware: Hardware) -> str:
    """Why a form that fits nowhere does not: what it needs, and what a model can have here."""
    there = max((room.bytes for room in hardware.rooms), default=0)
    return f"it needs {size(fit.need)} with a context of {context:,} tokens, and a model can have {size(there)} here"


class _Here(NamedTuple):
    """A variant as something that fits or does not."""

    quantization: str
    bytes: int
    label: str


def demand_here(variant: Variant, where: Callable[[File], str], context: int, hardware: Hardware) -> Demand:
    """What a model asks for whose files are here.

    Args:
        variant: the model.
        where: a file's path on the disk.
        context: tokens that there must be room for; 0: 8,192, or what the model was made for if that is less.
        hardware: of this computer.
    """
    shape = _shape(variant, where)
    tokens = context or min(CONTEXT, variant.header.context_length or CONTEXT)
    [fit] = fits([_Here(variant.quantization, variant.bytes, variant.key.variant)], shape, hardware, tokens)
    return Demand(fit, shape, variant.header.parameters or 0, tokens)


def _shape(variant: Variant, where: Callable[[File], str]) -> Shape | None:
    """What memory follows from, as the files say it; None where they do not, or cannot be read now."""
    gguf = variant.format.family is Family.GGUF
    name = variant.weights[0].path if gguf and variant.weights else "config.json"
    file = next((file for file in variant.files if file.path == name), None)
    if file is None:
        return None
    try:
        with Opened(where(file)) as opened:
            if gguf:
                header = read_gguf(opened)
                return shape_of_gguf(header.values, header.lengths)
            found = parse(opened.read_at(0, min(file.bytes, _CONFIG_BYTES)))
    except (HelixError, OSError, ValueError):
        return None                                     # that is told by who looks for damage
    return shape_of_config(found) if isinstance(found, dict) else None
