"""FastChat: no folder and no listing; a worker is started with `--model-path DIR` and serves that one.

Facts: lm-sys/FastChat 0e6d3e4b (2025-04), PyPI fschat 0.2.36, run. The last part of the path is the model's name, and
parts of it choose the prompt template and even the loader; if nothing matches, the whole path is searched. So the
folder is called as the repository is, lies under neutral parents, and never contains `peft`: that word anywhere in the
path makes it load an adapter. Every load trusts code that lies in the folder: code goes in only from the repository
that it is known to come from. The guide's GGUF was never there; GPTQ and AWQ need repositories cloned by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, unique_names
from helixstore.values import Format, Variant

from .parts.hf_folders import folder_names, refuse_unservable
from .parts.model_folder import discover_folders, project_folders
from .parts.names import alike

__all__ = ["FastChat"]

_WANTS = (Format.HF,)


class FastChat(Layout):
    """FastChat's model worker, over a folder of model folders."""

    name = "fastchat"
    title = "FastChat"
    checked = ("0.2.36",)
    formats = (Format.HF,)
    bears_dangling = True
    refresh = "start a model_worker for it: each serves the one model it was started with"
    launch = ("{python}", "-m", "fastchat.serve.model_worker", "--model-path", "{root}/MODEL")

    def roots(self, env: Env) -> Sequence[Root]:
        """The folder that the person named, else one that we own."""
        own = env.setting is None
        path = env.setting or env.farms / self.name
        origin = "helixstore's own" if own else "providers.fastchat.root"
        peft = "peft" in str(path).casefold()
        return [Root(path, origin, owned=own,
                     forbid="its path contains `peft`, which makes FastChat load adapters" if peft else "")]

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Safetensors that are not quantised, with a configuration and a tokenizer."""
        if variant.format is Format.GGUF:
            return Refusal("FastChat has never read GGUF", _WANTS)
        if refusal := refuse_unservable(variant):
            return refusal
        if variant.format is Format.GPTQ:
            return Refusal("FastChat runs GPTQ only through a copy of GPTQ-for-LLaMa that is cloned by hand", _WANTS)
        if variant.format is Format.AWQ:
            return Refusal("FastChat runs AWQ only through llm-awq, which is installed by hand", _WANTS)
        if variant.format is not Format.HF:
            return Refusal(f"FastChat loads unquantised weights, and these are {variant.format.value}", _WANTS)
        return None

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """One folder for each model, called as its repository."""
        names = {key: re.sub("(?i)peft", "pe-ft", name) for key, name in folder_names(variants, upstream=True).items()}
        names = unique_names(names, {variant.key: variant.manifest for variant in variants})
        return project_folders(variants, self.name, names, lambda variant: variant.hub is not None)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """The model folders; the source's name is the folder's, which is the model's in FastChat too."""
        return discover_folders(root.path, reader, self.name)
