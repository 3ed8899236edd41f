"""What commands tell agrees with what others tell, names the neighbours, and says nothing twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.household import made
from tests.support.models import tiny_gguf, tiny_hf

Call = Callable[..., Any]
TOLD = {"llamacpp": "llama-models", "tabbyapi": "tabby", "fastchat": "fastchat", "mistralrs": "mistralrs"}
COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


@pytest.fixture
def house(home: Path, call: Call) -> Path:
    """A year of thirteen programs; two of its models are in Downloads, where nobody but the person put them."""
    made(home)
    assert call("init", "--all", "--scan", home / "Downloads").code == 0
    for program, folder in TOLD.items():
        call("providers", "set", program, "--root", home / folder)
    return home


def test_sync_counts_for_each_program_the_models_that_list_then_shows(house: Path, call: Call) -> None:
    """The hub cache is read by many programs, and what one of them adopted there is not for all of them."""
    lines = call("sync").out.partition("PROGRAM  ")[2].partition("\n\n")[0].splitlines()
    told = dict(line.split()[:2] for line in lines[1:])
    linked: dict[str, int] = {}
    for model in call("list", "--json").json["models"]:
        for variant in model["variants"]:
            for name, placed in variant["providers"].items():
                linked[name] = linked.get(name, 0) + (placed["state"] == "linked")
    for program in ("llamacpp", "lemonade", "mlx", "vllm", "sglang", "ollama", "lmstudio", "textgen", "localai"):
        assert int(told[program]) == linked[program], program


def test_doctor_names_what_the_last_sync_found(house: Path, call: Call) -> None:
    assert call("sync").code == 3
    ran = call("doctor")
    assert ran.code == 3
    assert "Nothing is wrong" not in ran.out
    found, = (check for check in call("doctor", "--json").json["checks"] if check["state"] != "ok")
    assert "half.gguf has 1,784 of 1,984 bytes" in found["message"]
    assert found["remedy"] == "download it again"
    (house / "Downloads/half.gguf").unlink()
    call("sync")
    assert "Nothing is wrong." in call("doctor").out


def test_doctor_counts_what_would_be_too_much_and_repeats_nothing(home: Path, call: Call) -> None:
    tiny_gguf(home / "models/good-F16.gguf")
    data = (home / "models/good-F16.gguf").read_bytes()
    for number in range(12):
        (home / f"models/cut{number}-F16.gguf").write_bytes(data[:-100 - number])
    call("init", "--provider", "gpt4all", "--provider", "lmstudio", "--scan", home / "models")
    call("sync")
    shutil.rmtree(home / ".lmstudio/models")        # a disk that is not there: doctor looks for itself
    call("sync")
    found = [check for check in call("doctor", "--json").json["checks"] if check["state"] != "ok"]
    assert ("12 issues in all", "helixstore status") in [(one["message"], one["remedy"]) for one in found]
    assert len([one for one in found if "cut" in one["message"]]) == 5
    assert len([one for one in found if ".lmstudio/models" in one["message"]]) == 1
    assert len(found) == 7


def hub(home: Path, broken: str) -> Path:
    """A repository of the hub client's with a model of one file, and beside it a link that leads nowhere."""
    folder = home / ".cache/huggingface/hub/models--acme--one-GGUF"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(COMMIT)
    (snapshot / broken).symlink_to("../../blobs/" + "a" * 64)
    return snapshot


@pytest.mark.parametrize("names", [["one-F16.gguf"], ["one-F16.gguf", "one-Q8_0.gguf"], ["model.safetensors"]])
def test_a_link_of_a_snapshot_that_leads_nowhere_is_one_issue_with_the_way_out(
    home: Path, call: Call, names: list[str]
) -> None:
    snapshot = hub(home, names[0])
    for name in names[1:]:
        (snapshot / name).symlink_to("../../blobs/" + "b" * 64)
    if names[0].endswith("safetensors"):
        tiny_hf(home / "source")
        for file in (home / "source").iterdir():
            if file.suffix != ".safetensors":
                shutil.copy(file, snapshot / file.name)
        shutil.rmtree(home / "source")
    call("init", "--provider", "vllm", "--provider", "llamacpp")
    issue, = call("sync", "--json").json["issues"]
    assert issue["kind"] == "incomplete"
    assert issue["remedy"] == f"hf download acme/one-GGUF --revision {COMMIT}"


