"""A file of the right size of which a part was never written: as torrent clients, axel and lftp leave what was broken
off. It stays its program's own, and is shown nowhere, until it is whole or the person names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helixstore import HelixStore
from support.household import Household
from support.person import Person
from support.raw import gguf, number, tensor, text

HEAD = gguf([text("general.architecture", "llama"), number("llama.context_length", 2048),
             number("general.file_type", 1)],
            [tensor(f"blk.{layer}.attn_q.weight", (1024, 512), 1, layer << 20) for layer in range(2)])
WHOLE = HEAD + os.urandom(1 << 20) * 2
PATH = "models/half-F16.gguf"


def reserved(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(700_000)
        os.posix_fallocate(file.fileno(), 0, len(WHOLE))


def cut(path: Path) -> None:
    os.truncate(path, 700_000)
    os.truncate(path, len(WHOLE))


def first_missing(path: Path) -> None:
    """As a torrent whose first and last piece came first."""
    with path.open("wb") as file:
        file.write(WHOLE[:100_000])
        file.seek(len(WHOLE) - 300_000)
        file.write(WHOLE[-300_000:])


@pytest.fixture
def half(person: Person) -> Path:
    path = person.put(PATH, WHOLE)
    HelixStore.init(every=True, scan=[path.parent], environ=person.environ)
    return path


@pytest.mark.parametrize("how", [cut, first_missing, reserved], ids=lambda how: how.__name__)
def test_a_file_with_a_hole_waits_until_it_is_whole(person: Person, half: Path, how: object) -> None:
    assert callable(how)
    how(half)
    for _ in range(2):
        with person.open() as store:
            report = store.sync()
            assert [(one.kind, one.path) for one in report.issues] == [("incomplete", str(half))]
            assert f"helixstore share {half}" in report.issues[0].remedy
            assert store.shared_models() == []
    assert half.stat().st_mode & 0o777 == 0o644
    with half.open("r+b") as file:                      # the program goes on
        file.write(WHOLE)
    with person.open() as store:
        assert store.sync().issues == ()
        assert [model.name for model in store.shared_models()] == ["half"]
        assert store.path("half").read_bytes() == WHOLE


@pytest.mark.parametrize("verb", ["share", "add"])
def test_a_model_with_a_hole_is_taken_when_the_person_names_it(person: Person, half: Path, verb: str) -> None:
    """Zeros may be a hole in a whole model: `cp --sparse=always`, ZFS."""
    cut(half)
    with person.open() as store:
        store.sync()
        getattr(store, verb)(half)
        report = store.sync()
        assert report.issues == ()
        assert [model.name for model in store.shared_models()] == ["half"]


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_what_is_as_its_program_names_it_is_whole_with_a_hole(person: Person, right: bool) -> None:
    """Ollama's name for a file is its digest, which proves more than a hole."""
    data = HEAD + os.urandom(1 << 20) + bytes(1 << 20)
    Household(person.home).ollama("zeros", "latest", data)
    [blob] = [path for path in (person.home / ".ollama/models/blobs").iterdir() if path.stat().st_size == len(data)]
    os.truncate(blob, (len(HEAD) + (1 << 20)) if right else 700_000)
    os.truncate(blob, len(data))
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        report = store.sync()
        assert [one.path for one in report.issues] == ([] if right else [str(blob)])
        assert len(store.shared_models()) == right


@pytest.mark.parametrize("marker", [".st", ".lftp-pget-status", ".aria2"])
def test_a_file_with_its_downloaders_notes_beside_it_waits(person: Person, half: Path, marker: str) -> None:
    notes = half.with_name(half.name + marker)
    notes.touch()
    with person.open() as store:
        store.sync()
        assert store.shared_models() == []
        notes.unlink()
        store.sync()
        assert [model.name for model in store.shared_models()] == ["half"]
