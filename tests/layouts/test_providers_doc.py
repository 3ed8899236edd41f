"""docs/providers.md says of each program what its layout says, and names only tests that exist."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from helixstore.providers.layout import Layout, Weight
from helixstore.providers.registry import load_layouts
from helixstore.testing.samples import assortment
from helixstore.values import LinkKind
from support.layouts import FACTS, sandbox

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/providers.md").read_text()
SECTIONS = {name: section for section in re.split(r"^## ", PAGE, flags=re.M)[1:]
            for name in re.findall(r"\(`(\w+)`\)", section.partition("\n")[0])}
POINTS = ("Checked against", "Kinds", "Folder", "Seen", "Read", "Refresh", "Deleting", "Limits")


@pytest.fixture(scope="module", params=load_layouts(Path("/nonexistent"), {}, print).values(), ids=lambda one: one.name)
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found


def point(layout: Layout, title: str) -> str:
    """One point of a program's section, as one line."""
    found = re.search(rf"^- \*\*{title}\*\*: (.*?)(?=^- |^$|\Z)", SECTIONS[layout.name], re.M | re.S)
    assert found, (layout.name, title)
    return " ".join(found[1].split())


def kinds(layout: Layout, home: Path) -> set[tuple[LinkKind, ...]]:
    """The kinds of link that the layout asks for, over models of every format."""
    variants = [variant for variant in assortment()[0] if layout.accepts(variant, FACTS) is None]
    assert variants
    return {entry.body.kinds for root in layout.roots(sandbox(home)) for entry in layout.project(variants, root, FACTS)
            if isinstance(entry.body, Weight)}


def test_each_program_has_a_section_with_every_point_and_a_row(layout: Layout) -> None:
    section = SECTIONS[layout.name]
    assert section.startswith(f"{layout.title} (`{layout.name}`)\n")
    assert re.findall(r"^- \*\*(.*?)\*\*", section, re.M) == list(POINTS)
    assert re.search(rf"^\| \[{re.escape(layout.title)}\]\(#[\w-]+\) \| `{layout.name}` \|", PAGE, re.M)


def test_versions_and_refresh_are_the_layouts(layout: Layout) -> None:
    assert point(layout, "Checked against") == ", ".join(layout.checked)
    if layout.refresh:
        assert point(layout, "Refresh") == layout.refresh
    else:
        assert point(layout, "Refresh").startswith("nothing")


def test_kinds_of_links_are_the_layouts(layout: Layout, home: Path) -> None:
    said = point(layout, "Kinds")
    for wanted in kinds(layout, home):
        assert _listed(wanted) in said, (layout.name, said)
    mentioned = {kind for kind in LinkKind if re.search(rf"\b{kind}\b", said.partition(". ")[0].partition(": ")[0])}
    assert mentioned <= {kind for wanted in kinds(layout, home) for kind in wanted} | _elsewhere(layout)


def _listed(kinds: Sequence[LinkKind]) -> str:
    return ", ".join(kinds)


def _elsewhere(layout: Layout) -> set[LinkKind]:
    """The hub's client has its own store, and the cache around it is other layouts'."""
    return {LinkKind.HARD, LinkKind.REFLINK, LinkKind.STAND_IN} if layout.name == "huggingface" else set()


def test_the_page_names_no_program_that_there_is_not() -> None:
    assert set(SECTIONS) == set(load_layouts(Path("/nonexistent"), {}, print))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::[\w.-]+)?)`", PAGE))))
def test_each_test_that_is_named_exists(name: str) -> None:
    file, _, test = name.partition("::")
    assert re.search(rf"\b{re.escape(test)}", (REPOSITORY / file).read_text()), name


def test_whoever_says_seen_names_the_test() -> None:
    for name, section in SECTIONS.items():
        seen = re.search(r"^- \*\*Seen\*\*: (.*?)(?=^- )", section, re.M | re.S)
        assert seen
        assert "nothing" in seen[1].split(":")[0] or "tests/programs/" in seen[1], name
