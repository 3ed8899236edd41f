"""A disk with no space left: what was not done is not told as done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.disks import Disks, as_root, disks  # noqa: F401
from support.models import tiny_gguf
from support.raw import model_gguf


@as_root
def test_what_was_not_added_is_not_told_as_linked(
        home: Path, call: Callable[..., Any], disks: Disks, tmp_path: Path) -> None:  # noqa: F811
    disk = disks.mount("tmpfs", 8, "full-for-add")
    (tmp_path / "here").mkdir()
    tiny_gguf(tmp_path / "here/tiny-F16.gguf")
    small = tmp_path / "here/small-F16.gguf"
    small.write_bytes(model_gguf(seed=3))
    assert call("init", "--provider", "lmstudio", "--store", disk / "store", "--yes").code == 0
    filler = disk / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(disk)
        file.write(b"x" * (free.f_bavail * free.f_bsize - 200_000))
    ran = call("add", tmp_path / "here/tiny-F16.gguf")
    assert ran.code == 1, ran.out + ran.err
    assert "space" in ran.out + ran.err
    assert "lmstudio" not in ran.out.lower()
    assert "Done" not in ran.out
    told = call("add", tmp_path / "here/tiny-F16.gguf", "--json")
    assert told.code == 1
    assert (told.json["failed"], told.json["linked"], told.json["adopted"]) == (True, [], [])
    both = call("add", tmp_path / "here", "--json")                     # one of them has room
    assert both.code == 3
    assert [one["model"] for one in both.json["adopted"]] == ["small"]
    assert {model for one in both.json["linked"] for model in one["models"]} == {"small (gguf:F16)"}
    filler.unlink()
    assert call("add", tmp_path / "here/tiny-F16.gguf").code == 0
    shutil.rmtree(disk / "store")
