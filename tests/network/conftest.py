"""A folder in memory for each test, which other users may enter, and hosts that are gone at its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Host, network

from support.disks import fresh_folder


@pytest.fixture
def base() -> Iterator[Path]:
    folder = fresh_folder(Path("/dev/shm"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host, Path]]:
    """Two hosts and what their server has, for all tests of a file: each works in a folder of its own there."""
    base = fresh_folder(Path("/dev/shm"))
    (base / "backing").mkdir()
    try:
        with network(base, "ana", "bob") as (ana, bob):
            for host in (ana, bob):
                host.mount(base / "backing")
            yield ana, bob, base / "backing"
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def share(base: Path) -> Path:
    """What the server has: the tests look at it past all caches."""
    folder = base / "backing"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def pair(base: Path, share: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts that have the share mounted as NFS."""
    with network(base, "ana", "bob") as (ana, bob):
        for host in (ana, bob):
            host.mount(share)
        yield ana, bob
