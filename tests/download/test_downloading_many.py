"""Many small files in one model."""

from __future__ import annotations

import json

import pytest
from repository import weights

from helixstore import HelixStore
from helixstore.download import fetching
from support.person import Person
from support.registry import StandIn, serve

FILES, PART = 200, 20


def test_small_files_enter_the_store_in_parts_while_others_come(
    person: Person, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that dies loses the last part only, however small the files are."""
    monkeypatch.setattr(fetching, "_FILES", PART)
    title, kind = "org.opencontainers.image.title", "application/vnd.cncf.model.doc.v1.raw"
    with serve(StandIn()) as registry:
        texts = {f"docs/page-{number:05d}.md": b"page %d\n" % number for number in range(FILES)}
        texts["pebble-F16.gguf"] = weights(1, 1)
        layers = [{"mediaType": kind, "digest": f"sha256:{registry.put(text)}", "size": len(text),
                   "annotations": {title: name}} for name, text in texts.items()]
        registry.tag("v1", json.dumps({"schemaVersion": 2, "layers": layers}).encode())
        seen = [0]

        def look(what: str, path: str, done: int, total: int) -> None:
            if what == "download" and done < total:
                seen.append(len(list(store.folder.glob("blobs/*/*"))))

        with HelixStore(environ=person.environ, progress=look) as store:
            store.download(f"oci://{registry.host}/team/pebble:v1")
            assert len(list(store.folder.glob("blobs/*/*"))) == FILES + 1
    assert max(seen) >= FILES - 2 * PART
