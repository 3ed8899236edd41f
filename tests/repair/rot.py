"""Bytes that change behind everybody's back, and what must hold afterwards."""

from __future__ import annotations

import os
import random
from pathlib import Path

from helixstore import HelixStore
from helixstore.store.hashing import BLOCK, blake3_hex
from support.person import Person
from support.raw import gguf, model_gguf, number, tensor, text

_ROWS = (BLOCK + (1 << 20)) // 2048


def big(seed: int) -> bytes:
    """A whole GGUF of two blocks, the last one short."""
    values = [text("general.architecture", "llama"), number("llama.context_length", 2048),
              number("llama.block_count", 1), number("general.file_type", 1)]
    head = gguf(values, [tensor("blk.0.attn_q.weight", (1024, _ROWS), 1, 0)])
    return head + random.Random(seed).randbytes(2048 * _ROWS)


BIG, SMALL = big(1), model_gguf(seed=5)
DIGEST = blake3_hex(BIG)


def flip(path: Path | str, *places: int, quietly: bool = True) -> None:
    """One bit at each place, through whatever name; `quietly`: as a disk does it, so that no time changes."""
    path = Path(path)
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1]))
    path.chmod(before.st_mode & 0o7777)
    if quietly:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def blob(store: HelixStore, digest: str = DIGEST) -> Path:
    return store.folder / "blobs" / digest[:2] / digest


def shown(store: HelixStore, model: str) -> dict[str, tuple[str, ...]]:
    """Provider -> paths, of those that show a model."""
    variant = store.show(model).variants[0]
    return {name: one.paths for name, one in variant.providers.items() if one.state == "linked"}


def all_right(person: Person, model: str = "big", data: bytes = BIG, edits: int = 0) -> None:
    """Every program that can load it reads the right bytes, nothing is marked, and nothing is left to do."""
    with person.open() as store:
        assert store.verify().bad == []
        programs = shown(store, model)
        assert {"llamacpp", "ollama", "jan"} <= programs.keys()
        assert all(any(Path(path).read_bytes() == data for path in paths) for paths in programs.values())
        assert not list((store.folder / "quarantine").iterdir())
        assert not [issue for issue in store.sync().issues if issue.kind == "quarantined"]
        assert store.sync().nothing
        names = {one.name for one in store.shared_models()}
        assert names >= {"big", "small"}
        assert len(names) == 2 + edits, names


def part(data: bytes, *good: int) -> bytes:
    """A copy of which only these blocks are right."""
    kept = bytearray(len(data))
    for number_ in good:
        kept[number_ * BLOCK:(number_ + 1) * BLOCK] = data[number_ * BLOCK:(number_ + 1) * BLOCK]
    return bytes(kept)
