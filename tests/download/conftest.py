"""A repository with small files and large ones on a hub on loopback, and a person who downloads from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import COMMIT, GGUFS, MAKERS, repository, weights

from helixstore import HelixStore
from support import household
from support.disks import disks, in_memory  # noqa: F401 - a test's folder is in memory
from support.hub import Repository, hub
from support.models import tiny_hf
from support.person import Person


@pytest.fixture
def person(tmp_path: Path) -> Person:
    home = tmp_path / "home"
    home.mkdir()
    person = Person(home)
    HelixStore.init(every=True, environ=person.environ)
    return person


@pytest.fixture(scope="session")
def small() -> dict[str, bytes]:
    """A GGUF of some pieces, the same model in a smaller quantisation, and words."""
    return {"small-F16.gguf": weights(1, 20), "small-Q8_0.gguf": weights(2, 9, quantized=True),
            "README.md": b"# small\n"}


@pytest.fixture
def served(tmp_path: Path, small: dict[str, bytes]) -> Repository:
    """The same, on the hub."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name, data in small.items():
        (folder / name).write_bytes(data)
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


@pytest.fixture
def ggufs(tmp_path: Path) -> Repository:
    quants = ("IQ2_XXS", "Q4_K_M", "Q6_K", "Q8_0", "F16")
    return repository(tmp_path, GGUFS, {f"Meta-Llama-3-8B-Instruct-{quant}.gguf": household.gguf("llama", quant, 3)
                                        for quant in quants} | {"README.md": b"# llama\n"})


@pytest.fixture
def makers(tmp_path: Path) -> Repository:
    return repository(tmp_path, MAKERS, household.hf("llama", 4))


@pytest.fixture
def reader(person: Person, ggufs: Repository, makers: Repository) -> Iterator[Person]:
    """A person whose hub has two of the places that the catalogue names; any model of these sizes fits."""
    with hub(ggufs, makers) as endpoint:
        person.environ |= {"HF_ENDPOINT": endpoint, "HELIXSTORE_MEMORY": "16GB", "HELIXSTORE_GPU": "cuda"}
        yield person


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between tries are short; how many there are stays."""
    from helixstore.download import patience

    monkeypatch.setattr(patience, "_LONGEST", 0.02)