def test_a_provider_that_gets_nothing_for_one_reason_is_not_on_every_line_of_the_list(home: Path, call: Call) -> None:
    """The hub cache of a client of before 1.32."""
    for number in range(3):
        tiny_gguf(home / f"models/m{number}-F16.gguf", seed=number, name=f"m{number}")
    (home / ".cache/huggingface/hub/.locks/models--a--b").mkdir(parents=True)
    call("init", "--provider", "huggingface", "--provider", "lmstudio", "--scan", home / "models")
    assert call("sync").code == 0
    listed = call("list").out
    assert "lmstudio" in listed
    assert "huggingface" not in listed
    placed = call("list", "--json").json["models"][0]["variants"][0]["providers"]["huggingface"]
    assert (placed["state"], "1.32" in placed["reason"]) == ("pending", True)
    assert "1.32" in call("show", "m0").out
    assert ["1.32" in check["message"] for check in call("doctor", "--json").json["checks"]].count(True) == 1
    (home / ".cache/huggingface/hub/.locks/models--a--b").rmdir()
    (home / ".cache/huggingface/hub/.locks").rmdir()
    call("sync")
    assert "huggingface" in call("list").out


def test_hide_and_unhide_name_the_programs_that_read_the_same_folder(home: Path, call: Call) -> None:
    tiny_hf(home / "models/small")
    tiny_gguf(home / "models/one-F16.gguf")
    call("init", "--provider", "vllm", "--provider", "mlx", "--provider", "sglang", "--provider", "lmstudio",
         "--scan", home / "models")
    call("sync")
    hidden = call("hide", "small", "--provider", "vllm")
    assert "mlx sglang" in hidden.out
    assert "lmstudio" not in hidden.out
    shown = call("unhide", "small", "--provider", "vllm", "--json")
    note, = shown.json["notes"]
    assert "mlx sglang" in note
    assert "same folder" not in call("hide", "one", "--provider", "lmstudio").out
    assert "same folder" not in call("unhide", "one", "--provider", "lmstudio").out
    call("unhide", "small")
    cache = home / ".cache/huggingface/hub"
    for folder in cache.glob("models--*"):
        shutil.rmtree(folder)
    call("sync")
    assert "mlx sglang" in call("unhide", "small", "--provider", "vllm").out
    linked = call("show", "small", "--json").json["variants"][0]["providers"]
    assert {linked[name]["state"] for name in ("vllm", "mlx", "sglang")} == {"linked"}, "what was said is so"


@pytest.mark.parametrize("program", ["vllm", "sglang", "mistralrs"])
def test_how_a_program_of_one_model_is_started_names_a_model(home: Path, call: Call, program: str) -> None:
    call("init", "--provider", program)
    line, = (line for line in call("providers", "show", program).out.splitlines() if "start it" in line)
    assert "ORG/NAME" in line


def test_what_was_pinned_stands_in_the_log_and_in_the_generations(home: Path, call: Call) -> None:
    tiny_gguf(home / "tiny-F16.gguf")
    assert call("init").code == 0
    assert call("add", home / "tiny-F16.gguf").code == 0
    for command in ("pin", "unpin", "pin"):
        assert call(command, "tiny").code == 0
    wanted = ["pinned tiny (gguf:F16)", "unpinned tiny (gguf:F16)", "pinned tiny (gguf:F16)"]
    assert [one["summary"] for one in call("log", "--json").json["operations"]][:3] == wanted
    assert [one["summary"] for one in call("generations", "list", "--json").json["generations"]][:3] == wanted
