"""What Ollama pulled is mended from its registry: by ranges, from where the registry sends one on to."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rot import BIG, DIGEST, blob, flip

from helixstore import HelixStore
from helixstore.store.hashing import BLOCK
from support.ollama import OllamaFolder
from support.person import Person

SHA256, LAST = hashlib.sha256(BIG).hexdigest(), len(BIG) - BLOCK


class Registry:
    """Blobs by their SHA-256; a client is sent on to a storage, as Ollama's own registry does."""

    def __init__(self) -> None:
        registry, self.sent, self.headers = self, list[int](), list[dict[str, str]]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.headers.append(dict(self.headers))
                if self.path == f"/v2/library/big/blobs/sha256:{SHA256}":
                    self._answer(307, b"", {"Location": "/storage/data"})
                elif self.path == "/storage/data":
                    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
                    assert wanted is not None
                    first, last = int(wanted[1]), int(wanted[2])
                    registry.sent.append(last + 1 - first)
                    self._answer(206, BIG[first:last + 1], {"Content-Range": f"bytes {first}-{last}/{len(BIG)}"})
                else:
                    self._answer(404, b"", {})

            def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    thread = threading.Thread(target=registry.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield registry
    registry.server.shutdown()
    thread.join()
    registry.server.server_close()


def test_only_the_bad_range_comes_from_the_registry(
    ana: Person, registry: Registry, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    ollama = OllamaFolder(ana.home / ".ollama/models")
    ollama.pull(f"{registry.host}/library/big:latest", BIG)
    HelixStore.init(every=True, environ=ana.environ)
    with ana.open() as store:
        store.sync()
        assert store.verify().bad == []
        flip(blob(store), BLOCK + 3)
        dry = store.verify(repair=True, dry_run=True)
        assert [(one.bytes, one.remote) for one in dry.mended[0].taken] == [(LAST, True)]
        assert sum(registry.sent) <= 1, "it was only asked"
        [mended] = store.verify(repair=True).mended
        assert mended.why == ""
        assert f"{registry.host}/library/big" in mended.taken[0].source
        assert sum(registry.sent) <= LAST + 2
        assert not any("hf_secret" in str(headers) for headers in registry.headers), "the hub's token is for the hub"
        assert ollama.blob(BIG).read_bytes() == BIG
        assert blob(store).read_bytes() == BIG
        assert store.verify().bad == []


def test_a_model_that_the_registry_does_not_have_is_said(ana: Person, registry: Registry) -> None:
    OllamaFolder(ana.home / ".ollama/models").pull(f"{registry.host}/library/mine:latest", BIG)
    HelixStore.init(every=True, environ=ana.environ)
    with ana.open() as store:
        store.sync()
        store.verify()
        flip(blob(store), 3)
        [mended] = store.verify(repair=True).mended
        assert "404" in mended.why
        assert registry.sent == []
        assert DIGEST in store._session.store.quarantine.all()
