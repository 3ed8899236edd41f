"""A watch asks layouts about what has changed and its like alone; that must give what asking about all gives."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.farm.library import Library
from helixstore.session import Machine, PlacedRoot
from helixstore.sync.projection import Projection, project
from helixstore.sync.shown import Shown
from helixstore.testing.ground import FACTS, sandbox
from helixstore.testing.samples import assortment, strange
from helixstore.values import Key, Source, Variant

MANY, EACH = (30, 1) if os.environ.get("SOAK") else (2, 6)


class _Withheld:
    """A few (provider, variant) pairs, equal when they are the same."""

    def __init__(self, pairs: frozenset[tuple[str, Key]]) -> None:
        self.pairs = pairs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Withheld) and other.pairs == self.pairs

    def __call__(self, provider: str, key: Key) -> bool:
        return (provider, key) in self.pairs


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> list[PlacedRoot]:
    """The roots of every layout that comes with helixstore, as they lie in an empty home."""
    home = Path(os.path.realpath(tmp_path_factory.mktemp("home")))
    layouts = {**Machine({"HOME": str(home)}).layouts, Library.name: Library()}
    assert len(layouts) >= 14
    return [PlacedRoot(name, layout, root, True) for name, layout in layouts.items()
            for root in layout.roots(sandbox(home))]


@pytest.fixture(scope="module")
def shelf() -> list[Variant]:
    """Models of every format, others under strange names that are nearly alike, some with names of programs."""
    known, _ = assortment()
    some = {variant.format: variant for variant in known}
    odd = [variant for many in strange(list(some.values())) for variant in many][::EACH]
    own = [replace(variant, sources=(*variant.sources, Source("program", program=program, name=name)))
           for variant in odd[::7] for program, name in (
               ("llamacpp", f"{variant.key.model[:40]}.gguf".replace("/", "-")), ("ollama", "small:latest"),
               ("gpt4all", "sub/alpha-Q4_K_M.gguf"), ("lmstudio", "acme/alpha/alpha-Q4_K_M.gguf"))]
    return list({variant.key: variant for variant in (*odd, *known, *own[::3])}.values())


def told(projection: Projection) -> dict[str, object]:
    """What must lie where, in a form that can be compared."""
    entries = {
        (root.path, path): (repr(joined.body), frozenset(joined.claims), joined.order)
        for root in projection.roots for path, joined in root.entries.items()}
    refused = {root.path: dict(root.refused) for root in projection.roots}
    return {"entries": entries, "refused": refused, "refusals": projection.refusals,
            "issues": {issue.path for issue in projection.issues},
            "roots": [(root.path, root.providers, root.owned, root.cache) for root in projection.roots]}


def changes(number: random.Random, shelf: Sequence[Variant]) -> Iterator[tuple[list[Variant], _Withheld]]:
    """Models that come, mostly one at a time, change, and go; and now and then the person hides one."""
    there = {variant.key: variant for variant in number.sample(shelf, len(shelf) // 2)}
    hidden: frozenset[tuple[str, Key]] = frozenset()
    yield list(there.values()), _Withheld(hidden)
    for _ in range(8):
        what = number.random()
        away = [variant for variant in shelf if variant.key not in there]
        if what < 0.6 and away:
            there |= {variant.key: variant for variant in number.sample(away, number.choice((1, 1, 1, 3)))}
        elif what < 0.75:
            key = number.choice(list(there))
            there[key] = replace(there[key], sources=(*there[key].sources, Source("file", name=f"{number.random()}")))
        elif what < 0.9:
            del there[number.choice(list(there))]
        else:
            hidden ^= {(number.choice(("lmstudio", "ollama", "jan", "vllm")), number.choice(list(there)))}
        yield list(there.values()), _Withheld(hidden)


def test_what_grew_is_what_asking_about_all_gives(everywhere: list[PlacedRoot], shelf: list[Variant]) -> None:
    @settings(max_examples=MANY, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def grow(seed: int) -> None:                # the shelf is no argument: hypothesis would print all of it
        shown = Shown()
        for variants, withheld in changes(random.Random(seed), shelf):
            grown = told(project(variants, everywhere, FACTS, withheld, shown))
            whole = told(project(variants, everywhere, FACTS, withheld))
            for name in whole:
                assert grown[name] == whole[name], name

    grow()


def test_one_more_model_is_a_question_about_few(everywhere: list[PlacedRoot], shelf: list[Variant]) -> None:
    """Of most layouts; else nothing is won."""
    asked: dict[str, int] = {}

    class Counting:
        def __init__(self, place: PlacedRoot) -> None:
            self.place = place

        def __getattr__(self, name: str) -> object:
            return getattr(self.place.layout, name)

        def project(self, variants: Sequence[Variant], root: object, facts: object) -> object:
            asked[self.place.provider] = max(asked.get(self.place.provider, 0), len(variants))
            return self.place.layout.project(variants, self.place.root, FACTS)

    counted = [replace(place, layout=Counting(place)) for place in everywhere]      # type: ignore[arg-type]
    known, _ = assortment()
    plain = [replace(known[0], key=Key(f"unlike-{number:03d}", known[0].key.variant), manifest=f"{number:064x}",
                     files=tuple(replace(file, path=f"unlike-{number:03d}.gguf") for file in known[0].files))
             for number in range(40)]
    shown = Shown()
    project(plain[:-1], counted, FACTS, shown=shown)
    asked.clear()
    project(plain, counted, FACTS, shown=shown)
    assert {provider for provider, count in asked.items() if count > 1} <= {"ollama", "dockermodels", "comfyui"}
    assert len(asked) >= 10
