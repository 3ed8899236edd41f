"""Jan: a folder with `model.yml` for each model; what Jan and people change in it stays."""

from __future__ import annotations

import json
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
from layouts.jan import Jan
from support.layouts import FACTS, MAC, Shelf, check_entries, materialise, sandbox

JAN = Jan()


def listed(data: Path, engine: str = "llamacpp") -> dict[str, dict[str, Any]]:
    """id -> model.yml: depth first for folders with a `model.yml`, not below one."""
    found: dict[str, dict[str, Any]] = {}
    models, stack = data / engine / "models", [data / engine / "models"]
    while stack:
        folder = stack.pop()
        if (folder / "model.yml").exists():
            assert not (folder / "model.yml").is_symlink()
            name = folder.relative_to(models).as_posix()
            assert re.fullmatch(r"[A-Za-z0-9/_.-]+", name)
            found[name] = yaml.safe_load((folder / "model.yml").read_text())
            continue
        stack += [child for child in folder.iterdir() if child.is_dir() and not child.is_symlink()]
    return found


def sidecar(entries: list[Entry]) -> Entry:
    (entry,) = (entry for entry in entries if entry.witness)
    return entry


@pytest.mark.parametrize("symbolic", [False, True])
def test_jan_lists_models_whose_paths_are_absolute_and_open(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    data = tmp_path / "My \"Jan\" #data: 数据"
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, seed=3), shelf.gguf("eye", projector=True, seed=7)]
    entries = list(JAN.project(variants, Root(data, "test"), FACTS))
    check_entries(entries, variants)
    materialise(data, entries, shelf.blobs, symbolic=symbolic)
    models = listed(data)
    assert sorted(models) == ["big-Q4_K_M", "eye-Q4_K_M", "one-Q4_K_M"]
    for name, variant in (("one-Q4_K_M", variants[0]), ("big-Q4_K_M", variants[1]), ("eye-Q4_K_M", variants[2])):
        model = models[name]
        path = Path(model["model_path"])
        assert path.is_absolute()
        assert path.parent == data / "llamacpp/models" / name
        assert path.read_bytes() == shelf.blobs[variant.weights[0].blake3].read_bytes()
        assert model["size_bytes"] == variant.bytes
        assert model["embedding"] is False
        assert "mmproj_path" not in model or Path(model["mmproj_path"]).is_file()
        assert ("mmproj_path" in model) == (name == "eye-Q4_K_M")
        assert "/blobs/" not in model["model_path"]
    assert Path(models["big-Q4_K_M"]["model_path"]).name == "big-Q4_K_M-00001-of-00003.gguf"


