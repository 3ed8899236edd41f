"""Homes in memory: what the tests are about is the same there, and a busy disk delays nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest
from watched import Home

from support.disks import fresh_folder


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    shared = Path("/dev/shm")
    folder = fresh_folder(shared if shared.is_dir() else None)
    yield folder
    rmtree(folder)


@pytest.fixture
def home(base: Path, request: pytest.FixtureRequest) -> Home:
    return Home.made(base / request.node.name)
