"""`models search` and `models info`: the well-known models, from the catalogue alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from helixstore.catalogue import Capability, Entry, Offer, bits_of, bytes_of_weights
from helixstore.commands.models.prospects import Wish, catalogue, context_of, hardware_of
from helixstore.download.fitting import fits
from helixstore.errors import Usage
from helixstore.fs.names import printable
from helixstore.hardware import Hardware
from helixstore.session import Machine
from helixstore.values import Format

__all__ = ["CatalogueModel", "NeedView", "OfferView", "describe", "search"]

#: for which the need is computed where an entry names no quantisation of a GGUF
_USUAL = "Q4_K_M"


@dataclass(frozen=True, slots=True)
class NeedView:
    """What one quantisation takes when it runs, computed. `fits`: there is room for it on this computer. `best`: of
    those that fit, the one that a download takes."""

    quantization: str
    bytes: int
    context: int
    fits: bool
    best: bool = False


@dataclass(frozen=True, slots=True)
class OfferView:
    """One place that has it: an exact reference, in which `{quantization}` stands for each of `quantizations`."""

    format: str
    reference: str
    quantizations: tuple[str, ...]
    seen: str


class _Promised(NamedTuple):
    """A quantisation as something that fits or does not (`download.fitting.Form`)."""

    quantization: str
    bytes: int
    label: str


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model of the catalogue.

    Attributes:
        name, title, aliases: what it is called.
        can: "chat", "code", ...
        context: tokens that it was made for; 0: not known.
        parameters, active: all, and those that one token uses; 0: not known, or all.
        licence, gated: hints; the hub says it when it is asked.
        formats: in which it is published.
        needs: of its quantisations, the finest first; empty where parameters or shape are not known.
        places: where it is.
        own: the person's own entry.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    can: tuple[str, ...]
    context: int
    parameters: int
    active: int
    licence: str
    gated: bool
    formats: tuple[str, ...]
    needs: tuple[NeedView, ...]
    places: tuple[OfferView, ...]
    own: bool


def search(
    machine: Machine, words: str = "", *, can: Sequence[str] = (), format: str = "", licence: str = "",
    max_parameters: int = 0,
) -> list[CatalogueModel]:
    """The models for which all of it holds, by name.

    Args:
        machine: whose own entries and hardware.
        words: that are in its name, title or an alias.
        can: capabilities, all of them.
        format: in which it is published.
        licence: with which its licence begins.
        max_parameters: 0: no bound.

    Raises:
        Usage: there is no such capability or format.
    """
    for one in can:
        if one.lower() not in list(Capability):
            raise Usage(f"{printable(one)} is nothing that models are listed by", f"one of: {' '.join(Capability)}")
    if format and format.lower() not in list(Format):
        raise Usage(f"{printable(format)} is no format of models", f"one of: {' '.join(Format)}")
    found = catalogue(machine).search(
        words, can=[Capability(one.lower()) for one in can], licence=licence,
        format_=Format(format.lower()) if format else None, at_most=max_parameters)
    hardware = hardware_of(machine)
    return [_view(entry, hardware, Wish()) for entry in found]


def describe(machine: Machine, name: str, wish: Wish | None = None) -> CatalogueModel:
    """One model by any of its names.

    Args:
        machine: as of `search`.
        name: any of them.
        wish: the context and the memory that count; None: the usual ones.

    Raises:
        NotFound: there is none; the remedy names those that are near.
    """
    wish = wish or Wish()
    return _view(catalogue(machine).find(name), hardware_of(machine, wish.memory), wish)


def _view(entry: Entry, hardware: Hardware, wish: Wish) -> CatalogueModel:
    return CatalogueModel(
        entry.name, entry.title, entry.aliases, tuple(map(str, entry.can)), entry.context, entry.parameters,
        entry.active, entry.licence, entry.gated, tuple(map(str, entry.formats)), _needs(entry, hardware, wish),
        tuple(_offer(offer) for offer in entry.offers), entry.own)


def _offer(offer: Offer) -> OfferView:
    return OfferView(str(offer.format), offer.at, offer.quantizations, offer.cite)


def _needs(entry: Entry, hardware: Hardware, wish: Wish) -> tuple[NeedView, ...]:
    if not entry.parameters or entry.shape is None:
        return ()
    named = {one.upper() for offer in entry.offers_of(Format.GGUF) for one in offer.quantizations if bits_of(one)}
    context = context_of(entry, wish)
    forms = [_Promised(one, bytes_of_weights(entry.parameters, one, entry.shape), one) for one in named or {_USUAL}]
    found = fits(forms, entry.shape, hardware, context)
    needs = [NeedView(fit.form.quantization, fit.need, context, fit.room is not None,
                      fit is found[0] and fit.room is not None) for fit in found]
    return tuple(sorted(needs, key=lambda need: -need.bytes))
