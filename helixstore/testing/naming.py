"""Checks of the names that a layout makes: legal everywhere, never the same for two, and steady."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from helixstore.providers.layout import Entry, Facts
from helixstore.testing.case import Case, Projected, Shown, check, require, shown, shuffled
from helixstore.testing.ground import blind
from helixstore.testing.projecting import safe_paths, sound
from helixstore.testing.samples import renamed, strange
from helixstore.values import Key, Variant


@check
def strange_names_become_legal(case: Case) -> None:
    """Names of 300 characters, of devices, with slashes, controls, dots, emoji become paths that every system takes."""
    for many in strange(case.shapes(case.machine)):
        for root in case.roots(case.machine):
            for variant in many:
                safe_paths(case.project([variant], root, case.machine).entries)


@check
def strange_names_stay_apart(case: Case) -> None:
    """Models whose names differ, be it in case, in Unicode form or far behind, never get one path."""
    for facts in case.machines:
        for many in strange(case.shapes(facts)):
            for root in case.roots(facts):
                projected = case.project(many, root, facts)
                sound(case, projected)
                _apart(projected)


@check
def file_names_do_not_collide(case: Case) -> None:
    """Models that differ while all their files are called alike do not get in each other's way."""
    for facts in case.machines:
        accepted = case.accepted(facts)
        many = [_alike(variant, number) for number, variant in enumerate([*accepted, *accepted])]
        for root in case.roots(facts):
            projected = case.project(many, root, facts)
            sound(case, projected)
            _apart(projected)


@check
def same_models_same_entries(case: Case) -> None:
    """The same models give the same entries, in whatever order they come and whatever was asked before."""
    for projected in case.projections():
        first = shown(projected.entries)
        require(len(first) == len(set(projected.entries)), "it gives one entry twice")
        for seed in (1, 2):
            other = case.project(shuffled(projected.variants, seed), projected.root, projected.facts)
            _same(first, shown(other.entries), "in another order it wants other entries")
        case.project(projected.variants[:1], projected.root, projected.facts)
        again = type(case.layout)().project(projected.variants, projected.root, projected.facts)
        _same(first, shown(again), "another instance wants other entries")


@check
def a_newcomer_renames_nobody(case: Case) -> None:
    """One more model changes no entry of the others, as long as its name is not like one of theirs."""
    for facts in case.machines:
        accepted = case.accepted(facts)
        for number, variant in enumerate(case.one_of_each(facts)):
            new = renamed(variant, "unlike-any-other-name", 0xFACE0000 + number)
            new = replace(new, files=tuple(replace(file, path=file.path.replace(variant.key.model, new.key.model))
                                           for file in new.files))
            _undisturbed(case, accepted, new, facts, set())


@check
def a_namesake_renames_its_like_only(case: Case) -> None:
    """One more model whose name differs from another's in case only changes the entries of that one at most."""
    for facts in case.machines:
        accepted = case.accepted(facts)
        for number, variant in enumerate(case.one_of_each(facts)):
            twin = renamed(variant, variant.key.model.upper(), 0xBEEF0000 + number)
            like = {other.key for other in accepted if other.key.model.casefold() == variant.key.model.casefold()}
            _undisturbed(case, accepted, twin, facts, like)


@check
def deciding_never_looks_at_the_disk(case: Case) -> None:
    """Whether it accepts a model, and which entries it wants, it says without a look at the disk."""
    for facts in case.machines:
        roots = case.roots(facts)
        for number, variant in enumerate(case.variants):
            with blind("accepts"):
                accepted = case.layout.accepts(variant, facts) is None
            for root in roots if accepted else []:
                with blind("project"):
                    list(case.layout.project([renamed(variant, f"seen-{number}", number)], root, facts))


@check
def only_those_alike_matter(case: Case) -> None:
    """Where it says which models are alike (`alike`), it wants the same of these asked alone as beside all others."""
    for facts in case.machines:
        there = {variant.key: variant for variant in case.accepted(facts)}
        strangers = [variant for many in strange(case.shapes(facts)) for variant in many]
        variants = list({variant.key: variant for variant in (*strangers, *there.values())}.values())
        words = {variant.key: case.layout.alike(variant) for variant in variants}
        if None in words.values():
            require(set(words.values()) == {None}, "of some models it says which are like them, of others not")
            continue
        groups = _groups({key: frozenset(said or ()) for key, said in words.items()})
        for root in case.roots(facts):
            whole = case.project(variants, root, facts).entries
            for group in groups:
                alone = case.project([v for v in variants if v.key in group], root, facts).entries
                _same(shown(entry for entry in whole if entry.key in group),
                      shown(entry for entry in alone if entry.key is not None),
                      f"{_first(group)} and its like get other entries beside models that are not like them")


def _groups(words: Mapping[Key, frozenset[str]]) -> list[set[Key]]:
    """The models that are alike, directly or by others."""
    groups: list[tuple[set[Key], set[str]]] = []
    for key, said in words.items():
        near = [group for group in groups if not group[1].isdisjoint(said)]
        groups = [group for group in groups if group not in near]
        groups.append(({key}.union(*(keys for keys, _ in near)), set(said).union(*(heard for _, heard in near))))
    return [keys for keys, _ in groups]


def _alike(variant: Variant, number: int) -> Variant:
    """The variant under a name of its own, whose weights are called as everybody's are."""
    new = renamed(variant, f"model-{number}", number + 1)
    if len(variant.weights) != 1 or variant.format.family != "gguf":
        return new
    weights = variant.weights[0]
    return replace(new, files=tuple(
        replace(file, path="model.gguf") if file is weights else file for file in new.files))


def _apart(projected: Projected) -> None:
    """Every variant has a witness that is no other's."""
    witness: dict[str, Key | None] = {}
    for entry in projected.entries:
        if entry.witness:
            require(witness.setdefault(entry.path, entry.key) == entry.key,
                    f"{entry.path} is the witness of {witness[entry.path]} and of {entry.key}")
    missing = {variant.key for variant in projected.here} - set(witness.values())
    require(projected.root.cache or not missing, f"{_first(missing)} has no witness")


def _same(one: Shown, two: Shown, what: str) -> None:
    require(one == two, f"{what}: {_first({path for path, *_ in one ^ two})}")


def _undisturbed(case: Case, there: list[Variant], new: Variant, facts: Facts, touched: set[Key]) -> None:
    """With `new` beside them, the entries of all but `touched` are what they were."""
    for root in case.roots(facts):
        before = _others(case.project(there, root, facts).entries, touched | {new.key})
        after = _others(case.project([*there, new], root, facts).entries, touched | {new.key})
        _same(before, after, f"with {new.key} beside them, others get other entries")


def _others(entries: tuple[Entry, ...], without: set[Key]) -> Shown:
    return shown(entry for entry in entries if entry.key is not None and entry.key not in without)


def _first(names: Iterable[object]) -> str:
    return min(map(str, names), default="")
