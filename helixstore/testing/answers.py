"""Checks of what a layout says of itself, and of which models it accepts."""

from __future__ import annotations

import re

from helixstore.providers.layout import Layout, Refusal
from helixstore.testing.case import Case, check, require
from helixstore.testing.ground import MACHINES
from helixstore.testing.samples import STRANGE, hostile, renamed
from helixstore.values import Format, Variant

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ALIASES = frozenset({"sha256", "gitsha1", "xet"})
_PLACES = re.compile(r"\{(\w+)\}")


@check
def it_says_what_it_is(case: Case) -> None:
    """It has a name, a title, formats, and the versions of the program that it was checked against."""
    layout = case.layout
    require(isinstance(layout, Layout), f"{layout!r} is no helixstore.providers.layout.Layout")
    require(_NAME.fullmatch(layout.name), f"the name {layout.name!r} is not lower-case letters, digits, - and _")
    require(layout.title.strip() and "\n" not in layout.title, "the title is empty")
    require(layout.checked and all(isinstance(version, str) and version for version in layout.checked),
            "`checked` names no version of the program")
    require(layout.formats and all(isinstance(format_, Format) for format_ in layout.formats),
            "`formats` names no format")
    require(len(set(layout.formats)) == len(layout.formats), "`formats` names one twice")
    strange = sorted(layout.aliases - _ALIASES)
    require(not strange, f"`aliases` asks for {strange}, which nobody computes")
    unknown = {place for word in layout.launch for place in _PLACES.findall(word)} - {"root", "python"}
    require(not unknown, f"`launch` has the placeholder {sorted(unknown)}; there are {{root}} and {{python}}")


@check
def its_formats_are_those_it_accepts(case: Case) -> None:
    """Of every format that it names it accepts some model on some machine, and of no other."""
    accepted = {variant.format for facts in MACHINES for variant in case.accepted(facts)}
    named = set(case.layout.formats)
    require(accepted <= named, f"it accepts {_list(accepted - named)}, which `formats` does not name")
    require(named <= accepted, f"`formats` names {_list(named - accepted)}, of which it accepts no sample")


@check
def every_model_gets_an_answer(case: Case) -> None:
    """Every model of every format is accepted, or refused with one clause and formats that would help."""
    for facts in MACHINES:
        for variant in case.variants:
            _answer(case.layout.accepts(variant, facts), case.layout, variant)


@check
def hostile_models_get_an_answer(case: Case) -> None:
    """A model without files, header, weights or a sane name is accepted or refused, and raises nothing."""
    for facts in MACHINES:
        for variant in hostile(case.variants):
            answer = case.layout.accepts(variant, facts)
            _answer(answer, case.layout, variant)
            if not (variant.weights or (case.cache and variant.files)):
                require(answer is not None, f"it accepts a model of {variant.format} that has no weights")


@check
def the_name_decides_nothing(case: Case) -> None:
    """Whether a model is accepted depends on its files and header, not on what it is called."""
    for facts in case.machines:
        for variant in case.one_of_each(facts):
            for number, name in enumerate(STRANGE):
                answer = case.layout.accepts(renamed(variant, name, number), facts)
                require(answer is None, f"it accepts {variant.key}, and refuses the same called {name!r}: "
                                        f"{answer.reason if answer else ''}")


def _answer(answer: object, layout: Layout, variant: Variant) -> None:
    if answer is None:
        return
    which = f"for {variant.key}"
    require(isinstance(answer, Refusal), f"accepts gives {answer!r} {which}: None or a Refusal it must be")
    assert isinstance(answer, Refusal)
    reason = answer.reason
    require(isinstance(reason, str) and reason.strip() == reason != "", f"the reason {which} is {reason!r}")
    require("\n" not in reason and not reason.endswith((".", "!")),
            f"the reason {which} is no single clause without a full stop: {reason!r}")
    require(all(isinstance(format_, Format) for format_ in answer.wants), f"the refusal {which} wants no formats")
    strangers = set(answer.wants) - set(layout.formats)
    require(not strangers, f"a refusal {which} wants {_list(strangers)}, which it does not load itself")


def _list(formats: set[Format]) -> str:
    return ", ".join(sorted(formats))
