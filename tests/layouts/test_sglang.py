"""SGLang: what it takes from the hub cache, and the reasons why it does not take the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from helixstore.layouts.sglang import SGLang
from helixstore.layouts.vllm import VLLM
from helixstore.providers.layout import Facts, Root
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Purpose, Variant
from support.layouts import FACTS, INTEL, MAC, WINDOWS, Shelf, check_entries, hub, materialise, sandbox


def test_it_takes_what_its_loaders_take(shelf: Shelf) -> None:
    accepted = [shelf.hf(), shelf.hf(shards=2), shelf.gptq(), shelf.gptq(bits=8), shelf.awq(),
                replace(shelf.hf(), purpose=Purpose.EMBEDDING)]
    accepted += [replace(shelf.hf(), format=f, quantization=q) for f, q in (
        (Format.FP8, "FP8"), (Format.COMPRESSED_TENSORS, "W4A16-g128"), (Format.BITSANDBYTES, "nf4"),
        (Format.QUANTIZED, "NVFP4"), (Format.QUANTIZED, "mxfp4"), (Format.QUANTIZED, "quark"))]
    for variant in accepted:
        assert SGLang().accepts(variant, FACTS) is None, variant.key
    assert SGLang().accepts(shelf.mlx(), MAC) is None
    assert SGLang().accepts(shelf.hf(), MAC) is None


@pytest.mark.parametrize(("build", "facts", "reason", "convertible"), [
    (lambda s: s.gguf(), FACTS, "by its path", True),
    (lambda s: s.gptq(bits=3), FACTS, "4 and 8 bits, and this has 3", True),
    (lambda s: s.exl3(), FACTS, "EXL3", True),
    (lambda s: s.mlx(), FACTS, "on a Mac", True),
    (lambda s: replace(s.hf(), format=Format.QUANTIZED, quantization="bitnet"), FACTS, "bitnet", True),
    (lambda s: s.hf(without=["config.json"]), FACTS, "config.json", False),
    (lambda s: s.hf(without=["tokenizer.json"]), FACTS, "tokenizer", False),
    (lambda s: replace(s.hf(), format=Format.PYTORCH), FACTS, "pickles", True),
    (lambda s: replace(s.hf(), purpose=Purpose.ADAPTER), FACTS, "adapter", False),
    (lambda s: s.hf(), WINDOWS, "Windows", False),
    (lambda s: s.hf(), INTEL, "Apple silicon", False),
    (lambda s: s.awq(), MAC, "MLX backend", True),
    (lambda s: replace(s.mlx(), quantization="int3-g64"), MAC, "this has 3", True),
])
def test_each_refusal_says_why(
    build: Callable[[Shelf], Variant], facts: Facts, reason: str, convertible: bool, shelf: Shelf
) -> None:
    refusal = SGLang().accepts(build(shelf), facts)
    assert refusal is not None
    assert reason in refusal.reason
    assert bool(refusal.wants) == convertible


def test_its_root_is_the_one_that_vllm_reads_and_the_persons_wins(tmp_path: Path) -> None:
    for environ in ({}, {"HF_HUB_CACHE": "/c"}, {"HF_HOME": "/h"}):
        assert SGLang().roots(sandbox(tmp_path, environ)) == VLLM().roots(sandbox(tmp_path, environ))
    root, = SGLang().roots(sandbox(tmp_path, {"HF_HUB_CACHE": "/c"}, setting=tmp_path / "mine"))
    assert (root.path, root.origin) == (tmp_path / "mine", "providers.sglang.root")


def test_the_same_model_has_the_same_entries_as_for_vllm(shelf: Shelf, tmp_path: Path) -> None:
    """They share a folder: what both want must be one thing."""
    variants, root = [shelf.hf("a"), shelf.hf("b", seed=3, sources=[hub("acme/b")])], Root(tmp_path, "test")
    assert list(SGLang().project(variants, root, FACTS)) == list(VLLM().project(variants, root, FACTS))


def test_the_snapshot_is_what_its_loader_checks(shelf: Shelf, tmp_path: Path) -> None:
    """`filter_duplicate_safetensors_files`: every file of the index is there, and no second set of weights."""
    variant = shelf.hf("tiny", shards=3, extra={"consolidated.safetensors": b"x" * 64})
    root = Root(tmp_path / "hub", "test")
    entries = list(SGLang().project([variant], root, FACTS))
    check_entries(entries, [variant])
    materialise(root.path, entries, shelf.blobs)
    snapshot, = root.path.glob("models--*/snapshots/*")
    index = json.loads((snapshot / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in snapshot.glob("*.safetensors")}
    main = (root.path / snapshot.relative_to(root.path).parts[0] / "refs/main").read_text()
    assert main == snapshot.name


def test_discover_gives_back_what_was_projected(shelf: Shelf, tmp_path: Path) -> None:
    root, variant = Root(tmp_path / "hub", "test"), shelf.hf("b", sources=[hub("acme/b")])
    materialise(root.path, SGLang().project([variant], root, FACTS), shelf.blobs)
    found, = SGLang().discover(root, DiskReader(tmp_path))
    assert (found.name, found.source.kind, found.source.repository) == ("b", "hub", "acme/b")
    assert {part.path for part in found.inspection.parts} == {file.path for file in variant.files}


def test_deleting_a_revision_leaves_the_store(shelf: Shelf, tmp_path: Path) -> None:
    variant, root = shelf.hf("b", sources=[hub("acme/b")]), Root(tmp_path / "hub", "test")
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    entries = list(SGLang().project([variant], root, FACTS))
    materialise(root.path, entries, shelf.blobs)
    SGLang().delete_as_program_does(root.path, variant, entries)
    assert not list(root.path.glob("models--*/snapshots/*"))
    assert {path: path.read_bytes() for path in before} == before
