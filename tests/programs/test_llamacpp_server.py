"""llama.cpp's own server while models come and go, and what it refuses; that it reads and answers is in the matrix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import ask
from tests.support.real_gguf import llama_server, names
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs


def test_what_is_hidden_and_shared_while_it_runs_goes_and_comes(laptop: Sandbox, tmp_path: Path) -> None:
    model = laptop.linked("llamacpp", "pebble").model
    with llama_server(laptop, tmp_path / "log", "--models-dir", laptop.root("llamacpp")) as address:
        before = set(names(address))
        laptop.helix("hide", model, "--provider", "llamacpp")
        laptop.sync()
        assert not names(address)
        laptop.helix("unhide", model, "--provider", "llamacpp")
        laptop.sync()
        assert set(names(address)) == before


def test_the_router_refuses_to_delete_from_its_own_folder(laptop: Sandbox, tmp_path: Path) -> None:
    paths = laptop.linked("llamacpp", "pebble").paths
    with llama_server(laptop, tmp_path / "log", "--models-dir", laptop.root("llamacpp")) as address:
        with pytest.raises(AssertionError, match="not removable"):
            ask(f"{address}/models?model=pebble", method="DELETE")
        assert "pebble" in names(address)
    assert laptop.linked("llamacpp", "pebble").paths == paths


def test_a_dangling_link_is_not_listed_and_harms_nothing(laptop: Sandbox, tmp_path: Path) -> None:
    root = laptop.root("llamacpp")
    (root / "nowhere.gguf").symlink_to(root / "missing" / "model.gguf")
    with llama_server(laptop, tmp_path / "log", "--models-dir", root) as address:
        assert set(names(address)) == {"pebble"}
