"""What the programs that load Hugging Face model folders have in common: names of folders, and which files go in.

Names follow from the variant itself as far as possible, because several programs share the hub cache and each is asked
about the variants that it accepts: the same variant must get the same name whoever else is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from helixstore.providers.layout import LINKS, Copy, Entry, Refusal, Weight, unique_names
from helixstore.values import Family, File, Format, Key, LinkKind, Purpose, Role, Variant

from .names import legal

__all__ = ["body", "folder_entries", "folder_names", "is_repository", "model_files", "refuse_unservable",
           "repository_name", "witness"]

#: A part of a repository name, as `huggingface_hub.utils._validators` (2.4.0) and the hub have it.
_PART = re.compile(r"\b[\w\-.]{1,96}\b", re.ASCII)
_LIMIT = 96                         # characters of one part of a repository name
_SMALL = 64 << 20                   # bytes: larger files that are no weights are linked too, not copied
_PRECISION = {"BF16": 0, "F16": 1, "F32": 2}
_TOKENIZERS = frozenset({"tokenizer.json", "tokenizer.model", "tiktoken.model", "vocab.json", "vocab.txt",
                         "spiece.model", "sentencepiece.bpe.model", "tekken.json"})
_NOT_A_MODEL = {
    Purpose.ADAPTER: "an adapter is loaded beside its model, not by itself",
    Purpose.PROJECTOR: "a projector is loaded beside its model, not by itself",
    Purpose.DRAFT: "a draft is loaded beside its model, not by itself",
    Purpose.VOCABULARY: "it holds a vocabulary only, no weights",
}


def is_repository(name: str | None) -> bool:
    """Whether the hub's clients take `name` for a repository: `name` or `org/name` in their alphabet."""
    if not name or "--" in name or ".." in name or name.endswith(".git"):
        return False
    parts = name.split("/")
    return len(parts) <= 2 and all(_PART.fullmatch(part) for part in parts)


def repository_name(text: str) -> str:
    """`text` as one part of a repository name: what the hub's clients refuse is replaced by hyphens."""
    clean = re.sub(r"-{2,}", "-", legal(text, _LIMIT, ascii_only=True))
    clean = re.sub(r"(?i)\.git$", "-git", clean)
    if clean == "model" and text.casefold() != "model":     # nothing of it was left: names in other scripts
        clean += f"-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return clean


def folder_names(variants: Iterable[Variant], upstream: bool = False) -> dict[Key, str]:
    """A name for each variant's folder, unique even where case is folded.

    The full-precision variant has the model's own name; so has a lone quantised one whose name says its format already
    ("Qwen3-8B-AWQ"). Every other is `<model>-<variant id>`.

    Args:
        variants: all that get a name in one folder.
        upstream: prefer the last part of the repository, where there is one, to the model's name.
    """
    groups: dict[str, list[tuple[str, Variant]]] = {}
    for variant in variants:
        hub = variant.hub if upstream else None
        name = repository_name((hub.repository or "").rpartition("/")[2] if hub else variant.key.model)
        groups.setdefault(name.casefold(), []).append((name, variant))
    wanted: dict[Key, str] = {}
    digests: dict[Key, str] = {}
    for group in groups.values():
        plain = _plain([variant for _, variant in group])
        for name, variant in group:
            suffix = repository_name(variant.key.variant)
            digests[variant.key] = variant.manifest
            wanted[variant.key] = name if variant.key == plain else (
                repository_name(f"{name[: _LIMIT - 1 - len(suffix)]}-{suffix}"))
    unique = unique_names(wanted, digests, _LIMIT)
    return {key: name if name == wanted[key] else repository_name(name) for key, name in unique.items()}


def _plain(group: Sequence[Variant]) -> Key | None:
    """The variant of one name that has the name for itself."""
    full = [variant for variant in group if variant.format is Format.HF]
    if full:
        return min(full, key=lambda v: ("@" in v.key.variant, _PRECISION.get(v.quantization, 9), v.key)).key
    if len(group) == 1 and group[0].format.value in group[0].key.model.casefold():
        return group[0].key
    return None


def model_files(variant: Variant, code: bool) -> list[File]:
    """The files of a folder model that a program may see.

    Never pickles. Never a second set of the same weights: `consolidated*.safetensors` beside `model*.safetensors` makes
    vLLM take another loader and TabbyAPI overwrite tensors, since it reads every safetensors file there is.

    Args:
        variant: a folder model.
        code: include `*.py`; only for content that is known to come from its repository.
    """
    model = any(file.path.startswith("model") and file.path.endswith(".safetensors") for file in variant.files)
    return [
        file for file in variant.files
        if file.role is not Role.PICKLE
        and (code or (file.role is not Role.CODE and not file.path.casefold().endswith((".py", ".pyc"))))
        and not (model and _consolidated(file.path))
    ]


def _consolidated(path: str) -> bool:
    return path.endswith(".safetensors") and path.rpartition("/")[2].startswith("consolidated")


def body(file: File, kinds: tuple[LinkKind, ...] = LINKS) -> Weight | Copy:
    """A link for weights, and for anything large; a copy for the small files that people edit."""
    if file.role in (Role.WEIGHTS, Role.PROJECTOR) or file.bytes > _SMALL:
        return Weight(file.blake3, file.bytes, kinds)
    return Copy(file.blake3, file.bytes)


def witness(files: Sequence[File]) -> str:
    """The path whose absence means that the person deleted the model: its first weights.

    Whoever deletes the model removes them, with the folder or one by one; nothing else does. A configuration is edited
    by replacing it, and a README goes without anybody missing it.
    """
    return next((file.path for file in files if file.role is Role.WEIGHTS), files[0].path if files else "")


def folder_entries(folder: str, variant: Variant, files: Sequence[File],
                   kinds: tuple[LinkKind, ...] = LINKS) -> Iterable[Entry]:
    """The files of one model in a real folder of its own; the weights come last, so that no half is found."""
    first = witness(files)
    for file in files:
        yield Entry(f"{folder}/{file.path}", body(file, kinds), variant.key, file.path == first,
                    order=int(file.path == first))


def refuse_unservable(variant: Variant) -> Refusal | None:
    """What no server of models can load: adapters by themselves, pickles, folders that lack what every loader opens."""
    if reason := _NOT_A_MODEL.get(variant.purpose):
        return Refusal(reason)
    if variant.format is Format.PYTORCH:
        return Refusal("its weights are pickles, which can run code when they are loaded", (Format.HF,))
    if variant.format.family is not Family.SAFETENSORS:
        return None
    if not variant.weights:
        return Refusal("it has no weights")
    names = {file.path for file in variant.files}
    if "config.json" not in names:
        return Refusal("there is no config.json beside the weights")
    if names.isdisjoint(_TOKENIZERS) and not any(
            name.endswith(".tiktoken") or name.startswith("tokenizer.model.v") for name in names):
        return Refusal("there is no tokenizer beside the weights")
    return None
