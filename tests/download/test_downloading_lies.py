"""A hub that lies: in its listing, in its redirects, in what has no end. It costs a message."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helixstore.errors import Failed, HelixError
from helixstore.hub import listing, wire
from support.hub import Repository, Trouble, hub
from support.person import Person

REPOSITORY, BIG = "hf:acme/small-GGUF", "small-F16.gguf"


def lying(served: Repository, lie: Callable[[dict[str, Any]], object]) -> Repository:
    """The same repository, whose description is changed before it goes out."""
    class Lying(Repository):
        def info(self) -> dict[str, Any]:
            said = Repository.info(self)
            lie(said)
            return said

    return Lying(served.name, served.commit, dict(served.files))


def sibling(said: dict[str, Any], path: str = BIG) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in said["siblings"] if one["rfilename"] == path)
    return found


def sized(size: object) -> Callable[[dict[str, Any]], object]:
    return lambda said: sibling(said).update(size=size)


def digested(sha256: object) -> Callable[[dict[str, Any]], object]:
    return lambda said: sibling(said)["lfs"].update(sha256=sha256)


@pytest.mark.parametrize("lie", [
    *map(sized, [-1, "20971520", 2.5e7, True, 1 << 62, [1]]),
    *map(digested, ["z" * 64, "../" * 21 + "x", "\u0661" * 64, "ab" * 20, "ab" * 33, "", 7, {"a": 1}]),
    lambda said: said.update(sha="../" * 13 + "x"), lambda said: said.update(sha="z" * 40),
    lambda said: said.update(sha=[1] * 40), lambda said: said.update(id="acme/../../etc"),
    lambda said: said.update(id="acme/small\x1b[2J"), lambda said: said.update(id=["acme"]),
    lambda said: said.update(id=".."), lambda said: sibling(said).update(rfilename=7),
    lambda said: sibling(said, "README.md").update(blobId="z" * 40),
    *(lambda said, what=what: said.update(siblings=what) for what in (7, "x", [7], [["rfilename"]], {"a": 1})),
    lambda said: sibling(said).pop("rfilename"), lambda said: sibling(said).update(lfs=7),
    lambda said: sibling(said).update(lfs=["sha256"]),
    lambda said: said.update(siblings=[*said["siblings"], {"rfilename": BIG, "size": 5, "blobId": "a" * 40}]),
])
def test_a_listing_that_makes_no_sense_is_refused_before_anything_is_fetched(
    person: Person, served: Repository, lie: Callable[[dict[str, Any]], object],
) -> None:
    bad = lying(served, lie)
    with hub(bad) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            with pytest.raises(HelixError) as error:
                store.download(REPOSITORY, quantization="all")
            assert str(error.value).isprintable()
            assert not list(store.folder.glob("hosts/*/*/downloads/*"))
            assert store.shared_models() == []
    assert bad.sent == {}


def test_a_listing_without_end_is_not_read_to_it(
    online: Person, served: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "_MOST", 500)
    with online.open() as store, pytest.raises(Failed, match="has no end"):
        store.download(REPOSITORY)
    assert served.sent == {}


def test_a_digest_in_capitals_is_the_same(person: Person, served: Repository) -> None:
    shouting = lying(served, lambda said: sibling(said)["lfs"].update(sha256=sibling(said)["lfs"]["sha256"].upper()))
    with hub(shouting) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.download(f"{REPOSITORY}:{BIG}")
            assert store.verify().bad == []
    assert shouting.sent[BIG] == served.files[BIG].stat().st_size


@pytest.mark.parametrize("names", [("a-F16.gguf", "A-F16.gguf"), ("a-F16.gguf", "a-F16.gguf/b-Q8_0.gguf"),
                                   ("A-F16.gguf", "a-F16.gguf/c/b-Q8_0.gguf")])
def test_names_that_cannot_lie_together_are_refused_before_anything_is_fetched(
    person: Person, served: Repository, names: tuple[str, str],
) -> None:
    bad = Repository(served.name, served.commit, dict(zip(names, served.files.values(), strict=False)))
    with hub(bad) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store, pytest.raises(HelixError, match="cannot lie in one folder"):
            store.download(REPOSITORY, quantization="all")
    assert bad.sent == {}


def test_a_readme_in_two_spellings_is_taken_once(person: Person, tiny: Repository, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("# the same in small letters\n")
    twice = Repository(tiny.name, tiny.commit, {
        **tiny.files, "README.md": tmp_path / "other", "readme.md": tmp_path / "other"})
    with hub(twice) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.download(f"hf:{tiny.name}")
    assert "README.md" in twice.sent
    assert "readme.md" not in twice.sent


def test_no_message_shows_the_signature_of_the_storage(online: Person, served: Repository) -> None:
    storage = Repository(served.name, served.commit, dict(served.files))
    with hub(storage) as elsewhere:
        where = f"{elsewhere}/{served.name}/resolve/{served.commit}"
        served.trouble = lambda path, number: Trouble(302, {"Location": f"{where}/{path}?X-Signature=very-secret"})
        for status in (400, 403, 404, 410, 416, 418, 451, 501):
            storage.trouble = lambda path, number, status=status: Trouble(status)  # type: ignore[misc]
            with online.open() as store, pytest.raises(HelixError) as error:
                store.download(f"{REPOSITORY}:{BIG}")
            said = (str(error.value), error.value.remedy, repr(error.value), repr(error.value.__reduce__()))
            assert not [text for text in said if "secret" in text], status


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:9/x", "//", "http://"])
def test_a_redirect_leads_to_the_web_only(online: Person, served: Repository, where: str) -> None:
    served.trouble = lambda path, number: Trouble(302, {"Location": where})
    with online.open() as store, pytest.raises(HelixError) as error:
        store.download(f"{REPOSITORY}:{BIG}")
    assert "root:" not in str(error.value)


def test_a_login_stays_with_its_server_and_what_is_encrypted_stays_so() -> None:
    headers = {"authorization": "Bearer hf_of_mine", "Range": "bytes=0-1"}
    assert wire._onward("https://hub/a", "https://hub/b", headers) == ("https://hub/b", headers)
    for there in ("https://storage/b", "https://hub:444/b", "https://hub.evil/b", "https://hub@evil/b"):
        assert wire._onward("https://hub/a", there, headers)[1] == {"Range": "bytes=0-1"}, there
    assert wire._onward("http://hub/a", "https://hub/a", headers)[1] == {"Range": "bytes=0-1"}
    with pytest.raises(Failed, match="not followed"):
        wire._onward("https://hub/a", "http://hub/a", headers)


@contextmanager
def endless() -> Iterator[tuple[str, list[int]]]:
    """A server whose redirect and whose refusal have no end: its address, and bytes that went out."""
    sent: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/round" else 500)
            self.send_header("Location", "/refusal")
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            try:
                while sum(sent) < 512 << 20:
                    sent.append(self.wfile.write(bytes(1 << 16)))
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_redirect_or_a_refusal_without_an_end_is_not_read() -> None:
    with endless() as (address, sent), pytest.raises(Exception, match="500"), \
            wire.get(f"{address}/round", {}) as (response, _):
        wire.client().hf_raise_for_status(response)
    assert sum(sent) < 64 << 20, "no more than what the system's buffers take"
