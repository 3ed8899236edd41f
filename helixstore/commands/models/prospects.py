"""Before anything is downloaded: what a name can be had as, who can run each, and what fits this computer.

    places      a name of the catalogue -> exact references, the likeliest first; an exact one is its own
    prospects   at each place the forms that are worth a look, with the verdict of each layout on each

A layout decides by the same `accepts` by which it decides on models of the store, over what a form says of itself
(`download.peeking`). No more is asked of the network than the answer needs: the listing of a place, and the header of
one form there; of others only if a provider refuses that one and may take another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from helixstore.catalogue import Catalogue, Entry, Offer, bytes_of_weights, parse_reference
from helixstore.catalogue.entry import BLANK
from helixstore.catalogue.references import HubReference, Reference
from helixstore.commands.models.judging import Demand, judge
from helixstore.commands.models.offering import Asking, part_of
from helixstore.download.choosing import Package, choose, packages
from helixstore.download.fitting import CONTEXT, Fit, fits
from helixstore.download.offered import Offered
from helixstore.download.peeking import Peek, peek
from helixstore.errors import HelixError, NotFound, Passing, Usage
from helixstore.formats.names import base_name, quantization_in_name
from helixstore.fs.names import printable
from helixstore.hardware import Hardware, detect
from helixstore.results import Verdict
from helixstore.session import Machine
from helixstore.values import Family, Format

__all__ = [
    "Missed", "Place", "Prospect", "Wish", "catalogue", "check_format", "closed_to", "context_of", "family_of",
    "hardware_of", "in_doubt", "places", "prospects", "repositories_of",
]

_LOOKS = 4                      # forms of one place of which the header is read, at most


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person says beside the name.

    Attributes:
        format: the format, or the container, of the weights; "": any.
        quantization: that it must be of; "": whatever is best; "all".
        context: tokens that there must be room for; 0: 8,192, or what the model was made for if that is less.
        memory: bytes that the model may take; None: what the settings or the computer say.
    """

    format: str = ""
    quantization: str = ""
    context: int = 0
    memory: int | None = None

    @property
    def wanted(self) -> str:
        """The one quantisation that is asked for; "" where none is, or all are."""
        return "" if self.quantization == "all" else self.quantization


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model may be had.

    Attributes:
        reference: exact.
        entry: of the catalogue; None where it knows none.
        model: what it is to be called; "": as it is called there.
        part: the file or quantisation there that is meant; "": whatever is best, or all that there is.
        format: in which the catalogue has it there; None where it does not say.
    """

    reference: Reference
    entry: Entry | None = None
    model: str = ""
    part: str = ""
    format: Format | None = None


class Missed(NamedTuple):
    """A place that could not be asked, or has not what is wanted, and why."""

    place: Place
    error: HelixError


@dataclass(frozen=True, slots=True)
class Prospect:
    """One form at one place, and who can run it.

    Attributes:
        offered, package: the form.
        peek: what it is.
        fit: how it fits.
        verdicts: provider -> whether it can run it here.
        others: what there is beside it of the same kind.
    """

    offered: Offered
    package: Package
    peek: Peek
    fit: Fit[Package]
    verdicts: dict[str, Verdict]
    others: tuple[Package, ...] = ()

    @property
    def model(self) -> str:
        """What it is to be called."""
        return self.peek.variant.key.model

    @property
    def served(self) -> frozenset[str]:
        """The providers that can run it."""
        return frozenset(name for name, verdict in self.verdicts.items() if verdict.answer == "yes")


def catalogue(machine: Machine) -> Catalogue:
    """Ours, and the person's own entries over it."""
    return Catalogue(machine.places.models_file)


def repositories_of(entry: Entry) -> tuple[str, ...]:
    """The repositories of the hub that have a model, each once."""
    places = (offer.reference(one) for offer in entry.offers for one in offer.quantizations or ("",))
    return tuple(dict.fromkeys(one.repository for one in places if isinstance(one, HubReference)))


def hardware_of(machine: Machine, memory: int | None = None) -> Hardware:
    """This computer, as found, as the settings say, or as the person says now."""
    kind = machine.settings.gpu
    return detect(sys.platform, machine.facts.machine, machine.environ, memory=memory or machine.settings.memory,
                  gpu="" if kind == "auto" else kind)


def family_of(format: str) -> Family | None:
    """The container of the weights of a format that the person named.

    Raises:
        Usage: there is no such format.
    """
    if not format:
        return None
    try:
        return Format(format.lower()).family
    except ValueError:
        raise Usage(f"{printable(format)} is no format of models", "gguf, or hf for safetensors") from None


