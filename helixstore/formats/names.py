"""What file names say: shards, quantisation, projectors, the role of a file in a model folder.

A name is a hint for people and for grouping; what a file is comes from its content.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from helixstore.values import Role

__all__ = [
    "Shard", "base_name", "extension", "is_digest", "looks_like_model", "projector_stem", "quantization_in_name",
    "role_of", "shard_name", "shard_of_name",
]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<rest>\.[^.]+)", re.DOTALL)
_QUANT = re.compile(
    r"""
    (?:(?:i1|UD|ud)[-_.])?                              # imatrix and dynamic variants: i1-Q4_K_M, UD-Q4_K_XL
    (?: I?Q\d(?:_(?:0|1|K|S|M|L|XS|XL|XXS|NL|4|8))*     # Q4_K_M, Q8_0, IQ2_XXS, Q4_0_4_4
      | TQ[12]_0
      | MXFP[48](?:_MOE)? | NVFP4
      | BF16 | FP?16 | FP?32 | FP8
      | INT[48] | [2-8]-?BIT
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_QUANT_AT_END = re.compile(
    rf"(?P<stem>.*?)(?:^|[-_.])(?P<quant>{_QUANT.pattern})", re.VERBOSE | re.IGNORECASE | re.DOTALL
)
_DIGEST = re.compile(r"(?:sha256[-:_])?[0-9a-f]{40,128}", re.IGNORECASE)

#: Endings of files that may hold weights; without the dot, lower case.
WEIGHT_EXTENSIONS = frozenset({"gguf", "ggml", "safetensors", "bin", "pt", "pth", "ckpt", "pkl", "pickle"})
#: Endings that never hold weights, which a survey need not open.
PLAIN_EXTENSIONS = frozenset({
    "7z", "aac", "asc", "avi", "bmp", "bz2", "c", "cfg", "conf", "cpp", "css", "csv", "db", "deb", "doc", "docx",
    "exe", "flac", "gif", "go", "gz", "h", "html", "ico", "ini", "ipynb", "iso", "jinja", "jpeg", "jpg", "js", "json",
    "jsonl", "lock", "log", "m4a", "md", "mkv", "mov", "mp3", "mp4", "msgpack", "npy", "npz", "o", "odt", "ogg", "onnx",
    "parquet", "pdf", "php", "png", "py", "pyc", "rar", "rpm", "rs", "rst", "sh", "so", "sqlite", "svg", "tar", "tgz",
    "toml", "ts", "tsv", "ttf", "txt", "wav", "webm", "webp", "whl", "woff2", "xls", "xlsx", "xml", "xz", "yaml", "yml",
    "zip", "zst",
})
_TOKENIZER = frozenset({
    "added_tokens.json", "bpe.codes", "merges.txt", "sentencepiece.bpe.model", "special_tokens_map.json",
    "spiece.model", "spm.model", "tekken.json", "tiktoken.model", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "vocab.json", "vocab.txt",
})
_WEIGHTS = frozenset({"safetensors", "gguf"})
_PICKLES = frozenset({"bin", "pt", "pth", "ckpt", "pkl", "pickle"})


class Shard(NamedTuple):
    """What `<stem>-00002-of-00005<rest>` says; `number` from 1."""

    stem: str
    number: int
    total: int
    rest: str


def extension(name: str) -> str:
    """The ending without its dot, lower case; "" when there is none."""
    stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot and stem else ""


def shard_of_name(name: str) -> Shard | None:
    """The shard that a file name says it is, or None. `00000-of-...` and numbers above the count are none."""
    match = _SHARD.fullmatch(name)
    if match is None:
        return None
    number, count = int(match["number"]), int(match["count"])
    return Shard(match["stem"], number, count, match["rest"]) if 1 <= number <= count else None


def shard_name(shard: Shard, number: int) -> str:
    """The file name of another shard of the same set; `number` from 1."""
    return f"{shard.stem}-{number:05}-of-{shard.total:05}{shard.rest}"


def base_name(filename: str) -> str:
    """`filename` without folder, ending, shard suffix and quantisation: a model's name as people say it."""
    stem = _stem(filename)
    return _without_quant(stem) or stem


def quantization_in_name(filename: str) -> str:
    """The quantisation that a file name ends with, upper case ("Q4_K_M"), or ""."""
    match = _QUANT_AT_END.fullmatch(_stem(filename))
    return match["quant"].upper() if match else ""


def _stem(filename: str) -> str:
    name = filename.rpartition("/")[2]
    shard = shard_of_name(name)
    stem = shard.stem if shard else name
    return stem.rpartition(".")[0] if extension(stem) in WEIGHT_EXTENSIONS else stem


def _without_quant(stem: str) -> str:
    match = _QUANT_AT_END.fullmatch(stem)
    return match["stem"].rstrip("-_.") if match else stem


def projector_stem(filename: str) -> str:
    """The name of the model that a projector's file name speaks of: without `mmproj`, `model` and quantisation."""
    words = re.split(r"[-_.]", base_name(filename))
    kept = [word for word in words if word.lower() not in ("mmproj", "model", "projector", "")]
    return "-".join(kept).lower()


def is_digest(name: str) -> bool:
    """A name that is a digest: a blob in some program's own store."""
    return _DIGEST.fullmatch(name) is not None


def looks_like_model(name: str) -> bool:
    """Whether a person would expect a model behind this name, so that trouble with it is worth a line."""
    return extension(name) in WEIGHT_EXTENSIONS or name == "config.json" or name.endswith(".safetensors.index.json")


def role_of(path: str) -> Role:
    """What a file of a model folder is for, by the names that the Hugging Face libraries use.

    Args:
        path: POSIX, relative to the model's folder.
    """
    name = path.rpartition("/")[2]
    ending = extension(name)
    if ending in _WEIGHTS:
        return Role.WEIGHTS
    if ending in _PICKLES:
        return Role.PICKLE
    if ending == "py":
        return Role.CODE
    if name.endswith((".safetensors.index.json", ".bin.index.json")):
        return Role.INDEX
    if ending == "jinja" or name == "chat_template.json":
        return Role.TEMPLATE
    if name in _TOKENIZER or ending in ("tiktoken", "spm") or name.startswith("tokenizer."):
        return Role.TOKENIZER
    return Role.CONFIG if ending == "json" else Role.OTHER
