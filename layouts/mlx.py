"""MLX (mlx-lm, mlx_lm.server): the Hugging Face cache, by repository name, or any path.

Facts: mlx-lm 0.32.2, run on Linux without a GPU; macOS needs Apple silicon. It merges every `model*.safetensors` of the
top folder and looks at no other name. A model is loaded on demand by the request's `model`.

`GET /v1/models` lists a repository only if `main` names a snapshot with config.json, tokenizer_config.json and
model.safetensors.index.json. A model of one file mostly has no index, and a layout knows no names of tensors from which
a true one could be made; a made-up one would mislead mistral.rs, which trusts it, so none is written. Such a model is
loadable by its name and not listed, exactly as when mlx-lm has downloaded it itself. The guide's claim of GGUF is
wrong: mlx-lm only exports it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from helixstore.providers.layout import Facts, Refusal
from helixstore.values import Format, Purpose, Variant

from .parts.hf_folders import refuse_unservable
from .parts.hub_cache import HubCache

__all__ = ["MLX"]

_WANTS = (Format.HF, Format.MLX)
_METHODS = ("mxfp4", "mxfp8", "nvfp4", "bitnet")


class MLX(HubCache):
    """mlx-lm, over the Hugging Face cache."""

    name = "mlx"
    title = "MLX"
    checked = ("0.32.2",)
    formats = (Format.MLX, Format.HF, Format.AWQ, Format.GPTQ, Format.COMPRESSED_TENSORS, Format.QUANTIZED)
    refresh = "nothing: mlx_lm.server looks at the cache with every request"
    launch = ("mlx_lm.server",)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Safetensors called `model*.safetensors` with a configuration and a tokenizer, for text generation."""
        if variant.format is Format.GGUF:
            return Refusal("mlx-lm reads safetensors and only exports GGUF", _WANTS)
        if facts.platform == "win32":
            return Refusal("mlx-lm does not run on Windows")
        if facts.platform == "darwin" and not facts.apple_silicon:
            return Refusal("MLX needs a Mac with Apple silicon")
        if refusal := refuse_unservable(variant):
            return refusal
        if variant.purpose is Purpose.EMBEDDING:
            return Refusal("mlx-lm generates text and makes no embeddings")
        if not any(fnmatchcase(file.path, "model*.safetensors") for file in variant.weights):
            return Refusal("mlx-lm reads only weights that are called model*.safetensors in the top folder")
        return _refuse_format(variant)


def _refuse_format(variant: Variant) -> Refusal | None:
    match variant.format:
        case Format.EXL2 | Format.EXL3:
            return Refusal("mlx-lm has no loader for EXL2 and EXL3", _WANTS)
        case Format.BITSANDBYTES:
            return Refusal("mlx-lm does not read bitsandbytes weights", _WANTS)
        case Format.FP8:
            return Refusal("of FP8, mlx-lm reads only mxfp8 and 32x32 blocks with ue8m0 scales", _WANTS)
        case Format.QUANTIZED if not any(variant.quantization.casefold().startswith(m) for m in _METHODS):
            return Refusal(f"mlx-lm does not know the quantisation {variant.quantization or 'of this model'}", _WANTS)
        case _:
            return None
