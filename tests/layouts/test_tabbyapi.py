"""TabbyAPI: every folder of its model_dir is a model, and every safetensors in it is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.formats import inspect
from helixstore.layouts.tabbyapi import TabbyAPI
from helixstore.providers.layout import Facts, Root
from helixstore.values import File, Format, Header, Key, Purpose, Role, Variant
from support.layouts import FACTS, Shelf, check_entries, materialise, sandbox

ROOT = Root(Path("/farm"), "test", owned=True)


class TestRoots:
    def test_ours_when_nothing_is_known(self, tmp_path: Path) -> None:
        root, = TabbyAPI().roots(sandbox(tmp_path))
        assert (root.path, root.owned) == (tmp_path / "store/farms/h/1000/tabbyapi", True)

    def test_the_variable(self, tmp_path: Path) -> None:
        root, = TabbyAPI().roots(sandbox(tmp_path, {"TABBY_MODEL_MODEL_DIR": "/srv/exl3"}))
        assert (root.path, root.owned, root.origin) == (Path("/srv/exl3"), False, "TABBY_MODEL_MODEL_DIR")
        root, = TabbyAPI().roots(sandbox(tmp_path, {"TABBY_MODEL_MODEL_DIR": "models"}))
        assert root.owned

    def test_a_folder_that_is_no_installation_is_the_model_dir(self, tmp_path: Path) -> None:
        root, = TabbyAPI().roots(sandbox(tmp_path, setting=tmp_path / "exl3"))
        assert (root.path, root.owned) == (tmp_path / "exl3", False)

    @pytest.mark.parametrize(("config", "path"), [
        (None, "tabby/models"),
        ("", "tabby/models"),
        ("model:\n  model_dir: other\n", "tabby/other"),
        ("network:\n  port: 5000\n\nmodel:\n  # Directory\n  model_dir: /srv/m  # here\n  model_name:\n", "/srv/m"),
        ('model:\n  model_name: x\n  model_dir: "/srv/my models"\n', "/srv/my models"),
        ("model:\r\n  model_dir: '/srv/m'\r\n", "/srv/m"),
        ("draft_model:\n  draft_model_dir: /d\n  model_dir: /d\nmodel:\n  cache_mode: FP16\n", "tabby/models"),
        ("lora:\n  lora_dir: l\nmodel:\nnetwork:\n  model_dir: no\n", "tabby/models"),
        ("model: {model_dir: /flow}\n", "tabby/models"),
        ("\x00\xff", "tabby/models"),
    ])
    def test_the_installations_own_setting(self, config: str | None, path: str, tmp_path: Path) -> None:
        tabby = tmp_path / "tabby"
        tabby.mkdir()
        (tabby / "main.py").touch()
        if config is not None:
            (tabby / "config.yml").write_bytes(config.encode("latin-1"))
        root, = TabbyAPI().roots(sandbox(tmp_path, setting=tabby))
        assert root.path == tmp_path / path
        assert not root.owned
        assert root.present

    def test_the_variable_wins_over_the_file_and_counts_from_the_installation(self, tmp_path: Path) -> None:
        (tmp_path / "config.yml").write_text("model:\n  model_dir: file\n")
        root, = TabbyAPI().roots(sandbox(tmp_path, {"TABBY_MODEL_MODEL_DIR": "variable"}, setting=tmp_path))
        assert root.path == tmp_path / "variable"

    def test_on_windows(self, fs) -> None:  # type: ignore[no-untyped-def]
        from pyfakefs.fake_filesystem import OSType

        fs.os = OSType.WINDOWS
        fs.create_file(r"C:\tabby\config.yml", contents="model:\r\n  model_dir: 'D:\\models'\r\n")
        root, = TabbyAPI().roots(sandbox(Path("C:\\Users\\a"), platform="win32", setting=Path(r"C:\tabby")))
        assert str(root.path) == r"D:\models"


def test_one_real_folder_for_each_one_level_deep(shelf: Shelf, tmp_path: Path) -> None:
    variants = [shelf.exl3("Qwen3-8B-exl3-4.0bpw"), shelf.hf("Qwen3-8B", shards=2, seed=1)]
    entries = list(TabbyAPI().project(variants, ROOT, FACTS))
    check_entries(entries, variants)
    farm = tmp_path / "farm"
    materialise(farm, entries, shelf.blobs, symbolic=True)
    listed = sorted(path.name for path in farm.iterdir() if path.is_dir() and not path.is_symlink())
    assert listed == ["Qwen3-8B", "Qwen3-8B-exl3-4.0bpw"]
    assert all(path.resolve().name == path.name for path in farm.iterdir())
    for variant, folder in zip(variants, reversed(listed), strict=True):
        inspection = inspect(farm / folder)
        assert (inspection.format, inspection.quantization, inspection.whole) == (
            variant.format, variant.quantization, True)
        assert {"config.json", "tokenizer.json"} <= {path.name for path in (farm / folder).iterdir()}


def test_one_set_of_weights(shelf: Shelf) -> None:
    """It loads every safetensors of the folder; a second set would overwrite the first."""
    extra = {"consolidated.safetensors": b"x" * 64, "consolidated-00001-of-00002.safetensors": b"y" * 64}
    entries = TabbyAPI().project([shelf.hf(shards=2, extra=extra)], ROOT, FACTS)
    weights = {PurePosixPath(entry.path).name for entry in entries if entry.path.endswith(".safetensors")}
    assert weights == {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}


def test_weights_come_last_so_that_no_half_is_listed(shelf: Shelf) -> None:
    entries = list(TabbyAPI().project([shelf.exl3()], ROOT, FACTS))
    assert max(entries, key=lambda entry: entry.order).witness


def test_it_takes_exl3_and_half_precision(shelf: Shelf) -> None:
    for variant in (shelf.exl3(), shelf.hf(), shelf.hf(quantization="F16")):
        for facts in (FACTS, Facts("win32", "AMD64", "local-x7")):
            assert TabbyAPI().accepts(variant, facts) is None


@pytest.mark.parametrize(("build", "reason"), [
    (lambda s: s.gguf(), "YALS"), (lambda s: s.gptq(), "exllamav2"), (lambda s: s.awq(), "awq"),
    (lambda s: replace(s.exl3(), format=Format.EXL2), "exllamav2"), (lambda s: s.mlx(), "mlx"),
    (lambda s: s.hf(quantization="F32"), "F32"),
    (lambda s: s.hf(without=["tokenizer.json"], extra={"tokenizer.model": b"sp"}), "tokenizer.json"),
    (lambda s: replace(s.hf(), purpose=Purpose.EMBEDDING), "embedding_model_dir"),
    (lambda s: replace(s.hf(), header=Header(classes=("A", "B"))), "architectures"),
    (lambda s: replace(s.hf(), header=Header()), "architectures"),
])
def test_each_refusal_says_why(build, reason: str, shelf: Shelf) -> None:  # type: ignore[no-untyped-def]
    refusal = TabbyAPI().accepts(build(shelf), FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_no_mac_has_cuda(shelf: Shelf) -> None:
    refusal = TabbyAPI().accepts(shelf.exl3(), Facts("darwin", "arm64", "local-x7"))
    assert refusal is not None
    assert "CUDA" in refusal.reason


_FILES = (File("config.json", 2, "a" * 64, Role.CONFIG), File("model.safetensors", 9, "b" * 64, Role.WEIGHTS))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=150), st.sampled_from(["hf:BF16", "hf:F16", "exl3:4bpw"])),
                max_size=6, unique_by=lambda pair: (pair[0].casefold(), pair[1])))
def test_any_names_give_folders_of_their_own(names: list[tuple[str, str]]) -> None:
    variants = []
    for number, (name, variant) in enumerate(names):
        format, _, quantization = variant.partition(":")
        variants.append(Variant(Key(name, variant), f"{number:08x}" + "0" * 56, Format(format), quantization,
                                Purpose.MODEL, Header(), _FILES))
    check_entries(list(TabbyAPI().project(variants, ROOT, FACTS)), variants)
