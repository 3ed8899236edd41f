"""What came from a registry is mended from there, however it is called."""

from __future__ import annotations

from pathlib import Path

from registries import ollama_model
from repository import weights

from support.person import Person, spoil
from support.registry import StandIn, serve


def test_a_name_with_capitals_as_ollama_has_them(person: Person) -> None:
    data = weights(1, 9)
    with serve(StandIn()) as registry, person.open() as store:
        ollama_model(registry, "1b", data)
        store.download(f"ollama:{registry.host}/Somebody/Pebble:1b")
        blob: Path = max(store.folder.glob("blobs/*/*"), key=lambda path: path.stat().st_size)
        spoil(blob, 5 << 20)
        assert store.verify().bad
        assert store.verify(repair=True).bad == []
        assert blob.read_bytes() == data
