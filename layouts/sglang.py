"""SGLang: no folder of its own. `sglang serve --model-path ORG/NAME` looks the name up in the Hugging Face cache.

Facts: the wheel of 0.5.23 (2026-10), read; 0.5.3 known. Not run here, since it needs a GPU or a CPU with AMX.
- it asks `snapshot_download` for `*.safetensors`, else `*.bin`, of the name, offline when HF_HUB_OFFLINE is set: so the
  whole snapshot must lie in the cache under the commit that `refs/main` names. A folder as `--model-path` serves too.
- every shard of the index must be there (it fails fast); beside `model*.safetensors` a `consolidated.safetensors` is
  left out only where there is one of each: it is never projected.
- methods (`layers/quantization/__init__.py`): FP8, AWQ, compressed-tensors, bitsandbytes, quark, modelopt, mxfp4, auto-
  round and others. Of GPTQ only the Marlin kernels are left: 4 and 8 bits, symmetric, which no header that we keep
  says. EXL2 and EXL3 have no loader.
- on a Mac its MLX backend loads what MLX has quantised (`SGLANG_USE_MLX=1`), in 4 and 8 bits.
- a GGUF is named by its path alone, and read with the configuration that transformers makes of its header, for few
  architectures, through kernels that are for CUDA: that is no model of the cache.

Its own images for Docker read the same cache, mounted at `/root/.cache/huggingface`.
"""

from __future__ import annotations

import re

from helixstore.providers.layout import Facts, Refusal
from helixstore.values import Format, Variant

from .parts.hf_folders import refuse_unservable
from .parts.hub_cache import HubCache

__all__ = ["SGLang"]

#: what `quant_method`, as a prefix, may be besides the formats that have a name of their own here
_METHODS = ("auto-round", "auto_round", "blockwise_int8", "fp8", "humming", "modelopt", "modelslim", "mxfp4", "mxfp8",
            "nvfp4", "petit", "quark", "w4afp8", "w8a8")
_WANTS = (Format.HF, Format.AWQ, Format.GPTQ)


class SGLang(HubCache):
    """SGLang, over the Hugging Face cache."""

    name = "sglang"
    title = "SGLang"
    checked = ("0.5.23",)
    formats = (Format.HF, Format.FP8, Format.COMPRESSED_TENSORS, Format.AWQ, Format.GPTQ, Format.BITSANDBYTES,
               Format.QUANTIZED, Format.MLX)
    refresh = "restart sglang: it serves the one model it was started with"
    launch = ("sglang", "serve", "--model-path", "ORG/NAME")

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Safetensors with a configuration and a tokenizer, in a quantisation that it has kernels for."""
        if variant.format is Format.GGUF:
            return Refusal("SGLang loads a GGUF only by its path and on CUDA, and finds none in the cache", _WANTS)
        if refusal := refuse_unservable(variant):
            return refusal
        if facts.platform == "win32":
            return Refusal("SGLang does not run on Windows; under WSL it reads the cache of WSL")
        if facts.platform == "darwin":
            return _refuse_on_mac(variant, facts)
        return _refuse_format(variant)


def _refuse_on_mac(variant: Variant, facts: Facts) -> Refusal | None:
    if not facts.apple_silicon:
        return Refusal("SGLang runs on Macs with Apple silicon only")
    if variant.format not in (Format.HF, Format.MLX):
        return Refusal("on a Mac SGLang loads what its MLX backend loads", (Format.HF, Format.MLX))
    bits = re.match(r"int(\d+)", variant.quantization.casefold())
    if variant.format is Format.MLX and bits and bits[1] not in ("4", "8"):
        return Refusal(f"SGLang's MLX backend has 4 and 8 bits, and this has {bits[1]}", (Format.HF, Format.MLX))
    return None


def _refuse_format(variant: Variant) -> Refusal | None:
    quantization = variant.quantization.casefold()
    match variant.format:
        case Format.GPTQ:
            bits = re.match(r"int(\d+)", quantization)
            if bits and bits[1] not in ("4", "8"):
                return Refusal(f"SGLang has kernels for GPTQ with 4 and 8 bits, and this has {bits[1]}", _WANTS)
        case Format.EXL2 | Format.EXL3:
            return Refusal("SGLang has no loader for EXL2 and EXL3", _WANTS)
        case Format.MLX:
            return Refusal("SGLang loads what MLX has quantised on a Mac with Apple silicon only", _WANTS)
        case Format.QUANTIZED if not quantization.startswith(_METHODS):
            return Refusal(f"SGLang does not know the quantisation {variant.quantization or 'of this model'}", _WANTS)
        case _:
            pass
    return None
