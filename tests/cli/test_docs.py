"""The documentation says what the program does: commands, options, links between pages, and the example of a layout."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from ana import move_in

from helixstore.cli.app import COMMANDS, application
from helixstore.fs.mounts import mount_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()
EVERYWHERE = {"--json", "--store", "--quiet", "-q", "--issues-ok", "--dry-run", "-n", "-p", "-y"}


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    app = application()
    for name in (name for section in COMMANDS.values() for name in section):
        lines = "\n".join(line for line in text.splitlines() if re.search(rf"`[^`]*\b{name}\b", line))
        assert lines, name
        command = app.get_command(typer.Context(app), name)
        for inner in getattr(command, "commands", {name: command}).values():
            for param in inner.params:
                assert any(option in lines for option in param.opts) or set(param.opts) & EVERYWHERE or (
                    not param.opts[0].startswith("-")), (name, param.opts)


def test_every_command_has_its_document_in_the_json_page() -> None:
    titles = set(re.findall(r"^## (.*)$", (ROOT / "docs/json.md").read_text(), re.M))
    named = {word for title in titles for word in re.split(r"[ ,]+", title)}
    assert {name for section in COMMANDS.values() for name in section} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_names_only_commands_that_exist(page: Path) -> None:
    known = {name for section in COMMANDS.values() for name in section}
    for line in re.findall(r"(?:^    |`)helixstore ([a-z-]+)", page.read_text(), re.M):
        assert line in known or line.startswith("-"), line


def test_the_example_of_a_layout_works_as_it_stands(home: Path, call: Callable[..., Any]) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs/layouts.md").read_text(), re.S)
    assert example
    (home / ".config/helixstore/layouts").mkdir(parents=True)
    (home / ".config/helixstore/layouts/inhouse.py").write_text(example[1])
    assert call("init", "--provider", "inhouse").code == 0
    shown = call("providers", "show", "inhouse", "--json").json
    assert (shown["title"], shown["on"], shown["formats"]) == ("Inhouse", True, ["gguf"])
    assert shown["roots"][0]["path"] == str(home / "inhouse/models")


def test_the_readme_shows_what_the_program_prints_and_its_python_runs(home: Path, call: Callable[..., Any]) -> None:
    move_in(home)
    disk = mount_of(home).point
    shown = re.findall(r"```\n\$ helixstore ?([^\n]*)\n(.*?)```", README, re.S)
    assert len(shown) == 4
    for line, expected in shown:
        ran = call(*map(os.path.expanduser, shlex.split(line)))
        assert ran.code == 0, ran.err
        printed = re.sub(rf"(\d B|[kMG]B) +{re.escape(disk)} +~", r"\1 / ~", ran.out)
        assert printed.split() == expected.split(), line
    example = re.search(r"```python\n(.*?)```", README, re.S)
    assert example
    names: dict[str, Any] = {}
    exec(example[1], names)
    assert names["path"].read_bytes()[:4] == b"GGUF"
