"""A repository with small files and large ones on a hub on loopback, and a person who downloads from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import weights

from helixstore import HelixStore
from support.hub import Repository, hub
from support.models import tiny_hf
from support.person import Person

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


@pytest.fixture
def person(tmp_path: Path) -> Person:
    home = tmp_path / "home"
    home.mkdir()
    person = Person(home)
    HelixStore.init(every=True, environ=person.environ)
    return person


@pytest.fixture
def served(tmp_path: Path) -> Repository:
    """A GGUF of some pieces, the same model in a smaller quantisation, and words."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "small-F16.gguf").write_bytes(weights(1, 20))
    (folder / "small-Q8_0.gguf").write_bytes(weights(2, 9, quantized=True))
    (folder / "README.md").write_text("# small\n")
    return Repository.of("acme/small-GGUF", COMMIT, folder)


@pytest.fixture
def tiny(tmp_path: Path) -> Repository:
    """A model of many small files."""
    folder = tmp_path / "tiny"
    tiny_hf(folder)
    return Repository.of("acme/tiny-llama", COMMIT, folder)


@pytest.fixture
def online(person: Person, served: Repository) -> Iterator[Person]:
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        yield person


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between tries are short; how many there are stays."""
    from helixstore.download import stream

    monkeypatch.setattr(stream, "_LONGEST", 0.02)
