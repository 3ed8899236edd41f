"""Lemonade: its watched folder read as `discover_extra_models` reads it, its downloads and its settings."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from many import check_names, gguf, once, variants

from helixstore.layouts.lemonade import Lemonade
from helixstore.providers.layout import Root
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Purpose, Variant
from support.layouts import FACTS, Shelf, check_entries, hub, materialise, sandbox

LEMON = Lemonade()
RESERVED = {"chat", "embeddings", "reranking"}


def extra(path: Path) -> Root:
    return Root(path, "test", label="extra")


def listed(root: Path) -> dict[str, tuple[str, bool]]:
    """Model -> (mode, with a projector), by the rules of the documentation: at the top and in reserved folders a file
    is a model, deeper a folder is; shards are one."""
    models: dict[str, tuple[str, bool]] = {}
    folders: dict[Path, list[str]] = {}
    for path in sorted(root.rglob("*.gguf")):
        if path.is_file():
            folders.setdefault(path.relative_to(root).parent, []).append(path.name)
    for folder, names in folders.items():
        main = sorted({re.sub(r"-\d{5}-of-\d{5}$", "", name[:-5]) for name in names if "mmproj" not in name})
        top = folder.parts[0] if folder.parts and folder.parts[0] in RESERVED else ""
        flat = not folder.parts or folder.parts == (top,)
        assert flat or len(main) == 1, (folder, names)
        for name in main if flat else [folder.name]:
            assert name not in models
            models[name] = (top or "chat", len(main) == 1 and any("mmproj" in each for each in names))
    return models


@pytest.mark.parametrize("symbolic", [False, True])
def test_lemonade_would_list_every_model(shelf: Shelf, tmp_path: Path, symbolic: bool) -> None:
    models = [shelf.gguf("tiny"), shelf.gguf("tiny", "Q8_0", seed=2), shelf.gguf("big", shards=3, seed=3),
              shelf.gguf("eye", projector=True, seed=5),
              replace(shelf.gguf("vec", seed=7), purpose=Purpose.EMBEDDING),
              replace(shelf.gguf("vecs", shards=2, seed=9), purpose=Purpose.EMBEDDING), shelf.gguf("chat", seed=11)]
    root = extra(tmp_path / "root")
    entries = list(LEMON.project(models, root, FACTS))
    check_entries(entries, models)
    materialise(root.path, entries, shelf.blobs, symbolic=symbolic)
    assert listed(root.path) == {
        "tiny-Q4_K_M": ("chat", False), "tiny-Q8_0": ("chat", False), "big-Q4_K_M": ("chat", False),
        "eye-Q4_K_M": ("chat", True), "vec-Q4_K_M": ("embeddings", False), "vecs-Q4_K_M": ("embeddings", False),
        "chat-Q4_K_M": ("chat", False)}


@given(variants())
def test_names_hold_whatever_models_are_called(made: list[Variant]) -> None:
    entries = once(LEMON.project(made, extra(Path("/r")), FACTS))
    check_names(entries, made)
    for entry in entries:
        assert entry.path.partition("/")[0] not in RESERVED
        assert not entry.witness or "mmproj" not in entry.path


def test_what_lies_there_keeps_its_place_and_the_rest_finds_another(shelf: Shelf, tmp_path: Path) -> None:
    mine, root = shelf.gguf("mine", stem="tiny-Q8_0"), extra(tmp_path / "root")
    data = shelf.blobs[mine.weights[0].blake3].read_bytes()
    for name in ("tiny-Q8_0.gguf", "lab/deep/copy.gguf"):
        (root.path / name).parent.mkdir(parents=True, exist_ok=True)
        (root.path / name).write_bytes(data)
    found = list(LEMON.discover(root, DiskReader(tmp_path)))
    assert {f.source.name for f in found} == {"tiny-Q8_0.gguf", "lab/deep/copy.gguf"}
    both = [replace(mine, sources=tuple(f.source for f in found)), shelf.gguf("tiny", "Q8_0", seed=2)]
    paths = {entry.path: entry.key for entry in LEMON.project(both, root, FACTS)}
    assert {path for path, key in paths.items() if key == mine.key} == {"tiny-Q8_0.gguf", "lab/deep/copy.gguf"}
    assert len(paths) == 3


def test_discover_gives_back_what_was_projected(shelf: Shelf, tmp_path: Path) -> None:
    models = [shelf.gguf("big", shards=3), shelf.gguf("eye", projector=True, seed=5), shelf.gguf("one", "Q8_0", seed=9)]
    root = extra(tmp_path / "root")
    entries = list(LEMON.project(models, root, FACTS))
    materialise(root.path, entries, shelf.blobs)
    found = sorted(LEMON.discover(root, DiskReader(tmp_path)), key=lambda f: f.name)
    assert [f.name for f in found] == ["big", "eye", "one"]
    again = [replace(variant, sources=(f.source,)) for variant, f in zip(models, found, strict=True)]
    assert {entry.path for entry in LEMON.project(again, root, FACTS)} == {entry.path for entry in entries}


def test_gguf_of_the_hub_lies_in_the_cache_too_where_a_pull_finds_it(shelf: Shelf, tmp_path: Path) -> None:
    models = [shelf.gguf("Tiny", sources=[hub("acme/Tiny-GGUF")]), shelf.gguf("own", seed=4)]
    root = Root(tmp_path / "hub", "test", label="hub")
    entries = list(LEMON.project(models, root, FACTS))
    materialise(root.path, entries, shelf.blobs)
    snapshot, = root.path.glob("models--*/snapshots/*")
    assert snapshot.parent.parent.name == "models--acme--Tiny-GGUF"
    assert (snapshot / "Tiny-Q4_K_M.gguf").is_file()
    found, = LEMON.discover(root, DiskReader(tmp_path))
    assert found.source.repository == "acme/Tiny-GGUF"


def test_what_is_registered_by_its_path_is_found(shelf: Shelf, tmp_path: Path) -> None:
    variant = shelf.gguf("tiny")
    file = tmp_path / "models/tiny-Q4_K_M.gguf"
    file.parent.mkdir()
    file.write_bytes(shelf.blobs[variant.weights[0].blake3].read_bytes())
    config = tmp_path / ".config/lemonade"
    config.mkdir(parents=True)
    (config / "user_models.json").write_text(json.dumps({
        "Mine": {"checkpoint": str(file), "recipe": "llamacpp", "source": "local_path"},
        "Hubs": {"checkpoint": "org/repo:file.gguf", "recipe": "llamacpp"}, "Bad": 3,
        "Gone": {"checkpoints": {"main": str(tmp_path / "gone.gguf")}, "source": "local_path"}}))
    root = next(root for root in LEMON.roots(sandbox(tmp_path)) if root.label == "config")
    found, = LEMON.discover(root, DiskReader(tmp_path))
    assert (found.name, found.source.kind, found.inspection.location) == ("tiny", "file", file)
    assert list(LEMON.project([variant], root, FACTS)) == []


@pytest.mark.parametrize(("variant", "reason"), [
    (replace(gguf(), format=Format.HF), "Lemonade loads GGUF, and this is Hugging Face"),
    (replace(gguf(), purpose=Purpose.ADAPTER), "base model"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = LEMON.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_roots(platform: str, tmp_path: Path) -> None:
    watched, cache, config = LEMON.roots(sandbox(tmp_path, platform=platform))
    assert (watched.path, watched.owned) == (tmp_path / "store/farms/h/1000/lemonade", True)
    assert cache.path == tmp_path / ".cache/huggingface/hub"
    assert cache.present == (config.path,) == (tmp_path / ".config/lemonade",), "a hub cache tells of no Lemonade"
    assert LEMON.roots(sandbox(tmp_path, platform=platform, setting=Path("/mine")))[0].path == Path("/mine")
    environ = {"LEMONADE_EXTRA_MODELS_DIR": "/e", "HF_HUB_CACHE": "/c"}
    watched, cache, _ = LEMON.roots(sandbox(tmp_path, environ, platform))
    assert (watched.path, watched.owned, cache.path) == (Path("/e"), False, Path("/c"))


@pytest.mark.parametrize("place", [".config/lemonade", ".cache/lemonade"])
def test_its_own_settings_count(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(parents=True)
    settings = tmp_path / place / "config.json"
    settings.write_text(json.dumps({"extra_models_dir": "/big/gguf", "models_dir": "/big/hub"}))
    watched, cache, config = LEMON.roots(sandbox(tmp_path))
    assert (watched.path, watched.owned, watched.forbid) == (Path("/big/gguf"), False, "")
    assert (cache.path, config.path) == (Path("/big/hub"), tmp_path / place)
    settings.write_text(json.dumps({"extra_models_dir": str(tmp_path / "store/farms/h/1000/lemonade")}))
    assert LEMON.roots(sandbox(tmp_path))[0].owned
    for text in ("{", "[]", '{"extra_models_dir": 3}'):
        settings.write_text(text)
        assert LEMON.roots(sandbox(tmp_path))[0].owned


@pytest.mark.parametrize(("path", "program"), [
    ("/home/a/.lmstudio/models", "LM Studio"), ("/home/a/.cache/huggingface/hub", "Hugging Face")])
def test_another_programs_folder_is_not_filled_for_lemonade(path: str, program: str, tmp_path: Path) -> None:
    root = LEMON.roots(sandbox(tmp_path, {"LEMONADE_EXTRA_MODELS_DIR": path}))[0]
    assert program in root.forbid
