"""vLLM: no folder of its own. `vllm serve ORG/NAME` looks the name up in the Hugging Face cache; one server, one model.

Facts: vllm 017e9f4448 (2026-08), 0.32.0 on CPU run, 0.33.0 known. Half-recognised contents make it fail late, so what
it cannot load is refused here: GGUF left the tree with 0.24 (the plug-in reads the configuration from beside the file
and runs on CUDA alone), GPTQ is narrowed to 4 and 8 bit, bitsandbytes left for a plug-in, EXL2, EXL3 and MLX never
were in. GPTQ must be symmetric too, which no header that we keep says: an asymmetric one is projected and refused by
vLLM with "Unsupported quantization config". The guide's claim of GGUF was true before 0.24.
"""

from __future__ import annotations

import re

from helixstore.providers.layout import Facts, Refusal
from helixstore.values import Format, Variant

from .parts.hf_folders import refuse_unservable
from .parts.hub_cache import HubCache

__all__ = ["VLLM"]

#: quantisation methods and algorithms of `quantization/__init__.py` that are no format of their own here
_METHODS = ("fp8", "modelopt", "nvfp4", "mxfp4", "mxfp8", "quark", "torchao", "inc", "auto-round", "auto_round",
            "humming", "experts_int8")
_WANTS = (Format.HF, Format.GPTQ, Format.AWQ)


class VLLM(HubCache):
    """vLLM, over the Hugging Face cache."""

    name = "vllm"
    title = "vLLM"
    checked = ("0.32.0", "0.33.0")
    formats = (Format.HF, Format.COMPRESSED_TENSORS, Format.FP8, Format.AWQ, Format.GPTQ, Format.QUANTIZED)
    refresh = "restart vllm: it serves the one model it was started with"
    launch = ("vllm", "serve", "ORG/NAME")

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Safetensors with a configuration and a tokenizer, in a quantisation that it has kernels for."""
        if variant.format is Format.GGUF:
            return Refusal("vLLM reads GGUF no more since 0.24; its plug-in needs a CUDA GPU and the base model's "
                           "config.json and tokenizer beside the file", _WANTS)
        if refusal := refuse_unservable(variant):
            return refusal
        if facts.platform == "win32":
            return Refusal("vLLM does not run on Windows; under WSL it reads the cache of WSL")
        if facts.platform == "darwin" and not facts.apple_silicon:
            return Refusal("vLLM runs on Macs with Apple silicon only")
        return _refuse_format(variant)


def _refuse_format(variant: Variant) -> Refusal | None:
    quantization = variant.quantization.casefold()
    match variant.format:
        case Format.GPTQ:
            bits = re.match(r"int(\d+)", quantization)
            if bits and bits[1] not in ("4", "8"):
                return Refusal(f"vLLM has kernels for GPTQ with 4 and 8 bits, and this has {bits[1]}", _WANTS)
        case Format.EXL2 | Format.EXL3:
            return Refusal("vLLM has no loader for EXL2 and EXL3", _WANTS)
        case Format.MLX:
            return Refusal("vLLM does not read weights that MLX has quantised", _WANTS)
        case Format.BITSANDBYTES:
            return Refusal("bitsandbytes left vLLM for a plug-in of its own (vllm-bnb-plugin)", _WANTS)
        case Format.QUANTIZED if not any(quantization.startswith(method) for method in _METHODS):
            return Refusal(f"vLLM does not know the quantisation {variant.quantization or 'of this model'}", _WANTS)
        case _:
            pass
    return None
