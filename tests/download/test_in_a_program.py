"""What a program has got since the last sync is taken in where it lies, and not downloaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.household import Household
from support.hub import Repository, cached
from support.person import Person

FILE = "small-F16.gguf"


@pytest.fixture
def pulled(online: Person, served: Repository) -> Person:
    """Ollama has the same content, and another model, and nothing has been synced since."""
    with online.open() as store:
        store.sync()
    house = Household(online.home)
    house.ollama("little", "1b", served.files[FILE].read_bytes(), template="{{ .Prompt }}")
    house.ollama("other", "latest", served.files["small-Q8_0.gguf"].read_bytes())
    served.sent.clear()
    return online


def blobs(person: Person) -> dict[str, int]:
    return {path.name: path.stat().st_nlink for path in (person.home / ".ollama/models/blobs").iterdir()
            if path.stat().st_size > 1 << 20}


def test_what_ollama_pulled_since_the_last_sync_is_not_downloaded(pulled: Person, served: Repository) -> None:
    with pulled.open() as store:
        said = store.download(f"hf:{served.name}:F16", dry_run=True)
        assert {one.path: one.here_bytes == one.bytes for one in said.files} == {FILE: True}
        assert "is what is wanted, and need not come" in said.why
        assert set(blobs(pulled).values()) == {1}, "nothing is changed"
        done = store.download(f"hf:{served.name}:F16")
        assert done.sync is not None
        assert done.sync.issues == ()
        assert served.sent == {}
        [variant] = store.show("little").variants
        assert {variant.providers[name].state for name in ("ollama", "lmstudio")} == {"linked"}
        assert [one["repository"] for one in variant.sources if one["kind"] == "hub"] == [served.name]
        assert [one.variant for one in store.sync().adopted] == ["gguf:Q8_0"], "the other one waits for the sync"


def test_nothing_else_is_taken_in(pulled: Person, served: Repository) -> None:
    with pulled.open() as store:
        done = store.download(f"hf:{served.name}:F16")
        assert done.sync is not None
        assert [one.bytes for one in done.sync.adopted] == [served.files[FILE].stat().st_size]
        assert [model.name for model in store.shared_models()] == ["little:1b"]


def test_a_file_whose_name_says_no_digest_is_read(online: Person, served: Repository) -> None:
    online.put(".lmstudio/models/acme/mine/mine.gguf", served.files[FILE].read_bytes())
    online.put(".lmstudio/models/acme/alike/alike.gguf", served.files[FILE].read_bytes()[:-1] + b"\0")
    with online.open() as store:
        store.download(f"hf:{served.name}:F16")
    assert FILE not in served.sent


def test_what_only_says_that_it_is_the_content_is_fetched(pulled: Person, served: Repository) -> None:
    digest = served.etag(FILE)
    blob = pulled.home / f".ollama/models/blobs/sha256-{digest}"
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pulled.open() as store:
        store.download(f"hf:{served.name}:F16")
        path = store.path("small-GGUF:F16")
    assert Path(path).read_bytes() == served.files[FILE].read_bytes()
    assert blob.read_bytes() == data


def test_undo_of_a_download_hides_what_is_here_already_from_nobody(online: Person, served: Repository) -> None:
    """A program may read the hub's cache beside a folder of its own: only there it is new by the hub's name."""
    online.put(".lmstudio/models/acme/mine/mine.gguf", served.files[FILE].read_bytes())
    with online.open() as store:
        store.sync()
        before = {name: one.state for name, one in store.show("mine").variants[0].providers.items()}
        assert store.download(f"hf:{served.name}:F16").fetched_bytes == 0
        store.undo()
        assert store.sync().nothing
        assert {name: one.state for name, one in store.show("mine").variants[0].providers.items()} == before


def test_what_was_broken_off_in_the_hubs_cache_is_left_alone(online: Person, served: Repository) -> None:
    """As long as the whole, under its digest, and with a part that was never written: as a sync leaves it."""
    snapshot = cached(online.home / ".cache/huggingface/hub", served.name, [served.files[FILE]])
    blob = (snapshot / FILE).resolve()
    size = blob.stat().st_size
    os.truncate(blob, 1 << 20)
    os.truncate(blob, size)
    with online.open() as store:
        done = store.download(f"hf:{served.name}:F16")
        assert done.sync is not None
        assert done.sync.adopted == ()
        assert {len(model.variants) for model in store.shared_models()} == {1}
        path = store.path("small-GGUF:F16")
    assert Path(path).read_bytes() == served.files[FILE].read_bytes()


def test_with_adopt_off_nothing_is_looked_for(pulled: Person, served: Repository) -> None:
    pulled.environ["HELIXSTORE_ADOPT"] = "off"
    with pulled.open() as store:
        store.download(f"hf:{served.name}:F16")
    assert FILE in served.sent


def test_a_file_of_that_size_in_the_way_is_first_looked_at_by_a_sync(pulled: Person, served: Repository) -> None:
    """Of a model that was taken in elsewhere, by a command that looks nowhere."""
    mine = pulled.put("Downloads/mine-F16.gguf", served.files[FILE].read_bytes())
    with pulled.open() as store:
        [conflict] = [one for one in store.add(mine).issues if one.kind == "conflict"]
        assert conflict.remedy.startswith("helixstore sync takes it in if it is the same; else move it aside")
        assert not [one for one in store.sync().issues if one.kind == "conflict"]
