"""FastChat: folders whose names it takes for the model's, and searches for words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.formats import inspect
from helixstore.layouts.fastchat import FastChat
from helixstore.providers.layout import Copy, Root, Weight
from helixstore.values import File, Format, Header, Key, Purpose, Role, Variant
from support.layouts import FACTS, Shelf, check_entries, hub, materialise, sandbox

ROOT = Root(Path("/farm"), "test", owned=True)


def test_the_folder_is_ours_unless_the_person_names_one(tmp_path: Path) -> None:
    own, = FastChat().roots(sandbox(tmp_path))
    assert (own.path, own.owned, own.forbid) == (tmp_path / "store/farms/h/1000/fastchat", True, "")
    theirs, = FastChat().roots(sandbox(tmp_path, setting=tmp_path / "models"))
    assert (theirs.path, theirs.owned) == (tmp_path / "models", False)


def test_a_path_with_peft_in_it_is_no_place_for_models(tmp_path: Path) -> None:
    root, = FastChat().roots(sandbox(tmp_path, setting=tmp_path / "my-PEFT-work"))
    assert "adapters" in root.forbid


def test_the_folder_is_called_as_the_repository(shelf: Shelf, tmp_path: Path) -> None:
    named = replace(shelf.hf("my-name", sources=[hub("lmsys/vicuna-7b-v1.5")]), key=Key("my-name", "hf:BF16"))
    loose = shelf.hf("loose", shards=2, seed=1)
    entries = list(FastChat().project([named, loose], ROOT, FACTS))
    check_entries(entries, [named, loose])
    assert {entry.path.split("/")[0] for entry in entries} == {"vicuna-7b-v1.5", "loose"}
    materialise(tmp_path / "farm", entries, shelf.blobs, symbolic=True)
    for folder, variant in (("vicuna-7b-v1.5", named), ("loose", loose)):
        inspection = inspect(tmp_path / "farm" / folder)
        assert inspection.whole
        assert inspection.format is Format.HF
        assert {part.path for part in inspection.parts} <= {file.path for file in variant.files}


def test_weights_are_linked_and_small_files_copied(shelf: Shelf) -> None:
    for entry in FastChat().project([shelf.hf()], ROOT, FACTS):
        assert isinstance(entry.body, Weight if entry.path.endswith(".safetensors") else Copy)
        assert entry.witness == entry.path.endswith(".safetensors")


def test_code_lies_only_where_it_is_known_to_come_from(shelf: Shelf) -> None:
    """FastChat trusts remote code with every load."""
    extra = {"modeling_x.py": b"import os"}
    loose, real = shelf.hf("loose", extra=extra), shelf.hf("real", extra=extra, sources=[hub("acme/real")])
    code = [entry.path for entry in FastChat().project([loose, real], ROOT, FACTS) if entry.path.endswith(".py")]
    assert code == ["real/modeling_x.py"]


@pytest.mark.parametrize(("build", "reason"), [
    (lambda s: s.gguf(), "never read GGUF"), (lambda s: s.gptq(), "GPTQ-for-LLaMa"), (lambda s: s.awq(), "llm-awq"),
    (lambda s: s.exl3(), "exl3"), (lambda s: s.mlx(), "mlx"),
    (lambda s: s.hf(without=["tokenizer.json"]), "tokenizer"),
])
def test_each_refusal_says_why(build, reason: str, shelf: Shelf) -> None:  # type: ignore[no-untyped-def]
    refusal = FastChat().accepts(build(shelf), FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_it_takes_what_is_not_quantised(shelf: Shelf) -> None:
    for quantization in ("BF16", "F16", "F32"):
        assert FastChat().accepts(shelf.hf(quantization=quantization), FACTS) is None


_FILES = (File("config.json", 2, "a" * 64, Role.CONFIG), File("model.safetensors", 9, "b" * 64, Role.WEIGHTS))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=150) | st.sampled_from(["peft", "xPEFTx", "pepeftft", "pe-ft", "CON"]),
                max_size=6, unique_by=str.casefold))
def test_any_names_give_folders_of_their_own_without_peft(names: list[str]) -> None:
    variants = [Variant(Key(name, "hf:BF16"), f"{number:08x}" + "0" * 56, Format.HF, "BF16", Purpose.MODEL, Header(),
                        _FILES) for number, name in enumerate(names)]
    entries = list(FastChat().project(variants, ROOT, FACTS))
    check_entries(entries, variants)
    assert not [entry.path for entry in entries if "peft" in entry.path.casefold()]
