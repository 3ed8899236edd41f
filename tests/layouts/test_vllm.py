"""vLLM: what it takes from the hub cache, and the reasons why it does not take the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from helixstore.layouts.vllm import VLLM
from helixstore.providers.layout import Root
from helixstore.values import Format, Purpose
from support.layouts import FACTS, INTEL, MAC, WINDOWS, Shelf, check_entries, hub, materialise, sandbox


def test_it_takes_what_its_loaders_take(shelf: Shelf) -> None:
    accepted = [shelf.hf(), shelf.hf(shards=2), shelf.gptq(), shelf.gptq(bits=8), shelf.awq(),
                replace(shelf.hf(), purpose=Purpose.EMBEDDING)]
    accepted += [replace(shelf.hf(), format=f, quantization=q) for f, q in (
        (Format.FP8, "FP8"), (Format.COMPRESSED_TENSORS, "W4A16-g128"), (Format.QUANTIZED, "NVFP4"),
        (Format.QUANTIZED, "mxfp4"))]
    for variant in accepted:
        assert VLLM().accepts(variant, FACTS) is None, variant.key
        assert VLLM().accepts(variant, MAC) is None


@pytest.mark.parametrize(("build", "reason", "convertible"), [
    (lambda s: s.gguf(), "0.24", True),
    (lambda s: s.gptq(bits=3), "4 and 8 bits, and this has 3", True),
    (lambda s: s.exl3(), "EXL3", True),
    (lambda s: s.mlx(), "MLX", True),
    (lambda s: replace(s.hf(), format=Format.BITSANDBYTES, quantization="nf4"), "plug-in", True),
    (lambda s: replace(s.hf(), format=Format.QUANTIZED, quantization="bitnet"), "bitnet", True),
    (lambda s: s.hf(without=["config.json"]), "config.json", False),
    (lambda s: s.hf(without=["tokenizer.json"]), "tokenizer", False),
    (lambda s: replace(s.hf(), format=Format.PYTORCH), "pickles", True),
    (lambda s: replace(s.hf(), purpose=Purpose.ADAPTER), "adapter", False),
])
def test_each_refusal_says_why(build, reason: str, convertible: bool, shelf: Shelf) -> None:  # type: ignore[no-untyped-def]
    refusal = VLLM().accepts(build(shelf), FACTS)
    assert refusal is not None
    assert reason in refusal.reason
    assert bool(refusal.wants) == convertible


def test_it_runs_where_it_runs(shelf: Shelf) -> None:
    for facts, word in ((WINDOWS, "Windows"), (INTEL, "Apple silicon")):
        refusal = VLLM().accepts(shelf.hf(), facts)
        assert refusal is not None
        assert word in refusal.reason


def test_the_persons_root_wins(tmp_path: Path) -> None:
    root, = VLLM().roots(sandbox(tmp_path, {"HF_HUB_CACHE": "/c"}, setting=tmp_path / "mine"))
    assert (root.path, root.owned, root.origin) == (tmp_path / "mine", False, "providers.vllm.root")


@pytest.mark.parametrize("source", [(), ("acme/tiny",)])
def test_the_snapshot_is_a_folder_that_it_loads(source: tuple[str, ...], shelf: Shelf, tmp_path: Path) -> None:
    """What `_prepare_weights` checks: every file of the index is there, one set of weights, one recognised method."""
    variant = shelf.hf("tiny", shards=3, sources=[hub(name) for name in source])
    cache = tmp_path / "hub"
    entries = list(VLLM().project([variant], Root(cache, "test"), FACTS))
    check_entries(entries, [variant])
    materialise(cache, entries, shelf.blobs)
    snapshot, = cache.glob("models--*/snapshots/*")
    index = json.loads((snapshot / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in snapshot.glob("*.safetensors")}
    assert json.loads((snapshot / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert not list(snapshot.rglob("consolidated*.safetensors"))


def test_consolidated_weights_beside_others_would_change_the_loader(shelf: Shelf, tmp_path: Path) -> None:
    extra = {"consolidated.safetensors": b"x" * 64}
    paths = [entry.path for entry in VLLM().project([shelf.hf(extra=extra)], Root(tmp_path, "test"), FACTS)]
    assert paths
    assert not [path for path in paths if "consolidated" in path]