def places(machine: Machine, what: str, wish: Wish, providers: Sequence[str]) -> list[Place]:
    """Where a model may be had, the likeliest place first.

    Args:
        machine: whose catalogue.
        what: an exact reference, or a name of the catalogue.
        wish: format and quantisation leave out places that are known to lack them.
        providers: for whom: their formats count, for one in its order, for several by how many load them.

    Raises:
        NotFound: the catalogue knows no such name, or no such format of it.
        Usage: it is meant as a reference and is none.
    """
    known = catalogue(machine)
    family = family_of(wish.format)
    reference = parse_reference(what)
    if reference is not None:
        return [Place(reference, known.of_repository(getattr(reference, "repository", "")),
                      part=wish.wanted or part_of(reference))]
    entry, wish = _entry(known, what, wish)
    exact = Format(wish.format.lower()) if wish.format and wish.format.lower() != Format.SAFETENSORS else None
    formats = [format_ for format_ in _order(machine, entry, providers)
               if (exact is None and family in (None, format_.family)) or format_ is exact]
    offers = [offer for format_ in formats for offer in entry.offers_of(format_)]
    hardware = hardware_of(machine, wish.memory)
    found = [place for offer in offers for place in _places(offer, entry, wish, hardware)]
    found += [Place(offer.reference(), entry, entry.name, wish.wanted, offer.format) for offer in offers
              if _may_have(offer, wish)]
    if not found:
        asked = " ".join(filter(None, (wish.format, wish.wanted)))
        there = ", ".join(_described(offer) for offer in entry.offers)
        raise NotFound(f"the catalogue knows no place that has {entry.name} as {printable(asked)}",
                       f"it knows: {there}; or name a repository: hf:ORG/NAME")
    return found


def _entry(known: Catalogue, what: str, wish: Wish) -> tuple[Entry, Wish]:
    """The entry of a name. It may end in a quantisation, as names of the store and of Ollama do: `NAME:Q4_K_M`."""
    try:
        return known.find(what), wish
    except NotFound as error:
        text = what.replace(":", "-")
        if quantization := quantization_in_name(text):
            with suppress(NotFound):
                return known.find(base_name(text)), replace(wish, quantization=wish.quantization or quantization)
        others = "" if "models search" in error.remedy else "; helixstore models search finds others"
        raise NotFound(error.message, f"{error.remedy}{others}") from None


def in_doubt(place: Place, wish: Wish) -> bool:
    """Whether only a look tells that a place has the format that is asked for: the person named both, and files do not
    tell the formats of safetensors apart."""
    return not place.model and wish.format.lower() not in ("", Format.GGUF, Format.HF, Format.SAFETENSORS)


def check_format(place: Place, wish: Wish, look: Peek) -> None:
    """Where that is in doubt, whether a place has the format that is asked for.

    Raises:
        NotFound: it has not.
    """
    wanted, there = wish.format.lower(), look.variant.format
    if not in_doubt(place, wish) or wanted == there:
        return
    raise NotFound(f"{place.reference} is {there}, not {wanted}", "leave out --format, or name another repository")


def prospects(
    machine: Machine, where: Iterable[Place], wish: Wish, providers: Sequence[str], missed: list[Missed],
    every: bool = False, here: Callable[[Package], bool] = lambda form: False,
) -> Iterator[Prospect]:
    """The forms that are worth a look, place by place, until each provider has one that it can run.

    Args:
        machine: whose layouts.
        where: of `places`.
        wish: what is asked for.
        providers: for whom.
        missed: gets the places that could not be asked; the others are asked all the same.
        every: go on to the last place.
        here: whether a form need not be fetched: of those that fit it comes before a better one.

    Raises:
        Passing: the network is away.
    """
    open_, asking = set(providers), Asking(machine)
    for place in where:
        if not open_ and not every:
            return
        try:
            for prospect in _at(machine, asking, place, wish, providers, open_, here):
                open_ -= prospect.served
                yield prospect
        except Passing:
            raise
        except HelixError as error:
            missed.append(Missed(place, error))


def closed_to(machine: Machine, provider: str, seen: Iterable[str], missed: Iterable[Missed]) -> HelixError | None:
    """Why the likeliest place could not be asked that may have a form which a provider loads; None: there is no such,
    or another has one.

    Args:
        machine: whose layouts.
        provider: its name.
        seen: the variants that other places have: "gguf:Q8_0".
        missed: of `prospects`; places that are there no more are none.
    """
    formats = (None, *machine.layout(provider).formats)
    if any(variant.partition(":")[0] in formats for variant in seen):
        return None
    return next((one.error for one in missed if one.place.format in formats and not isinstance(one.error, NotFound)),
                None)


