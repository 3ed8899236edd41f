"""Which files of a repository a model needs, by their names and sizes alone. Pure.

A repository holds one model in many forms: GGUF files of a dozen quantisations, safetensors beside pickles of the same
weights, the same once more for other frameworks. A *package* is one form with all that belongs to it.

README and licence belong to a folder of safetensors or pickles, which is kept as it is. Nothing but GGUF belongs to a
GGUF: its header has a place for its licence, and the same file from two places, whose READMEs differ, is one variant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from helixstore.errors import NotFound
from helixstore.formats.folder import marks_folder
from helixstore.formats.names import (
    WEIGHT_EXTENSIONS,
    base_name,
    extension,
    quantization_in_name,
    role_of,
    shard_of_name,
)
from helixstore.fs.names import printable
from helixstore.hub.remote import RemoteFile
from helixstore.values import Family, Role

__all__ = ["Package", "choose", "packages", "tells_people", "whole"]

_COMPANIONS = frozenset({Role.CONFIG, Role.TOKENIZER, Role.TEMPLATE, Role.INDEX, Role.CODE})
_WORDS = frozenset({"readme.md", "license", "license.md", "license.txt", "notice", "notice.txt", "use_policy.md"})
#: folders in which a model of safetensors has more: modules of sentence-transformers (`1_Pooling`, `2_Dense`), which it
#: and vLLM load by the list in modules.json, and chat templates for special uses
_MODULE, _TEMPLATES = re.compile(r"[0-9]+_[A-Za-z]+/"), "additional_chat_templates/"
#: which of a projector's precisions is taken: what every program runs first
_PROJECTOR_FIRST = ("F16", "FP16", "BF16", "Q8_0", "F32", "FP32")


@dataclass(frozen=True, slots=True)
class Package:
    """One form of a model in a repository.

    Attributes:
        family: of the weights.
        quantization: as the file names say it, upper case; "" where they do not.
        weights: shards in order.
        others: what belongs to it: a projector of GGUF; of all else configuration, tokenizer, licence.
    """

    family: Family
    quantization: str
    weights: tuple[RemoteFile, ...]
    others: tuple[RemoteFile, ...]

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """All of it."""
        return (*self.weights, *self.others)

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return sum(file.bytes for file in self.files)

    @property
    def label(self) -> str:
        """What people call it: `gguf:Q4_K_M`, `safetensors`."""
        return f"{self.family.value}:{self.quantization}" if self.quantization else self.family.value


def packages(files: Iterable[RemoteFile]) -> list[Package]:
    """Every form that a repository has: GGUF by size, then safetensors, then pickles.

    Args:
        files: of the listing. Sets of shards of which one is missing make no package.
    """
    every = list(files)
    words = _words(every)
    gguf = [file for file in every if extension(file.path) == "gguf" and not _is_imatrix(file.path)]
    projector = _projector([file for file in gguf if _is_projector(file.path)])
    found = [Package(Family.GGUF, _quantization(group[0].path), tuple(group), projector)
             for group in _sets(file for file in gguf if not _is_projector(file.path))]
    found.sort(key=lambda package: (package.bytes, package.weights[0].path))
    top = [file for file in every if "/" not in file.path]
    companions = [file for file in (*top, *_below(every)) if role_of(file.path) in _COMPANIONS]
    tensors = [file for file in top if extension(file.path) == "safetensors"]
    if chosen := _loaded(tensors):
        others = [file for file in companions if not file.path.endswith(".bin.index.json")]
        dense = [file for file in _below(every) if extension(file.path) == "safetensors"]
        found.append(Package(Family.SAFETENSORS, "", tuple(chosen), _beside(others, (*dense, *words))))
    pickles = [file for file in top if role_of(file.path) is Role.PICKLE and file.path.startswith("pytorch_model")]
    if pickles and not chosen:
        others = [file for file in companions if not file.path.endswith(".safetensors.index.json")]
        found.append(Package(Family.PICKLE, "", tuple(pickles), _beside(others, words)))
    return found


def whole(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Of files that are one model those that stay with it: all; of GGUF without other weights, the GGUF."""
    endings = {extension(file.path) for file in files}
    alone = "gguf" in endings and endings.isdisjoint(WEIGHT_EXTENSIONS - {"gguf"})
    return [file for file in files if not alone or extension(file.path) == "gguf"]


