"""A genuine Ollama server lists, shows and deletes what helixstore projected. (This build cannot generate.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.programs import ask
from tests.support.real_gguf import ollama
from tests.support.sandbox import Sandbox, sha256

pytestmark = pytest.mark.programs


def files(folder: Path) -> set[str]:
    """Every file below a folder, relative."""
    return {os.path.relpath(os.path.join(top, name), folder) for top, _, names in os.walk(folder) for name in names}


def test_it_lists_the_model_and_shows_where_its_bytes_are(laptop: Sandbox, tmp_path: Path) -> None:
    root = laptop.root("ollama")
    assert root == laptop.home / ".ollama" / "models"
    with ollama(laptop, tmp_path / "log") as address:
        model, = ask(f"{address}/api/tags")["models"]
        assert model["name"].startswith("pebble")
        assert model["details"]["format"] == "gguf"
        assert model["details"]["family"] == "llama"
        assert model["details"]["quantization_level"] == "F16"
        shown = ask(f"{address}/api/show", {"model": model["name"]})
    blob = next(line.removeprefix("FROM ") for line in shown["modelfile"].splitlines() if line.startswith("FROM "))
    assert sha256(Path(blob)) == sha256(laptop.home / ".lmstudio/models/acme/pebble-GGUF/pebble.gguf")
    assert "content" in shown["template"] or ".Prompt" in shown["template"]


def test_the_prune_at_its_start_takes_nothing(laptop: Sandbox, tmp_path: Path) -> None:
    root = laptop.root("ollama")
    stray = root / "blobs" / ("sha256-" + "0" * 64)
    stray.write_bytes(b"no manifest names this")
    before = files(root)
    with ollama(laptop, tmp_path / "log") as address:
        assert len(ask(f"{address}/api/tags")["models"]) == 1
    assert files(root) == before - {str(stray.relative_to(root))}       # so the prune did run
    assert laptop.sync()["actions"] == []


def test_deleting_in_ollama_takes_the_model_from_nobody_else(laptop: Sandbox, tmp_path: Path) -> None:
    others = {name: laptop.linked(name, "pebble").paths for name in ("llamacpp", "lmstudio", "gpt4all")}
    with ollama(laptop, tmp_path / "log") as address:
        model, = ask(f"{address}/api/tags")["models"]
        ask(f"{address}/api/delete", {"model": model["name"]}, method="DELETE")
        assert ask(f"{address}/api/tags")["models"] == []
        laptop.whole()
        laptop.sync()
        assert laptop.seen("ollama", "pebble").state == "hidden"
        assert ask(f"{address}/api/tags")["models"] == []
    assert {name: laptop.linked(name, "pebble").paths for name in others} == others
    assert laptop.sync()["actions"] == []
