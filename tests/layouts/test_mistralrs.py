"""mistral.rs: the hub cache for safetensors, a folder of its own for GGUF under original names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.formats import inspect
from helixstore.layouts.mistralrs import MistralRs
from helixstore.providers.layout import Facts, Root, Weight
from helixstore.values import File, Format, Header, Key, LinkKind, Purpose, Role, Variant
from support.layouts import COMMIT, FACTS, Shelf, check_entries, hub, materialise, sandbox

OWN, HUB = Root(Path("/farm"), "test", owned=True, label="gguf"), Root(Path("/hub"), "test", label="hub")


def paths(variants: list[Variant], root: Root = OWN) -> list[str]:
    entries = list(MistralRs().project(variants, root, FACTS))
    return sorted(entry.path for entry in entries)


def test_the_cache_comes_first_and_gguf_gets_a_folder(tmp_path: Path) -> None:
    cache, own = MistralRs().roots(sandbox(tmp_path, {"HF_HOME": "/h"}))
    assert (cache.path, cache.owned) == (Path("/h/hub"), False)
    assert (own.path, own.owned) == (tmp_path / "store/farms/h/1000/mistralrs", True)
    assert len({cache.label, own.label}) == 2
    cache, own = MistralRs().roots(sandbox(tmp_path, {}, setting=tmp_path / "gguf"))
    assert (own.path, own.owned, cache.path) == (tmp_path / "gguf", False, tmp_path / ".cache/huggingface/hub")


def test_the_launch_names_the_cache_since_its_loaders_ignore_the_variables() -> None:
    assert MistralRs.launch[-2:] == ("--hf-cache", "{root}")


def test_gguf_keeps_its_names_and_has_its_projector_beside_it(shelf: Shelf) -> None:
    one, cut, seeing = shelf.gguf("a", "Q8_0"), shelf.gguf("b", shards=2), shelf.gguf("c", projector=True)
    assert paths([one, cut, seeing]) == [
        "a-Q8_0/a-Q8_0.gguf",
        "b-Q4_K_M/b-Q4_K_M-00001-of-00002.gguf", "b-Q4_K_M/b-Q4_K_M-00002-of-00002.gguf",
        "c-Q4_K_M/c-Q4_K_M.gguf", "c-Q4_K_M/mmproj-c-F16.gguf"]


def test_what_lies_in_the_folder_is_one_model_to_our_own_eyes(shelf: Shelf, tmp_path: Path) -> None:
    variant = shelf.gguf("c", shards=2, projector=True)
    entries = list(MistralRs().project([variant], OWN, FACTS))
    check_entries(entries, [variant])
    materialise(tmp_path / "farm", entries, shelf.blobs, symbolic=True)
    inspection = inspect(tmp_path / "farm/c-Q4_K_M/c-Q4_K_M-00001-of-00002.gguf")
    assert inspection.whole
    assert {part.path for part in inspection.parts} == {file.path for file in variant.files}


def test_weights_may_be_linked_in_any_way(shelf: Shelf) -> None:
    body = next(iter(MistralRs().project([shelf.gguf()], OWN, FACTS))).body
    assert isinstance(body, Weight)
    assert body.kinds[0] is LinkKind.HARD
    assert LinkKind.SYMBOLIC in body.kinds


def test_gguf_of_a_repository_is_in_both_and_safetensors_in_the_cache_alone(shelf: Shelf) -> None:
    real, loose, hf = shelf.gguf("m", sources=[hub("acme/m-GGUF")]), shelf.gguf("n"), shelf.hf("h")
    assert paths([real, loose, hf]) == ["m-Q4_K_M/m-Q4_K_M.gguf", "n-Q4_K_M/n-Q4_K_M.gguf"]
    cached = paths([real, loose, hf], HUB)
    assert f"models--acme--m-GGUF/snapshots/{COMMIT}/m-Q4_K_M.gguf" in cached
    assert not [path for path in cached if "n-Q4_K_M" in path]
    assert any(path.startswith("models--local-x7--h/") for path in cached)


def test_its_cache_delete_leaves_the_blobs(shelf: Shelf, tmp_path: Path) -> None:
    variant = shelf.hf("m", sources=[hub("acme/m")])
    entries = list(MistralRs().project([variant], HUB, FACTS))
    materialise(tmp_path / "hub", entries, shelf.blobs)
    before = {digest: path.read_bytes() for digest, path in shelf.blobs.items()}
    MistralRs().delete_as_program_does(tmp_path / "hub", variant, entries)
    assert not [entry for entry in entries if entry.witness and (tmp_path / "hub" / entry.path).exists()]
    assert {digest: path.read_bytes() for digest, path in shelf.blobs.items()} == before
    own = list(MistralRs().project([shelf.gguf()], OWN, FACTS))
    with pytest.raises(LookupError):
        MistralRs().delete_as_program_does(tmp_path, shelf.gguf(), own)


def test_it_takes_gguf_safetensors_and_what_mlx_quantised(shelf: Shelf) -> None:
    for variant in (shelf.gguf(), shelf.gguf(quantization="Q8_0"), shelf.gguf(quantization="BF16"), shelf.hf(),
                    shelf.hf(shards=2), shelf.mlx(), shelf.gptq(), shelf.awq(),
                    replace(shelf.hf(), format=Format.FP8, quantization="FP8"),
                    replace(shelf.hf(), format=Format.BITSANDBYTES, quantization="nf4")):
        assert MistralRs().accepts(variant, FACTS) is None, variant.key


@pytest.mark.parametrize(("build", "reason"), [
    (lambda s: s.gguf(quantization="IQ2_XXS"), "IQ2_XXS"),
    (lambda s: s.gguf(tokenizer=("gpt2", "default")), "pre-tokenizer"),
    (lambda s: replace(s.gguf(), header=replace(s.gguf().header, byte_order="big")), "big-endian"),
    (lambda s: s.exl3(), "EXL3"),
    (lambda s: replace(s.hf(), format=Format.COMPRESSED_TENSORS, quantization="W4A16"), "compressed-tensors"),
    (lambda s: replace(s.hf(), format=Format.QUANTIZED, quantization="quark"), "quark"),
    (lambda s: s.hf(without=["model.safetensors"], extra={"weights.safetensors": b"12345678"}), "model.safetensors"),
])
def test_each_refusal_says_why(build, reason: str, shelf: Shelf) -> None:  # type: ignore[no-untyped-def]
    refusal = MistralRs().accepts(build(shelf), FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_gptq_and_awq_need_cuda(shelf: Shelf) -> None:
    mac = Facts("darwin", "arm64", "local-x7")
    for variant in (shelf.gptq(), shelf.awq()):
        refusal = MistralRs().accepts(variant, mac)
        assert refusal is not None
        assert "CUDA" in refusal.reason


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200), st.booleans()),
                max_size=6, unique_by=lambda chosen: chosen[0].casefold()))
def test_any_names_give_paths_of_their_own(chosen: list[tuple[str, str, bool]]) -> None:
    variants = []
    for number, (model, stem, cut) in enumerate(chosen):
        suffixes = ("-00001-of-00002.gguf", "-00002-of-00002.gguf") if cut else (".gguf",)
        files = tuple(File(stem.replace("/", "-") + suffix, 9, "b" * 64, Role.WEIGHTS) for suffix in suffixes)
        variants.append(Variant(Key(model, "gguf:Q8_0"), f"{number:08x}" + "0" * 56, Format.GGUF, "Q8_0", Purpose.MODEL,
                                Header(), files))
    entries = list(MistralRs().project(variants, OWN, FACTS))
    check_entries(entries, variants)
    for entry in entries:
        number = entry.path[-14:-5].partition("-of-")
        assert (number[1] == "-of-") == any(v.key == entry.key and len(v.weights) == 2 for v in variants)


@pytest.mark.parametrize(("architecture", "taken"), [
    ("llama", True), ("qwen3moe", True), ("gemma3", True), ("something-of-next-year", True), ("falcon", False),
    ("stablelm", False), ("command-r", False)])
def test_architectures_without_a_loader_are_refused_and_unknown_ones_tried(
    architecture: str, taken: bool, shelf: Shelf
) -> None:
    refusal = MistralRs().accepts(shelf.gguf(architecture=architecture), FACTS)
    assert (refusal is None) == taken
    assert refusal is None or architecture in refusal.reason
