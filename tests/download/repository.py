"""Weights of any size for a repository, the repositories of a model that the catalogue knows, and who may run it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from support.hub import Repository
from support.person import Person
from support.raw import gguf, number, tensor, text

MIB = 1 << 20
COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"
NAME, GGUFS, MAKERS = "llama-3-8b-instruct", "lmstudio-community/Meta-Llama-3-8B-Instruct-GGUF", \
    "meta-llama/Meta-Llama-3-8B-Instruct"


def weights(seed: int, mebibytes: int, *, quantized: bool = False) -> bytes:
    """A whole GGUF of about that size, F16 or Q8_0."""
    row = 1088 if quantized else 2048
    rows = mebibytes * MIB // row
    values = [text("general.architecture", "llama"), number("llama.context_length", 2048),
              number("llama.block_count", 1), number("general.file_type", 7 if quantized else 1)]
    head = gguf(values, [tensor("blk.0.attn_q.weight", (1024, rows), 8 if quantized else 1, 0)])
    return head + random.Random(seed).randbytes(row * rows)


def repository(folder: Path, name: str, files: Mapping[str, bytes]) -> Repository:
    place = folder / name.replace("/", "--")
    place.mkdir()
    for path, data in files.items():
        (place / path).write_bytes(data)
    return Repository.of(name, COMMIT, place)


def only_on(person: Person, *providers: str) -> None:
    """No other program is on."""
    with person.open() as store:
        for view in store.providers():
            store.set_provider(view.name, on=view.name in providers)
