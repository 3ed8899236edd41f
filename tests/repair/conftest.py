"""A person's home with a model of two blocks in it, taken in and shared."""

from __future__ import annotations

from pathlib import Path

import pytest
from rot import BIG, SMALL

from helixstore import HelixStore
from support.disks import disk, disks, in_memory
from support.person import Person

__all__ = ["disk", "disks", "in_memory"]


@pytest.fixture
def ana(home: Path) -> Person:
    return Person(home)


@pytest.fixture
def laptop(ana: Person) -> Person:
    """`big` lies loose and is 17 MiB, `small` lies in LM Studio's folder; both are shared and were read once."""
    ana.put("models/big-F16.gguf", BIG)
    ana.put(".lmstudio/models/acme/small/small-F16.gguf", SMALL)
    HelixStore.init(every=True, scan=[ana.home / "models"], environ=ana.environ)
    with ana.open() as store:
        assert store.sync().issues == ()
        assert store.verify().bad == []
    return ana
