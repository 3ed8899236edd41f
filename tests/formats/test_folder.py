"""Model folders: which files make the model, what its configuration means, how many parameters it has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from helixstore.errors import Incomplete, Unreadable
from helixstore.formats import Part, describe, inspect, survey
from helixstore.values import Format, Issue, Purpose, Role
from support import raw
from support.models import tiny_gguf, tiny_hf

Tensors = Mapping[str, tuple[str, Sequence[int]]]
BITS = {"F32": 32, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "U8": 8, "I8": 8, "F8_E4M3": 8, "I16": 16,
        "I64": 64}


def weights(path: Path, tensors: Tensors) -> None:
    """A safetensors file with these names, dtypes and shapes."""
    at = 0
    placed = {}
    for name, (dtype, shape) in tensors.items():
        size = BITS[dtype] // 8
        for length in shape:
            size *= length
        placed[name] = (dtype, shape, at, at + size)
        at += size
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw.safetensors(placed, at))


PLAIN = {"model.a.weight": ("BF16", [8, 16]), "model.norm.weight": ("F32", [8])}


def folder(path: Path, tensors: Tensors = PLAIN, **config: Any) -> Path:
    weights(path / "model.safetensors", tensors)
    (path / "config.json").write_text(json.dumps(
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **config}))
    return path


def test_tiny_hf_with_one_and_several_shards(tmp_path: Path) -> None:
    one, many = inspect(tiny_hf(tmp_path / "one")), inspect(tiny_hf(tmp_path / "many", shards=3))
    assert one.format is many.format is Format.HF
    assert one.header.parameters == many.header.parameters
    assert (one.header.shards, many.header.shards) == (1, 3)
    assert (one.quantization, one.header.chat_template, one.header.classes) == ("F32", True, ("LlamaForCausalLM",))
    roles = {part.path: part.role for part in many.parts}
    assert roles["config.json"] is Role.CONFIG
    assert roles["tokenizer.json"] is roles["tokenizer_config.json"] is Role.TOKENIZER
    assert roles["model.safetensors.index.json"] is Role.INDEX
    assert sum(role is Role.WEIGHTS for role in roles.values()) == 3


@pytest.mark.parametrize(("dtype", "name"), [("F32", "F32"), ("F16", "F16"), ("BF16", "BF16")])
def test_precision_is_that_of_most_bytes(tmp_path: Path, dtype: str, name: str) -> None:
    """The configuration says float32 and lies."""
    tensors = {"a.weight": (dtype, [64, 64]), "b.weight": ("F32", [4])}
    found = inspect(folder(tmp_path / "m", tensors, torch_dtype="float32"))
    assert (found.format, found.quantization, found.header.parameters) == (Format.HF, name, 4100)


GPTQ = {"q.qweight": ("I32", [8, 64]),
        "q.qzeros": ("I32", [1, 8]), "q.scales": ("F16", [1, 64]), "q.g_idx": ("I32", [64]),
        "norm.weight": ("F16", [64])}
AWQ = {"q.qweight": ("I32", [64, 8]), "q.qzeros": ("I32", [1, 8]), "q.scales": ("F16", [1, 64]),
       "norm.weight": ("F16", [64])}
MLX = {"q.weight": ("U32", [64, 8]), "q.scales": ("BF16", [64, 1]), "q.biases": ("BF16", [64, 1]),
       "norm.weight": ("BF16", [64])}
PACKED = {"q.weight_packed": ("I32", [64, 8]), "q.weight_scale": ("BF16", [64, 1]), "q.weight_shape": ("I64", [2]),
          "norm.weight": ("BF16", [64])}
BNB = {"q.weight": ("U8", [2048, 1]), "q.weight.absmax": ("U8", [64]), "q.weight.quant_map": ("F32", [16]),
       "q.weight.quant_state.bitsandbytes__nf4": ("U8", [90]), "norm.weight": ("BF16", [64])}
FP8 = {"q.weight": ("F8_E4M3", [64, 64]), "q.weight_scale_inv": ("F32", [1, 1]), "norm.weight": ("BF16", [64])}
EXL3 = {"q.trellis": ("I16", [4, 4, 64]), "q.suh": ("F16", [64]), "q.svh": ("F16", [64]), "norm.weight": ("F16", [64])}
EXL2 = {"q.q_weight": ("I32", [8, 64]), "q.q_invperm": ("I16", [64]), "q.q_scale": ("I32", [1, 8]),
        "q.q_scale_max": ("F16", [1]), "q.q_groups": ("I16", [2]), "norm.weight": ("F16", [64])}
MXFP4 = {"e.gate_up_proj_blocks": ("U8", [64, 2, 16]), "e.gate_up_proj_scales": ("U8", [64, 2]),
         "norm.weight": ("BF16", [64])}
NVFP4 = {"q.weight": ("U8", [64, 32]), "q.weight_scale": ("F8_E4M3", [64, 4]), "q.weight_scale_2": ("F32", []),
         "q.input_scale": ("F32", []), "norm.weight": ("BF16", [64])}
CT = {"quant_method": "compressed-tensors", "format": "pack-quantized",
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 64}}}}
CT_FP8 = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {
    "weights": {"num_bits": 8, "type": "float"}, "input_activations": {"num_bits": 8, "type": "float"}}}}


@pytest.mark.parametrize(("tensors", "config", "format_", "label"), [
    (GPTQ, {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 64}}, Format.GPTQ, "int4-g64"),
    (GPTQ, {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": -1}}, Format.GPTQ, "int4"),
    (AWQ, {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64}}, Format.AWQ, "int4-g64"),
    (MLX, {"quantization": {"bits": 4, "group_size": 64}}, Format.MLX, "int4-g64"),
    (MLX, {"quantization_config": {"bits": 4, "group_size": 64, "mode": "affine"}}, Format.MLX, "int4-g64"),
    (PACKED, {"quantization_config": CT}, Format.COMPRESSED_TENSORS, "W4A16-g64"),
    (PACKED, {"text_config": {"quantization_config": CT}}, Format.COMPRESSED_TENSORS, "W4A16-g64"),
    (FP8, {"quantization_config": CT_FP8}, Format.COMPRESSED_TENSORS, "FP8"),
    (BNB, {"quantization_config": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}, Format.BITSANDBYTES, "nf4"),
    (FP8, {"quantization_config": {"quant_method": "fp8"}}, Format.FP8, "FP8"),
    (FP8, {}, Format.FP8, "FP8"),
    (EXL3, {"quantization_config": {"quant_method": "exl3", "bits": 4.0}}, Format.EXL3, "4bpw"),
    (EXL2, {"quantization_config": {"quant_method": "exl2", "bits": 4.65}}, Format.EXL2, "4.65bpw"),
    (MXFP4, {"quantization_config": {"quant_method": "mxfp4"}}, Format.QUANTIZED, "mxfp4"),
    (NVFP4, {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, Format.QUANTIZED, "NVFP4"),
])
def test_quantised_formats_and_their_parameters(
    tmp_path: Path, tensors: Tensors, config: dict[str, Any], format_: Format, label: str
) -> None:
    """All of them hold one matrix of 64 x 64, packed, and a norm of 64."""
    found = inspect(folder(tmp_path / "m", tensors, **config))
    assert (found.format, found.quantization, found.header.parameters) == (format_, label, 64 * 64 + 64)


@pytest.mark.parametrize(("name", "members", "tensors", "format_"), [
    ("quantize_config.json", {"bits": 4, "group_size": 64, "desc_act": False}, GPTQ, Format.GPTQ),
    ("quant_config.json", {"zero_point": True, "q_group_size": 64, "w_bit": 4}, AWQ, Format.AWQ),
])
def test_older_quantisers_write_their_own_file(
    tmp_path: Path, name: str, members: dict[str, Any], tensors: Tensors, format_: Format
) -> None:
    path = folder(tmp_path / "m", tensors)
    (path / name).write_text(json.dumps(members))
    found = inspect(path)
    assert (found.format, found.quantization, found.header.parameters) == (format_, "int4-g64", 4160)


def test_configuration_that_lies_is_said(tmp_path: Path) -> None:
    found = inspect(folder(tmp_path / "m", quantization_config={"quant_method": "awq", "bits": 4}))
    assert (found.format, found.quantization) == (Format.HF, "BF16")
    assert found.notes == ("the configuration says awq, but the weights are plain BF16",)


def test_context_and_size_from_nested_configuration(tmp_path: Path) -> None:
    header = inspect(folder(tmp_path / "m", text_config={
        "max_position_embeddings": 4096, "vocab_size": 99, "hidden_size": 8, "num_hidden_layers": 3})).header
    assert (header.context_length, header.vocabulary, header.embedding_length, header.blocks) == (4096, 99, 8, 3)


def test_incomplete_sets_name_what_is_missing(tmp_path: Path) -> None:
    path = tiny_hf(tmp_path / "m", shards=5)
    (path / "model-00002-of-00005.safetensors").unlink()
    (path / "model-00004-of-00005.safetensors").unlink()
    found = inspect(path)
    assert found.missing == ("model-00002-of-00005.safetensors", "model-00004-of-00005.safetensors")
    assert not found.whole
    issues: list[Issue] = []
    assert survey(path, issue=issues.append) == []
    assert "has 3 of 5 files" in issues[0].message
    cut = path / "model-00001-of-00005.safetensors"
    data = cut.read_bytes()
    cut.write_bytes(data[:-10])
    with pytest.raises(Incomplete, match=f"{len(data) - 10:,} of {len(data):,} bytes"):
        inspect(path)


def test_consolidated_is_left_out_beside_the_same_weights(tmp_path: Path) -> None:
    path = folder(tmp_path / "both")
    for name in ("consolidated.safetensors", "consolidated-00001-of-00002.safetensors"):
        weights(path / name, PLAIN)
    for name in ("params.json", "consolidated.safetensors.index.json"):
        (path / name).write_text("{}")
    found = inspect(path)
    assert [part.path for part in found.parts] == ["config.json", "model.safetensors"]
    assert any("consolidated.safetensors is left out" in note for note in found.notes)
    alone = tmp_path / "alone"
    weights(alone / "consolidated.safetensors", PLAIN)
    (alone / "params.json").write_text('{"dim": 8, "n_layers": 2, "vocab_size": 9}')
    (alone / "tekken.json").write_text("{}")
    found = inspect(alone)
    assert (found.format, found.whole) == (Format.SAFETENSORS, True)
    assert [part.path for part in found.parts] == ["consolidated.safetensors", "params.json", "tekken.json"]
    assert found.header.embedding_length == 8


def test_what_belongs_and_what_does_not(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    for name in ("README.md", "modeling_x.py", "chat_template.jinja", "merges.txt", "pytorch_model.bin", "optimizer.pt",
                 "tf_model.h5", "onnx/model.onnx", ".cache/huggingface/download/x.metadata", ".git/HEAD",
                 ".gitattributes",
                 "model.safetensors.lock", "more.json.incomplete", "figures/a.png", "original/params.json",
                 "original/consolidated.00.pth", "runs/a/b/c/d.txt"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    weights(path / "model.fp16.safetensors", PLAIN)
    (path / "linked").symlink_to(tmp_path)
    (path / "x-Q8_0.gguf").write_bytes(raw.model_gguf())
    found = inspect(path)
    assert {part.path: part.role for part in found.parts} == {
        "README.md": Role.OTHER, "modeling_x.py": Role.CODE, "chat_template.jinja": Role.TEMPLATE,
        "merges.txt": Role.TOKENIZER, "config.json": Role.CONFIG, "model.safetensors": Role.WEIGHTS,
        "figures/a.png": Role.OTHER}
    assert found.header.chat_template
    assert any("pytorch_model.bin" in note for note in found.notes)
    issues: list[Issue] = []
    both = survey(path, issue=issues.append)
    names = {(one.name, one.format) for one in both}
    assert names >= {("m", Format.HF), ("x", Format.GGUF)}
    assert not issues
    assert inspect(path / "model.safetensors").location == path
    assert inspect(path / "x-Q8_0.gguf").format is Format.GGUF


def test_sentence_transformers_keep_their_modules(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", model_type="bert", architectures=["BertModel"])
    (path / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]))
    for name in ("1_Pooling/config.json", "2_Dense/config.json", "openvino/openvino_model.bin"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("{}")
    weights(path / "2_Dense/model.safetensors", {"linear.weight": ("F32", [4, 4])})
    found = inspect(path)
    assert found.purpose is Purpose.EMBEDDING
    assert [part.path for part in found.parts] == [
        "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "config.json", "model.safetensors",
        "modules.json"]
    assert len(survey(path, issue=lambda issue: None)) == 1


def test_a_pipeline_is_one_thing(tmp_path: Path) -> None:
    path = tmp_path / "sd"
    for part in ("unet", "vae"):
        folder(path / part)
    (path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    found = survey(tmp_path, issue=lambda issue: None)
    assert [(one.name, one.format, one.header.architecture) for one in found] == [
        ("sd", Format.SAFETENSORS, "StableDiffusionPipeline")]


@pytest.mark.parametrize(("config", "purpose"), [
    ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"]}, Purpose.EMBEDDING),
    ({"model_type": "llama", "architectures": ["Eagle3LlamaForCausalLM"]}, Purpose.DRAFT),
    ({}, Purpose.MODEL),
])
def test_purpose(tmp_path: Path, config: dict[str, Any], purpose: Purpose) -> None:
    assert inspect(folder(tmp_path / "m", **config)).purpose is purpose


def test_adapter(tmp_path: Path) -> None:
    path = tmp_path / "lora"
    weights(path / "adapter_model.safetensors", PLAIN)
    (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    found = inspect(path)
    assert (found.format, found.purpose) == (Format.SAFETENSORS, Purpose.ADAPTER)


def test_pickles_are_named_and_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "gpt2"}')
    for number in (1, 2):
        (path / f"pytorch_model-0000{number}-of-00003.bin").write_bytes(b"\x80\x02whatever")
    (path / "training_args.bin").write_bytes(b"\x80\x02")
    found = inspect(path)
    assert (found.format, found.header.architecture) == (Format.PYTORCH, "gpt2")
    assert "pickle" in found.unsafe
    assert found.missing == ("pytorch_model-00003-of-00003.bin",)
    assert {part.path: part.role for part in found.parts} == {
        "config.json": Role.CONFIG, "pytorch_model-00001-of-00003.bin": Role.PICKLE,
        "pytorch_model-00002-of-00003.bin": Role.PICKLE}


def test_a_repository_of_ggufs_with_a_configuration_is_no_model_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for quant in ("Q4_K_M", "Q8_0"):
        tiny_gguf(tmp_path / f"tiny-{quant}.gguf")
    found = survey(tmp_path, issue=lambda issue: None)
    assert [(one.name, one.format) for one in found] == [("tiny", Format.GGUF)] * 2


def test_loose_shards_without_index_or_configuration(tmp_path: Path) -> None:
    for number in (1, 2):
        weights(tmp_path / f"model-0000{number}-of-00002.safetensors", {f"t{number}": ("BF16", [4])})
    found = inspect(tmp_path)
    assert (found.format, found.header.parameters, len(found.parts)) == (Format.SAFETENSORS, 8, 2)


def test_blobs_read_as_the_folder_did(tmp_path: Path) -> None:
    """A manifest's files lie under digests: `describe` tells the same as `inspect` told of the folder."""
    found = inspect(tiny_hf(tmp_path / "m", shards=2))
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    parts = []
    for number, part in enumerate(found.parts):
        (blobs / f"{number:064x}").hardlink_to(part.location)
        parts.append(Part(part.path, blobs / f"{number:064x}", part.bytes, part.role))
    told = describe(parts)
    assert (told.format, told.quantization, told.purpose, told.header) == (
        found.format, found.quantization, found.purpose, found.header)


def test_describe_joins_gguf_shards(tmp_path: Path) -> None:
    parts = []
    for number in range(2):
        (tmp_path / f"{number}").write_bytes(raw.model_gguf(shard=(number, 2), vocabulary=not number))
        parts.append(Part(f"m-0000{number + 1}-of-00002.gguf", tmp_path / f"{number}", 1, Role.WEIGHTS))
    told = describe(parts)
    assert (told.header.parameters, told.header.tensors, told.header.shards) == (4096, 4, 2)


def test_folder_with_several_models_is_ambiguous(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.gguf").write_bytes(raw.model_gguf())
    with pytest.raises(Unreadable, match=r"holds 2 models: a\.gguf, b\.gguf"):
        inspect(tmp_path)
