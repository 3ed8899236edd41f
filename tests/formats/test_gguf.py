"""The GGUF reader against the `gguf` package, and against bytes that nobody wrote on purpose."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFWriter, LlamaFileType
from gguf.quants import quantize
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.errors import HelixError, Incomplete, Unreadable
from helixstore.formats import inspect
from helixstore.formats.ggml import FILE_TYPES, TENSOR_TYPES
from helixstore.formats.gguf import Gguf, read_gguf
from helixstore.formats.meaning import gguf_quantization
from helixstore.formats.opened import Opened
from helixstore.values import Purpose
from support import raw
from support.soak import many

Q = GGMLQuantizationType


def read(path: Path) -> Gguf:
    with Opened(path) as file:
        return read_gguf(file)


def write(
    path: Path, *, endian: GGUFEndian = GGUFEndian.LITTLE, kinds: tuple[Q, ...] = (Q.F16, Q.Q8_0), words: int = 500,
    architecture: str = "llama", file_type: int | None = 7, seed: int = 0,
) -> None:
    """A model as the reference writer makes it: metadata of every type, tensors of several."""
    values = np.random.default_rng(seed)
    writer = GGUFWriter(path, architecture, endianess=endian)
    writer.add_name("Tiny 1B")
    writer.add_context_length(4096)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    if file_type is not None:
        writer.add_file_type(file_type)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([f"tok{n}" * (n % 5) for n in range(words)])
    writer.add_token_scores([float(n) for n in range(words)])
    writer.add_token_types([1] * words)
    writer.add_chat_template("{{ messages }}")
    writer.add_array("odd.flags", [True, False, True])
    writer.add_float64("odd.double", 1.5)
    writer.add_int8("odd.byte", -3)
    writer.add_uint64("odd.large", 1 << 60)
    for number in range(2):
        for part, kind in enumerate(kinds):
            data = values.standard_normal((64, 64)).astype(np.float32)
            name = f"blk.{number}.w{part}.weight"
            if kind in (Q.F32, Q.F16):
                writer.add_tensor(name, data.astype(np.float16 if kind is Q.F16 else np.float32))
            else:
                writer.add_tensor(name, quantize(data, kind), raw_dtype=kind)
        writer.add_tensor(f"blk.{number}.norm.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_tables_agree_with_the_reference() -> None:
    for kind, (block, size) in GGML_QUANT_SIZES.items():
        assert TENSOR_TYPES[kind.value] == (kind.name, block, size)
    removed = {"Q4_1_F16", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "Q2_0"}
    names = {number: name for number, (name, _) in FILE_TYPES.items() if name not in removed}
    assert names == {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
                     for kind in LlamaFileType if kind is not LlamaFileType.GUESSED}
    known = {kind.name for kind in TENSOR_TYPES.values()}
    assert all(base in known for _, base in FILE_TYPES.values())


@pytest.mark.parametrize("endian", [GGUFEndian.LITTLE, GGUFEndian.BIG])
@pytest.mark.parametrize("kinds", [(Q.F32,), (Q.F16, Q.Q8_0), (Q.BF16, Q.Q4_0, Q.Q5_1), (Q.MXFP4, Q.Q4_1, Q.Q5_0)])
def test_facts_agree_with_the_reference(tmp_path: Path, endian: GGUFEndian, kinds: tuple[Q, ...]) -> None:
    if endian is GGUFEndian.BIG and set(kinds) - {Q.F32, Q.F16}:
        kinds = (Q.F32, Q.F16)                          # the writer swaps the bytes of these only
    path = tmp_path / "m.gguf"
    write(path, endian=endian, kinds=kinds)
    mine, theirs = read(path), GGUFReader(path)
    assert mine.byte_order == ("little" if endian is GGUFEndian.LITTLE else "big")
    assert mine.tensors == len(theirs.tensors)
    assert mine.parameters == sum(int(t.n_elements) for t in theirs.tensors)
    assert mine.types == Counter(t.tensor_type.name for t in theirs.tensors)
    assert mine.data_offset == theirs.data_offset
    assert mine.end == max(t.data_offset + t.n_bytes for t in theirs.tensors)
    for key, field in theirs.fields.items():
        if key in mine.values:
            assert mine.values[key] == field.contents()
        elif key in mine.lengths:
            assert mine.lengths[key] == len(field.contents())
        else:
            assert key.startswith("GGUF.")
    header = inspect(path).header
    assert (header.architecture, header.context_length) == ("llama", 4096)
    assert (header.embedding_length, header.blocks) == (64, 2)
    assert (header.tokenizer, header.vocabulary, header.chat_template) == ("gpt2/llama-bpe", 500, True)
    assert (header.name, header.file_type, header.shards) == ("Tiny 1B", 7, 1)


def test_version_2_reads_the_same(tmp_path: Path) -> None:
    for order in "<>":
        for version in (2, 3):
            data = bytearray(raw.model_gguf(order=order))
            data[4:8] = version.to_bytes(4, "little" if order == "<" else "big")
            (tmp_path / "m").write_bytes(data)
            facts = read(tmp_path / "m")
            assert (facts.version, facts.parameters, facts.byte_order[0]) == (
                version, 2048, "l" if order == "<" else "b")


def test_cut_anywhere_is_incomplete(tmp_path: Path) -> None:
    data = raw.model_gguf()
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    assert read(path).end == len(data)
    for size in range(len(data) - 1, 3, -1 if len(data) < 600 else -7):
        path.write_bytes(data[:size])
        with pytest.raises(Incomplete):
            read(path)
    path.write_bytes(data[: len(data) - 500])
    with pytest.raises(Incomplete, match=f"has {len(data) - 500:,} of {len(data):,} bytes"):
        read(path)


def test_large_vocabulary_takes_milliseconds(tmp_path: Path) -> None:
    words = 262_144
    tokens = b"".join(raw.gguf_string(b"w" * (n % 11)) for n in range(words))
    path = tmp_path / "m.gguf"
    path.write_bytes(raw.model_gguf(
        raw.gguf_array("tokenizer.ggml.merges", 8, words, tokens),
        raw.gguf_array("tokenizer.ggml.scores", 6, words, bytes(4 * words))))
    tracemalloc.start()
    read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    started = time.perf_counter()
    assert read(path).lengths["tokenizer.ggml.merges"] == words
    assert time.perf_counter() - started < 0.5


def test_worst_headers_stay_below_the_caps(tmp_path: Path) -> None:
    """As many strings, keys and tensors as the caps allow, in a process with little memory."""
    path = tmp_path / "m.gguf"
    count = (1 << 22) - 100
    head = raw.gguf([raw.gguf_array("k", 8, count)], keys=3)
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + 8 * count + 100)      # zero-length strings without a block on the disk
    many = tmp_path / "many.gguf"
    many.write_bytes(raw.gguf([raw.text("general.architecture", "llama")], [
        raw.tensor(f"blk.{n:05}.{'x' * 200}", (1,), 0, 32 * n) for n in range(60_000)], 60_000 * 32))
    script = (
        "import resource, sys, time\n"
        "resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))\n"
        "from helixstore.errors import HelixError; from helixstore.formats import inspect\n"
        "started = time.perf_counter()\n"
        "for path in sys.argv[1:]:\n"
        "    try: inspect(path)\n"
        "    except HelixError as error: print(error)\n"
        "assert time.perf_counter() - started < 20\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(path), str(many)], capture_output=True, text=True,
        cwd=Path(__file__).parents[2], check=False)
    assert result.returncode == 0, result.stderr
    assert "the key b'' occurs twice" in result.stdout      # it came to the end of the array


WHOLE = raw.model_gguf(raw.text("tokenizer.chat_template", "{{ x }}"), raw.gguf_array("a", 9, 2, (
    b"\4\0\0\0\1\0\0\0\0\0\0\0abcd") * 2))


def try_to_read(path: Path, data: bytes) -> None:
    """Anything but our own error, much memory or much time is a failure."""
    path.write_bytes(data)
    tracemalloc.start()
    started = time.perf_counter()
    said = ""
    try:
        with Opened(path) as file:
            facts = read_gguf(file)
        assert facts.end <= len(data)
        inspect(path)
    except HelixError as error:
        said = error.message
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert said.isprintable()
    assert peak < 4 << 20
    assert time.perf_counter() - started < 2


@settings(max_examples=many(66, 2000), deadline=None)
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    try_to_read(folder / "arbitrary.gguf", b"GGUF\3\0\0\0" + data)
    try_to_read(folder / "arbitrary.gguf", data)


@settings(max_examples=many(100, 3000), deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 700), st.one_of(
        st.integers(0, 255).map(lambda n: bytes([n])),
        st.sampled_from([0, 1, 31, 255, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]).map(
            lambda n: n.to_bytes(8, "little")),
        st.sampled_from([0, 8, 9, 13, 1 << 31]).map(lambda n: n.to_bytes(4, "little")),
    )), min_size=1, max_size=4),
    cut=st.integers(0, len(WHOLE)),
)
def test_mutated_headers(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(WHOLE)
    for offset, change in changes:
        data[offset : offset + len(change)] = change
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    try_to_read(path, bytes(data))
    try_to_read(path, bytes(data[:cut]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_what_the_reference_writes_is_read_alike(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "written.gguf"
    write(path, words=chance.randrange(40), seed=seed, file_type=chance.choice([None, 0, 1, 7, 1025]),
          kinds=tuple(chance.choices([Q.F32, Q.F16, Q.Q8_0, Q.Q4_0, Q.BF16], k=chance.randrange(1, 4))))
    assert read(path).types == Counter(t.tensor_type.name for t in GGUFReader(path).tensors)


# ---- meaning

@pytest.mark.parametrize(("number", "weights", "name", "noted"), [
    (15, {"Q4_K": 70, "Q6_K": 30}, "Q4_K_M", False),
    (15, {"Q5_0": 70, "Q8_0": 30}, "Q4_K_M", False),    # rows that are no multiple of 256: Gemma 3 270M
    (15, {"Q8_0": 100}, "Q8_0", True),
    (15, {"F16": 100}, "F16", True),
    (1, {"F16": 90, "F32": 10}, "F16", False),
    (1, {"Q4_0": 90, "F16": 10}, "Q4_0", True),
    (1, {"BF16": 100}, "BF16", True),
    (32, {"BF16": 90, "F32": 10}, "BF16", False),
    (0, {"F32": 100}, "F32", False),
    (0, {"Q4_K": 100}, "Q4_K", True),
    (7 | 1024, {"Q8_0": 100}, "Q8_0", False),
    (38, {"MXFP4": 90, "Q8_0": 10}, "MXFP4_MOE", False),
    (28, {"IQ2_XS": 60, "IQ3_S": 40}, "IQ2_S", False),
    (None, {"Q8_0": 100}, "Q8_0", True),
    (999, {"IQ4_XS": 100}, "IQ4_XS", True),
    (41, {"Q2_0": 100}, "Q2_0", False),
    (15, {}, "Q4_K_M", False),
    (None, {}, "", False),
])
def test_quantisation_is_checked_against_the_tensors(
    number: int | None, weights: dict[str, int], name: str, noted: bool
) -> None:
    got, note = gguf_quantization(number, weights)
    assert (got, bool(note)) == (name, noted)


def test_contradiction_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(raw.model_gguf(file_type=15))
    found = inspect(tmp_path / "m.gguf")
    assert found.quantization == "F16"
    assert found.notes == ("the header claims Q4_K_M, but most of its weights are F16",)
    assert found.header.file_type == 15


LLAMA, QWEN = raw.text("general.architecture", "llama"), raw.text("general.architecture", "qwen3")
ONE = raw.tensor("blk.0.attn_q.weight", (32, 32), 1, 0)


@pytest.mark.parametrize(("values", "tensors", "file", "purpose"), [
    ([LLAMA], [ONE], "m.gguf", Purpose.MODEL),
    ([raw.text("general.architecture", "clip")], [raw.tensor("v.a", (32, 32), 1, 0)], "x.gguf", Purpose.PROJECTOR),
    ([LLAMA, raw.text("general.type", "mmproj")], [ONE], "m.gguf", Purpose.PROJECTOR),
    ([raw.text("general.architecture", "mllama"), raw.number("mllama.vision.block_count", 3)],
     [raw.tensor("v.a", (32, 32), 1, 0)], "m.gguf", Purpose.PROJECTOR),
    ([LLAMA, raw.text("general.type", "adapter")], [ONE], "m.gguf", Purpose.ADAPTER),
    ([LLAMA, raw.text("adapter.type", "lora")], [ONE], "m.gguf", Purpose.ADAPTER),
    ([raw.text("general.architecture", "nomic-bert")], [ONE], "m.gguf", Purpose.EMBEDDING),
    ([QWEN, raw.number("qwen3.pooling_type", 3)], [ONE], "m.gguf", Purpose.EMBEDDING),
    ([QWEN, raw.number("qwen3.pooling_type", 0)], [ONE], "m.gguf", Purpose.MODEL),
    ([raw.text("general.architecture", "eagle3")], [ONE], "m.gguf", Purpose.DRAFT),
    ([QWEN], [ONE], "mtp-m-Q8_0.gguf", Purpose.DRAFT),
    ([LLAMA], [], "m.gguf", Purpose.VOCABULARY),
])
def test_purpose(tmp_path: Path, values: list[bytes], tensors: list[bytes], file: str, purpose: Purpose) -> None:
    (tmp_path / file).write_bytes(raw.gguf(values, tensors, 2048 if tensors else 0))
    assert inspect(tmp_path / file).purpose is purpose


def test_projector_inside_the_model_is_seen(tmp_path: Path) -> None:
    tensors = [ONE, raw.tensor("v.blk.0.attn_q.weight", (32, 32), 1, 2048),
               raw.tensor("mm.0.weight", (32, 32), 1, 4096)]
    (tmp_path / "m.gguf").write_bytes(raw.gguf([raw.text("general.architecture", "gemma3")], tensors, 6144))
    found = inspect(tmp_path / "m.gguf")
    assert found.header.embedded_projector
    assert found.purpose is Purpose.MODEL


def test_template_must_not_be_empty(tmp_path: Path) -> None:
    for text, expected in (("", False), ("{{ x }}", True), ("x" * 100_000, True)):
        (tmp_path / "m.gguf").write_bytes(raw.model_gguf(raw.text("tokenizer.chat_template", text)))
        assert inspect(tmp_path / "m.gguf").header.chat_template is expected


def test_unknown_tensor_type_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(raw.gguf(
        [raw.text("general.architecture", "llama")], [raw.tensor("blk.0.w", (256, 4), 99, 0)], 64))
    assert inspect(tmp_path / "m.gguf").quantization == "type-99"


def test_importance_matrix_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(raw.gguf([raw.text("general.type", "imatrix")], [ONE], 2048))
    with pytest.raises(Unreadable):
        inspect(tmp_path / "m.gguf")
