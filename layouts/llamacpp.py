"""llama.cpp: `llama-server` as a router over a folder of models.

Contract (providers-2.md section 2; `load_from_models_dir` in `common/preset.cpp`, b10573 and b11434):
- a `.gguf` file in the folder is a model, called by its stem; a folder is one model, called by its own name: the file
  with `-00001-of-`, else the last GGUF in the order of the directory; a file with `mmproj` in its name is attached to
  it, and ones that begin with `mtp-`, `dspark-`, `dflash-` become its draft. So one model per folder, and shards and
  projectors never in the root, where each part would be a model of its own.
- deeper folders, other extensions and `X.GGUF` are not seen; dangling links are skipped; links are followed.
- names go into preset files by hand sooner or later: no `#`, `;`, `:`.

The router cannot delete from this folder ("is not removable"), so there is no `delete_as_program_does`. Its second
source, the hub cache, belongs to the layouts of that cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from helixstore.providers.layout import Entry, Env, Facts, Layout, Refusal, Root
from helixstore.values import Format, Variant

from .gguf_files import main_projector, refuse, shard_names, stem, weight
from .names import distinct, legal

__all__ = ["LlamaCpp"]

#: words by which the router takes a file for a projector or a draft
_SPECIAL = re.compile(r"mmproj|^(?:mtp|dspark|dflash|eagle3)-", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}", re.IGNORECASE)


class LlamaCpp(Layout):
    """The router's `--models-dir`."""

    name = "llamacpp"
    title = "llama.cpp"
    checked = ("b10434", "b10573", "b11434")
    formats = (Format.GGUF,)
    refresh = "GET /models?reload=1 on the running server; POST /models/unload first for a model that was replaced"
    launch = ("llama-server", "--models-dir", "{root}")

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else `LLAMA_ARG_MODELS_DIR`, else a folder of helixstore's own."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        if path := env.variable("LLAMA_ARG_MODELS_DIR"):
            return (Root(path, "LLAMA_ARG_MODELS_DIR"),)
        return (Root(env.farms / self.name, "helixstore's own", owned=True),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Whole GGUF models and embedding models; adapters and heads belong to a model."""
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """A file in the root, or a folder for shards and for a model with a projector."""
        names = distinct(variants, {variant.key: _model_id(variant) for variant in variants})
        for variant in variants:
            name, projector = names[variant.key], main_projector(variant)
            folder = f"{name}/" if projector or len(variant.weights) > 1 else ""
            for number, (file_name, file) in enumerate(shard_names(variant, name)):
                yield Entry(f"{folder}{file_name}", weight(file), variant.key, witness=number == 0)
            if projector:
                yield Entry(f"{folder}{projector_name(projector.path)}", weight(projector), variant.key)


def _model_id(variant: Variant) -> str:
    """The stem, free of what the router reads in names; `.gguf` would vanish from the middle of one."""
    name = stem(variant).replace(".gguf", "").replace(".GGUF", "")
    name = _SHARD.sub("", name)
    return legal(_SPECIAL.sub(lambda match: f"model-{match[0]}" if match[0].endswith("-") else "mm-proj", name))


def projector_name(path: str) -> str:
    """A projector's own file name, with `mmproj` in it and the extension in lower case."""
    name = path.rpartition("/")[2]
    name = legal(name[:-5] if name[-5:].casefold() == ".gguf" else name)
    return f"{name}.gguf" if "mmproj" in name else f"mmproj-{name}.gguf"
