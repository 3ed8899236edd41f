"""Every command, once as text and once as JSON, in a home with real models."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from helixstore.sizes import size
from tests.support.models import tiny_gguf, tiny_hf

ROOT = Path(__file__).parents[2]
#: Objects whose keys are names, not part of the shape.
OPEN = {"facts"}
NAMED = {"counts", "providers"}
#: Objects from which what is not known is left out: sources and roots.
SPARSE = {"kind", "repository", "revision", "program", "name", "path", "origin", "owned", "label", "forbid", "state",
          "links"}


def documented() -> dict[str, Any]:
    """Heading -> the example below it, of docs/json.md."""
    found = {}
    for section in re.split(r"^## ", (ROOT / "docs/json.md").read_text(), flags=re.M)[1:]:
        title, _, body = section.partition("\n")
        if example := re.search(r"```json\n(.*?)```", body, re.S):
            for name in title.split(", "):
                found[name] = json.loads(example[1])
    return found


EXAMPLES = documented()
EXAMPLES["show"] = {"schema": 1} | EXAMPLES["list"]["models"][0]


def same_shape(real: Any, example: Any, where: str = "") -> None:
    """Keys and types of a real answer are those of the documentation, all the way down."""
    if isinstance(example, dict):
        assert isinstance(real, dict), where
        name = where.rpartition(".")[2]
        if name in OPEN:
            return
        if name in NAMED:
            for key, value in real.items():
                same_shape(value, next(iter(example.values())), f"{where}.{key}")
            return
        assert set(real) == set(example), where
        for key, value in real.items():
            same_shape(value, example[key], f"{where}.{key}")
    elif isinstance(example, list):
        assert isinstance(real, list), where
        for item in real if example else ():
            if isinstance(item, dict) and where.endswith((".sources", ".roots")):
                assert set(item) <= SPARSE
            else:
                same_shape(item, example[0], f"{where}[]")
    elif example is not None and real is not None and not where.endswith(".value"):
        assert isinstance(real, (int, float) if isinstance(example, float) else type(example)), where


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf(folder / "tiny-F16.gguf")
    tiny_gguf(folder / "other-F16.gguf", seed=1, name="other")
    tiny_hf(folder / "small-hf")
    return folder


@pytest.fixture
def person(home: Path, models: Path) -> Path:
    """A home: one GGUF in LM Studio and again in ~/models, with another GGUF and a Hugging Face folder."""
    place = home / ".lmstudio/models/org/tiny-GGUF"
    place.mkdir(parents=True)
    shutil.copy(models / "tiny-F16.gguf", place)
    (home / "models").mkdir()
    shutil.copy(models / "tiny-F16.gguf", home / "models/tiny-F16.gguf")
    shutil.copy(models / "other-F16.gguf", home / "models/other-F16.gguf")
    shutil.copytree(models / "small-hf", home / "models/small-hf")
    return home


@pytest.fixture
def synced(person: Path, call: Callable[..., Any]) -> Path:
    assert call("init", "--all", "--scan", person / "models").code == 0
    ran = call("sync")
    assert ran.code == 0, ran.out + ran.err
    return person


def tree(folder: Path) -> Mapping[str, tuple[Any, ...]]:
    """Everything below a folder: mode, and content or target.

    Left out is what is only remembered, so that it need not be read again: the index, and the hashes in `meta`.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for where, folders, files in os.walk(folder):
        if where == str(folder):
            folders[:] = [name for name in folders if name != ".cache"]
        if where.endswith("/helixstore/store"):
            folders.remove("meta")
        for name in (*folders, *files):
            path = os.path.join(where, name)
            status = os.lstat(path)
            if os.path.islink(path):
                found[path] = (os.readlink(path),)
            elif os.path.isfile(path) and ".lock" not in name:
                found[path] = (status.st_mode, status.st_ino, status.st_mtime_ns, Path(path).read_bytes())
            elif os.path.isdir(path):
                found[path] = (status.st_mode,)
    return found


def test_the_bare_command_surveys_and_writes_nothing(person: Path, call: Callable[..., Any]) -> None:
    before = tree(person)
    ran = call()
    assert ran.code == 0
    assert "LM Studio" in ran.out
    assert "Next: helixstore init" in ran.out
    same_shape(call("--json").json, EXAMPLES["The bare command without a store"])
    assert tree(person) == before
    assert not (person / ".cache").exists()


def test_init_then_sync_then_nothing_to_do(person: Path, call: Callable[..., Any]) -> None:
    made = call("init", "--all", "--scan", person / "models")
    assert made.code == 0
    assert "Next: helixstore sync" in made.out
    first = call("sync", "--json")
    assert first.code == 0, first.err
    same_shape(first.json, EXAMPLES["sync"])
    assert first.json["saved_bytes"] == os.path.getsize(person / "models/tiny-F16.gguf")
    assert {adopted["model"] for adopted in first.json["adopted"]} == {"tiny-GGUF", "other", "small-hf"}
    second = call("sync")
    assert second.code == 0
    assert second.out.startswith("Nothing to do")
    assert call("sync", "--json").json["actions"] == []


