"""LocalAI: a YAML for each model at the top, the files in a real folder below, and what LocalAI edits."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from many import gguf

from helixstore.providers.layout import Entry, Root, Text
from helixstore.values import Format, Header, Purpose, Variant
from layouts.localai import LocalAI
from support.layouts import FACTS, MAC, Shelf, check_entries, materialise, sandbox

LOCAL = LocalAI()
_SKIPPED = (".gguf", ".ggml", ".bin", ".safetensors", ".json", ".yaml", ".txt", ".md")


def configured(models: Path) -> dict[str, dict[str, Any]]:
    """The YAML of the top level by name, checked as `Validate` of core/config does; nothing else may lie there."""
    found = {}
    for entry in os.scandir(models):
        if entry.is_dir():
            assert not entry.is_symlink(), "listed as a model"
            continue
        assert entry.name.endswith(_SKIPPED), "a file without a known suffix is listed as a model"
        if not entry.name.endswith((".yaml", ".yml")) or entry.name.startswith("."):
            continue
        assert not entry.is_symlink(), "every gallery operation would fail"
        config = yaml.safe_load(Path(entry.path).read_text())
        assert entry.name == f"{config['name']}.yaml", "deleting by name would not find it"
        for value in (config["backend"], config["parameters"]["model"], config.get("mmproj", "")):
            assert not value.startswith("/")
            assert ".." not in value
        assert re.fullmatch(r"[A-Za-z0-9_-]*", config["backend"])
        found[config["name"]] = config
    return found


def sidecar(entries: list[Entry]) -> Text:
    (entry,) = (entry for entry in entries if entry.witness)
    assert isinstance(entry.body, Text)
    return entry.body


@pytest.mark.parametrize("symbolic", [False, True])
def test_configurations_are_valid_and_every_path_in_them_opens(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, seed=3), shelf.gguf("eye", projector=True, seed=7),
                shelf.gguf("a..b", seed=12), shelf.hf("tiny-hf"), shelf.gptq(), shelf.awq()]
    root = tmp_path / "root"
    entries = list(LOCAL.project(variants, Root(root, "test"), FACTS))
    check_entries(entries, variants)
    materialise(root, entries, shelf.blobs, symbolic=symbolic)
    models = configured(root)
    assert set(models) == {"one-Q4_K_M", "big-Q4_K_M", "eye-Q4_K_M", "a.b-Q4_K_M", "tiny-hf-BF16",
                           "tiny-GPTQ-int4-g128", "tiny-AWQ-int4-g128"}
    assert models["one-Q4_K_M"]["template"] == {"use_tokenizer_template": True}
    assert models["big-Q4_K_M"]["parameters"]["model"] == "helix/big-Q4_K_M/big-Q4_K_M-00001-of-00003.gguf"
    assert models["eye-Q4_K_M"]["mmproj"] == "helix/eye-Q4_K_M/mmproj-eye-F16.gguf"
    for config in models.values():
        assert (root / config["parameters"]["model"]).exists()
        assert (root / config.get("mmproj", "")).exists()
    backends = {name: config["backend"] for name, config in models.items()}
    assert backends["one-Q4_K_M"] == "llama-cpp"
    assert backends["tiny-hf-BF16"] == "transformers"
    assert backends["tiny-GPTQ-int4-g128"] == backends["tiny-AWQ-int4-g128"] == "vllm"
    folder = root / models["tiny-hf-BF16"]["parameters"]["model"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(os.listdir(folder))
    assert (folder / "config.json").stat().st_nlink == 1


def test_the_sidecar_comes_after_every_file_that_it_names(tmp_path: Path) -> None:
    """A path that is not there would be taken for a repository and downloaded."""
    shelf = Shelf(tmp_path / "blobs")
    for variant in (shelf.gguf("eye", projector=True), shelf.hf("tiny-hf", shards=2)):
        entries = list(LOCAL.project([variant], Root(tmp_path / "root", "test"), FACTS))
        (last,) = (entry for entry in entries if entry.witness)
        assert all(entry.order < last.order for entry in entries if entry is not last)


def test_an_embedding_model_says_so(tmp_path: Path) -> None:
    config = yaml.safe_load(sidecar(list(
        LOCAL.project([gguf(purpose=Purpose.EMBEDDING)], Root(tmp_path, "test"), FACTS))).data)
    assert config["embeddings"] is True
    assert "template" not in config


@pytest.mark.parametrize(("variant", "reason"), [
    (replace(gguf(), format=Format.EXL3), "exl3"), (replace(gguf(), format=Format.EXL2), "exl2"),
    (replace(gguf(), format=Format.MLX), "Apple silicon"),
    (gguf(header=Header("g", embedded_projector=True)), "only Ollama"),
    (replace(gguf(), format=Format.HF), "config.json"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = LOCAL.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_mlx_runs_on_a_mac(tmp_path: Path) -> None:
    variant = Shelf(tmp_path).mlx("Foo-4bit")
    assert LOCAL.accepts(variant, MAC) is None
    config = yaml.safe_load(sidecar(list(LOCAL.project([variant], Root(tmp_path, "test"), MAC))).data)
    assert config["backend"] == "mlx"


def test_what_localai_and_people_edit_stays(tmp_path: Path) -> None:
    body = sidecar(list(LOCAL.project([gguf("m", projector="mmproj-a.gguf")], Root(tmp_path, "test"), FACTS)))
    assert body.merge
    edited = {**yaml.safe_load(body.data), "context_size": 8192, "threads": 4, "known_usecases": ["FLAG_CHAT"]}
    edited["parameters"] = {"temperature": 0.2, "model": "helix/m-Q4_K_M/older.gguf"}
    edited["mmproj"] = "mine/mmproj.gguf"
    theirs = yaml.safe_dump(edited).encode()
    for base in (body.data, None):
        result = body.merge(base, theirs, body.data)
        assert result is not None
        assert yaml.safe_load(result) == {
            **edited, "parameters": {"temperature": 0.2, "model": "helix/m-Q4_K_M/m-Q4_K_M.gguf"}}
        assert body.merge(body.data, result, body.data) == result


@pytest.mark.parametrize("theirs", [
    b"name: m\nparameters:\n  model: mine.gguf\n", b"name: m\n", b"- name: a\n- name: b\n", b"\xff"])
def test_a_model_of_the_persons_under_the_same_name_is_a_conflict(tmp_path: Path, theirs: bytes) -> None:
    body = sidecar(list(LOCAL.project([gguf("m")], Root(tmp_path, "test"), FACTS)))
    assert body.merge
    assert body.merge(None, theirs, body.data) is None


@pytest.mark.parametrize("symbolic", [False, True])
def test_deleting_in_localai_leaves_the_store(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("eye", projector=True)
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    entries = list(LOCAL.project([variant], Root(tmp_path / "root", "test"), FACTS))
    materialise(tmp_path / "root", entries, shelf.blobs, symbolic=symbolic)
    LOCAL.delete_as_program_does(tmp_path / "root", variant, entries)
    assert configured(tmp_path / "root") == {}
    assert not any(path.is_file() for path in (tmp_path / "root").rglob("*"))
    assert {path: path.read_bytes() for path in before} == before


def test_roots(home: Path) -> None:
    (own,) = LOCAL.roots(sandbox(home))
    assert (own.path, own.owned) == (sandbox(home).farms / "localai", True)
    (home / ".localai/models").mkdir(parents=True)
    (launcher,) = LOCAL.roots(sandbox(home))
    assert (launcher.path, launcher.owned) == (home / ".localai/models", False)
    for variable in ("LOCALAI_MODELS_PATH", "MODELS_PATH"):
        (named,) = LOCAL.roots(sandbox(home, {variable: "/srv/models"}))
        assert (named.path, named.origin) == (Path("/srv/models"), variable)
    assert LOCAL.roots(sandbox(home, {"MODELS_PATH": "/srv"}, setting=Path("/mine")))[0].path == Path("/mine")