def choose(name: str, found: Sequence[Package], *, family: Family | None = None, wanted: str = "") -> list[Package]:
    """What the person asked for; several where they left it open.

    Args:
        name: of the repository: for the error, and where files do not say their quantisation, it may.
        found: its packages.
        family: only of this one.
        wanted: a quantisation, a file of the repository, or "".

    Raises:
        NotFound: there is none; the remedy lists what there is.
    """
    kept = [package for package in found if family in (None, package.family)]
    if wanted:
        kept = [package for package in kept if any(file.path == wanted for file in package.weights)] or [
            package for package in kept
            if (package.quantization or quantization_in_name(name)) == wanted.upper()]
    elif family is None:
        kept = [package for package in kept if package.family is not Family.PICKLE] or kept
    if not kept:
        asked = " ".join(filter(None, (family.value if family else "", wanted))) if found else "model in GGUF files, " \
            "safetensors or pickles at its top"
        there = ", ".join(dict.fromkeys(package.label for package in found))
        raise NotFound(f"{name} has no {printable(asked)}", f"it has: {there}" if there else "see its page on the hub")
    return kept


def tells_people(path: str) -> bool:
    """Whether a file of a repository is a README, a licence or the like, which no program reads."""
    return path.lower() in _WORDS


def _beside(others: Sequence[RemoteFile], more: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """What comes with safetensors or pickles; nothing where the file is a model by itself, as a lone LoRA is."""
    return (*others, *more) if marks_folder(file.path for file in others) else ()


def _words(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """What tells people of the model; of two spellings of one name, which no folder has on some systems, the first."""
    found: dict[str, RemoteFile] = {}
    for file in files:
        if tells_people(file.path):
            found.setdefault(file.path.lower(), file)
    return list(found.values())


def _below(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """What of a model of safetensors lies in folders of its own."""
    modules = any(file.path == "modules.json" for file in files)
    return [file for file in files if file.path.startswith(_TEMPLATES) or (modules and _MODULE.match(file.path))]


def _loaded(tensors: Sequence[RemoteFile]) -> list[RemoteFile]:
    """The safetensors that programs load: of the same weights in two splits (Mistral's `consolidated`), the usual."""
    usual = [file for file in tensors if file.path.startswith("model")]
    adapter = [file for file in tensors if file.path == "adapter_model.safetensors"]
    rest = [file for file in tensors if not file.path.startswith(("consolidated", "training_args"))]
    return usual or adapter or rest or list(tensors)


def _sets(files: Iterable[RemoteFile]) -> list[list[RemoteFile]]:
    """The files, those that are shards of one another together; only whole sets."""
    alone: list[list[RemoteFile]] = []
    shards: dict[tuple[str, int], dict[int, RemoteFile]] = {}
    for file in files:
        if (shard := shard_of_name(file.path)) is None:
            alone.append([file])
        else:
            shards.setdefault((shard.stem, shard.total), {})[shard.number] = file
    whole = [[group[number] for number in sorted(group)] for (_, total), group in shards.items()
             if len(group) == total]
    return alone + whole


def _quantization(path: str) -> str:
    """By the file's name, else by its folder's (`Q4_K_M/model-00001-of-00002.gguf`)."""
    return quantization_in_name(path) or quantization_in_name(path.rpartition("/")[0])


def _is_projector(path: str) -> bool:
    return "mmproj" in path.rpartition("/")[2].lower()


def _is_imatrix(path: str) -> bool:
    return base_name(path).lower().endswith("imatrix")


def _projector(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """One projector of several precisions: half precision, which every program takes."""
    order = {name: number for number, name in enumerate(_PROJECTOR_FIRST)}
    best = sorted(files, key=lambda file: (order.get(_quantization(file.path), len(order)), file.path))
    return tuple(best[:1])
