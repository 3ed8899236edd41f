"""MLX: what mlx-lm reads, where it runs, and what its server lists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from helixstore.layouts.mlx import MLX
from helixstore.providers.layout import Facts, Root
from helixstore.values import Format, Purpose
from support.layouts import FACTS, MAC, Shelf, hub, materialise


def test_it_takes_what_mlx_lm_reads(shelf: Shelf) -> None:
    for variant in (shelf.mlx(), shelf.hf(), shelf.hf(shards=2), shelf.awq(), shelf.gptq(), shelf.gptq(bits=3),
                    replace(shelf.hf(), format=Format.QUANTIZED, quantization="mxfp4")):
        for facts in (FACTS, MAC):
            assert MLX().accepts(variant, facts) is None, variant.key


@pytest.mark.parametrize(("build", "reason"), [
    (lambda s: s.gguf(), "only exports GGUF"),
    (lambda s: s.exl3(), "EXL3"),
    (lambda s: replace(s.hf(), format=Format.FP8, quantization="FP8"), "ue8m0"),
    (lambda s: replace(s.hf(), format=Format.BITSANDBYTES, quantization="nf4"), "bitsandbytes"),
    (lambda s: replace(s.hf(), format=Format.QUANTIZED, quantization="quark"), "quark"),
    (lambda s: replace(s.hf(), purpose=Purpose.EMBEDDING), "embeddings"),
    (lambda s: s.hf(without=["model.safetensors"], extra={"weights.safetensors": b"12345678"}), "model*.safetensors"),
    (lambda s: s.hf(without=["config.json"]), "config.json"),
])
def test_each_refusal_says_why(build, reason: str, shelf: Shelf) -> None:  # type: ignore[no-untyped-def]
    refusal = MLX().accepts(build(shelf), FACTS)
    assert refusal is not None
    assert reason in refusal.reason


@pytest.mark.parametrize(("platform", "machine"), [("darwin", "x86_64"), ("win32", "AMD64")])
def test_it_does_not_run_everywhere(platform: str, machine: str, shelf: Shelf) -> None:
    assert MLX().accepts(shelf.mlx(), Facts(platform, machine, "local-x7")) is not None


def test_its_server_lists_what_has_an_index(shelf: Shelf, tmp_path: Path) -> None:
    """The rule of `handle_models_request`, on the client's own scan: ref `main`, and three files in its snapshot."""
    cache = tmp_path / "hub"
    variants = [shelf.mlx("with", sources=[hub("acme/with")]), shelf.mlx("local"), shelf.mlx("bare", index=False)]
    materialise(cache, MLX().project(variants, Root(cache, "test"), FACTS), shelf.blobs)
    needed = {"config.json", "model.safetensors.index.json", "tokenizer_config.json"}
    listed = {
        repository.repo_id for repository in scan_cache_dir(cache).repos
        if repository.repo_type == "model" and "main" in repository.refs
        and needed <= {file.file_path.name for file in repository.refs["main"].files}
    }
    assert listed == {"acme/with", "local-x7/local-mlx-int4-g64"}
