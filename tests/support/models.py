"""Small random models that real programs load: a Llama as a Hugging Face folder, and one as a GGUF.

Both are made in well under a second, without torch, and are the same bytes every time for the same arguments. The
files say what every reader asks for: `rope_theta` and `torch_dtype` for readers older than transformers 5 and for
mistral.rs, a tokenizer class that transformers 4 knows as well, and in the GGUF a SentencePiece vocabulary with byte
tokens, which llama.cpp has read since 2023.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Shape", "tiny_gguf", "tiny_hf"]

_CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a tiny Llama; row lengths are multiples of 32, so that block quantisation works too."""

    hidden: int = 64
    layers: int = 2
    heads: int = 2
    feed_forward: int = 128
    context: int = 512

    @property
    def head(self) -> int:
        """Length of one attention head."""
        return self.hidden // self.heads

    def tensors(self, words: list[bool], seed: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """Hugging Face name and float32 values of each tensor, in a fixed order.

        `words` says of each token whether the model may speak it: only those get a row in the last matrix, a large
        one, so that whatever is sampled is plain text and never the end of the text.
        """
        vocabulary = len(words)
        random = np.random.default_rng(seed)

        def matrix(*size: int) -> np.ndarray[Any, Any]:
            return (random.standard_normal(size) * 0.05).astype(np.float32)

        norm = np.ones(self.hidden, dtype=np.float32)
        yield "model.embed_tokens.weight", matrix(vocabulary, self.hidden)
        for layer in range(self.layers):
            block = f"model.layers.{layer}."
            yield block + "input_layernorm.weight", norm
            for name in ("q", "k", "v", "o"):
                yield f"{block}self_attn.{name}_proj.weight", matrix(self.hidden, self.hidden)
            yield block + "post_attention_layernorm.weight", norm
            yield block + "mlp.gate_proj.weight", matrix(self.feed_forward, self.hidden)
            yield block + "mlp.up_proj.weight", matrix(self.feed_forward, self.hidden)
            yield block + "mlp.down_proj.weight", matrix(self.hidden, self.feed_forward)
        yield "model.norm.weight", norm
        yield "lm_head.weight", matrix(vocabulary, self.hidden) * 20 * np.asarray(words, dtype=np.float32)[:, None]


def tiny_hf(folder: Path, *, seed: int = 0, shards: int = 1, shape: Shape | None = None) -> Path:
    """A Llama as a Hugging Face folder: safetensors, configuration, tokenizer, chat template.

    Args:
        folder: made if it is missing.
        seed: other weights for another number.
        shards: weight files; more than one come with an index.
        shape: its sizes.

    Returns:
        `folder`.
    """
    from safetensors.numpy import save_file

    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    words = _tokenizer(folder)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": shape.hidden, "intermediate_size": shape.feed_forward, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.heads, "head_dim": shape.head,
        "max_position_embeddings": shape.context, "vocab_size": len(words), "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1, "initializer_range": 0.02,
        "torch_dtype": "float32", "use_cache": True,
    }
    _json(folder / "config.json", config)
    _json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1})
    tensors = dict(shape.tensors(words, seed))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(tensors)
    where: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[number::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    _json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
    return folder


def tiny_gguf(path: Path, *, seed: int = 0, name: str = "tiny", shape: Shape | None = None) -> Path:
    """A Llama in F16 as one GGUF file that llama.cpp, mistral.rs and GPT4All load.

    Args:
        path: where to write; its folder is made if it is missing.
        seed: other weights for another number.
        name: `general.name` in the header.
        shape: its sizes.

    Returns:
        `path`.
    """
    import gguf

    shape = shape or Shape()
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    tokens += [chr(letter) for letter in range(33, 127)]
    tokens += [f"▁{chr(letter)}" for letter in range(ord("a"), ord("z") + 1)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(_CHAT)
    for tensor, values in shape.tensors([kind is gguf.TokenType.NORMAL for kind in kinds], seed):
        # norms stay F32: llama.cpp has no kernel for them in F16
        writer.add_tensor(_gguf_name(tensor), values if values.ndim == 1 else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    """A tensor's name in a GGUF of the llama architecture."""
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    _, _, layer, part = name.split(".", 3)
    parts = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }
    return f"blk.{layer}.{parts[part.removesuffix('.weight')]}.weight"


def _tokenizer(folder: Path) -> list[bool]:
    """A byte-level tokenizer without merges; returns of each token whether it is a printable character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<s>", "</s>", "<pad>"]
    words = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    words += [f"<unused{number}>" for number in range(-len(words) % 32)]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    _json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
        "model_max_length": 512, "clean_up_tokenization_spaces": False, "chat_template": _CHAT,
    })
    _json(folder / "special_tokens_map.json", {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})
    return [word.isascii() and len(word) == 1 for word in words]


def _json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