def _at(machine: Machine, asking: Asking, place: Place, wish: Wish, providers: Sequence[str], open_: set[str],
        here: Callable[[Package], bool]) -> Iterator[Prospect]:
    """One form of each kind at a place; more quantisations only for who refuses one and may take another."""
    found = asking.offered(place.reference, place.part)
    forms = choose(found.place, packages(found.files), family=family_of(wish.format), wanted=place.part)
    hardware = hardware_of(machine, wish.memory)
    name = place.model or found.model
    for family in dict.fromkeys(form.family for form in forms):
        same = [form for form in forms if form.family is family]
        shape = place.entry.shape if place.entry is not None else None
        looks: dict[str, Peek] = {}
        first = min(same, key=lambda form: form.bytes)
        if shape is None:
            looks[first.label] = peek(found, first, name)
            shape = looks[first.label].shape
        context = context_of(place.entry, wish, looks.get(first.label))
        waiting: set[str] | None = None
        ranked = fits(same, shape, hardware, context)
        ranked.sort(key=lambda fit: fit.room is None or not here(fit.form))
        for fit in ranked[:_LOOKS]:
            form = fit.form
            look = looks.get(form.label) or peek(found, form, name)
            check_format(place, wish, look)
            parameters = (place.entry.parameters if place.entry else 0) or look.variant.header.parameters or 0
            demand = Demand(fit, look.shape, parameters, context)
            verdicts = {one: judge(machine, one, look.variant, demand, hardware) for one in providers}
            yield Prospect(found, form, look, fit, verdicts, tuple(one for one in same if one is not form))
            others = {one for one, verdict in verdicts.items() if fit.room is not None and one in open_
                      and verdict.convert_to and look.variant.format in machine.layout(one).formats}
            waiting = others if waiting is None else waiting & others
            if not waiting:
                break


def context_of(entry: Entry | None, wish: Wish, look: Peek | None = None) -> int:
    """Tokens that there must be room for; of a model that the catalogue does not know, its own files say more."""
    known = entry.context if entry is not None else 0
    made_for = known or (look.variant.header.context_length if look is not None else 0)
    return wish.context or min(CONTEXT, made_for or CONTEXT)


def _order(machine: Machine, entry: Entry, providers: Sequence[str]) -> list[Format]:
    """The formats of an entry: in the order of the one provider, or by how many load them."""
    if len(providers) == 1:
        wanted = list(machine.layout(providers[0]).formats)
        return [format_ for format_ in wanted if format_ in entry.formats] + [
            format_ for format_ in entry.formats if format_ not in wanted]
    asked = providers or list(machine.layouts)
    count = {format_: sum(format_ in machine.layout(name).formats for name in asked) for format_ in entry.formats}
    return sorted(entry.formats, key=lambda format_: -count[format_])


class _Promise(NamedTuple):
    """A form in a repository of its own, before the hub is asked; its size is computed."""

    quantization: str
    bytes: int
    label: str


def _places(offer: Offer, entry: Entry, wish: Wish, hardware: Hardware) -> list[Place]:
    """What an offer stands for; of repositories that hold one quantisation each, the one that fits best first."""
    if wish.wanted:
        if wish.wanted.upper() not in map(str.upper, offer.quantizations):
            return []
        reference = offer.reference(wish.wanted)
        return [Place(reference, entry, entry.name, part_of(reference), offer.format)]
    if BLANK not in offer.at or len(offer.quantizations) < 2:
        return [Place(offer.reference(), entry, entry.name, part_of(offer.reference()), offer.format)]
    forms = [_Promise(one, _computed(entry, one), one) for one in offer.quantizations]
    ranked = fits(forms, entry.shape, hardware, context_of(entry, wish))
    return [Place(offer.reference(fit.form.quantization), entry, entry.name, format=offer.format)
            for fit in (ranked if wish.quantization == "all" else ranked[:1])]


def _may_have(offer: Offer, wish: Wish) -> bool:
    """Whether a repository may have the quantisation that is asked for, though the catalogue does not list it: those of
    GGUF files come and go, and the hub knows which there are."""
    return bool(wish.wanted) and offer.format is Format.GGUF and offer.at.startswith("hf:") and BLANK not in offer.at \
        and wish.wanted.upper() not in map(str.upper, offer.quantizations)


def _computed(entry: Entry, quantization: str) -> int:
    try:
        return bytes_of_weights(entry.parameters, quantization, entry.shape)
    except Usage:                                       # a name that says nothing of the size
        return 0


def _described(offer: Offer) -> str:
    spelled = f" ({', '.join(offer.quantizations)})" if offer.quantizations else ""
    return f"{offer.format} at {offer.at}{spelled}"
