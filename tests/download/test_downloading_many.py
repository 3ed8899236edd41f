"""Many small files in one model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from repository import COMMIT

from helixstore import HelixStore
from helixstore.download import fetching
from support import household
from support.hub import Repository, hub
from support.models import tiny_hf
from support.person import Person
from support.registry import StandIn, serve

FILES, PART = 200, 20
LARGE = "model.safetensors"


def test_small_files_enter_the_store_in_parts_while_others_come(
    person: Person, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that dies loses the last part only, however small the files are."""
    monkeypatch.setattr(fetching, "_FILES", PART)
    title, kind = "org.opencontainers.image.title", "application/vnd.cncf.model.doc.v1.raw"
    with serve(StandIn()) as registry:
        texts = {f"docs/page-{number:05d}.md": b"page %d\n" % number for number in range(FILES)}
        texts |= household.hf("pebble", 1)
        layers = [{"mediaType": kind, "digest": f"sha256:{registry.put(text)}", "size": len(text),
                   "annotations": {title: name}} for name, text in texts.items()]
        registry.tag("v1", json.dumps({"schemaVersion": 2, "layers": layers}).encode())
        seen = [0]

        def look(what: str, path: str, done: int, total: int) -> None:
            if what == "download" and done < total:
                seen.append(len(list(store.folder.glob("blobs/*/*"))))

        with HelixStore(environ=person.environ, progress=look) as store:
            store.download(f"oci://{registry.host}/team/pebble:v1")
            assert len(list(store.folder.glob("blobs/*/*"))) == len(texts)
    assert max(seen) >= FILES - 2 * PART


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A model with a file that counts as large and many small ones."""
    folder = tmp_path / "many"
    tiny_hf(folder)
    assert (folder / LARGE).stat().st_size > 4096
    monkeypatch.setattr(fetching, "_SMALL", 4096)
    for number in range(FILES):
        (folder / f"part-{number:03d}.json").write_text(f"{number}")
    return Repository.of("acme/many", COMMIT, folder)


def test_few_connections_bring_many_small_files(person: Person, many: Repository) -> None:
    with hub(many) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.download("hf:acme/many")
    assert len(many.asked) >= FILES
    assert len(many.callers) <= 10, "each of eight threads keeps its connection"


def test_small_files_are_in_the_store_before_the_large_one(person: Person, many: Repository) -> None:
    blobs, seen = [person.home], []

    def wait(path: str, number: int) -> None:
        if path == LARGE:
            until = time.monotonic() + 20
            while len(list(blobs[0].glob("*/*"))) < FILES and time.monotonic() < until:
                time.sleep(0.02)
            seen.append(len(list(blobs[0].glob("*/*"))))

    many.trouble = wait
    with hub(many) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            blobs[0] = store.folder / "blobs"
            store.download("hf:acme/many")
    assert seen
    assert min(seen) >= FILES
