"""Memory as it is computed, against what llama.cpp said in public logs, what published files weigh, real headers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helixstore.catalogue import (
    Catalogue,
    Need,
    Shape,
    bits_of,
    bytes_of_cache,
    bytes_of_weights,
    bytes_of_working,
    needed,
    shape_of_config,
    shape_of_gguf,
)
from helixstore.errors import Usage
from helixstore.formats.ggml import FILE_TYPES
from helixstore.formats.gguf import Gguf, read_gguf
from helixstore.formats.opened import Opened
from tests.support.models import Shape as Tiny
from tests.support.models import tiny_gguf

MIB, GIB, GB = 1 << 20, 1 << 30, 10**9
REAL = Path(__file__).resolve().parents[2] / ".cache/models"

LLAMA_8B = Shape(32, 8, 128, hidden=4096, vocabulary=128256)
QWEN_7B = Shape(28, 4, 128, hidden=3584, vocabulary=152064)
DEEPSEEK = Shape(61, 1, 512 + 64, value_dim=0)          # compressed attention: kv_lora_rank 512, rope 64
GEMMA_270M = Shape(18, 1, 256, hidden=640, vocabulary=262144, window=512, windowed=15)


def header(path: Path) -> Gguf:
    with Opened(path) as file:
        return read_gguf(file)


@pytest.mark.parametrize(("shape", "context", "kind", "said"), [
    # "KV self size = 112.00 MiB" at 2,048 tokens, 28 layers of 512: github.com/JamePeng/llama-cpp-python/pull/1
    (QWEN_7B, 2048, "F16", 112.00),
    # "kv self size = 1560.00 MB", 60 layers of 52 heads, 512 tokens, F32: github.com/abetlen/llama-cpp-python/issues/66
    (Shape(60, 52, 128), 512, "F32", 1560.00),
    # "KV self size = 2196.00 MiB, c^KV (f16)" at 32,768: github.com/ikawrakow/ik_llama.cpp/pull/235
    (DEEPSEEK, 32768, "F16", 2196.00),
    # "KV self size = 72.91 MiB, c^KV (q8_0)" at 2,048: github.com/ikawrakow/ik_llama.cpp/pull/616
    (DEEPSEEK, 2048, "Q8_0", 72.91),
    # a table of llama-server's own figures for Gemma 3 270M: github.com/unslothai/unsloth/pull/5225
    (GEMMA_270M, 4096, "F16", 27.00),
    (GEMMA_270M, 8192, "F16", 39.00),
])
def test_the_cache_is_as_large_as_llama_cpp_said(shape: Shape, context: int, kind: str, said: float) -> None:
    assert bytes_of_cache(shape, context, kind) / MIB == pytest.approx(said, abs=0.005)


@pytest.mark.parametrize(("name", "tokens", "said"), [
    # heads that share their keys and values: the table of huggingface.co/blog/llama31, quoted with how it is reckoned
    # in github.com/huggingface/blog/issues/2345 (its 405B row counts sixteen such heads, where the model has eight)
    ("llama-3.1-8b-instruct", 1024, 0.125), ("llama-3.1-8b-instruct", 16_000, 1.95),
    ("llama-3.1-8b-instruct", 128_000, 15.62), ("llama-3.1-70b-instruct", 16_000, 4.88),
    ("llama-3.1-70b-instruct", 128_000, 39.06), ("llama-3.1-405b-instruct", 128_000, 123.05 / 2),
])
def test_the_cache_is_as_large_as_the_makers_of_the_hub_say(name: str, tokens: int, said: float) -> None:
    shape = Catalogue().find(name).shape
    assert shape is not None
    assert bytes_of_cache(shape, tokens) / GIB == pytest.approx(said, rel=0.01)


@pytest.mark.parametrize(("at_once", "said"), [(1, 27.0), (2, 42.0), (4, 72.0), (8, 72.0)])
def test_each_conversation_has_windows_of_its_own(at_once: int, said: float) -> None:
    """The same table: `--parallel N` at 4,096 tokens."""
    assert bytes_of_cache(GEMMA_270M, 4096, at_once=at_once) / MIB == said


def test_windows_halve_the_cache_of_gpt_oss() -> None:
    """github.com/gpustack/gguf-parser-go/issues/32: 6.00 GiB in full at 131,072; 3.00 and about 0.05 as llama.cpp."""
    shape = Shape(24, 8, 64, window=128, windowed=12)
    assert bytes_of_cache(Shape(24, 8, 64), 131072) / GIB == 6.00
    assert bytes_of_cache(shape, 131072) / GIB == pytest.approx(3.0, abs=0.05)
    assert Catalogue().find("gpt-oss-20b").shape == shape


@pytest.mark.parametrize(("shape", "said"), [
    (QWEN_7B, 304.00),      # "CUDA0 compute buffer size = 304": github.com/JamePeng/llama-cpp-python/pull/1
    # "CUDA1 compute buffer size = 334.00 MiB", Kimi K2, n_ubatch 512: github.com/ikawrakow/ik_llama.cpp/pull/616
    (Shape(61, 1, 576, 0, hidden=7168, vocabulary=163840), 334.00),
])
def test_working_memory_is_as_large_as_llama_cpp_said(shape: Shape, said: float) -> None:
    assert bytes_of_working(shape) / MIB == pytest.approx(said, abs=0.5)


@pytest.mark.parametrize(("name", "quantization", "size", "within"), [
    # llama.cpp's tools/quantize/README.md: "Quantized size (Q4_K_M)"
    ("llama-3.1-8b-instruct", "Q4_K_M", 4.9 * GB, 0.01),
    ("llama-3.1-70b-instruct", "Q4_K_M", 43.1 * GB, 0.01),
    ("llama-3.1-405b-instruct", "Q4_K_M", 249.1 * GB, 0.02),
    # "model size = 37.22 GiB (4.53 BPW)": github.com/ollama/ollama/pull/6279
    ("llama-3.1-70b-instruct", "Q4_0", 37.22 * GIB, 0.002),
    # huggingface.co/unsloth/phi-4-GGUF/tree/main
    ("phi-4", "Q2_K", 5.61 * GB, 0.04), ("phi-4", "Q4_K_M", 8.89 * GB, 0.02), ("phi-4", "Q5_K_M", 10.4 * GB, 0.02),
    ("phi-4", "Q6_K", 12.0 * GB, 0.02), ("phi-4", "Q8_0", 15.6 * GB, 0.01), ("phi-4", "F16", 29.3 * GB, 0.01),
    # huggingface.co/mradermacher/SmolLM2-1.7B-Instruct-GGUF/tree/bc04a894be53b028f5e9eaf9f9ff31bcec8c8558
    ("smollm2-1.7b-instruct", "Q2_K", 675e6, 0.05), ("smollm2-1.7b-instruct", "Q4_K_M", 1.06 * GB, 0.03),
    ("smollm2-1.7b-instruct", "Q6_K", 1.41 * GB, 0.02), ("smollm2-1.7b-instruct", "Q8_0", 1.82 * GB, 0.01),
    ("smollm2-1.7b-instruct", "F16", 3.42 * GB, 0.01),
    # github.com/docker/model-cards: ai/gemma3.md, ai/llama3.3.md, ai/smollm2.md at 05f64b05; sizes in GiB and MiB
    ("gemma-3-4b-it", "Q4_K_M", 2.31 * GIB, 0.01), ("gemma-3-4b-it", "F16", 7.23 * GIB, 0.01),
    ("gemma-3-1b-it", "Q4_K_M", 762.49 * MIB, 0.01), ("llama-3.3-70b-instruct", "Q4_K_M", 39.59 * GIB, 0.02),
    ("smollm2-360m-instruct", "Q4_K_M", 256.35 * MIB, 0.01), ("smollm2-135m-instruct", "F16", 256.63 * MIB, 0.01),
    # github.com/docker/model-runner: model-cards/ai/qwen2.5.md, qwq.md at 82ecf1f5; in GiB, whatever they say
    ("qwen2.5-7b-instruct", "Q4_K_M", 4.36 * GIB, 0.01), ("qwq-32b", "Q4_K_M", 18.48 * GIB, 0.02),
    # mixtures of experts, github.com/lemonade-sdk/lemonade: src/cpp/resources/server_models.json at 01ddfa7d
    ("qwen3-30b-a3b", "Q4_0", 17.4 * GB, 0.01), ("qwen3-coder-30b-a3b-instruct", "Q4_K_M", 18.6 * GB, 0.02),
    ("gpt-oss-120b", "MXFP4", 63.4 * GB, 0.03),
    # the same page; in the smaller one, what is no expert and so kept finer is a larger part
    ("gpt-oss-20b", "MXFP4", 12.1 * GB, 0.09),
])
def test_weights_are_as_large_as_published_files(name: str, quantization: str, size: float, within: float) -> None:
    entry = Catalogue().find(name)
    assert bytes_of_weights(entry.parameters, quantization, entry.shape) == pytest.approx(size, rel=within)


@pytest.mark.parametrize("kind", ["F16", "F32"])
def test_a_file_that_is_made_here_weighs_what_is_computed(tmp_path: Path, kind: str) -> None:
    facts = header(tiny_gguf(tmp_path / "tiny.gguf", shape=Tiny(hidden=256, layers=3, heads=4)))
    shape = shape_of_gguf(facts.values, facts.lengths)
    assert shape is not None
    assert (shape.layers, shape.kv_heads, shape.head_dim, shape.hidden) == (3, 4, 64, 256)
    assert shape.vocabulary == facts.lengths["tokenizer.ggml.tokens"]
    assert bytes_of_cache(shape, 512, kind) == 3 * 512 * 2 * 256 * (2 if kind == "F16" else 4)
    assert bytes_of_weights(facts.parameters, "F16", shape) == pytest.approx(facts.end - facts.data_offset, rel=0.02)


@pytest.mark.parametrize(("file", "quantization", "cache"), [
    ("gemma-3-270m-q4_k_m.gguf", "Q4_K_M", 27.0), ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1", 90.0)])
def test_real_files(file: str, quantization: str, cache: float) -> None:
    """Rows of 576 and 640 that no K-quant packs, most of the weights in the embeddings: the hardest to foretell."""
    if not (REAL / file).exists():
        pytest.skip(f"{file} is not here: make fetches it into .cache/models")
    facts = header(REAL / file)
    shape = shape_of_gguf(facts.values, facts.lengths)
    assert shape is not None
    assert bytes_of_cache(shape, 4096) / MIB == cache
    assert bytes_of_weights(facts.parameters, quantization, shape) == pytest.approx(facts.size, rel=0.03)
    if file.startswith("gemma"):
        assert shape == GEMMA_270M
    else:
        entry = Catalogue().find("smollm2-135m-instruct")
        assert (entry.parameters, entry.shape) == (facts.parameters, shape)


def test_what_the_catalogue_says_of_a_model_is_what_its_configuration_says() -> None:
    """Numbers of public configurations, as transformers writes them."""
    llama = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096,
             "vocab_size": 128256}
    gemma = {"model_type": "gemma3", "text_config": {
        "num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "hidden_size": 2560, "vocab_size": 262144, "sliding_window": 1024, "sliding_window_pattern": 6}}
    oss = {"num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
           "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 12}
    deepseek = {"num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "hidden_size": 7168,
                "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    find = Catalogue().find
    assert shape_of_config(llama) == LLAMA_8B == find("llama-3-8b-instruct").shape
    assert shape_of_config(gemma) == find("gemma-3-4b-it").shape
    assert shape_of_config(oss) == find("gpt-oss-20b").shape
    assert shape_of_config(deepseek) == Shape(61, 1, 576, 0, hidden=7168)
    qwen = {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584,
            "vocab_size": 152064, "sliding_window": 131072, "use_sliding_window": False}
    assert shape_of_config(qwen) == QWEN_7B == find("qwen2.5-7b-instruct").shape


@pytest.mark.parametrize("hostile", [
    {}, {"num_hidden_layers": "32"}, {"num_hidden_layers": -1, "hidden_size": 8, "num_attention_heads": 2},
    {"num_hidden_layers": 1 << 60, "hidden_size": 8, "num_attention_heads": 2}, {"num_hidden_layers": True},
    {"text_config": []}, {"num_hidden_layers": 2, "num_attention_heads": 0, "hidden_size": 8},
])
def test_a_configuration_that_tells_nothing_gives_no_shape(hostile: dict[str, object]) -> None:
    assert shape_of_config(hostile) is None
    assert shape_of_gguf({"general.architecture": "llama", **hostile}, {}) is None


def test_a_list_of_heads_is_not_guessed() -> None:
    values = {"general.architecture": "x", "x.block_count": 4, "x.embedding_length": 64, "x.attention.head_count": 4}
    assert shape_of_gguf(values, {}) == Shape(4, 4, 16, hidden=64)
    assert shape_of_gguf(values, {"x.attention.head_count_kv": 4}) is None


@pytest.mark.parametrize(("quantization", "bits"), [
    ("q4_0", 4.5), ("Q8_0", 8.5008), ("UD-Q4_K_XL", 4.8944), ("Q6_K_L", 6.5633), ("Q2_K_XL", 3.1593), ("BF16", 16),
    ("4bit", 4.5), ("8bit", 8.5), ("int4-g128", 4.15625), ("Int4", 4.15625), ("4.0bpw", 4), ("MXFP4_MOE", 4.25),
    ("FP8", 8), ("UD-TQ1_0", 1.6875), ("", None), ("nonsense", None), ("Q", None), ("_", None),
])
def test_bits(quantization: str, bits: float | None) -> None:
    assert bits_of(quantization) == bits


def test_every_file_type_of_llama_cpp_has_bits_between_its_neighbours() -> None:
    for name, base in FILE_TYPES.values():
        assert bits_of(name), name
        assert bits_of(base), base
    ladder = ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S",
              "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0", "F16", "F32"]
    sizes = [bytes_of_weights(10**9, name) for name in ladder]
    assert all(small < large for small, large in pairwise(sizes))


@pytest.mark.parametrize("wrong", [
    lambda: bytes_of_weights(10, "nonsense"), lambda: bytes_of_weights(-1, "F16"),
    lambda: bytes_of_weights(1 << 63, "F16"), lambda: bytes_of_cache(LLAMA_8B, -1),
    lambda: bytes_of_cache(LLAMA_8B, 512, "Q9"), lambda: bytes_of_cache(Shape(-1, 1, 1), 512),
    lambda: bytes_of_cache(LLAMA_8B, 512, at_once=-1), lambda: needed(-1, LLAMA_8B, 512),
])
def test_numbers_that_make_no_sense_are_refused(wrong: object) -> None:
    with pytest.raises(Usage):
        wrong()     # type: ignore[operator]


@given(st.integers(1, 200), st.integers(1, 128), st.integers(1, 1024), st.integers(0, 1 << 20), st.integers(0, 8192),
       st.integers(0, 300))
def test_a_window_never_makes_it_more_and_a_longer_context_never_less(
    layers: int, heads: int, dim: int, context: int, window: int, windowed: int
) -> None:
    full, some = Shape(layers, heads, dim), Shape(layers, heads, dim, window=window, windowed=windowed)
    assert 0 <= bytes_of_cache(some, context) <= bytes_of_cache(full, context)
    assert bytes_of_cache(some, context) <= bytes_of_cache(some, context + 1)
    assert bytes_of_cache(full, context, "Q8_0") <= bytes_of_cache(full, context, "F16") + 34 * 2 * layers * context \
        + 34 * 2 * layers * 256


def test_all_of_it() -> None:
    need = needed(4_920_000_000, LLAMA_8B, 8192)
    assert need == Need(4_920_000_000, 1024 * MIB, 512 * 4 * (128256 + 4096))
    assert need.total == sum(need)
