"""The main job of helixstore from its beginning to its end, in one process: the store and the programs' folders on one
disk, what is the person's own on another.

    python job.py FOLDER OWN

Prints a JSON document: which links were chosen for each program, and what the last commands found.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from helixstore import HelixStore
from support.raw import model_gguf

_LONG_AGO = (1_700_000_000, 1_700_000_000)
PROGRAMS = ("lmstudio", "llamacpp", "jan")


def put(home: Path, path: str, seed: int) -> Path:
    file = home / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model_gguf(seed=seed))
    os.utime(file, _LONG_AGO)
    return file


def kinds(store: HelixStore) -> dict[str, dict[str, str]]:
    """Model -> program -> state and link."""
    return {model.name: {name: f"{placed.state}{' ' + placed.link if placed.link else ''}"
                         for variant in model.variants for name, placed in variant.providers.items()
                         if name in PROGRAMS} for model in store.shared_models()}


def run(folder: Path, own: Path) -> dict[str, Any]:
    environ = {"HOME": str(folder / "home"), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"} | {
        f"XDG_{name}_HOME": str(own / name) for name in ("CACHE", "CONFIG", "STATE")}
    home = folder / "home"
    home.mkdir()
    files = [put(home, ".lmstudio/models/pub/one/one.gguf", 1), put(home, "jan/two.gguf", 2),
             put(home, "again/one.gguf", 1)]
    before = {file: file.read_bytes() for file in files}
    said: dict[str, Any] = {"files": [str(file) for file in files]}
    HelixStore.init(folder / "store", providers=list(PROGRAMS), scan=[home / "jan", home / "again"], environ=environ)
    with HelixStore(environ=environ) as store:
        first = store.sync()
        said["adopted"] = len(first.adopted)
        if not first.adopted:                       # no link to them can be made: only copying takes them in
            for file in files[:2]:
                store.add(file)
            store.sync()
        said["synced"] = kinds(store)
        said["issues"] = [f"{Path(issue.path).name}: {issue.message}" for issue in first.issues]
        again = store.sync()
        said["idle"] = len(again.linked) + len(again.removed) + len(again.adopted)
        name = next(iter(said["synced"]), None)
        if name is not None:
            store.hide(name, "llamacpp")
            said["hidden"] = kinds(store)[name]["llamacpp"]
            store.remove(name)
            said["removed"] = name not in kinds(store)
            store.gc()
            store.undo()
            said["undone"] = sorted(kinds(store))
        store.sync()
        said["verified"] = [store.verify().checked, len(store.verify().bad)]
        said["problems"] = [check.message for check in store.doctor() if check.state == "problem"]
    said["lost"] = [str(file) for file, data in before.items() if not file.exists() or file.read_bytes() != data]
    return said


if __name__ == "__main__":
    began = time.monotonic()
    found = run(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps(found | {"seconds": round(time.monotonic() - began, 2)}))
