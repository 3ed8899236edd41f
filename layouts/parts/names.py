"""Names of files and folders that programs show to people: legal everywhere, unique, and as the model is called.

A name comes from the variant alone, so that adding a variant renames no other; two that would differ only in case both
get the first digits of their manifest.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

from helixstore.fs.names import folded
from helixstore.providers.layout import unique_names
from helixstore.values import Format, Key, Role, Variant

from .own import own_sources

__all__ = ["alike", "distinct", "label", "legal", "quantized_id", "word"]

_LENGTH = 150                                   # bytes: leaves room for a shard suffix, a digest and an extension
_OUTSIDE = re.compile(r"[^\w.+-]+")             # letters and digits of any script, "_", ".", "+" and "-" stay
_OUTSIDE_ASCII = re.compile(r"[^A-Za-z0-9_.-]+")
_DOTS = re.compile(r"\.{2,}")                   # LocalAI refuses ".." anywhere in a path
_UNTELLING = re.compile(r"-\d{5}-of-\d{5}|\.gguf|[^a-z0-9]+")          # what one layout or another leaves out of a name
_AROUND = re.compile(r"^(?:model|mmproj)+|(?:model|gguf)+$")            # and puts around it
_EXTENSION = re.compile(r"\.[a-z]+$")
_TELLING = 32                                   # characters: no layout cuts a name shorter
_UNFINISHED = "incomplete-"                     # how GPT4All calls half a download: scans leave it out
_DEVICES = frozenset(                           # on Windows, with any extension
    ["con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(10))])


@lru_cache(maxsize=65536)
def legal(text: str, limit: int = _LENGTH, ascii_only: bool = False) -> str:
    """`text` as one path component that every system and every command line takes; never empty.

    Args:
        text: any text.
        limit: length of the result in bytes of UTF-8.
        ascii_only: for programs whose rules know ASCII letters only.
    """
    if ascii_only:
        kept = _OUTSIDE_ASCII.sub("-", text)
    else:
        kept = _OUTSIDE.sub("-", text if text.isascii() else unicodedata.normalize("NFC", text))
    kept = _DOTS.sub(".", kept).strip(".-+")
    if len(kept.encode()) > limit:
        kept = kept.encode()[:limit].decode(errors="ignore").rstrip(".-+")
    if not kept:
        return "model"
    lower = kept.casefold()
    return f"model-{kept}" if lower.startswith(_UNFINISHED) or lower.partition(".")[0] in _DEVICES else kept


def label(variant: Variant) -> str:
    """The model's name with the quantisation, unless that is known already: `gemma-3-270m-Q4_K_M`."""
    model = legal(variant.key.model)
    quantization = legal(variant.quantization, 40) if variant.quantization else ""
    if quantization and quantization.casefold() not in model.casefold():
        return f"{model}-{quantization}"
    return model


def quantized_id(key: Key) -> str:
    """What tells a variant from the others of its model: `Q4_K_M`, or `Q4_K_M-1f2e3d4c` for a second one, or ""."""
    return key.variant.partition(":")[2].replace("@", "-").strip("-")


def distinct(variants: Iterable[Variant], wanted: Mapping[Key, str], taken: Iterable[str] = ()) -> dict[Key, str]:
    """Names that differ even where case is folded.

    Args:
        variants: those that share the folder.
        wanted: the name each would like, legal.
        taken: names of what lies there beside, which nobody else may get.
    """
    digests = {variant.key: variant.manifest for variant in variants}
    names = unique_names(wanted, digests, limit=1024)
    lie = {folded(name) for name in taken}
    return {key: f"{name[:1015]}-{digests[key][:8]}" if folded(name) in lie else name
            for key, name in names.items()}


@lru_cache(maxsize=65536)
def word(text: str) -> str:
    """What a name comes down to: equal for all texts of which some layout makes names that collide; "" too."""
    return _AROUND.sub("", _UNTELLING.sub("", folded(text)))[:_TELLING]


def alike(variant: Variant, program: str, above: int = 0) -> frozenset[str]:
    """Words for `Layout.alike`, where names are made of what the model, its repository and its files are called.

    Args:
        variant: any variant.
        program: whose own names for it count too, since what lies there keeps its name.
        above: so many folders on the way to what lies there are no names of models.
    """
    hub = variant.hub
    files = tuple(file.path.rpartition("/")[2] for file in variant.files
                  if file.role is Role.WEIGHTS) if variant.format is Format.GGUF else ()
    words = _words(variant.key, variant.quantization, hub.repository or "" if hub is not None else "", files)
    own = [path for source in own_sources(variant, program)
           for path in (source.name or "", *(_EXTENSION.sub("", sidecar) for sidecar, _ in source.sidecars))]
    parts = {part for path in own for part in (path, *re.split("[/:]", path)[above:]) if part}
    return words.union(*map(_told, parts)) if parts else words


@lru_cache(maxsize=65536)
def _words(key: Key, quantization: str, repository: str, files: tuple[str, ...]) -> frozenset[str]:
    bases = [key.model, repository, repository.rpartition("/")[2]]
    ends = ("", quantization, key.variant, key.variant.partition(":")[2])
    texts = [*(f"{base}{end}" for base in bases if base for end in ends), *files]
    return frozenset[str]().union(*map(_told, texts))


def _told(text: str) -> set[str]:
    """Its words: as it is, and as programs have it that leave out what is not ASCII, of which folding makes ASCII."""
    return {word(text)} if text.isascii() else {word(text), word(legal(text, 1024, ascii_only=True))}
