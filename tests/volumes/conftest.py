"""A person's home with the store on one disk, and other disks that can be taken away."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from disk_bench import Bench

from helixstore import HelixStore
from support.disks import fresh_folder
from support.person import Person


@pytest.fixture
def bench() -> Iterator[Bench]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    bench = Bench(fresh_folder())
    yield bench
    bench.close()


@pytest.fixture
def ana(person: Person) -> Person:
    """A store in her home, and every program on."""
    HelixStore.init(every=True, scan=[], environ=person.environ)
    return person
