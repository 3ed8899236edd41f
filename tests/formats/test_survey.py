"""Grouping: shards, projectors, names; and what a survey costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from helixstore.formats import Inspection, base_name, inspect, quantization_in_name, survey
from helixstore.formats.names import role_of, shard_of_name
from helixstore.values import Issue, Purpose, Role
from support import raw
from support.models import tiny_gguf

CLIP = (raw.text("general.type", "mmproj"),)


def gguf(path: Path, *, file_type: int = 1, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw.model_gguf(file_type=file_type, seed=seed))
    return path


def projector(path: Path, kind: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 4096 if kind == 0 else 2048
    path.write_bytes(raw.gguf(
        [raw.text("general.architecture", "clip"), raw.number("general.file_type", {0: 0, 1: 1, 30: 32}[kind]), *CLIP],
        [raw.tensor("v.blk.0.w", (32, 32), kind, 0)], size))
    return path


def look(folder: Path, depth: int = -1) -> dict[str, tuple[str, ...]]:
    """File name of the first part -> names of all parts."""
    issues: list[Issue] = []
    found = survey(folder, depth, issue=issues.append)
    assert not issues
    return {one.location.name: tuple(part.path for part in one.parts) for one in found}


@pytest.mark.parametrize(("file", "base", "quant"), [
    ("Llama-3.1-8B-Instruct-Q4_K_M.gguf", "Llama-3.1-8B-Instruct", "Q4_K_M"),
    ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct", "Q4_1"),
    ("gemma-3-270m-q4_k_m.gguf", "gemma-3-270m", "Q4_K_M"),
    ("model.i1-IQ2_XXS.gguf", "model", "I1-IQ2_XXS"),
    ("Qwen3-8B-UD-Q4_K_XL.gguf", "Qwen3-8B", "UD-Q4_K_XL"),
    ("gpt-oss-20b-MXFP4.gguf", "gpt-oss-20b", "MXFP4"),
    ("gpt-oss-20b-mxfp4_moe.gguf", "gpt-oss-20b", "MXFP4_MOE"),
    ("Big-Q8_0-00001-of-00003.gguf", "Big", "Q8_0"),
    ("phi-2_bf16.gguf", "phi-2", "BF16"),
    ("x-fp16.safetensors", "x", "FP16"),
    ("x-TQ1_0.gguf", "x", "TQ1_0"),
    ("x-Q4_0_4_4.gguf", "x", "Q4_0_4_4"),
    ("Phi-3-mini-4k-instruct.gguf", "Phi-3-mini-4k-instruct", ""),
    ("gemma-3-4b-it", "gemma-3-4b-it", ""),
    ("Q4_K_M.gguf", "Q4_K_M", "Q4_K_M"),
    ("sub/dir/x-Q2_K.gguf", "x", "Q2_K"),
    ("faq1.gguf", "faq1", ""),
    ("a.b.c", "a.b.c", ""),
])
def test_names(file: str, base: str, quant: str) -> None:
    assert (base_name(file), quantization_in_name(file)) == (base, quant)


def test_shards_of_names() -> None:
    assert shard_of_name("a-00002-of-00005.gguf") == ("a", 2, 5, ".gguf")
    for name in ("a-00006-of-00005.gguf", "a-00000-of-00005.gguf", "a-2-of-5.gguf", "-00001-of-00005", "a.gguf"):
        assert shard_of_name(name) is None


@pytest.mark.parametrize(("name", "role"), [
    ("config.json", Role.CONFIG), ("generation_config.json", Role.CONFIG), ("tokenizer.model", Role.TOKENIZER),
    ("vocab.json", Role.TOKENIZER), ("chat_template.json", Role.TEMPLATE), ("x/modeling.py", Role.CODE),
    ("model.safetensors.index.json", Role.INDEX), ("LICENSE", Role.OTHER), ("a.bin", Role.PICKLE),
    ("m.safetensors", Role.WEIGHTS),
])
def test_roles(name: str, role: Role) -> None:
    assert role_of(name) is role


def test_shards_are_one_model(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"Big-Q8_0-0000{number + 1}-of-00003.gguf").write_bytes(
            raw.model_gguf(shard=(number, 3), vocabulary=not number))
    gguf(tmp_path / "other.gguf")
    assert look(tmp_path) == {
        "Big-Q8_0-00001-of-00003.gguf": tuple(f"Big-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)),
        "other.gguf": ("other.gguf",)}
    for number in (1, 2, 3):
        found = inspect(tmp_path / f"Big-Q8_0-0000{number}-of-00003.gguf")
        assert (found.name, found.header.shards, found.header.parameters, found.header.tensors) == ("Big", 3, 6144, 6)
        assert found.header.vocabulary == 3
    (tmp_path / "Big-Q8_0-00002-of-00003.gguf").unlink()
    assert inspect(tmp_path / "Big-Q8_0-00001-of-00003.gguf").missing == ("Big-Q8_0-00002-of-00003.gguf",)


def test_shard_under_a_digest_names_its_others(tmp_path: Path) -> None:
    path = tmp_path / ("sha256-" + "ab" * 32)
    path.write_bytes(raw.model_gguf(shard=(0, 2)))
    assert len(inspect(path).missing) == 1


def test_projector_of_the_only_model(tmp_path: Path) -> None:
    gguf(tmp_path / "gemma-3-4b-it-Q4_K_M.gguf")
    gguf(tmp_path / "gemma-3-4b-it-Q8_0.gguf", seed=1)
    projector(tmp_path / "mmproj-F16.gguf")
    projector(tmp_path / "mmproj-F32.gguf", 0)
    projector(tmp_path / "mmproj-BF16.gguf", 30)
    assert look(tmp_path) == {
        "gemma-3-4b-it-Q4_K_M.gguf": ("gemma-3-4b-it-Q4_K_M.gguf", "mmproj-F16.gguf"),
        "gemma-3-4b-it-Q8_0.gguf": ("gemma-3-4b-it-Q8_0.gguf", "mmproj-F16.gguf"),
        "mmproj-F32.gguf": ("mmproj-F32.gguf",), "mmproj-BF16.gguf": ("mmproj-BF16.gguf",)}
    found = inspect(tmp_path / "gemma-3-4b-it-Q8_0.gguf")
    assert [(part.path, part.role) for part in found.parts] == [
        ("gemma-3-4b-it-Q8_0.gguf", Role.WEIGHTS), ("mmproj-F16.gguf", Role.PROJECTOR)]
    assert found.purpose is Purpose.MODEL
    assert inspect(tmp_path / "mmproj-F16.gguf").purpose is Purpose.PROJECTOR
    assert inspect(tmp_path / "mmproj-F16.gguf").parts[0].role is Role.PROJECTOR


def test_projectors_among_several_models(tmp_path: Path) -> None:
    for name in ("gemma-3-4b-it", "gemma-3-12b-it", "llava-v1.5-7b"):
        gguf(tmp_path / f"{name}-Q4_K_M.gguf")
    projector(tmp_path / "mmproj-gemma-3-4b-it-F16.gguf")
    projector(tmp_path / "llava-v1.5-7b-mmproj-model-f16.gguf")
    projector(tmp_path / "mmproj-gemma-3.gguf")         # speaks of two
    projector(tmp_path / "mmproj-F16.gguf")             # speaks of none
    expected = {
        "gemma-3-4b-it-Q4_K_M.gguf": ("gemma-3-4b-it-Q4_K_M.gguf", "mmproj-gemma-3-4b-it-F16.gguf"),
        "gemma-3-12b-it-Q4_K_M.gguf": ("gemma-3-12b-it-Q4_K_M.gguf",),
        "llava-v1.5-7b-Q4_K_M.gguf": ("llava-v1.5-7b-Q4_K_M.gguf", "llava-v1.5-7b-mmproj-model-f16.gguf"),
        "mmproj-gemma-3.gguf": ("mmproj-gemma-3.gguf",), "mmproj-F16.gguf": ("mmproj-F16.gguf",)}
    assert look(tmp_path) == expected
    for name, parts in expected.items():
        assert tuple(part.path for part in inspect(tmp_path / name).parts) == parts


def test_drafts_and_embeddings_get_no_projector(tmp_path: Path) -> None:
    gguf(tmp_path / "big-Q4_K_M.gguf")
    gguf(tmp_path / "mtp-big-Q4_K_M.gguf")
    projector(tmp_path / "mmproj-F16.gguf")
    assert look(tmp_path)["mtp-big-Q4_K_M.gguf"] == ("mtp-big-Q4_K_M.gguf",)
    assert look(tmp_path)["big-Q4_K_M.gguf"] == ("big-Q4_K_M.gguf", "mmproj-F16.gguf")


def test_depth_and_links(tmp_path: Path) -> None:
    models = tmp_path / "models"
    gguf(models / "a.gguf")
    gguf(models / "one" / "b.gguf")
    gguf(models / "one" / "two" / "c.gguf")
    gguf(tmp_path / "elsewhere" / "d.gguf")
    (models / "folder").symlink_to(tmp_path / "elsewhere")
    (models / "e.gguf").symlink_to(tmp_path / "elsewhere" / "d.gguf")
    assert look(models, 0).keys() == {"a.gguf", "e.gguf"}
    assert look(models, 1).keys() == {"a.gguf", "b.gguf", "e.gguf"}
    assert look(models).keys() == {"a.gguf", "b.gguf", "c.gguf", "e.gguf"}
    assert look(models / "folder").keys() == {"d.gguf"}


def test_snapshot_folder_of_links(tmp_path: Path) -> None:
    """The hub cache's way: every name is a link to a blob."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / ("1" * 40)
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    tiny_gguf(blobs / ("ab" * 32))
    (snapshot / "tiny-Q8_0.gguf").symlink_to(f"../../blobs/{'ab' * 32}")
    found = survey(tmp_path, issue=lambda issue: None)
    assert [one.location for one in found] == [snapshot / "tiny-Q8_0.gguf"]
    assert found[0].bytes == (blobs / ("ab" * 32)).stat().st_size


