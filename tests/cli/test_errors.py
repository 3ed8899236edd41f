"""What goes wrong is said in a line with its remedy, and the exit code says which kind it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import helixstore.engine
from tests.support.models import tiny_gguf


@pytest.fixture
def store(home: Path, call: Callable[..., Any]) -> Path:
    """A home with a synced store of one model, seen by LM Studio and Ollama."""
    tiny_gguf(home / ".lmstudio/models/org/tiny/tiny-F16.gguf")
    assert call("init", "--provider", "lmstudio", "--provider", "ollama").code == 0
    assert call("sync").code == 0
    return home


@pytest.mark.parametrize("words", [
    ["status"], ["list"], ["sync"], ["show", "m"], ["path", "m"], ["gc"], ["undo"], ["providers"], ["trash", "list"]])
def test_without_a_store_every_command_names_init(home: Path, call: Callable[..., Any], words: list[str]) -> None:
    ran = call(*words)
    assert ran.code == 1
    assert ran.err == "helixstore: there is no store yet\n  helixstore init\n"
    assert call(*words, "--json").json["error"]["remedy"] == "helixstore init"
    assert not (home / ".local").exists()


def test_asking_never_makes_a_store(home: Path, call: Callable[..., Any]) -> None:
    (home / "empty").mkdir()
    for place in ("empty", "missing"):
        ran = call("--store", home / place, "list")
        assert ran.code == 1
        assert f"helixstore init --store {home / place}" in ran.err
    assert os.listdir(home) == ["empty"]
    assert os.listdir(home / "empty") == []


def test_settings_can_be_read_and_mended_before_there_is_a_store(home: Path, call: Callable[..., Any]) -> None:
    assert call("config", "set", "share", "chosen").code == 0
    assert call("config", "get", "share").out == "chosen\n"
    assert call("config", "set", "share", "maybe").code == 2
    assert call("config", "set", "shar", "all").code == 2
    assert call("config", "get", "shar").code == 2
    (home / ".config/helixstore/config.toml").write_text("share = \n")
    ran = call("config", "list")
    assert ran.code == 1
    assert "config.toml is not TOML" in ran.err


@pytest.mark.parametrize(("words", "code", "says"), [
    (["show", "nothing"], 1, "nothing"),
    (["hide", "tiny", "--provider", "olama"], 2, "no provider is called olama"),
    (["sync", "--provider", "olama"], 2, "no provider is called olama"),
    (["init", "--provider", "olama"], 2, "no provider is called olama"),
    (["providers", "show", "olama"], 2, "no provider is called olama"),
    (["providers", "on", "olama"], 2, "no provider is called olama"),
    (["init", "--scan", "nowhere"], 2, "nowhere"),
    (["add", "nowhere.gguf"], 1, "nowhere.gguf"),
    (["explain", "./nowhere"], 1, "nowhere"),
    (["path", "tiny", "--format", "mlx"], 1, "mlx"),
    (["path", "tiny", "--format", "colour"], 2, "colour"),
    (["apply", "nowhere.json"], 1, "nowhere.json"),
    (["trash", "restore", "abc"], 1, "abc"),
    (["verify", "nothing"], 1, "nothing"),
])
def test_errors_name_what_they_are_about(
    store: Path, call: Callable[..., Any], words: list[str], code: int, says: str
) -> None:
    ran = call(*words)
    assert (ran.code, ran.out) == (code, ""), ran.err
    assert says in ran.err
    assert "unexpected" not in ran.err


def test_a_plan_can_be_saved_and_run_and_is_refused_when_the_world_has_changed(
    store: Path, call: Callable[..., Any]
) -> None:
    shutil.copy(store / ".lmstudio/models/org/tiny/tiny-F16.gguf", store / ".lmstudio/models/org/tiny/again-F16.gguf")
    ran = call("sync", "--plan", "plan.json")
    assert ran.code == 0
    assert "helixstore apply plan.json" in ran.err
    assert os.stat(store / ".lmstudio/models/org/tiny/again-F16.gguf").st_nlink == 1
    shutil.copy("plan.json", "later.json")
    assert call("apply", "plan.json", "--dry-run").code == 0
    assert call("apply", "plan.json").code == 0
    assert os.stat(store / ".lmstudio/models/org/tiny/again-F16.gguf").st_nlink > 1
    ran = call("apply", "later.json")
    assert ran.code == 1
    assert "helixstore sync --plan" in ran.err
    Path("plan.json").write_text("{")
    assert call("apply", "plan.json").code == 1


def test_issues_make_the_code_3_unless_they_are_allowed(store: Path, call: Callable[..., Any]) -> None:
    cut = store / ".lmstudio/models/org/cut/cut-F16.gguf"
    tiny_gguf(cut)
    os.truncate(cut, 100_000)
    ran = call("sync")
    assert ran.code == 3
    assert "1 issue:" in ran.out
    assert "cut-F16.gguf" in ran.out
    assert call("sync", "--json").code == 3
    assert call("sync", "--json").json["issues"][0]["kind"] == "incomplete"
    assert call("sync", "--issues-ok").code == 0
    quiet = call("sync", "--quiet")
    assert (quiet.code, quiet.out) == (3, "")
    assert "cut-F16.gguf" in quiet.err


def test_a_fault_of_ours_is_a_message_and_a_traceback_only_when_asked_for(
    store: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("\x1b[31mboom")

    monkeypatch.setattr(helixstore.engine.HelixStore, "status", broken)
    ran = call("status")
    assert ran.code == 1
    assert "unexpected ZeroDivisionError: \\x1b[31mboom" in ran.err
    assert "HELIXSTORE_DEBUG=1" in ran.err
    assert json.loads(call("status", "--json").out)["error"]["kind"] == "unexpected"
    monkeypatch.setenv("HELIXSTORE_DEBUG", "1")
    with pytest.raises(SystemExit):
        helixstore.cli.main()
    assert "Traceback" in capsys.readouterr().err


def test_the_command_lines_of_the_guide_that_exist_run_as_written(home: Path, call: Callable[..., Any]) -> None:
    tiny_gguf(home / "models/llama-3-8b.gguf")
    for line in ("init", "share ./models/llama-3-8b.gguf", "share ./models/llama-3-8b.gguf --provider llamacpp",
                 "list-shared", "status", "sync"):
        ran = call("local-llm", *line.split())
        assert ran.code == 0, (line, ran.err, ran.out)
    assert "llama-3-8b" in call("local-llm", "list-shared").out


def test_sharing_with_a_program_that_cannot_run_it_says_so(store: Path, call: Callable[..., Any]) -> None:
    tiny_gguf(store / "models/llama-3-8b.gguf", seed=3)
    ran = call("share", "./models/llama-3-8b.gguf", "--provider", "vllm")
    assert ran.code == 1
    assert ran.err.startswith("helixstore: format gguf is not compatible with provider vllm\n")
    assert "helixstore compat ./models/llama-3-8b.gguf" in ran.err
    assert call("list").out.count("\n") == 2           # the headers and the model that was there before