LOOKING = {
    "list": ["list"], "list-shared": ["list-shared"], "models list": ["models", "list"],
    "models search": ["models", "search", "llama"], "models info": ["models", "info", "llama3:8b"],
    "show": ["show", "tiny"],
    "status": ["status"], "du": ["du"], "compat": ["compat", "tiny"], "log": ["log"], "doctor": ["doctor"],
    "providers": ["providers"], "providers list": ["providers", "list"], "config": ["config"],
    "providers show": ["providers", "show", "ollama"],
    "providers show --mounts": ["providers", "show", "ollama", "--mounts"],
    "config list": ["config", "list"], "explain": ["explain", "tiny"], "path": ["path", "tiny"],
    "verify": ["verify"], "reindex": ["reindex"], "trash list": ["trash", "list"], "gc": ["gc"],
    "host list": ["host", "list"],
    "pin": ["pin", "tiny"], "unpin": ["unpin", "tiny"], "hide": ["hide", "tiny", "--provider", "jan"],
    "unhide": ["unhide", "tiny", "--provider", "jan"], "share": ["share", "models/other-F16.gguf"],
    "add": ["add", "models/small-hf"], "link": ["link", "tiny", "mine"], "remove": ["remove", "other"],
    "undo": ["undo"], "leave": ["leave", "--provider", "lmstudio"], "config set": ["config", "set", "share", "chosen"],
    "set": ["providers", "set", "jan", "--root", "jan-models"], "init": ["init", "--all"], "sync": ["sync"],
}


def test_every_documented_answer_has_the_documented_shape(synced: Path, call: Callable[..., Any]) -> None:
    for name, words in LOOKING.items():
        ran = call(*words, "--json")
        assert ran.code in (0, 3), (name, ran.err, ran.out)
        same_shape(ran.json, EXAMPLES[name], f"{name}: ")


def test_every_command_answers_in_text(synced: Path, call: Callable[..., Any]) -> None:
    for name, words in LOOKING.items():
        ran = call(*words)
        assert ran.code in (0, 3), (name, ran.err, ran.out)
        assert ran.out, name
        assert not re.search(r"\bNone\b|<[a-z_.]+ object|[A-Z][a-z]+\(", ran.out), (name, ran.out)


CHANGING = [
    ["sync"], ["share", "new.gguf"], ["add", "new.gguf"], ["hide", "tiny", "--provider", "jan"],
    ["unhide", "tiny"], ["pin", "tiny"], ["unpin", "tiny"], ["link", "tiny", "mine"], ["remove", "tiny"],
    ["remove", "--unused"], ["undo"], ["leave"], ["gc"], ["gc", "--now"], ["providers", "on", "jan"],
    ["providers", "off", "jan"], ["providers", "set", "jan", "--root", "x"], ["config", "set", "share", "chosen"],
    ["init", "--all"],
]


def test_a_dry_run_changes_nothing(synced: Path, models: Path, call: Callable[..., Any]) -> None:
    tiny_gguf(synced / "new.gguf", seed=5, name="new")
    shutil.copy(models / "other-F16.gguf", synced / ".lmstudio/models/org/tiny-GGUF/other-F16.gguf")
    before = tree(synced)
    for number, words in enumerate(CHANGING):
        ran = call(*words, "--dry-run", *(["--json"] if number % 2 else []))
        assert ran.code in (0, 3) or "--unused" in words, (words, ran.err)
        assert tree(synced) == before, words


def test_folders_that_are_not_there_are_named(synced: Path, call: Callable[..., Any]) -> None:
    ran = call("config", "set", "scan", synced / "models", synced / "gone")
    assert ran.code == 0
    assert f"{synced}/gone is no folder that is there now" in ran.out
    assert f"{synced}/models is no folder" not in ran.out
    assert call("config", "get", "scan", "--json").json["value"] == [f"{synced}/models", f"{synced}/gone"]
    checks = [check for check in call("doctor", "--json").json["checks"] if check["name"] == "settings"]
    assert any(f"{synced}/gone" in check["message"] and "config set scan" in check["remedy"] for check in checks)


def test_a_model_under_two_names_in_one_program_is_linked_once(home: Path, models: Path,
                                                              call: Callable[..., Any]) -> None:
    assert call("init", "--provider", "ramalama", "--yes").code == 0
    document = call("add", models / "tiny-F16.gguf", "--dry-run", "--json").json
    weights = [action for action in document["actions"] if action["what"] == "weight"
               and action["providers"] == ["ramalama"]]
    assert len(weights) > 1, "RamaLama has each model under several names"
    ran = call("add", models / "tiny-F16.gguf")
    [line] = [line for line in ran.out.splitlines() if line.startswith("ramalama")]
    assert size(os.path.getsize(models / "tiny-F16.gguf")) in line, ran.out
    assert size(2 * os.path.getsize(models / "tiny-F16.gguf")) not in line
