"""What the tests of several disks ask again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from helixstore import HelixStore
from support.person import Person

LISTS_BREAK = ("vllm", "mlx", "mistralrs", "lmstudio", "ollama")


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def names_below(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def dangling(folder: Path) -> list[Path]:
    """Links below a folder that lead nowhere."""
    return [path for path in names_below(folder) if path.is_symlink() and not path.exists()]


def into_blobs(folder: Path) -> list[Path]:
    """Links below a folder that lead into a store's own files."""
    return [path for path in names_below(folder) if path.is_symlink() and "/blobs/" in os.readlink(path)
            and os.path.isabs(os.readlink(path))]


def states(store: HelixStore, model: str) -> dict[str, str]:
    """Provider -> how it has the model's one variant."""
    [variant] = store.show(model).variants
    return {name: one.state for name, one in variant.providers.items()}


def opens_everywhere(store: HelixStore, model: str, contents: set[bytes]) -> dict[str, str]:
    """Every weight of a model that a program has opens, and is one of these contents; provider -> kind of link."""
    [variant] = store.show(model).variants
    kinds = {}
    for name, one in variant.providers.items():
        if one.state != "linked":
            continue
        files = [Path(path) for path in one.paths if Path(path).stat().st_size in {len(data) for data in contents}]
        assert files, name
        assert {path.read_bytes() for path in files} <= contents, name
        kinds[name] = str(one.link)
    assert kinds
    return kinds


def inodes(*paths: Path) -> list[tuple[int, int]]:
    return [(path.stat().st_dev, path.stat().st_ino) for path in paths]


def scan(whose: Person | HelixStore, *folders: Path) -> None:
    """Look into these folders from now on."""
    store = whose if isinstance(whose, HelixStore) else whose.open()
    store.set_config("scan", [str(folder) for folder in folders])
