"""What all programs showed after each operation: listed, compared, gone back to."""

from __future__ import annotations

from pathlib import Path

import pytest

from helixstore.commands.back import undo
from helixstore.errors import Failed, HelixError, NotFound
from helixstore.session import Session
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


def test_and_forth_again(synced: Person) -> None:
    """Pinned, hidden, shown to one program only, removed: back before all of it, to the middle, and to the end."""
    def seen() -> tuple[dict[str, set[str]], dict[str, bytes], dict[str, bool]]:
        with synced.open() as store:
            pins = {model.name: variant.pinned for model in store.shared_models() for variant in model.variants}
        return linked(synced), files(synced), pins

    states = {}
    with synced.open() as store:
        states[store.generations()[0].n] = seen()
        for step in (lambda: store.hide("other", "lmstudio"), lambda: store.pin("Small"),
                     lambda: store.remove("tiny-llama"), lambda: store.unhide("other", "lmstudio"),
                     lambda: store.unpin("Small"), lambda: store.hide("Small", "ollama")):
            step()
            states[store.generations()[0].n] = seen()
        assert len(states) == 7
        numbers = list(states)
        for number in (numbers[0], numbers[3], numbers[1], numbers[6], numbers[2], numbers[5], numbers[0], numbers[6]):
            assert store.go_back(number, dry_run=True).actions or number in numbers
            assert seen() != states[number]
            store.go_back(number)
            assert seen() == states[number], number
            assert store.go_back(number).nothing
            assert store.sync().nothing


def test_what_took_files_in_is_not_done_again_but_said(
    synced: Person, three: tuple[int, dict[str, set[str]], dict[str, bytes]],
) -> None:
    with synced.open() as store:
        last = store.generations()[0].n
        store.go_back(three[0])
        before = linked(synced), files(synced)
        with pytest.raises(Failed, match="took files in") as error:
            store.go_back(last)
        assert (linked(synced), files(synced)) == before
        assert error.value.remedy.startswith("helixstore sync --restore")
        store.sync(restore=True)
        assert "later" in linked(synced)


def test_an_operation_that_only_moves_names_counts(synced: Person) -> None:
    """A pin changes no file; going back must not take it for the operation before it."""
    with synced.open() as store:
        first = store.generations()[0].n
        store.hide("other", "lmstudio")
        store.pin("Small")
        store.go_back(first)
        assert "lmstudio" in linked(synced)["other"]
        assert not any(variant.pinned for model in store.shared_models() for variant in model.variants)


def test_what_is_too_old_is_not_gone_to(synced: Person) -> None:
    with synced.open() as store:
        first = store.generations()[0].n
        store.hide("other", "lmstudio")
        store.go_back(first)
    synced.environ["HELIXSTORE_UNDO_WINDOW"] = "0"
    with synced.open() as store:
        store.pin("Small")
        with pytest.raises(NotFound):
            store.go_back(first + 1)


def test_an_unknown_one_is_said(synced: Person, tmp_path: Path) -> None:
    with synced.open() as store:
        for ask in (store.difference, store.go_back):
            with pytest.raises(NotFound, match="generation 99"):
                ask(99)


def test_what_another_process_does_meanwhile_is_not_taken_back_instead(
    synced: Person, three: tuple[int, dict[str, set[str]], dict[str, bytes]],
) -> None:
    """Which operations are to be taken back was decided before it; all of them or none are."""
    session = Session(synced.environ)
    chosen = [one.number for one in session.farm.operations() if one.number > three[0]]
    with synced.open() as store:
        store.hide("other", "ollama")
    before = linked(synced), files(synced)
    with pytest.raises(HelixError, match="meanwhile"):
        undo(session, len(chosen), meant=chosen)
    assert (linked(synced), files(synced)) == before
