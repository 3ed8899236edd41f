"""A person's home with programs and models in it."""

from __future__ import annotations

import pytest

from helixstore import HelixStore
from support.disks import in_memory  # noqa: F401 - a test's folder in memory
from support.models import tiny_hf
from support.person import GGUF, Person
from support.raw import model_gguf


@pytest.fixture
def laptop(person: Person) -> Person:
    """One model twice (in LM Studio's folder and loose), another one loose, and a Hugging Face folder loose."""
    person.put(".lmstudio/models/acme/Small-GGUF/Small-F16.gguf", GGUF)
    person.put("models/copy-of-small.gguf", GGUF, 0o600)
    person.put("models/other-F16.gguf", model_gguf(seed=2))
    tiny_hf(person.home / "models" / "tiny-llama")
    HelixStore.init(every=True, scan=[person.home / "models"], environ=person.environ)
    return person


@pytest.fixture
def synced(laptop: Person) -> Person:
    with laptop.open() as store:
        report = store.sync()
    assert report.issues == ()
    return laptop
