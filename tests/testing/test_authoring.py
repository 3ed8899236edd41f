"""Writing a layout: the scaffold works at once, the example package is found and projects, the docs say what runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.commands.authoring import scaffold
from helixstore.errors import Failed, Usage
from helixstore.testing import CHECKS
from support.disks import in_memory  # noqa: F401 - a test's folder in memory
from support.person import GGUF, Person
from support.typist import typed

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "example-layout"
DOCS = (ROOT / "docs" / "layouts.md").read_text()


def helix(person: Person, *arguments: str) -> subprocess.CompletedProcess[str]:
    if "PYTHONPATH" not in person.environ:
        return typed(*arguments, environ=person.environ, folder=person.home)
    return subprocess.run([sys.executable, "-m", "helixstore", *arguments], env=person.environ, cwd=person.home,
                          capture_output=True, text=True, check=False)


def test_a_first_layout_works_at_once(person: Person) -> None:
    made = json.loads(helix(person, "layouts", "new", "in_house", "--json").stdout)
    path = Path(made["path"])
    assert path == person.home / ".config/helixstore/layouts/in_house.py"
    assert path.read_text() == scaffold("in_house")
    checked = helix(person, "layouts", "check", "in_house", "--json")
    document = json.loads(checked.stdout)
    assert checked.returncode == 0, [check for check in document["checks"] if check["finding"]]
    assert (document["passed"], document["failed"]) == (len(CHECKS), 0)
    person.put("models/small-F16.gguf", GGUF)
    HelixStore.init(providers=["in_house"], scan=[person.home / "models"], environ=person.environ)
    with person.open() as store:
        assert store.sync().issues == ()
    assert [file.read_bytes() for file in (person.home / "in_house/models").iterdir()] == [GGUF]


def test_its_three_lines_are_a_test_for_each_check(person: Person) -> None:
    made = HelixStore.new_layout("mine", environ=person.environ)
    (person.home / "test_mine.py").write_text(made.test)
    assert len(made.test.splitlines()) == 3
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q"],
                          env=person.environ, cwd=person.home, capture_output=True, text=True, check=False)
    names = {line.rpartition("::test_")[2] for line in done.stdout.splitlines() if "::" in line}
    assert names == set(CHECKS), done.stdout + done.stderr


def test_a_broken_layout_is_said_and_ends_with_1(person: Person) -> None:
    made = HelixStore.new_layout("mine", environ=person.environ)
    made.path.write_text(scaffold("mine").replace('yield Entry(f"{', 'yield Entry(f"../{'))
    done = helix(person, "layouts", "check", "mine", "--only", "paths_are_safe", "--only", "it_says_what_it_is")
    assert done.returncode == 1
    assert "climbs out of its folder" in done.stdout
    assert "1 check passed, 1 failed" in done.stdout


def test_the_suite_needs_no_pytest(person: Person) -> None:
    script = ("import sys\nsys.modules['pytest'] = None\nfrom helixstore.providers.registry import load_layouts\n"
              "from helixstore.testing import run\nlayout = load_layouts(None)['gpt4all']\n"
              "print([outcome.finding for outcome in run(layout, ['paths_are_safe', 'a_second_sync_does_nothing'])])")
    done = subprocess.run(
        [sys.executable, "-c", script], env=person.environ, capture_output=True, text=True, check=False)
    assert done.stdout == "['', '']\n", done.stderr


def test_new_overwrites_nothing(person: Person) -> None:
    made = HelixStore.new_layout("mine", dry_run=True, environ=person.environ)
    assert not made.path.exists()
    made.path.parent.mkdir(parents=True)
    made.path.write_text("VALUE = 1\n")             # no layout, so its name is free
    with pytest.raises(Failed, match="File exists"):
        HelixStore.new_layout("mine", environ=person.environ)
    assert made.path.read_text() == "VALUE = 1\n"
    for name in ("ollama", "Mine", "a-b", "../x", "", "x" * 40):
        with pytest.raises(Usage):
            HelixStore.new_layout(name, environ=person.environ)


def test_a_layout_that_cannot_be_loaded_is_named(person: Person) -> None:
    made = HelixStore.new_layout("mine", environ=person.environ)
    made.path.write_text("import nothing_of_that_name\n")
    with pytest.raises(Usage, match="nothing_of_that_name"):
        HelixStore.check_layout("mine", environ=person.environ)
    done = helix(person, "layouts", "list", "--json")
    assert done.returncode == 3
    assert {layout["origin"] for layout in json.loads(done.stdout)["layouts"]} == {"helixstore"}
    with pytest.raises(Usage, match="no check"):
        HelixStore.check_layout("jan", ["nothing"], environ=person.environ)


@pytest.fixture
def installed(person: Person, tmp_path: Path) -> Person:
    """The example's package is installed where this person's Python looks."""
    target = tmp_path / "site"
    source = tmp_path / "source"
    source.mkdir()
    for file in (file for file in EXAMPLE.iterdir() if file.is_file()):
        (source / file.name).write_bytes(file.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", target, source],
        env={**person.environ, "PIP_NO_CACHE_DIR": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    person.environ["PYTHONPATH"] = str(target)
    return person


def test_the_example_in_its_own_package_is_found_and_served(installed: Person) -> None:
    person = installed
    listed = json.loads(helix(person, "layouts", "--json").stdout)["layouts"]
    assert any(layout["name"] == "loft" and layout["origin"].endswith("helixstore_loft.py") for layout in listed)
    person.put("models/small-F16.gguf", GGUF)
    assert helix(person, "init", "--provider", "loft", "--scan", "models").returncode == 0
    synced = helix(person, "sync", "--yes")
    assert synced.returncode == 0, synced.stdout + synced.stderr
    card, = (person.home / "loft/cards").iterdir()
    assert (person.home / "loft" / json.loads(card.read_text())["file"]).read_bytes() == GGUF
    card.write_text(json.dumps({**json.loads(card.read_text()), "last_used": 17, "mine": True}))
    assert "Nothing" in helix(person, "sync", "--yes").stdout
    assert json.loads(card.read_text())["mine"] is True
    (person.home / "loft/catalogue.json").write_text("{}")
    person.put("models/other-F16.gguf", GGUF[:-1] + b"x")
    stopped = json.loads(helix(person, "sync", "--yes", "--json").stdout)
    assert [issue["kind"] for issue in stopped["issues"]] == ["drifted"]
    assert len(list((person.home / "loft/cards").iterdir())) == 1


def test_the_examples_own_test_passes_under_pytest(installed: Person) -> None:
    (installed.home / "test_loft.py").write_bytes((EXAMPLE / "test_loft.py").read_bytes())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", installed.home / "pytest"]
    done = subprocess.run(
        command, env=installed.environ, cwd=installed.home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert f"{len(CHECKS)} passed" in done.stdout


def test_the_page_for_authors_shows_what_new_writes_and_every_check() -> None:
    assert scaffold("inhouse") in DOCS
    for check in CHECKS.values():
        assert f"| `{check.name}` | {check.says} |" in DOCS, check.name
