"""A file at any address whose SHA-256 is named: downloaded, resumed, verified and mended as from the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import weights

from helixstore.errors import Failed, HelixError, NotFound, Passing, Usage
from support.hub import Repository, Trouble, hub
from support.person import Person, spoil

DATA = weights(7, 12)
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = "pebble-F16.gguf"


@pytest.fixture
def served(tmp_path: Path) -> Repository:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / NAME).write_bytes(DATA)
    (folder / "notes.txt").write_bytes(b"no model\n")
    return Repository.of("some/where", "1" * 40, folder)


@pytest.fixture
def address(served: Repository) -> Iterator[str]:
    with hub(served) as server:
        yield f"{server}/some/where/resolve/main/{NAME}"


def test_it_is_downloaded_once_and_where_it_came_from_is_kept(
    person: Person, served: Repository, address: str,
) -> None:
    what = f"{address}?token=a-signature#sha256={SHA256}"
    with person.open() as store:
        assert store.download(what, dry_run=True).files[0].bytes == len(DATA)
        assert served.sent.get(NAME, 0) <= 1
        report = store.download(what)
        assert (report.name, report.fetched_bytes) == ("pebble", len(DATA))
        [variant] = store.show("pebble").variants
        assert [(one["kind"], one["repository"], one["revision"]) for one in variant.sources] == [
            ("url", address, SHA256)]
        assert store.get(what).read_bytes() == DATA
        assert store.download(what).fetched_bytes == 0
    kept = [path for path in person.home.rglob("*") if path.is_file() and b"a-signature" in path.read_bytes()]
    assert kept == [], "what follows the ? may be a secret"


def test_get_asks_nobody_again(person: Person, served: Repository, address: str) -> None:
    with person.open() as store:
        first = store.get(f"{address}#sha256={SHA256}")
        asked = len(served.asked)
        assert store.get(f"{address}#sha256={SHA256}") == first
    assert len(served.asked) == asked


def test_it_is_resumed_and_compared(person: Person, served: Repository, address: str) -> None:
    what = f"{address}#sha256={SHA256}"
    served.trouble = lambda path, number: Trouble(cut=5_000_000) if number == 1 else (
        Trouble(404) if number > 1 else None)
    with person.open() as store:
        with pytest.raises(HelixError, match="the same command goes on"):
            store.download(what)
        served.trouble = lambda path, number: Trouble(503, {"Retry-After": "0"}) if number % 3 == 0 else None
        before = served.sent[NAME]
        store.download(what)
        assert served.sent[NAME] - before < len(DATA) - 3_000_000, "what had come did not come again"
        assert store.verify().bad == []


def test_other_bytes_never_come_in(person: Person, served: Repository, address: str) -> None:
    with person.open() as store:
        with pytest.raises(HelixError, match="is not what its listing names"):
            store.download(f"{address}#sha256={'0' * 64}")
        assert store.shared_models() == []


@pytest.mark.parametrize(("path", "trouble", "kind", "says"), [
    ("none-F16.gguf", None, NotFound, "there is no such file"),
    ("notes.txt", None, NotFound, "neither in .gguf nor in .safetensors"),
    (NAME, Trouble(403), Failed, "not logged in"),
    (NAME, Trouble(503), Passing, "answers 503"),
    (NAME, Trouble(418), Failed, "answers 418"),
])
def test_what_cannot_be_had_is_said_with_a_way_on(
    person: Person, served: Repository, address: str, path: str, trouble: Trouble | None, kind: type[HelixError],
    says: str,
) -> None:
    served.trouble = lambda name, number: trouble
    with person.open() as store, pytest.raises(kind, match=says) as error:
        store.download(f"{address.rpartition('/')[0]}/{path}#sha256={SHA256}")
    assert error.value.remedy


def test_a_server_that_is_away_is_said(person: Person) -> None:
    with person.open() as store, pytest.raises(Passing, match=r"127\.0\.0\.1:9 refuses the connection"):
        store.download(f"http://127.0.0.1:9/a.gguf#sha256={SHA256}")


def test_no_token_of_the_hub_goes_there(
    person: Person, served: Repository, address: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_mine")
    with person.open() as store:
        store.download(f"{address}#sha256={SHA256}")
    assert set(served.tokens) == {""}


def test_damaged_bytes_come_back_from_the_address(person: Person, served: Repository, address: str) -> None:
    with person.open() as store:
        store.download(f"{address}#sha256={SHA256}")
        [blob] = [path for path in store.folder.glob("blobs/**/*") if path.is_file() and path.stat().st_size > 1 << 20]
        spoil(blob, 3_000_000)
        assert store.verify(repair=True).repaired == [blob.name]
        assert store.path("pebble").read_bytes() == DATA


def test_its_own_name_in_the_catalogue_leads_there(person: Person, served: Repository, address: str) -> None:
    person.put(".config/helixstore/models.toml", f'''
["pebble-1b"]
sources = [{{ format = "gguf", at = "{address}#sha256={SHA256}" }}]
'''.encode())
    with person.open() as store:
        assert store.download("pebble-1b").name == "pebble-1b"
        assert store.compat("pebble-1b", "ollama")[0].answer == "yes"


def test_what_is_here_is_added_and_not_downloaded(person: Person) -> None:
    here = person.put("a.gguf", DATA)
    with person.open() as store:
        with pytest.raises(Usage, match="is here already") as error:
            store.download(f"{here}")
        assert error.value.remedy == f"helixstore add {here}"
        with pytest.raises(Usage, match="is a path, and there is nothing"):
            store.download("./b.gguf")
