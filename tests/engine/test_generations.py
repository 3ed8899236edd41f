"""What all programs showed after each operation: listed, compared, gone back to."""

from __future__ import annotations

from pathlib import Path

import pytest

from helixstore.errors import NotFound
from support.person import Person
from support.raw import model_gguf


def linked(person: Person) -> dict[str, set[str]]:
    """Model -> the programs that show it."""
    with person.open() as store:
        return {model.name: {name for variant in model.variants for name, one in variant.providers.items()
                             if one.state == "linked"} for model in store.shared_models()}


def files(person: Person) -> dict[str, bytes]:
    """Everything in the programs' folders and the person's."""
    return {str(path.relative_to(person.home)): path.read_bytes() for name in (".lmstudio", ".ollama", "models")
            for path in (person.home / name).rglob("*") if path.is_file()}


@pytest.fixture
def three(synced: Person) -> tuple[int, dict[str, set[str]], dict[str, bytes]]:
    """After a sync: the number of the generation, and what there was. Then a new model, and one hidden."""
    before = linked(synced), files(synced)
    with synced.open() as store:
        number = store.generations()[0].n
        synced.put("models/later-F16.gguf", model_gguf(seed=9))
        store.sync()
        store.hide("other", "lmstudio")
    return number, *before


def test_they_are_listed_and_compared(synced: Person, three: tuple[int, dict[str, set[str]], dict[str, bytes]]) -> None:
    with synced.open() as store:
        listed = store.generations()
        assert [one.command for one in listed][:2] == ["hide", "sync"]
        assert [one.current for one in listed] == [True] + [False] * (len(listed) - 1)
        changes = {(one.provider, one.model): one.change for one in store.difference(three[0])}
        assert changes["lmstudio", "other"] == "gone"
        assert changes["ollama", "later"] == "shown"
        assert {model for _, model in changes} == {"other", "later"}
        back = {(one.provider, one.model): one.change for one in store.difference(listed[0].n, three[0])}
        assert back["lmstudio", "other"] == "shown"
        assert back["ollama", "later"] == "gone"
        assert store.difference(listed[0].n) == []


def test_going_back_shows_what_was_shown_then(
    synced: Person, three: tuple[int, dict[str, set[str]], dict[str, bytes]],
) -> None:
    number, shown, lay = three
    with synced.open() as store:
        assert store.go_back(number, dry_run=True).actions
        store.go_back(number)
    assert linked(synced) == shown
    later = synced.home / "models/later-F16.gguf"
    assert later.read_bytes() == model_gguf(seed=9), "the person's file stays"
    assert {path: data for path, data in files(synced).items() if path != "models/later-F16.gguf"} == lay
    with synced.open() as store:
        assert store.go_back(number).nothing
        assert store.difference(number) == []


def test_an_unknown_one_is_said(synced: Person, tmp_path: Path) -> None:
    with synced.open() as store:
        for ask in (store.difference, store.go_back):
            with pytest.raises(NotFound, match="generation 99"):
                ask(99)
