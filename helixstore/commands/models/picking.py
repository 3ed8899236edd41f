"""Which form of which place a download takes, and why; or why none, before a byte of it is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from helixstore.commands.models.judging import too_large
from helixstore.commands.models.offering import Asking, check_access
from helixstore.commands.models.prospects import (
    Missed,
    Place,
    Prospect,
    Wish,
    catalogue,
    check_format,
    closed_to,
    context_of,
    family_of,
    hardware_of,
    in_doubt,
    places,
    prospects,
)
from helixstore.download.choosing import Package, choose, packages
from helixstore.download.fitting import Fit, fits, would_fit
from helixstore.download.offered import Offered
from helixstore.download.peeking import peek
from helixstore.errors import Failed, HelixError, Passing, Usage
from helixstore.session import Machine
from helixstore.sizes import size
from helixstore.values import Family, Format

__all__ = ["Pick", "for_whom", "pick", "picked"]


@dataclass(frozen=True, slots=True)
class Pick:
    """What is to be downloaded.

    Attributes:
        offered: the place.
        packages: the forms; none: all that lies there.
        model: what it is to be called.
        why: this form and no other, for people; "" where nothing was chosen.
        others: what there is beside it, as people call it.
    """

    offered: Offered
    packages: tuple[Package, ...]
    model: str
    why: str = ""
    others: tuple[str, ...] = ()


def for_whom(machine: Machine, provider: str = "") -> list[str]:
    """The provider that is named; else those that are on; else all.

    Raises:
        Usage: no provider has that name.
    """
    if provider:
        return [machine.layout(provider).name]
    return [name for name in machine.layouts if machine.is_on(name)] or list(machine.layouts)


def pick(machine: Machine, what: str, wish: Wish, provider: str = "") -> Pick:
    """Choose what to download.

    Args:
        machine: for its catalogue, layouts and hardware.
        what: an exact reference, or a name of the catalogue.
        wish: what is asked for beside it.
        provider: that must be able to run it here; "": nobody in particular.

    Raises:
        NotFound, Usage: there is no such thing.
        Failed: the provider cannot run it, or it does not fit this computer; or the place cannot be asked.
    """
    where = places(machine, what, wish, for_whom(machine, provider))
    missed: list[Missed] = []
    if provider:
        seen = []
        for prospect in prospects(machine, where, wish, [provider], missed):
            if prospect.served:
                return picked(prospect, _with(f"{provider} runs it: {prospect.verdicts[provider].reason}", missed))
            seen.append(prospect)
        if not seen:
            raise missed[0].error
        if closed := closed_to(machine, provider, (one.peek.variant.key.variant for one in seen), missed):
            raise Failed(f"provider {provider} can run none of the forms of {what} that are open to you: "
                         f"{closed.message}", closed.remedy)
        raise _refused(machine, what, wish, provider, seen, where[0])
    asking = Asking(machine)
    for place in where:
        try:
            found = asking.offered(place.reference, place.part)
            forms = [] if found.single else choose(found.place, packages(found.files), family=family_of(wish.format),
                                                   wanted=place.part)
            check_access(found)
            for form in forms if in_doubt(place, wish) else ():
                check_format(place, wish, peek(found, form, found.model))
        except Passing:
            raise
        except HelixError as error:                     # a place that is gone or closed: the next may have it
            missed.append(Missed(place, error))
        else:
            best = _best(machine, place, found, forms, wish)
            return replace(best, why=_with(best.why, missed))
    raise missed[0].error


def picked(prospect: Prospect, why: str) -> Pick:
    """A prospect, chosen."""
    return Pick(prospect.offered, (prospect.package,), prospect.model, why,
                tuple(one.label for one in prospect.others))


def _with(why: str, missed: Sequence[Missed]) -> str:
    """The reason, with what was passed over: a person may want to mend that."""
    passed = (f"{error.message} ({error.remedy})" if error.remedy else error.message for _, error in missed)
    return "; ".join(filter(None, (why, *(f"passed over: {one}" for one in passed))))


def _best(machine: Machine, place: Place, found: Offered, forms: Sequence[Package], wish: Wish) -> Pick:
    """What nobody in particular asks for: of GGUF the one that fits best, of everything else all."""
    model = place.model or found.model
    if found.single and place.entry is None and (wish.quantization or wish.format):
        raise Usage(f"{found.place} is one model as it is, and leaves no choice of format or quantisation",
                    "name the tag that has it")
    gguf = [form for form in forms if form.family is Family.GGUF]
    if wish.quantization == "all" or place.part or len(gguf) < 2:
        return Pick(found, tuple(forms), model, _without_room(machine, place, found, forms, wish))
    hardware, context = hardware_of(machine, wish.memory), context_of(place.entry, wish)
    shape = place.entry.shape if place.entry is not None else None
    parameters = place.entry.parameters if place.entry is not None else 0
    if shape is None:
        smallest = min(gguf, key=lambda form: form.bytes)
        try:
            look = peek(found, smallest, model)
            shape, parameters = look.shape, parameters or look.variant.header.parameters or 0
            context = context_of(place.entry, wish, look)
        except HelixError:
            shape = None                # its header says nothing now: sizes decide, and the download will tell why
    ranked = fits(gguf, shape, hardware, context)
    best, others = ranked[0], tuple(fit.form.label for fit in ranked[1:])
    if best.room is None:
        there = max(room.bytes for room in hardware.rooms)
        smaller = would_fit(parameters, shape, hardware, [Format.GGUF], context)
        into = f"a conversion to gguf as {smaller[1]} would fit; or " if smaller else ""
        raise Failed(
            f"none of the {len(gguf)} quantisations of {found.place} fits this computer: the smallest, "
            f"{best.form.quantization}, needs {size(best.need)} with a context of {context:,} tokens, and a model can "
            f"have {size(there)}",
            f"{into}name one all the same with --quantize, or say how much it may have: --memory SIZE")
    rest = [form for form in forms if form.family is not Family.GGUF]
    return Pick(found, (best.form, *rest), model, _why(best, len(gguf), context), others)


def _without_room(machine: Machine, place: Place, found: Offered, forms: Sequence[Package], wish: Wish) -> str:
    """Where nothing was chosen, and nothing of it fits this computer: what the smallest needs; else "".

    Headers are read only where it may matter: where the weights take half of the room, or much context is asked for.
    """
    smallest = min(forms or packages(found.files), key=lambda form: form.bytes, default=None)
    hardware = hardware_of(machine, wish.memory)
    most = max((room.bytes for room in hardware.rooms), default=0)
    if smallest is None or not most or (2 * smallest.bytes <= most and not wish.context):
        return ""
    shape, context = place.entry.shape if place.entry is not None else None, context_of(place.entry, wish)
    model = place.model or found.model
    if shape is None:
        with suppress(HelixError):      # its header says nothing now: sizes decide, and the download will tell why
            look = peek(found, smallest, model)
            shape, context = look.shape, context_of(place.entry, wish, look)
    [fit] = fits([smallest], shape, hardware, context)
    return f"{model} does not fit this computer: {too_large(fit, context, hardware)}" if fit.room is None else ""


def _why(best: Fit[Package], count: int, context: int) -> str:
    assert best.room is not None
    return (f"{best.form.quantization or best.form.label} of {count} quantisations fits best: {size(best.need)} with a "
            f"context of {context:,} tokens, of {size(best.room.bytes)} in {best.room.name}")


def _refused(
    machine: Machine, what: str, wish: Wish, provider: str, seen: Sequence[Prospect], place: Place,
) -> Failed:
    """Why a provider cannot run any of it, in the guide's words where it is the format, and what would help."""
    first = next((one for one in seen if one.fit.room is not None), seen[0])
    variant, verdict = first.peek.variant, first.verdicts[provider]
    layout = machine.layout(provider)
    reason = f"provider {provider} cannot run {variant.key}: {verdict.reason}"
    if variant.format not in layout.formats:
        reason = f"format {variant.format} is not compatible with provider {provider}: {verdict.reason}"
    entry = place.entry or catalogue(machine).of_repository(first.offered.place)
    if entry is not None and (wish.format or not place.model) and set(entry.formats) & set(layout.formats):
        return Failed(reason, f"helixstore models download {entry.name} --provider {provider}")
    there = {form.family for form in packages(first.offered.files)} if wish.format else set()
    if there & {format_.family for format_ in layout.formats} - {variant.format.family}:
        return Failed(reason, "leave out --format: a form that it can run is chosen then")
    if first.fit.room is None:
        into = f"it could after a conversion to {verdict.convert_to}; or " if verdict.convert_to else ""
        return Failed(reason, f"{into}say how much memory a model may have: --memory SIZE, or that less context will "
                              "do: --context TOKENS")
    if verdict.convert_to:
        return Failed(reason, f"it could after a conversion to {verdict.convert_to}; who can run it as it is: "
                              f"helixstore compat {what}")
    return Failed(reason, f"helixstore compat {what}")
