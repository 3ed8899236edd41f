"""Which files of a folder make one model, and which are left out.

Decided here:
- With `model*.safetensors` in place, Mistral's `consolidated*.safetensors` and `params.json` are left out: they hold
  the same weights again, vLLM takes any `consolidated*` as a sign to read the whole folder differently, and ExLlama
  merges both. Where only `consolidated*` is there, it is the weights.
- Weights are what the index names; without one `model.safetensors`, else the shards, else every safetensors file.
- Beside safetensors, pickles and other programs' weights (ONNX, TensorFlow, GGUF) are left out, with a note.
- Subfolders come along down to three levels when nothing in them is weights (`1_Pooling`); those that modules.json
  names (`2_Dense`) come along with theirs. Links to folders are not entered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from helixstore.errors import Unreadable, UnsafeName
from helixstore.formats.describe import describe_folder
from helixstore.formats.inspection import Inspection, Part
from helixstore.formats.jsonstream import parse, weight_map
from helixstore.formats.listing import SKIPPED_FOLDERS, Item, Listing, Tree, list_folder, safe_name
from helixstore.formats.names import Shard, extension, role_of, shard_name, shard_of_name
from helixstore.formats.opened import Opened, show
from helixstore.formats.outward import leads_out
from helixstore.formats.sniff import UNSAFE
from helixstore.fs.names import folded, unfinished
from helixstore.values import Format, Role

__all__ = ["inspect_folder", "is_model_folder", "marks_folder"]

MAX_LEVELS = 3
MAX_FILES = 4096                # files of one model
MAX_OTHER = 64 << 20            # bytes of a file that is neither weights nor known
_MARKERS = ("config.json", "params.json", "adapter_config.json")
_PIPELINE = "model_index.json"
#: Weights of other programs, archives: never part of a safetensors or pickle model.
_FOREIGN = frozenset({
    "gguf", "ggml", "onnx", "onnx_data", "h5", "msgpack", "ot", "tflite", "npz", "pb", "mlmodel", "mlpackage", "nemo",
    "zip", "tar", "gz", "tgz", "xz", "zst", "7z", "rar", "imatrix", "mlir", "engine", "pte", "llamafile",
})
_PICKLES = frozenset({"bin", "pt", "pth", "ckpt", "pkl", "pickle"})
#: Pickles that hold weights, as opposed to the state of a training run.
_PICKLED_WEIGHTS = re.compile(
    r"(?:pytorch_model|model|consolidated|adapter_model|diffusion_pytorch_model).*|.*\.(?:pth|ckpt)"
)
_VARIANT = re.compile(r".+\.(?:fp16|bf16|fp32|non_ema|ema)(?:-\d{5}-of-\d{5})?\.safetensors")


class _Choice(NamedTuple):
    weights: frozenset[str]
    missing: tuple[str, ...]
    index_name: str


def is_model_folder(listing: Listing) -> bool:
    """Whether the folder as a whole is one model: a configuration or an index, and weights that are no GGUF."""
    names = listing.items.keys()
    if _PIPELINE in names or any(name.endswith(".safetensors.index.json") for name in names):
        return True
    marked = any(marker in names for marker in _MARKERS)
    endings = {extension(item.name) for item in listing.files if not unfinished(item.name, names)}
    if "safetensors" in endings:
        return marked
    return any(name.endswith(".bin.index.json") for name in names) or (
        marked and any(_is_pickled(name) for name in names)
    )


def marks_folder(names: Iterable[str]) -> bool:
    """Whether one of these files says that the weights beside it make one model with all that lies there.

    Args:
        names: in the model's folder.
    """
    return any(name in _MARKERS or name == _PIPELINE or name.endswith((".safetensors.index.json", ".bin.index.json"))
               for name in names)


def _is_pickled(name: str) -> bool:
    return extension(name) in _PICKLES and _PICKLED_WEIGHTS.fullmatch(name) is not None


def inspect_folder(listing: Listing, tree: Tree | None = None) -> tuple[Inspection, frozenset[str]]:
    """The one model that a folder holds.

    Args:
        listing: of a folder for which `is_model_folder` holds.
        tree: is told which files count.

    Returns:
        The model, and the names of the subfolders that belong to it.

    Raises:
        Unreadable, Incomplete: a file that it needs.
        UnsafeName: a name, in the folder or in its index, that may not be used elsewhere.
    """
    _check_kinds(listing)
    taken, subfolders = _subfolders(listing, tree)
    notes: list[str] = []
    taken = {path: item for path, item in taken.items() if not _led_away(item, listing, path, notes)}
    own = {item.name: item for item in listing.files
           if not unfinished(item.name, listing.items) and not _led_away(item, listing, item.name, notes)}
    choice = _choose(listing, own)
    parts = [_part(item.name, item) for item in own.values() if _belongs(item, choice, notes)]
    parts += [_part(path, item) for path, item in taken.items()]
    if len(parts) > MAX_FILES:
        raise Unreadable(f"the folder has more than {MAX_FILES:,} files", path=listing.path)
    _check_names(listing.path, parts)
    if tree is not None:
        for item in [*(own[part.path] for part in parts if part.path in own), *taken.values()]:
            tell(tree, item)
    description = describe_folder([part for part in parts if part.role is not Role.OTHER])
    pickled = description.format is Format.PYTORCH and any(part.role is Role.PICKLE for part in parts)
    return Inspection(
        location=Path(listing.path),
        name=Path(listing.path).name,
        format=description.format,
        quantization=description.quantization,
        purpose=description.purpose,
        header=description.header,
        parts=tuple(sorted(parts, key=lambda part: part.path)),
        missing=choice.missing,
        unsafe=UNSAFE if pickled else "",
        notes=(*description.notes, *notes),
    ), subfolders


def tell(tree: Tree, item: Item) -> None:
    """Tell the tree of a file that counts, and of the file behind it where it is a link."""
    tree.file(item.path, item.status)
    if item.linked and item.target is not None:
        tree.file(str(Path(item.path).resolve()), item.target)


def _led_away(item: Item, listing: Listing, path: str, notes: list[str]) -> bool:
    """Whether a file is a link to what no model has: then it is left out, with a note."""
    if not item.linked or not leads_out(item.path, listing.path):
        return False
    if path in _MARKERS:
        raise Unreadable(f"{show(item.path)} is a link to a file elsewhere that is no model's",
                         "put the file itself in its place", item.path)
    notes.append(f"{path} is left out: a link to a file elsewhere that is no model's")
    return True


def _check_kinds(listing: Listing) -> None:
    """Nothing is concluded from a folder in which a file is away: its disk may be."""
    for item in listing.items.values():
        if item.name.startswith(".") or extension(item.name) == "gguf":
            continue
        if item.kind == "link":
            raise Unreadable(f"{show(item.path)} is a link that leads nowhere",
                             "plug in the disk that it leads to, or remove the link", item.path)
        if item.kind == "other" or (item.kind == "folder" and item.name in _MARKERS):
            raise Unreadable(f"{show(item.path)} is not a regular file", "remove it", item.path)


# ---- weights


def _choose(listing: Listing, own: dict[str, Item]) -> _Choice:
    """The names of the weights at the top of the folder."""
    for ending in (".safetensors.index.json", ".bin.index.json"):
        indexes = [name for name in own if name.endswith(ending)]
        tensors = [name for name in own if extension(name) == "safetensors" and not name.startswith("consolidated")]
        if not indexes or (ending.startswith(".bin") and tensors):
            continue
        usual = [name for name in indexes if name in ("model.safetensors.index.json", "pytorch_model.bin.index.json")]
        index = (usual or indexes)[0]
        if index.startswith("consolidated") and tensors:
            continue
        with Opened(own[index].path) as file:
            names = [safe_name(name, own[index].path) for name in weight_map(file)[0]]
        if stray := [name for name in names if "/" in name]:
            raise UnsafeName(f"the index names {stray[0]!r}, in another folder", path=own[index].path)
        return _Choice(frozenset(names), tuple(name for name in names if name not in own), index)
    return _without_index(listing.path, own)


def _without_index(path: str, own: dict[str, Item]) -> _Choice:
    names = [name for name in own if extension(name) == "safetensors"]
    if not names:
        pickled = frozenset(name for name in own if _is_pickled(name))
        return _Choice(pickled, _missing(pickled), "")
    if "model.safetensors" in names:
        return _Choice(frozenset({"model.safetensors"}), (), "")
    plain = [n for n in names if not n.startswith("consolidated") and not _VARIANT.fullmatch(n)] or names
    if "config.json" in own and any(not name.startswith("adapter_model") for name in plain):
        plain = [name for name in plain if not name.startswith("adapter_model")]
    shards = [name for name in plain if (shard := shard_of_name(name)) and shard.stem == "model"]
    chosen = frozenset(shards or plain)
    if len(stems := sorted({_stem(name) for name in chosen})) > 1:
        raise Unreadable(
            f"the folder holds weights of several models: {', '.join(stems[:3])}", "give each a folder of its own", path
        )
    return _Choice(chosen, _missing(chosen), "")


def _stem(name: str) -> str:
    """What the names of the parts of one model share: without shard suffix, or a number of their own."""
    shard = shard_of_name(name)
    return shard.stem if shard else name.removesuffix(".safetensors").rstrip("0123456789").rstrip("-_.")


def _missing(names: frozenset[str]) -> tuple[str, ...]:
    """The shards that names of the form 00001-of-00003 ask for and that are not there."""
    sets: set[Shard] = {shard._replace(number=1) for name in names if (shard := shard_of_name(name))}
    wanted = (shard_name(shard, number) for shard in sets for number in range(1, min(shard.total, MAX_FILES) + 1))
    return tuple(sorted(name for name in wanted if name not in names))


# ---- files beside the weights


def _belongs(item: Item, choice: _Choice, notes: list[str]) -> bool:
    """Whether a file at the top of the folder is a part; a note says why not, where one may wonder."""
    name = item.name
    if name in choice.weights:
        return True
    if name.startswith("."):
        return False
    ending = extension(name)
    if ending == "safetensors" or name.endswith((".safetensors.index.json", ".bin.index.json")):
        if name == choice.index_name:
            return True
        notes.append(f"{name} is left out: not among the weights that are loaded")
        return False
    if name == "params.json" and not any(weight.startswith("consolidated") for weight in choice.weights):
        return False
    if ending in _FOREIGN:
        if ending != "gguf":                            # a GGUF is a model of its own
            notes.append(f"{name} is left out: weights of another format")
        return False
    role = role_of(name)
    if role is Role.PICKLE:
        notes.append(f"{name} is left out: {UNSAFE}")
        return False
    if role is Role.OTHER and item.bytes > MAX_OTHER:
        notes.append(f"{name} is left out: {item.bytes:,} bytes of unknown use")
        return False
    return True


def _part(path: str, item: Item) -> Part:
    return Part(path, Path(item.path), item.bytes, role_of(path))


def _check_names(folder: str, parts: list[Part]) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        safe_name(part.path, str(part.location))
        other = seen.setdefault(folded(part.path), part.path)
        if other != part.path:
            raise UnsafeName(
                f"{part.path!r} and {other!r} are the same name where case is not told apart", "rename one", folder
            )


# ---- subfolders


def _subfolders(listing: Listing, tree: Tree | None) -> tuple[dict[str, Item], frozenset[str]]:
    """Files of the subfolders that belong to the model, by path relative to it, and the names of those subfolders."""
    modules = _modules(listing)
    pipeline = _PIPELINE in listing.items
    files: dict[str, Item] = {}
    names: set[str] = set()
    for folder in listing.folders:
        if folder.name.startswith(".") or folder.name in SKIPPED_FOLDERS:
            continue
        found: dict[str, Item] = {}
        with_weights = pipeline or folder.name in modules
        if _gather(folder, folder.name, 1, with_weights, found, tree):
            files.update(found)
            names.add(folder.name)
    return files, frozenset(names)


def _gather(folder: Item, prefix: str, level: int, weights: bool, found: dict[str, Item], tree: Tree | None) -> bool:
    """Collect the files below; False when the subfolder is not a mere part of the model."""
    listing = list_folder(folder.path, tree)
    for item in listing.items.values():
        path = f"{prefix}/{item.name}"
        if item.kind == "folder":
            if item.linked or item.name in SKIPPED_FOLDERS:
                continue
            if level >= MAX_LEVELS or not _gather(item, path, level + 1, weights, found, tree):
                return False
        elif item.kind == "file" and not item.name.startswith(".") and not unfinished(item.name, listing.items):
            ending = extension(item.name)
            if ending in _PICKLES and weights:
                continue
            if ending in _FOREIGN or ending in _PICKLES or (ending == "safetensors" and not weights):
                return False
            found[path] = item
        if len(found) > MAX_FILES:
            return False
    return True


def _modules(listing: Listing) -> frozenset[str]:
    """The subfolders that sentence-transformers' modules.json names."""
    item = listing.items.get("modules.json")
    if item is None or item.kind != "file" or item.bytes > 1 << 16:
        return frozenset()
    with Opened(item.path) as file:
        try:
            modules = parse(file.read_at(0, 1 << 16))
        except ValueError as error:
            raise Unreadable(f"modules.json cannot be read: {error}", path=item.path) from error
    if not isinstance(modules, list):
        return frozenset()
    paths = (module.get("path") for module in modules if isinstance(module, dict))
    return frozenset(path for path in paths if isinstance(path, str) and path and "/" not in path)
