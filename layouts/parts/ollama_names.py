"""Ollama's names: `host/namespace/model/tag` in folders, `llama3.1:8b` in its list, and what they say of a model.

Facts (types/model/name.go of 0.33): four parts, of which the default host, the namespace `library` and nothing else
are left out when a name is shown; a lookup takes any spelling of a part from anywhere in the tree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from helixstore.values import Key, Variant

from .names import distinct, legal, quantized_id
from .own import own_sources

__all__ = ["DEFAULT_HOST", "Name", "made_names"]

#: the host of Ollama's own library, which it leaves out of the names it shows
DEFAULT_HOST = ".".join(("registry", "ollama", "ai"))
#: the hub, whose models Ollama pulls by repository
_HUB = "hf.co"
#: host, namespace, model, tag
_PARTS = tuple(re.compile(pattern, re.ASCII) for pattern in (
    r"\w[\w.:-]{0,349}", r"\w[\w-]{0,79}", r"\w[\w.-]{0,79}", r"\w[\w.-]{0,79}"))
#: what a tag ends with, or is, when it names a quantisation: `8b-instruct-q4_K_M`, `Q8_0`, `fp16`
_QUANTIZED = re.compile(
    r"(?:^|[-_.])(?:ud[-_.]|i1[-_.])?"
    r"(?:i?q\d(?:_(?:\d|k|s|m|l|xs|xl|xxs|nl))*|tq[12]_0|mxfp[48](?:_moe)?|nvfp4|bf16|fp?16|fp?32|fp8|int[48])"
    r"(?:\.gguf)?$", re.IGNORECASE)


class Name(NamedTuple):
    """One model's full name."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def of(cls, parts: Sequence[str]) -> Name | None:
        """The name that four folders make; None when Ollama knows no such name."""
        if len(parts) != len(_PARTS) or not all(map(re.Pattern.fullmatch, _PARTS, parts)):
            return None
        return cls(*parts)

    @classmethod
    def read(cls, shown: str) -> Name | None:
        """The full name of one as it is shown or typed; None when it is none."""
        path, _, tag = shown.rpartition(":") if ":" in shown.rpartition("/")[2] else (shown, "", "")
        parts = path.split("/")
        return cls.of([*(DEFAULT_HOST, "library")[:3 - len(parts)], *parts, tag or "latest"])

    @property
    def shown(self) -> str:
        """As `ollama list` shows it."""
        short = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{short}"
        return short if self.namespace == "library" else f"{self.namespace}/{short}"

    @property
    def path(self) -> str:
        """Where its manifest lies, relative to the root."""
        return f"manifests/{self.host}/{self.namespace}/{self.model}/{self.tag}"

    @property
    def portable(self) -> bool:
        """Whether its manifest's path is one that every system takes; a host with a port is none."""
        return ":" not in self.host

    @property
    def _size(self) -> str:
        """The tag without its quantisation: `8b`, `8b-instruct`; "" when nothing is left."""
        tag = _QUANTIZED.sub("", self.tag)
        return "" if tag.casefold() == "latest" else tag

    @property
    def family(self) -> str:
        """The name without its quantisation: what the quantisations of one model have in common."""
        return self._replace(tag=self._size).shown.rstrip(":")

    @property
    def title(self) -> str:
        """What people call the model: `llama3.1:8b`; of one from the hub the repository."""
        return f"{self.model}:{self._size}" if self._size and self.host != _HUB else self.model

    @property
    def stem(self) -> str:
        """The same as the beginning of a file name."""
        model = self.model[:-5] if self.model[-5:].casefold() == "-gguf" else self.model
        return legal(f"{model}-{self._size}" if self._size else model)


def made_names(variants: Sequence[Variant], own: Iterable[Name]) -> dict[Key, Name]:
    """A name for each variant that Ollama has not by itself, so that no part of a name is spelt in two ways.

    Args:
        variants: those that need one.
        own: the names that others have there already; they are not touched.
    """
    kept = list(own)
    taken = {"/".join(name).casefold() for name in kept}
    asked = {variant.key: theirs for variant in variants if (theirs := _asked(variant))}
    times = Counter("/".join(theirs).casefold() for theirs in asked.values())
    fixed = {key: theirs for key, theirs in asked.items()
             if times[folded := "/".join(theirs).casefold()] == 1 and folded not in taken}
    taken.update("/".join(theirs).casefold() for theirs in fixed.values())
    others = [variant for variant in variants if variant.key not in fixed]
    wanted = {}
    for variant in others:
        name = "/".join(_made(variant.key))
        wanted[variant.key] = f"{name}-{variant.manifest[:8]}" if name.casefold() in taken else name
    made = {key: Name(*name.split("/")) for key, name in distinct(others, wanted).items()}
    return {**fixed, **_respelt(made, (*kept, *fixed.values()))}


def _asked(variant: Variant) -> Name | None:
    """What Ollama calls it, where that is all that is known of it there."""
    names = (Name.read(source.name or "") for source in own_sources(variant, "ollama") if not source.sidecars)
    return next((name for name in names if name and name.portable), None)


def _made(key: Key) -> Name:
    quantization = quantized_id(key)
    tag = legal(quantization, 71, ascii_only=True) if quantization else "latest"
    return Name(DEFAULT_HOST, "library", legal(key.model, 80, ascii_only=True), tag)


def _respelt(names: Mapping[Key, Name], own: Iterable[Name]) -> dict[Key, Name]:
    spellings: list[dict[str, str]] = [{} for _ in _PARTS]
    for name in (*own, *sorted(names.values())):
        for known, part in zip(spellings, name, strict=True):
            known.setdefault(part.casefold(), part)
    return {
        key: Name(*(known[part.casefold()] for known, part in zip(spellings, name, strict=True)))
        for key, name in names.items()
    }
