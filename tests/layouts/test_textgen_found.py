"""What lies in TextGen's folders, and the projectors that its `config-user.yaml` names."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lying import again, lay, look, unchanged, variant_of

from helixstore.providers.layout import Root
from helixstore.values import Format, Role
from layouts.parts.textgen_settings import Setting, Settings, read_setting
from layouts.textgen import TextGen
from support.layouts import FACTS, Shelf

TEXTGEN = TextGen()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "user_data/models").mkdir(parents=True)
    (tmp_path / "user_data/mmproj").mkdir()
    return tmp_path / "user_data"


def eye(data: Path, shelf: Shelf, place: str, projector: str = "mmproj/mmproj-eye-F16.gguf", seed: int = 7) -> None:
    """A model with its projector apart from it."""
    vision = shelf.gguf("eye", projector=True, seed=seed)
    for file in vision.files:
        target = data / (projector if file.role is Role.PROJECTOR else place)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(shelf.blobs[file.blake3].read_bytes())


@pytest.mark.parametrize("owned", [True, False])
def test_what_is_projected_is_found_again_and_stays_where_it_is(tmp_path: Path, shelf: Shelf, owned: bool) -> None:
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, projector=True, seed=3),
                shelf.gguf("eye", projector=True, seed=30), shelf.hf("tiny-hf"), shelf.exl3()]
    found = again(TEXTGEN, Root(tmp_path / "root", "test", owned=owned), variants, shelf)
    assert [one.source.name for one in found] == [
        "models/big-Q4_K_M/big-Q4_K_M-00001-of-00003.gguf", "models/eye-Q4_K_M.gguf", "models/one-Q4_K_M.gguf",
        "models/tiny-exl3-4.0bpw", "models/tiny-hf"]


def test_files_at_any_depth_and_folders_at_the_top(data: Path, shelf: Shelf) -> None:
    lay(data, {"models/flat-Q8_0.gguf": shelf.gguf("flat", "Q8_0"), "models/a/b/c/deep.GGUF": shelf.gguf(
        "deep", seed=2), "models/a/model.gguf": shelf.gguf("generic", seed=4),
        "models/Qwen_Qwen3-8B": shelf.hf("q"), "models/a/nested": shelf.hf("n", seed=5)}, shelf)
    big = shelf.gguf("big", shards=2, seed=9)
    for file in big.files:
        (data / "models/split").mkdir(exist_ok=True)
        (data / "models/split" / file.path).write_bytes(shelf.blobs[file.blake3].read_bytes())
    found = unchanged(TEXTGEN, Root(data, "test"), others=[shelf.gguf("flat", "Q8_0", seed=20), shelf.hf("a", seed=21)])
    assert {(one.source.kind, one.source.name, one.name) for one in found} == {
        ("program", "models/flat-Q8_0.gguf", "flat"), ("program", "models/a/b/c/deep.GGUF", "deep"),
        ("program", "models/a/model.gguf", "a"), ("program", "models/Qwen_Qwen3-8B", "Qwen_Qwen3-8B"),
        ("file", "models/a/nested", "nested"), ("program", "models/split/big-Q4_K_M-00001-of-00002.gguf", "big")}


@pytest.mark.parametrize("settings", [
    "eye-Q4_K_M.gguf$:\n  loader: llama.cpp\n  mmproj: mmproj-eye-F16.gguf\n",
    "eye-q4_k_m\\.gguf$:\n  mmproj: mmproj-eye-F16.gguf\n",
    ".*:\n  mmproj: other.gguf\n^eye:\n  mmproj: mmproj-eye-F16.gguf\n",
    "{eye.*gguf: {mmproj: mmproj-eye-F16.gguf}}\n",
    "eye-Q4_K_M.gguf$:\n  mmproj: ABSOLUTE/mmproj/mmproj-eye-F16.gguf\n",
])
def test_a_projector_is_the_one_that_the_settings_name(data: Path, shelf: Shelf, settings: str) -> None:
    eye(data, shelf, "models/sub/eye-Q4_K_M.gguf")
    config = data / "models/config-user.yaml"
    config.write_text(settings.replace("ABSOLUTE", str(data)))
    (found,) = unchanged(TEXTGEN, Root(data, "test"))
    assert [part.role for part in found.inspection.parts] == [Role.WEIGHTS, Role.PROJECTOR]
    entries = {entry.path for entry in TEXTGEN.project([variant_of(found)], Root(data, "test"), FACTS)}
    assert entries == {"models/sub/eye-Q4_K_M.gguf", "mmproj/mmproj-eye-F16.gguf"}, "the settings are the person's"


@pytest.mark.parametrize("settings", [
    "", "other.gguf$:\n  mmproj: mmproj-eye-F16.gguf\n", "eye-Q4_K_M.gguf$:\n  ctx_size: 4\n",
    "eye:\n  mmproj: mmproj-eye-F16.gguf\neye-Q4_K_M.gguf$:\n  mmproj: None\n",
    "(eye|ear).*:\n  mmproj: mmproj-eye-F16.gguf\n", "eye$:\n  mmproj: mmproj-eye-F16.gguf\n",
    "eye.*$:\n  mmproj:\n", "eye: 3\n",
])
def test_without_a_setting_a_projector_is_nobodys(data: Path, shelf: Shelf, settings: str) -> None:
    eye(data, shelf, "models/eye-Q4_K_M.gguf")
    (data / "models/config-user.yaml").write_text(settings)
    (found,) = unchanged(TEXTGEN, Root(data, "test"))
    assert [part.role for part in found.inspection.parts] == [Role.WEIGHTS]


def test_a_projector_among_the_models_is_noted_and_joined_to_none(data: Path, shelf: Shelf) -> None:
    lay(data, {"models/eye/eye-Q4_K_M.gguf": shelf.gguf("eye", projector=True)}, shelf)
    lay(data, {"models/x/other.gguf": shelf.gguf("other", projector=True, seed=5)}, shelf)
    (data / "models/x/other.gguf").unlink()
    found, reader = look(TEXTGEN, Root(data, "test"))
    assert [len(one.inspection.parts) for one in found] == [1]
    assert list(reader.notes) == [str(data / "models/x/mmproj.gguf")]


@pytest.mark.parametrize(("settings", "kind"), [
    ("eye-Q4_K_M.gguf$:\n  mmproj: gone.gguf\n", "incomplete"),
    ("eye-Q4_K_M.gguf$:\n  mmproj: ../../../gone.gguf\n", "unsafe"),
    ("eye-Q4_K_M.gguf$:\n  mmproj: /dev/zero\n", "unsafe"),
    ("[" * 100_000, "unreadable"), ("- a\n", "unreadable"), ("x" * (2 << 20), "unreadable"),
])
def test_settings_that_make_no_sense_cost_one_issue_and_the_model_stays_one_of_text(
    data: Path, shelf: Shelf, settings: str, kind: str
) -> None:
    eye(data, shelf, "models/eye-Q4_K_M.gguf")
    (data / "models/config-user.yaml").write_text(settings)
    found, reader = look(TEXTGEN, Root(data, "test"))
    assert [len(one.inspection.parts) for one in found] == [1]
    assert [(i.kind, i.path) for i in reader.issues] == [(kind, str(data / "models/config-user.yaml"))]


def test_a_pattern_that_could_take_for_ever_takes_no_time() -> None:
    nested = "".join(f"'({'a*' * i})*{'.*a' * 40}$':\n  mmproj: x\n" for i in range(1, 50))
    stars = f"'{'.*a' * 200}b$':\n  mmproj: x\n"
    settings = Settings(nested + stars)
    began = time.monotonic()
    assert settings.projector_for("a" * 250) is None
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(("pattern", "name", "holds"), [
    ("a.gguf$", "A.GGUF", True), ("a.gguf", "a.gguf.more", True), ("a$", "ab", False), (".*b$", "aab", True),
    ("a.*b.*c", "axbxc", True), ("a.*b.*c$", "axbxcx", False), ("ab.*bc$", "abc", False), ("ab.*bc$", "abbc", True),
    (".*", "anything", True), ("", "anything", True), ("a.*$", "a", True), ("b", "ab", False),
])
def test_patterns_match_as_textgen_matches_them(pattern: str, name: str, holds: bool) -> None:
    assert (Settings(f"'{pattern}':\n  mmproj: p.gguf\n").projector_for(name) is not None) == holds


@pytest.mark.parametrize("setting", [
    Setting("eye.gguf$", "mmproj.gguf"), Setting("^a b#:'\"\\.gguf$", '/x "y": #z/p.gguf', ours=True),
    Setting("模型.*", "投影.gguf"),
])
def test_a_setting_is_read_as_it_was_written(setting: Setting) -> None:
    assert read_setting(setting.text()) == setting


def test_a_plain_models_folder(tmp_path: Path, shelf: Shelf) -> None:
    lay(tmp_path, {"gguf/a/x.gguf": shelf.gguf("x"), "gguf/Foo": shelf.hf("foo")}, shelf)
    found = unchanged(TEXTGEN, Root(tmp_path / "gguf", "setting", label="models"))
    formats = {one.source.name: one.inspection.format for one in found}
    assert formats == {"Foo": Format.HF, "a/x.gguf": Format.GGUF}


def test_deleting_is_removing_the_files(data: Path, shelf: Shelf) -> None:
    variants = [shelf.gguf("big", shards=2, projector=True), shelf.hf("foo", seed=4)]
    again(TEXTGEN, Root(data, "test"), variants, shelf)
    entries = list(TEXTGEN.project(variants, Root(data, "test"), FACTS))
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    for variant in variants:
        TEXTGEN.delete_as_program_does(data, variant, entries)
    assert [path for path in (data / "models").rglob("*") if path.is_file()] == [data / "models/config-user.yaml"]
    assert {path: path.read_bytes() for path in before} == before
