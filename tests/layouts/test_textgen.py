"""TextGen: what its own walk lists, where projectors lie, and the person's `config-user.yaml`."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from many import check_names, gguf

from helixstore.providers.layout import Root, Text
from helixstore.values import Format, Header, Purpose, Variant
from layouts.textgen import TextGen
from support.layouts import FACTS, Shelf, check_entries, materialise, sandbox

TEXTGEN = TextGen()


def models(folder: Path) -> tuple[list[str], list[str]]:
    """GGUF ids and folders as modules/utils.py finds them: no filter for projectors, dangling links listed."""
    ggufs = []
    for base, _, files in os.walk(folder, followlinks=True):
        for name in files:
            later = re.search(r"-(\d+)-of-\d+\.gguf$", name)
            if name.lower().endswith(".gguf") and not (later and int(later[1]) != 1):
                assert (Path(base) / name).exists()
                ggufs.append((Path(base) / name).relative_to(folder).as_posix())
    folders = [path.name for path in folder.iterdir() if path.is_dir() and not any(path.glob("*.gguf"))]
    return sorted(ggufs), sorted(folders)


def settings_for(config: Path, model: str) -> dict[str, Any]:
    """`get_model_metadata`: each pattern against the lower-cased base name, from its start."""
    found: dict[str, Any] = {}
    for pattern, values in (yaml.safe_load(config.read_text()) or {}).items():
        if re.match(pattern.lower(), Path(model).name.lower()):
            found |= values
    return found


@pytest.mark.parametrize("owned", [True, False])
@pytest.mark.parametrize("symbolic", [False, True])
def test_models_projectors_and_the_settings_that_join_them(tmp_path: Path, owned: bool, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, projector=True, seed=3),
                shelf.gguf("eye", projector=True, seed=7), shelf.hf("tiny-hf"), shelf.exl3(), shelf.hf("docs", seed=5)]
    root = Root(tmp_path / "root", "test", owned=owned)
    entries = list(TEXTGEN.project(variants, root, FACTS))
    check_names(entries, variants)
    check_entries([entry for entry in entries if entry.key], variants)
    materialise(root.path, entries, shelf.blobs, symbolic=symbolic)
    ggufs, folders = models(root.path / "models")
    assert ggufs == ["big-Q4_K_M/big-Q4_K_M-00001-of-00003.gguf", "eye-Q4_K_M.gguf", "one-Q4_K_M.gguf"]
    assert folders == ["docs-model", "tiny-exl3-4.0bpw", "tiny-hf"]
    config = root.path / "models/config-user.yaml"
    assert not config.is_symlink()
    assert settings_for(config, "one-Q4_K_M.gguf") == {}
    for model, shown in (("eye-Q4_K_M.gguf", "mmproj-eye-Q4_K_M.gguf"),
                         ("big-Q4_K_M/big-Q4_K_M-00001-of-00003.gguf", "mmproj-big-Q4_K_M.gguf")):
        value = settings_for(config, model)["mmproj"]
        assert value == (str(root.path / "mmproj" / shown) if owned else shown)
        assert (root.path / "mmproj" / value).is_file()


def test_without_projectors_the_persons_settings_are_not_touched(tmp_path: Path) -> None:
    assert [entry.path for entry in TEXTGEN.project([gguf()], Root(tmp_path, "test"), FACTS)] == [
        "models/tiny-Q4_K_M.gguf"]


def test_a_plain_models_folder_gets_models_only(tmp_path: Path) -> None:
    variants = [gguf("eye", projector="mmproj.gguf"), gguf("big", shards=2)]
    paths = [e.path for e in TEXTGEN.project(variants, Root(tmp_path, "setting", label="models"), FACTS)]
    assert paths == ["eye-Q4_K_M.gguf", "big-Q4_K_M/big-Q4_K_M-00001-of-00002.gguf",
                     "big-Q4_K_M/big-Q4_K_M-00002-of-00002.gguf"]


def merged(variants: list[Variant], root: Path, theirs: bytes | None, base: bytes | None = None) -> bytes | None:
    entries = list(TEXTGEN.project(variants, Root(root, "test", owned=True), FACTS))
    (text,) = (entry.body for entry in entries if entry.path.endswith("config-user.yaml"))
    assert isinstance(text, Text)
    assert text.merge
    return text.merge(base, theirs, text.data)


def test_the_persons_settings_stay_in_order_with_their_comments(tmp_path: Path) -> None:
    theirs = (
        b"# mine\n.*llama.*:\n  loader: Transformers\n  bf16: true\n\neye-Q4_K_M.gguf$:\n"
        b"  loader: llama.cpp\n  ctx_size: 8192\nother$:\n  mmproj: mine.gguf\n")
    result = merged([gguf("eye", projector="mmproj.gguf"), gguf("ear", projector="mmproj.gguf")], tmp_path, theirs)
    assert result is not None
    assert result.startswith(b"# mine\n")
    own = yaml.safe_load(theirs)
    assert yaml.safe_load(result) == {
        **own, "eye-Q4_K_M.gguf$": {**own["eye-Q4_K_M.gguf$"], "mmproj": f"{tmp_path}/mmproj/mmproj-eye-Q4_K_M.gguf"},
        "ear-Q4_K_M.gguf$": {"mmproj": f"{tmp_path}/mmproj/mmproj-ear-Q4_K_M.gguf"}}
    both = [gguf("eye", projector="mmproj.gguf"), gguf("ear", projector="mmproj.gguf")]
    assert merged(both, tmp_path, result) == result
    fewer = merged([gguf("eye", projector="mmproj.gguf")], tmp_path, result, b"what was wanted then")
    assert fewer is not None
    assert "ear-Q4_K_M.gguf$" not in yaml.safe_load(fewer)
    assert set(own) <= set(yaml.safe_load(fewer))


def test_what_the_interface_saved_is_the_persons(tmp_path: Path) -> None:
    eye = [gguf("eye", projector="mmproj.gguf")]
    saved = b"eye-Q4_K_M.gguf$:\n  loader: llama.cpp\n  mmproj: other.gguf\n  ctx_size: 1\n"
    assert merged(eye, tmp_path, saved) == saved
    moved = merged(eye, tmp_path / "new", merged(eye, tmp_path / "old", None))
    assert moved is not None
    assert str(tmp_path / "new") in moved.decode()


def test_with_nothing_wanted_only_our_entries_go(tmp_path: Path) -> None:
    entries = list(TEXTGEN.project([gguf("eye", projector="mmproj.gguf")], Root(tmp_path, "test"), FACTS))
    (text,) = (entry.body for entry in entries if entry.path.endswith("config-user.yaml"))
    assert isinstance(text, Text)
    assert text.merge
    theirs = text.data + b"mine$:\n  ctx_size: 4\n"
    assert text.merge(text.data, theirs, b"") == b"mine$:\n  ctx_size: 4\n"
    assert text.merge(text.data, text.data, b"") == b""


@pytest.mark.parametrize("theirs", [b"\xff", b"- a list\n", b"{a: {b: 1}}\n"])
def test_settings_that_cannot_be_read_are_a_conflict(tmp_path: Path, theirs: bytes) -> None:
    assert merged([gguf("eye", projector="mmproj.gguf")], tmp_path, theirs) is None


@pytest.mark.parametrize(("format", "reason", "wants"), [
    (Format.GPTQ, "gptqmodel", (Format.GGUF, Format.EXL3)), (Format.AWQ, "autoawq", (Format.GGUF, Format.EXL3)),
    (Format.COMPRESSED_TENSORS, "compressed-tensors", (Format.GGUF, Format.EXL3)), (Format.EXL2, "ExLlamaV2", ()),
    (Format.MLX, "mlx", ()),
])
def test_refusals_of_formats_say_why(tmp_path: Path, format: Format, reason: str, wants: tuple[Format, ...]) -> None:
    refusal = TEXTGEN.accepts(replace(Shelf(tmp_path).hf(), format=format), FACTS)
    assert refusal is not None
    assert reason in refusal.reason
    assert refusal.wants == wants


def test_other_refusals(tmp_path: Path) -> None:
    mac = replace(FACTS, platform="darwin", machine="arm64")
    shelf = Shelf(tmp_path)
    assert TEXTGEN.accepts(shelf.exl3(), mac) is not None
    assert TEXTGEN.accepts(shelf.exl3(), FACTS) is None
    assert TEXTGEN.accepts(gguf(purpose=Purpose.ADAPTER), FACTS) is not None
    assert TEXTGEN.accepts(gguf(header=Header("g", embedded_projector=True)), FACTS) is not None
    without = TEXTGEN.accepts(shelf.hf(without=["tokenizer.json", "tokenizer_config.json"]), FACTS)
    assert without is not None
    assert "tokenizer" in without.reason


def test_a_name_with_exl3_is_only_for_exl3(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    plain, real = shelf.hf("my-exl3-source"), shelf.exl3("my-exl3")
    entries = list(TEXTGEN.project([plain, real], Root(tmp_path, "test"), FACTS))
    for entry in entries:
        assert ("exl3" in entry.path) == (entry.key == real.key)


def test_removing_the_folder_leaves_the_store(tmp_path: Path) -> None:
    """TextGen deletes no models; a person does."""
    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.gguf("eye", projector=True), shelf.hf("tiny-hf")]
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    for symbolic in (False, True):
        root = tmp_path / f"root{symbolic}"
        materialise(root, TEXTGEN.project(variants, Root(root, "test"), FACTS), shelf.blobs, symbolic=symbolic)
        shutil.rmtree(root)
        assert {path: path.read_bytes() for path in before} == before


def test_roots(home: Path) -> None:
    (own,) = TEXTGEN.roots(sandbox(home))
    assert (own.path, own.owned) == (sandbox(home).farms / "textgen", True)
    (home / "text-generation-webui/user_data").mkdir(parents=True)
    (installed,) = TEXTGEN.roots(sandbox(home))
    assert (installed.path, installed.owned) == (home / "text-generation-webui/user_data", False)


@pytest.mark.parametrize(("made", "setting", "path", "label"), [
    (["tg/user_data/models"], "tg/user_data", "tg/user_data", ""),
    (["tg/user_data/models"], "tg/user_data/models", "tg/user_data", ""),
    (["data/settings.yaml", "data/models"], "data/models", "data", ""),
    ([], "nothing-yet", "nothing-yet", ""),
    (["models/x.gguf"], "models", "models", "models"),
    ([], "models", "models", "models"),
    (["gguf/x.gguf"], "gguf", "gguf", "models"),
])
def test_what_the_setting_may_name(home: Path, made: list[str], setting: str, path: str, label: str) -> None:
    for name in made:
        (home / name).mkdir(parents=True)
    (root,) = TEXTGEN.roots(sandbox(home, setting=home / setting))
    assert (root.path, root.label) == (home / path, label)
