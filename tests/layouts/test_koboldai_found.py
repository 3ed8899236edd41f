"""What lies in KoboldCpp's admin folder: configurations that it or the person saved, and GGUF files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lying import again, lay, look, unchanged

from helixstore.providers.layout import Root
from helixstore.values import Purpose, Role
from layouts.koboldai import KoboldAI
from support.layouts import FACTS, Shelf

KOBOLD = KoboldAI()

#: some of what the program writes when a person saves: every argument, most without a value
SAVED: dict[str, object] = {
    "model": [], "model_param": None, "port": 5001, "host": "", "threads": 5, "usecuda": None, "usevulkan": None,
    "contextsize": 8192, "gpulayers": -1, "mmproj": None, "draftmodel": None, "sdmodel": "", "whispermodel": "",
    "ttsmodel": "", "embeddingsmodel": "", "istemplate": False, "preloadstory": None, "lora": None,
}


@pytest.fixture
def admin(tmp_path: Path) -> Path:
    return tmp_path / "admin"


def save(path: Path, **settings: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(SAVED | settings))
    return path


def test_what_is_projected_is_found_again_and_stays_where_it_is(admin: Path, shelf: Shelf) -> None:
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, seed=3), shelf.gguf("eye", projector=True, seed=7)]
    found = again(KOBOLD, Root(admin, "test", owned=True), variants, shelf)
    assert [one.source.name for one in found] == ["big-Q4_K_M.kcpps", "eye-Q4_K_M.kcpps", "one-Q4_K_M.kcpps"]


def test_configurations_in_every_form_and_files_by_themselves(admin: Path, shelf: Shelf, tmp_path: Path) -> None:
    lay(admin, {"flat-Q8_0.gguf": shelf.gguf("flat", "Q8_0"), "sub/Deep.GGUF": shelf.gguf("deep", seed=2),
                "sub/eye-Q4_K_M.gguf": shelf.gguf("eye", projector=True, seed=3)}, shelf)
    lay(tmp_path, {"far/model.gguf": shelf.gguf("far", seed=5), "far/old.gguf": shelf.gguf("old", seed=6)}, shelf)
    save(admin / "sub/eye.kcpps", model_param=str(admin / "sub/eye-Q4_K_M.gguf"), mmproj=str(admin / "sub/mmproj.gguf"))
    save(admin / "Far away.kcpps", model_param=str(tmp_path / "far/model.gguf"))
    save(admin / "list.KCPPT", model=[str(tmp_path / "far/old.gguf")])
    found = {one.source.name: one for one in unchanged(KOBOLD, Root(admin, "test"),
                                                       others=[shelf.gguf("flat", "Q8_0", seed=20)])}
    assert {name: one.name for name, one in found.items()} == {
        "flat-Q8_0.gguf": "flat", "sub/Deep.GGUF": "Deep", "sub/eye.kcpps": "eye", "Far away.kcpps": "Far away",
        "list.KCPPT": "old"}
    assert [part.role for part in found["sub/eye.kcpps"].inspection.parts] == [Role.WEIGHTS, Role.PROJECTOR]
    assert json.loads(found["sub/eye.kcpps"].source.sidecars[0][1])["contextsize"] == 8192


def test_two_configurations_of_one_file_are_two_witnesses(admin: Path, shelf: Shelf) -> None:
    lay(admin, {"x.gguf": shelf.gguf("x")}, shelf)
    for name in ("short", "long"):
        save(admin / f"{name}.kcpps", model_param=str(admin / "x.gguf"))
    assert [one.source.name for one in unchanged(KOBOLD, Root(admin, "test"))] == ["long.kcpps", "short.kcpps"]


def test_shards_are_one_model_and_a_lone_projector_is_noted(admin: Path, shelf: Shelf) -> None:
    big = shelf.gguf("big", shards=2)
    for file in big.files:
        (admin / file.path).parent.mkdir(exist_ok=True)
        (admin / file.path).write_bytes(shelf.blobs[file.blake3].read_bytes())
    eye = shelf.gguf("eye", projector=True, seed=7).projectors[0]
    (admin / "mmproj.gguf").write_bytes(shelf.blobs[eye.blake3].read_bytes())
    (found,) = unchanged(KOBOLD, Root(admin, "test"))
    assert len(found.inspection.parts) == 2
    _, reader = look(KOBOLD, Root(admin, "test"))
    assert list(reader.notes) == [str(admin / "mmproj.gguf")]


def test_an_embedding_model_by_its_own_key(admin: Path, shelf: Shelf) -> None:
    lay(admin, {"weights-of-mine/a/embed.gguf": shelf.gguf("embed", architecture="bert")}, shelf)
    save(admin / "embed.kcpps", embeddingsmodel=str(admin / "weights-of-mine/a/embed.gguf"))
    (found,) = unchanged(KOBOLD, Root(admin, "test"))
    assert (found.source.name, found.inspection.purpose) == ("embed.kcpps", Purpose.EMBEDDING)


@pytest.mark.parametrize(("settings", "why"), [
    ({"sdmodel": "/x/flux.safetensors"}, "image"), ({"whispermodel": "/x/w.bin"}, "speech"),
    ({"ttsmodel": "/x/t.gguf"}, "voice"), ({"model_param": "https://hub/x.gguf"}, "address"),
    ({"model": ["https://hub/x.gguf"]}, "address"), ({"model_param": "models/x.gguf"}, "depends on where"),
    ({"model_param": "../x.gguf"}, "depends on where"),
])
def test_what_is_koboldcpps_alone_is_noted(admin: Path, settings: dict[str, object], why: str) -> None:
    sidecar = save(admin / "it.kcpps", **settings)
    found, reader = look(KOBOLD, Root(admin, "test"))
    assert (found, reader.issues) == ([], [])
    assert why in reader.notes[str(sidecar)]


def test_settings_without_a_model_are_no_model(admin: Path) -> None:
    save(admin / "defaults.kcppt", istemplate=True)
    found, reader = look(KOBOLD, Root(admin, "test"))
    assert (found, reader.issues, reader.notes) == ([], [], {})


@pytest.mark.parametrize(("text", "kind"), [
    ('{"model_param": "/nowhere/x.gguf"}', "incomplete"), ('{"model_param": "/dev/zero"}', "unsafe"),
    ('{"model_param": "/nowhere\\u0000/x.gguf"}', "incomplete"), ("[" * 200_000, "unreadable"), ("[]", "unreadable"),
    ("{", "unreadable"), ('{"model_param": "/\\ud800"}', "incomplete"), ('{"a": ' + "9" * 5000 + "}", "unreadable"),
    ("x" * (2 << 20), "unreadable"),
])
def test_a_configuration_that_makes_no_sense_costs_one_issue(admin: Path, shelf: Shelf, text: str, kind: str) -> None:
    lay(admin, {"good.gguf": shelf.gguf("x")}, shelf)
    (admin / "bad.kcpps").write_text(text)
    found, reader = look(KOBOLD, Root(admin, "test"))
    assert [one.source.name for one in found] == ["good.gguf"]
    assert [(issue.kind, issue.path) for issue in reader.issues] == [(kind, str(admin / "bad.kcpps"))]


def test_deleting_is_removing_the_configuration(admin: Path, shelf: Shelf) -> None:
    root, variant = Root(admin, "test", owned=True), shelf.gguf("one")
    again(KOBOLD, root, [variant], shelf)
    entries = list(KOBOLD.project([variant], root, FACTS))
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    KOBOLD.delete_as_program_does(admin, variant, entries)
    assert not (admin / "one-Q4_K_M.kcpps").exists()
    assert {path: path.read_bytes() for path in before} == before
