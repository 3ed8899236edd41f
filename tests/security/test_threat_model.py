"""docs/security.md: every test that it names exists, and every line of its tables names one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 35
    for file, name in named:
        module = ast.parse((ROOT / file).read_text())
        there = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        assert name in there, f"{file}::{name}"


def test_every_attack_has_a_rule_and_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 4
            and not line.startswith("| attack")]
    assert len(rows) > 25
    for row in rows:
        attack, rule, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert attack
        assert rule
        assert NAMED.search(tests), attack


def test_every_attack_that_is_tried_is_on_the_page() -> None:
    tried = {f"tests/security/{path.name}" for path in (ROOT / "tests/security").glob("test_*.py")}
    named = {file for file, _ in NAMED.findall(PAGE)}
    assert tried - named == {"tests/security/test_threat_model.py"}
