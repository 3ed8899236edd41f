"""A model that is here already, pulled once more by the name that Ollama's registry has for it: Ollama shows both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from registries import TEXTS, ollama_model

from support.hub import Repository
from support.ollama import OllamaFolder
from support.person import Person
from support.registry import StandIn, serve

ALIAS, HUBS = "127.0.0.1/library/pebble:1b", "small-GGUF:F16"


@pytest.fixture
def registry() -> Iterator[StandIn]:
    with serve(StandIn()) as one:
        yield one


@pytest.fixture(params=["hard", "symlink"])
def folder(request: pytest.FixtureRequest, online: Person, served: Repository, registry: StandIn) -> OllamaFolder:
    """What Ollama shows after the same bytes were downloaded from the hub and from a registry of Ollama's."""
    there = OllamaFolder(online.home / ".ollama/models")
    ollama_model(registry, "1b", served.files["small-F16.gguf"].read_bytes())
    with online.open() as store:
        store.set_config("providers.ollama.links", [request.param])
        store.download(f"hf:{served.name}:small-F16.gguf")
        assert there.names() == [HUBS]
        before = there.shown(HUBS)
        report = store.download(f"ollama:{registry.host}/library/pebble:1b")
        assert report.fetched_bytes == 0
        assert there.shown(HUBS) == before
        assert store.sync().nothing
    return there


def test_both_names_stay_each_with_its_texts(online: Person, folder: OllamaFolder) -> None:
    assert folder.names() == [ALIAS, HUBS]
    assert folder.shown(ALIAS)["system"] == TEXTS["system"]
    folder.prune()
    with online.open() as store:
        assert store.sync().nothing
        assert [len(model.variants) for model in store.shared_models()] == [1]
        assert store.verify().bad == []


@pytest.mark.parametrize("gone", [ALIAS, HUBS])
def test_what_is_deleted_there_stays_deleted_and_the_other_stays(
    online: Person, folder: OllamaFolder, gone: str,
) -> None:
    folder.rm(gone)
    [left] = {ALIAS, HUBS} - {gone}
    shown = folder.shown(left)
    for _ in range(2):
        with online.open() as store:
            store.sync()
        assert folder.names() == [left]
    assert folder.shown(left) == shown


def test_undo_takes_the_new_name_back_and_leaves_the_old(online: Person, folder: OllamaFolder) -> None:
    with online.open() as store:
        store.undo()
        assert folder.names() == [HUBS]
        assert store.sync().nothing
    assert folder.names() == [HUBS]
    folder.prune()
    assert folder.shown(HUBS)
