"""TabbyAPI: every folder in `model_dir` is a model, read anew with each listing.

Facts: theroyallab/tabbyAPI e632af41 (2026-08) and exllamav3 1.4.1; the server was run, the loading needs CUDA. Only
EXL3 and safetensors in FP16 or BF16 are loaded since the exllamav2 backend went (July 2026); the guide's GGUF was never
there, its GPTQ is rejected by name. It reads every `*.safetensors` of the folder, whatever the index says, so exactly
one set of weights may lie there. A linked folder would be shown under the name of what it leads to: real folders,
linked weights. It has no delete. It renames a `config.yml` of old style, which is not ours to touch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root
from helixstore.values import Format, Purpose, Variant

from .parts.hf_folders import folder_names, refuse_unservable
from .parts.model_folder import discover_folders, project_folders
from .parts.names import alike

__all__ = ["TabbyAPI"]

_WANTS = (Format.EXL3, Format.HF)
_MARKS = ("main.py", "config_sample.yml", "config.yml")     # of an installation
_VARIABLE = "TABBY_MODEL_MODEL_DIR"


class TabbyAPI(Layout):
    """TabbyAPI, over its folder of model folders."""

    name = "tabbyapi"
    title = "TabbyAPI"
    checked = ("2026-08-13",)
    formats = (Format.EXL3, Format.HF)
    bears_dangling = True
    refresh = "nothing: it lists its folder with every request; load with POST /v1/model/load"
    launch = ("{python}", "main.py", "--model-dir", "{root}")

    def roots(self, env: Env) -> Sequence[Root]:
        """`model_dir` of the installation that the person named, that folder itself, the variable's, or one of ours."""
        setting, variable = env.setting, env.environ.get(_VARIABLE, "").strip()
        if setting is not None:
            marks = tuple(setting / mark for mark in _MARKS if env.reader.exists(setting / mark))
            if not marks:
                return [Root(setting, "providers.tabbyapi.root")]
            if variable:
                return [Root(setting / variable, _VARIABLE, present=marks)]
            told = _model_dir(setting / "config.yml", env.reader)
            return [Root(setting / (told or "models"), "config.yml" if told else "default", present=marks)]
        if variable and Path(variable).is_absolute():       # a relative one counts from an installation we do not know
            return [Root(Path(variable), _VARIABLE)]
        return [Root(env.farms / self.name, "helixstore's own", owned=True)]

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """EXL3, or FP16 and BF16, of one architecture, with config.json and tokenizer.json."""
        if variant.format is Format.GGUF:
            return Refusal("TabbyAPI reads no GGUF; its sister project YALS does", _WANTS)
        if facts.platform == "darwin":
            return Refusal("TabbyAPI needs CUDA, which no Mac has")
        if facts.gpu not in ("", "cuda", "rocm"):
            return Refusal("TabbyAPI needs a graphics card with CUDA or ROCm, and this computer has none")
        if refusal := refuse_unservable(variant):
            return refusal
        if variant.purpose is Purpose.EMBEDDING:
            return Refusal("TabbyAPI takes embedding models from another folder (embeddings.embedding_model_dir)")
        if reason := _refuse_format(variant):
            return Refusal(reason, _WANTS)
        if all(file.path != "tokenizer.json" for file in variant.files):
            return Refusal("there is no tokenizer.json beside the weights")
        if len(variant.header.classes) != 1:
            return Refusal("TabbyAPI needs exactly one entry in `architectures` of config.json")
        return None

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """One real folder for each model, one level deep, with one set of weights."""
        return project_folders(variants, self.name, folder_names(variants), lambda variant: False)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """The model folders; the source's name is the folder's, by which TabbyAPI loads it."""
        return discover_folders(root.path, reader, self.name)


def _refuse_format(variant: Variant) -> str:
    match variant.format:
        case Format.EXL3:
            return ""
        case Format.HF if variant.quantization in ("F16", "BF16", ""):
            return ""
        case Format.HF:
            return f"TabbyAPI loads FP16 and BF16, and these weights are {variant.quantization}"
        case Format.EXL2 | Format.GPTQ:
            return f"TabbyAPI rejects {variant.format.value.upper()} since its exllamav2 backend went"
        case _:
            return f"TabbyAPI loads EXL3, FP16 and BF16, and this is {variant.format.value}"


def _model_dir(config: Path, reader: Reader) -> str:
    """`model_dir` in the section `model` of a config.yml, "" when it does not say."""
    inside = False
    for line in (reader.text(config) or "").splitlines():
        if re.match(r"\S", line) and not line.startswith("#"):
            inside = re.match(r"model\s*:", line) is not None
        elif inside and (match := re.match(r"\s+model_dir\s*:\s*(?:\"([^\"]*)\"|'([^']*)'|([^#]*))", line)):
            return next((text.strip() for text in match.groups() if text), "")
    return ""