def test_mlx_on_apple_silicon(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.mlx("Foo-4bit")
    assert JAN.accepts(variant, MAC) is None
    refusal = JAN.accepts(variant, FACTS)
    assert refusal is not None
    assert "Apple silicon" in refusal.reason
    entries = list(JAN.project([variant], Root(tmp_path / "data", "test"), MAC))
    check_entries(entries, [variant])
    materialise(tmp_path / "data", entries, shelf.blobs)
    (model,) = listed(tmp_path / "data", "mlx").values()
    weights = Path(model["model_path"])
    assert weights.name == "model.safetensors"
    assert (weights.parent / "config.json").is_file()


def test_an_embedding_model_says_so(tmp_path: Path) -> None:
    entries = list(JAN.project([gguf(purpose=Purpose.EMBEDDING)], Root(tmp_path, "test"), FACTS))
    body = sidecar(entries).body
    assert isinstance(body, Text)
    assert yaml.safe_load(body.data)["embedding"] is True


@pytest.mark.parametrize(("variant", "reason"), [
    (replace(gguf(), format=Format.HF), "Jan loads GGUF"), (replace(gguf(), format=Format.GPTQ), "GPTQ"),
    (gguf(header=Header("clip"), purpose=Purpose.PROJECTOR), "projector"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = JAN.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def merged(entries: list[Entry], base: bytes | None, theirs: bytes | None) -> bytes | None:
    body = sidecar(entries).body
    assert isinstance(body, Text)
    assert body.merge
    return body.merge(base, theirs, body.data)


def test_what_jan_rewrites_stays_and_only_the_paths_are_ours(tmp_path: Path) -> None:
    old = list(JAN.project([gguf("m", projector="mmproj-a.gguf")], Root(tmp_path / "old", "test"), FACTS))
    new = list(JAN.project([gguf("m", projector="mmproj-a.gguf")], Root(tmp_path / "new", "test"), FACTS))
    body = sidecar(old).body
    assert isinstance(body, Text)
    by_jan = {**yaml.safe_load(body.data), "name": "My favourite", "ctx_size": 8192, "embedding_check_v": 2,
              "template_kwargs": {"enable_thinking": False}}
    theirs = yaml.safe_dump(by_jan).encode()
    for base in (body.data, None):
        result = merged(new, base, theirs)
        assert result is not None
        at = str(tmp_path / "new/llamacpp/models/m-Q4_K_M")
        assert yaml.safe_load(result) == {
            **by_jan, "model_path": f"{at}/m-Q4_K_M.gguf", "mmproj_path": f"{at}/mmproj-a.gguf"}
        assert merged(new, body.data, result) == result
    assert merged(old, body.data, theirs) == theirs
    assert merged(new, body.data, body.data) == sidecar_text(new)


def sidecar_text(entries: list[Entry]) -> bytes:
    body = sidecar(entries).body
    assert isinstance(body, Text)
    return body.data


def test_a_projector_that_is_gone_leaves_the_file_and_a_path_of_the_persons_own_stays(tmp_path: Path) -> None:
    with_projector = list(JAN.project([gguf("m", projector="mmproj-a.gguf")], Root(tmp_path, "test"), FACTS))
    without = list(JAN.project([gguf("m")], Root(tmp_path, "test"), FACTS))
    body = sidecar(with_projector).body
    assert isinstance(body, Text)
    by_jan = yaml.safe_dump({**yaml.safe_load(body.data), "ctx_size": 8192}).encode()
    result = merged(without, body.data, by_jan)
    assert result is not None
    assert "mmproj_path" not in yaml.safe_load(result)
    own = yaml.safe_dump({**yaml.safe_load(body.data), "mmproj_path": "/mine/mmproj.gguf"}).encode()
    result = merged(with_projector, body.data, own)
    assert result is not None
    assert yaml.safe_load(result)["mmproj_path"] == "/mine/mmproj.gguf"


@pytest.mark.parametrize("theirs", [
    b"model_path: /mine/other.gguf\nname: mine\n", b"name: no path\n", b"\xff\xfe", b"{model_path: x}", b"- a\n"])
def test_a_model_of_the_persons_under_the_same_id_is_a_conflict(tmp_path: Path, theirs: bytes) -> None:
    entries = list(JAN.project([gguf("m")], Root(tmp_path, "test"), FACTS))
    assert merged(entries, None, theirs) is None


@pytest.mark.parametrize("symbolic", [False, True])
def test_deleting_in_jan_leaves_the_store(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("eye", projector=True)
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    entries = list(JAN.project([variant], Root(tmp_path / "data", "test"), FACTS))
    materialise(tmp_path / "data", entries, shelf.blobs, symbolic=symbolic)
    JAN.delete_as_program_does(tmp_path / "data", variant, entries)
    assert os.listdir(tmp_path / "data/llamacpp/models") == []
    assert {path: path.read_bytes() for path in before} == before


def test_roots(home: Path) -> None:
    assert JAN.roots(sandbox(home))[0].path == home / ".local/share/Jan/data"
    assert JAN.roots(sandbox(home, {"XDG_DATA_HOME": "/xdg"}))[0].path == Path("/xdg/Jan/data")
    mac = JAN.roots(sandbox(home, platform="darwin"))[0].path
    assert mac == home / "Library/Application Support/Jan/data"
    assert JAN.roots(sandbox(home, platform="win32"))[0].path == home / "AppData/Roaming/Jan/data"
    assert JAN.roots(sandbox(home, {"APPDATA": "/c/roaming"}, "win32"))[0].path == Path("/c/roaming/Jan/data")
    assert JAN.roots(sandbox(home, {"JAN_DATA_FOLDER": "~/j"}))[0].path == home / "j"
    assert JAN.roots(sandbox(home, {"JAN_DATA_FOLDER": "~/j"}, setting=Path("/mine")))[0].path == Path("/mine")


def test_the_folder_in_its_settings_wins_and_older_places_are_looked_at(home: Path) -> None:
    older = home / ".config/Jan/settings.json"
    older.parent.mkdir(parents=True)
    older.write_text(json.dumps({"data_folder": "/older"}))
    assert JAN.roots(sandbox(home))[0].path == Path("/older")
    now = home / ".local/share/Jan/settings.json"
    now.parent.mkdir(parents=True)
    now.write_text("{broken")
    assert JAN.roots(sandbox(home))[0].path == Path("/older")
    now.write_text(json.dumps({"data_folder": "/now"}))
    (root,) = JAN.roots(sandbox(home))
    assert (root.path, root.present) == (Path("/now"), (now,))
