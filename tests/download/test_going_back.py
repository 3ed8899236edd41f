"""Versions that came back: what was published once more, what was gone back from, and how a preview shows it."""

from __future__ import annotations

import pytest
from registries import ollama_model, weights_shown
from repository import weights

from helixstore.errors import NotFound
from support import typist
from support.hub import Repository
from support.person import Person
from support.registry import StandIn, serve

MODEL, FILE = "small-GGUF", "small-F16.gguf"
FIRST, LATER, AGAIN = "1edfc51f", "2aaa1ff6", "3bbb1ff6"
_REST = "1fdd41a1ea0ea81799d23522f379b2ff"


@pytest.fixture
def reverted(online: Person, served: Repository) -> Person:
    """One content, another, and the first again, each at a commit of its own."""
    first = served.files[FILE].read_bytes()
    with online.open() as store:
        store.download(f"hf:{served.name}:{FILE}")
        for commit, data in ((LATER, weights(3, 20)), (AGAIN, first)):
            served.commit = commit + _REST
            served.files[FILE].write_bytes(data)
            assert [one.state for one in store.update().updates] == ["updated"]
    return online


def test_what_was_published_once_more_has_the_other_before_it(reverted: Person) -> None:
    with reverted.open() as store:
        assert [one.revision[:8] for one in store.history(MODEL)] == [AGAIN, LATER, FIRST]
        for commit in (LATER, FIRST):
            assert f" is at {commit} again" in store.rollback(MODEL).notes[0]
        with pytest.raises(NotFound, match="no version before this one, which it had first") as told:
            store.rollback(MODEL)
        assert told.value.remedy.endswith(f": helixstore rollback '{MODEL}' --to {LATER}")
        assert f" is at {LATER} again" in store.rollback(MODEL, LATER).notes[0]


def test_a_tag_that_leads_to_the_first_again_tells_how_to_be_at_the_other(person: Person) -> None:
    """The manifest in the registry is the same, so nothing tells it from having gone back."""
    old, new = weights(1, 5), weights(2, 5)
    with serve(StandIn()) as registry, person.open() as store:
        ollama_model(registry, "1b", old)
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        for data in (new, old):
            ollama_model(registry, "1b", data)
            assert [one.state for one in store.update().updates] == ["updated"]
        with pytest.raises(NotFound, match="no version before") as told:
            store.rollback("pebble:1b")
        store.rollback(*told.value.remedy.partition("helixstore rollback ")[2].replace("'", "").split(" --to "))
        assert store.sync().nothing
    assert weights_shown(person, "pebble:1b") == {"gguf:F16": {new}}


def test_a_preview_counts_for_each_program_and_lists_no_links(reverted: Person) -> None:
    said = typist.typed("rollback", MODEL, "--dry-run", environ=reverted.environ).stdout
    assert f"would be at {LATER} again" in said
    assert "\nollama " in said
    assert "blobs/sha256-" not in said
    assert said.rstrip().endswith("Nothing was changed; --json lists every step.")
    assert len(said.splitlines()) < 30
    assert "blobs/sha256-" in typist.typed("rollback", MODEL, "--dry-run", "--json", environ=reverted.environ).stdout
