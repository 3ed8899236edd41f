"""Which form of a model is the best one for a computer. Pure.

A form fits where its weights, the cache for a context, and the working memory have room. Of those that fit, the order
is:

1. those of 4 bits or more for each weight, and at most 9: below, answers get worse; above, they do not get better
2. of these, what fits the GPU's memory before what fits the computer's only; then the largest
3. then those below 4 bits, the largest first
4. then those above 9 bits (F16, BF16, F32), the smallest first

What does not fit comes last, the smallest first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from helixstore.catalogue import Shape, bits_of, bytes_of_weights, needed
from helixstore.hardware import Hardware, Room
from helixstore.values import Format

__all__ = ["CONTEXT", "Fit", "Form", "fits", "would_fit"]

F = TypeVar("F", bound="Form")

#: tokens for which there must be room, unless the person says otherwise, or the model was made for fewer
CONTEXT = 8192
_FINE, _COARSE = 9.0, 4.0       # bits for each weight
#: what a model can be converted to, the finest first; of equal ones the one that is made soonest
_LADDER = tuple((format_, one) for format_, names in (
    (Format.GGUF, "Q8_0 Q6_K Q5_K_M Q4_K_M Q4_K_S Q3_K_M IQ3_XS Q2_K IQ2_XXS"), (Format.MLX, "8bit 6bit 4bit"),
    (Format.GPTQ, "int8 int4"), (Format.AWQ, "int4")) for one in names.split())


class Form(Protocol):
    """What can be chosen: a `Package`, or the promise of one."""

    @property
    def quantization(self) -> str:
        """As names say it; "" where they do not."""
        ...

    @property
    def bytes(self) -> int:
        """Of all its files."""
        ...

    @property
    def label(self) -> str:
        """What people call it."""
        ...


@dataclass(frozen=True, slots=True)
class Fit(Generic[F]):
    """How a form fits.

    Attributes:
        form: the form.
        need: bytes that it takes when it runs.
        room: where it fits; None: nowhere.
    """

    form: F
    need: int
    room: Room | None


def fits(forms: Iterable[F], shape: Shape | None, hardware: Hardware, context: int = CONTEXT) -> list[Fit[F]]:
    """How each form fits, the best first.

    Args:
        forms: of one model.
        shape: of the model; None: not known, then a tenth of the weights stands for cache and working memory.
        hardware: of the computer; where nothing is known of it, everything fits.
        context: tokens.
    """
    found = []
    for form in forms:
        need = needed(form.bytes, shape, context).total if shape is not None else form.bytes + form.bytes // 10
        found.append(Fit(form, need, _room(need, hardware)))
    rooms = {room: number for number, room in enumerate(hardware.rooms)}
    return sorted(found, key=lambda fit: _rank(fit, rooms))


def would_fit(
    parameters: int, shape: Shape | None, hardware: Hardware, formats: Collection[Format], context: int = CONTEXT,
) -> tuple[Format, str] | None:
    """The finest quantisation that would fit, whether or not anybody has made it; None where none would.

    Args:
        parameters: of the model; 0: not known.
        shape, hardware, context: as for `fits`.
        formats: that will do.
    """
    best: tuple[float, Format, str] | None = None
    for format_, quantization in _LADDER if parameters else ():
        # embeddings and the last matrix stay at 16 bits outside GGUF and MLX
        plain = 2 * shape.hidden * shape.vocabulary if shape is not None and format_ in (Format.GPTQ, Format.AWQ) else 0
        weights = bytes_of_weights(parameters, quantization, shape, plain)
        need = needed(weights, shape, context).total if shape is not None else weights + weights // 10
        bits = bits_of(quantization) or 0.0
        if format_ in formats and _room(need, hardware) is not None and (best is None or bits > best[0]):
            best = bits, format_, quantization
    return best[1:] if best is not None else None


def _room(need: int, hardware: Hardware) -> Room | None:
    rooms: Sequence[Room] = hardware.rooms or (Room("memory", need),)
    return next((room for room in rooms if need <= room.bytes), None)


def _rank(fit: Fit[F], rooms: dict[Room, int]) -> tuple[int, int, int, str]:
    if fit.room is None:
        return 3, 0, fit.need, fit.form.label
    bits = bits_of(fit.form.quantization) if fit.form.quantization else None
    if bits is None or _COARSE <= bits <= _FINE:
        return 0, rooms.get(fit.room, 0), -fit.need, fit.form.label
    return (1, 0, -fit.need, fit.form.label) if bits < _COARSE else (2, 0, fit.need, fit.form.label)
