"""KoboldCpp's admin folder: what it lists, what its configurations name, and what people save into them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from many import gguf

from helixstore.providers.layout import Entry, Root, Text
from helixstore.values import Format, Purpose, Variant
from layouts.koboldai import KoboldAI
from support.layouts import FACTS, Shelf, check_entries, materialise, sandbox

KOBOLD = KoboldAI()


def admin_list(folder: Path) -> list[str]:
    """`get_current_admindir_list`: the folder and one level below, by extension in any case, no other filter."""
    found = []
    for entry in sorted(folder.iterdir()):
        below = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        found += [path.relative_to(folder).as_posix() for path in below
                  if path.is_file() and path.suffix.lower() in (".kcpps", ".kcppt", ".gguf")]
    return found


def sidecar(entries: list[Entry]) -> Text:
    (entry,) = (entry for entry in entries if entry.witness)
    assert isinstance(entry.body, Text)
    return entry.body


@pytest.mark.parametrize("symbolic", [False, True])
def test_only_configurations_are_listed_and_their_absolute_paths_open(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, seed=3), shelf.gguf("eye", projector=True, seed=7)]
    root = tmp_path / "数据 root"
    entries = list(KOBOLD.project(variants, Root(root, "test"), FACTS))
    check_entries(entries, variants)
    materialise(root, entries, shelf.blobs, symbolic=symbolic)
    assert admin_list(root) == ["big-Q4_K_M.kcpps", "eye-Q4_K_M.kcpps", "one-Q4_K_M.kcpps"]
    for name, variant in zip(("one", "big", "eye"), variants, strict=True):
        settings = json.loads((root / f"{name}-Q4_K_M.kcpps").read_text())
        model = Path(settings["model_param"])
        assert model.is_absolute()
        assert model.read_bytes() == shelf.blobs[variant.weights[0].blake3].read_bytes()
        assert ("mmproj" in settings) == (name == "eye")
        if name == "eye":
            assert Path(settings["mmproj"]).read_bytes() == shelf.blobs[variant.projectors[0].blake3].read_bytes()


def test_an_embedding_model_is_loaded_as_one(tmp_path: Path) -> None:
    settings = json.loads(sidecar(list(
        KOBOLD.project([gguf(purpose=Purpose.EMBEDDING)], Root(tmp_path, "test"), FACTS))).data)
    assert list(settings) == ["embeddingsmodel"]


def test_settings_that_people_save_into_it_stay(tmp_path: Path) -> None:
    body = sidecar(list(KOBOLD.project([gguf("m", projector="mmproj-a.gguf")], Root(tmp_path, "test"), FACTS)))
    assert body.merge
    saved = {**json.loads(body.data), "contextsize": 16384, "gpulayers": 33, "model": None,
             "model_param": r"D:\old place\weights\m-Q4_K_M\older.gguf"}
    theirs = json.dumps(saved).encode()
    for base in (body.data, None):
        result = body.merge(base, theirs, body.data)
        assert result is not None
        assert json.loads(result) == {**saved, "model_param": str(tmp_path / "weights/m-Q4_K_M/m-Q4_K_M.gguf")}
        assert body.merge(body.data, result, body.data) == result
    own = json.dumps({**json.loads(body.data), "mmproj": "/mine/mmproj.gguf"}).encode()
    assert body.merge(body.data, own, body.data) == own


@pytest.mark.parametrize("theirs", [b"{", b"[]", b'{"model_param": "/mine/m.gguf"}', b"\xff"])
def test_a_configuration_of_the_persons_under_the_same_name_is_a_conflict(tmp_path: Path, theirs: bytes) -> None:
    body = sidecar(list(KOBOLD.project([gguf("m")], Root(tmp_path, "test"), FACTS)))
    assert body.merge
    assert body.merge(None, theirs, body.data) is None


@pytest.mark.parametrize(("variant", "reason"), [
    (replace(gguf(), format=Format.EXL2), "KoboldCpp loads GGUF, and this is EXL2"),
    (gguf(purpose=Purpose.ADAPTER), "base model"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = KOBOLD.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_the_folder_can_be_wiped_without_harm(tmp_path: Path) -> None:
    """It has no delete of its own: a person removes the folder."""
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("eye", projector=True)
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    for symbolic in (False, True):
        entries = KOBOLD.project([variant], Root(tmp_path / "root", "test"), FACTS)
        materialise(tmp_path / "root", entries, shelf.blobs, symbolic=symbolic)
        shutil.rmtree(tmp_path / "root")
        assert {path: path.read_bytes() for path in before} == before


def test_roots_and_launch(home: Path) -> None:
    (own,) = KOBOLD.roots(sandbox(home))
    assert (own.path, own.owned) == (sandbox(home).farms / "koboldai", True)
    assert KOBOLD.roots(sandbox(home, setting=Path("/mine")))[0].path == Path("/mine")
    assert "127.0.0.1" in KOBOLD.launch
    assert KOBOLD.launch[KOBOLD.launch.index("--admindir") + 1] == "{root}"
