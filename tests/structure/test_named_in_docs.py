"""What the documentation names in the code and among the tests exists under that name."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
PACKAGES = {path.name for path in (ROOT / "helixstore").iterdir() if (path / "__init__.py").exists()}
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
FILE = re.compile(r"`((?:[\w-]+/)+[\w-]+\.py)`")
CODE = re.compile(r"`((?:" + "|".join(sorted(PACKAGES)) + r")(?:\.\w+)+)`")
#: Ends of what looks like a name in the code and is the name of a file.
ENDINGS = ("json", "md", "toml", "py", "yml", "yaml", "txt")


@cache
def defined(path: Path) -> set[str]:
    """The functions and classes that a file defines at its top."""
    nodes = ast.parse(path.read_text()).body
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    return names | {target.id for node in nodes if isinstance(node, ast.Assign) for target in node.targets
                    if isinstance(target, ast.Name)}


def resolved(dotted: str) -> bool:
    """Whether a dotted name below `helixstore` is a module, or something in one or in a class of it."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(("helixstore", *parts[:length]))
        try:
            found: object = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("helixstore"):
                raise
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, name in TEST.findall(page.read_text()):
        path = ROOT / "tests" / file.removeprefix("tests/")
        assert path.exists(), f"{page.name} names {file}"
        case = re.search(rf"\b{name}\b", path.read_text())         # of a test with cases, one of them
        assert name in defined(path) or (case and not name.startswith("test_")), f"{page.name} names {file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_function_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    for file in FILE.findall(text):
        assert any((ROOT / above / file).exists() for above in ("", "helixstore", "tests", "layouts", "docs")), (
            f"{page.name} names {file}")
    for dotted in CODE.findall(text):
        if dotted.rpartition(".")[2] not in ENDINGS:
            assert resolved(dotted), f"{page.name} names {dotted}"


def test_every_invariant_has_tests() -> None:
    text = (ROOT / "docs/invariants.md").read_text()
    sections = re.split(r"(?m)^## ", text)[1:]
    assert [one[0] for one in sections[:8]] == list("12345678")
    for section in sections[:8]:
        assert TEST.search(section), section.splitlines()[0]
