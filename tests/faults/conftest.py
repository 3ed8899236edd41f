"""A ground of each kind, on first use, and the servers for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from armed import Armed, compiled
from ground import Ground
from judge import Judge, Judging


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("there is no C compiler for shim.c")
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def judging(library: Path) -> Iterator[Judging]:
    """`judging("ext4")` for kills and errors, `judging("ext4, flushing")` where the power is lost."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the disks that are put back after each trial")
    made: dict[str, Judge] = {}

    def judge(kind: str) -> Judge:
        if kind not in made:
            name, _, flushing = kind.partition(", ")
            if shutil.which(f"mkfs.{name}") is None:
                pytest.skip(f"mkfs.{name} is not installed")
            made[kind] = Judge(Ground(name), Armed(library, quick=not flushing))
        return made[kind]

    yield judge
    for one in made.values():
        one.close()