def test_names_that_differ_in_case_only_are_two_models(tmp_path: Path) -> None:
    gguf(tmp_path / "Model.gguf")
    gguf(tmp_path / "model.gguf", seed=1)
    assert len(look(tmp_path)) == 2


def test_ten_thousand_files_cost_a_few_calls_each(tmp_path: Path) -> None:
    count = 2000                                        # scaled down: the cost is the same for each
    data = raw.model_gguf()
    for number in range(count):
        if number % 100 == 0:
            folder = tmp_path / f"{number:05}"
            folder.mkdir()
        (folder / f"model-{number}.gguf").write_bytes(data)
    reads = _read_calls()
    started = time.perf_counter()
    found: list[Inspection] = survey(tmp_path, issue=lambda issue: None)
    assert len(found) == count
    assert time.perf_counter() - started < 5
    if reads is not None:
        now = _read_calls()
        assert now is not None
        assert now - reads < count * 2.2


def _read_calls() -> int | None:
    """How many read calls this process has made, where the kernel counts them."""
    try:
        with open("/proc/self/io") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("syscr")), None)
    except OSError:
        return None


def test_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    for name in ("b", "a", "c/z", "c/a"):
        gguf(tmp_path / f"{name}.gguf")
    found = survey(tmp_path, issue=lambda issue: None)
    assert [os.path.relpath(one.location, tmp_path) for one in found] == ["a.gguf", "b.gguf", "c/a.gguf", "c/z.gguf"]


def test_projectors_in_a_large_folder_cost_no_more(tmp_path: Path) -> None:
    count = 1500
    data = raw.model_gguf()
    for number in range(count):
        (tmp_path / f"m{number}x-Q8_0.gguf").write_bytes(data)
    for number in range(20):
        projector(tmp_path / f"mmproj-m{number}x-F16.gguf")
    started = time.perf_counter()
    found = look(tmp_path)
    assert time.perf_counter() - started < 5
    assert len(found) == count
    assert sum(len(parts) == 2 for parts in found.values()) == 20
