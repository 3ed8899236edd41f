"""The engine feeds the hub client's shared store: what it hashes, what it takes back, and what it leaves alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import _shared_blobs as client

from helixstore import HelixStore
from helixstore.results import VariantView
from helixstore.store.blobs import Meta
from helixstore.store.xet import XetHasher
from helixstore.sync import xet as syncing
from support.disks import Disks, disks  # noqa: F401  a fixture
from support.person import GGUF, Person
from support.raw import model_gguf

MARK = ".huggingface-shared-blobs"
GIVEN = ".lmstudio/models/acme/Small-GGUF/Small-F16.gguf"


@pytest.fixture
def person(tmp_path: Path) -> Person:
    home = Path(os.path.realpath(tmp_path)) / "home"
    home.mkdir()
    person = Person(home)
    person.put(GIVEN, GGUF)
    return person


@pytest.fixture
def fed(person: Person) -> Iterator[HelixStore]:
    """LM Studio's model shared with every provider."""
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        assert store.sync().issues == ()
        yield store


def cache_of(person: Person) -> Path:
    return person.home / ".cache/huggingface/hub"


def shared(person: Person) -> Path:
    """The one entry in the shared store."""
    path, = (path for path in (cache_of(person) / "blobs").glob("??/*") if len(path.name) == 64)
    return path


def meta(store: HelixStore) -> Meta:
    """What the store has written down of the model's blob."""
    digest = store.show("Small").variants[0].files[0].blake3
    return store._session.store.blobs.meta(digest)


def variant(store: HelixStore) -> VariantView:
    return store.show("Small").variants[0]


def use(person: Person, repository: str = "somebody/else") -> Path:
    """The client asks for the content under a name of its own; the link that it makes."""
    entry = shared(person)
    blob = cache_of(person) / f"models--{repository.replace('/', '--')}/blobs" / ("c" * 64)
    blob.parent.mkdir(parents=True)
    assert client.try_link_from_shared_store(blob_path=str(blob), xet_hash=entry.name, cache_dir=cache_of(person),
                                             expected_size=len(GGUF))
    return blob


def test_the_first_sync_feeds_it_and_the_second_has_nothing_to_do(person: Person, fed: HelixStore) -> None:
    entry = shared(person)
    assert entry.samefile(person.home / GIVEN)
    with XetHasher() as hasher:
        assert entry.name == hasher.hash(str(person.home / GIVEN))
    assert meta(fed).xet == entry.name
    assert (cache_of(person) / "blobs" / MARK).read_bytes() == b"1\n"
    standing = variant(fed).providers["huggingface"]
    assert (standing.state, standing.link, [Path(path) for path in standing.paths]) == ("linked", "hard", [entry])
    assert fed.sync().nothing


def test_a_file_is_hashed_once(person: Person, fed: HelixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: XetHasher, path: str) -> str:
        raise AssertionError(f"{path} is hashed again")

    monkeypatch.setattr(syncing.XetHasher, "hash", refuse)
    shutil.rmtree(cache_of(person))
    fed.sync(restore=True)
    assert shared(person).samefile(person.home / GIVEN)
    person.put("models/again.gguf", GGUF)
    fed.share(person.home / "models/again.gguf")
    fed.reindex()
    fed.sync()
    assert shared(person).samefile(person.home / GIVEN)


def test_a_dry_run_says_the_same_and_writes_nothing_to_the_store(person: Person) -> None:
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        planned = {action["path"] for action in store.sync(dry_run=True).actions if action["op"] == "make"}
        assert not cache_of(person).exists()
        made = {action["path"] for action in store.sync().actions if action["op"] == "make"}
        assert made == planned
        assert str(shared(person)) in made
        assert meta(store).xet == shared(person).name


def test_an_entry_that_the_client_swept_comes_back(person: Person, fed: HelixStore) -> None:
    entry = shared(person)
    use(person).unlink()
    client.sweep_shared_blob(entry, cache_dir=cache_of(person))
    assert not entry.exists()
    assert fed.sync().issues == ()
    assert entry.samefile(person.home / GIVEN)
    assert variant(fed).providers["huggingface"].state == "linked"
    assert fed.sync().nothing


def test_a_whole_store_that_was_deleted_is_no_loss_and_no_question(person: Person, fed: HelixStore) -> None:
    shutil.rmtree(cache_of(person) / "blobs")
    assert fed.sync().issues == ()
    assert shared(person).samefile(person.home / GIVEN)
    assert fed.sync().nothing


def test_what_the_client_has_there_itself_stays_and_is_no_conflict(person: Person) -> None:
    with XetHasher() as hasher:
        name = hasher.hash(str(person.home / GIVEN))
    assert name is not None
    own = person.put(f".cache/huggingface/hub/blobs/{name[:2]}/{name}", GGUF, 0o444)
    person.put(f".cache/huggingface/hub/blobs/{MARK}", b"1\n")
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        inode = own.stat().st_ino
        assert store.sync().issues == ()
        assert own.stat().st_ino == inode
        assert variant(store).providers["huggingface"].state == "linked"
        assert store.sync().nothing
        store.remove("Small")
        assert own.read_bytes() == GGUF


def test_what_the_client_put_in_our_entrys_place_stays(person: Person, fed: HelixStore) -> None:
    """As `force_download` does: a file of its own is renamed over the entry."""
    entry = shared(person)
    fresh = person.put("fresh", GGUF, 0o444)
    fresh.rename(entry)
    inode = entry.stat().st_ino
    assert fed.sync().issues == ()
    assert entry.stat().st_ino == inode
    assert fed.sync().nothing
    assert variant(fed).providers["huggingface"].state == "linked"


class TestTakingBack:
    def test_what_nobody_uses_goes_without_a_trace(self, person: Person, fed: HelixStore) -> None:
        fed.remove("Small")
        assert not (cache_of(person) / "blobs").exists()

    def test_what_the_client_uses_is_the_clients(self, person: Person, fed: HelixStore) -> None:
        blob, entry = use(person), shared(person)
        assert fed.remove("Small").issues == ()
        assert blob.read_bytes() == GGUF
        assert fed.sync().issues == ()
        assert client.is_shared_blobs_dir(cache_of(person) / "blobs"), "and the client still knows its store"
        blob.unlink()
        client.sweep_shared_blob(entry, cache_dir=cache_of(person))
        assert not entry.exists()

    def test_undo_takes_the_entry_away(self, person: Person, fed: HelixStore) -> None:
        fed.undo()
        assert not (cache_of(person) / "blobs").exists()
        assert (person.home / GIVEN).read_bytes() == GGUF

    def test_undo_leaves_what_is_in_use(self, person: Person, fed: HelixStore) -> None:
        blob = use(person)
        fed.undo()
        assert blob.read_bytes() == GGUF

    def test_leaving_costs_no_copy_of_what_nobody_uses(self, person: Person, fed: HelixStore) -> None:
        fed.leave()
        assert not (cache_of(person) / "blobs").exists()
        assert (person.home / GIVEN).read_bytes() == GGUF

    def test_leaving_gives_the_client_what_it_uses(self, person: Person, fed: HelixStore) -> None:
        blob = use(person)
        fed.leave()
        shutil.rmtree(fed.folder)
        assert blob.read_bytes() == GGUF
        assert shared(person).stat().st_nlink == 1
        assert client.is_shared_blobs_dir(cache_of(person) / "blobs")

    def test_turned_off_it_takes_back_what_nobody_uses(self, person: Person, fed: HelixStore) -> None:
        fed.set_provider("huggingface", on=False)
        fed.sync()
        assert not (cache_of(person) / "blobs").exists()


class TestWhatIsHashed:
    def hashed(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        paths: list[str] = []
        inner = XetHasher.hash

        def note(self: XetHasher, path: str) -> str | None:
            paths.append(path)
            return inner(self, path)

        monkeypatch.setattr(syncing.XetHasher, "hash", note)
        return paths

    @pytest.mark.parametrize("why", ["off", "switched off", "old client"])
    def test_nothing_where_no_client_would_look(
            self, person: Person, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
        paths = self.hashed(monkeypatch)
        if why == "switched off":
            person.environ["HF_HUB_DISABLE_XET"] = "1"
        if why == "old client":
            (cache_of(person) / ".locks").mkdir(parents=True)
        HelixStore.init(providers=["lmstudio", "ollama"] if why == "off" else None, every=why != "off",
                        environ=person.environ)
        with person.open() as store:
            assert store.sync().issues == ()
            assert paths == []
            assert not (cache_of(person) / "blobs").exists()
            if why != "off":
                standing = variant(store).providers["huggingface"]
                assert standing.state == "pending"
                assert {"switched off": "HF_HUB_DISABLE_XET", "old client": "1.32"}[why] in standing.reason
            assert store.sync().nothing

    def test_weights_alone(self, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        from support.models import tiny_hf

        paths = self.hashed(monkeypatch)
        tiny_hf(person.home / "models/tiny", shards=2)
        HelixStore.init(every=True, scan=[person.home / "models"], environ=person.environ)
        with person.open() as store:
            store.sync()
        names = sorted(Path(path).name for path in paths)
        assert names == ["Small-F16.gguf", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

    def test_nothing_on_another_disk_than_the_cache(
            self, person: Person, monkeypatch: pytest.MonkeyPatch, disks: Disks) -> None:  # noqa: F811
        paths = self.hashed(monkeypatch)
        person.environ["HF_HUB_CACHE"] = str(disks.mount("tmpfs", 32, "hub-cache") / "hub")
        HelixStore.init(every=True, environ=person.environ)
        with person.open() as store:
            store.sync()
            assert paths == []
            standing = variant(store).providers["huggingface"]
            assert standing.state == "pending"
            assert "another disk" in standing.reason
            assert store.sync().nothing

    def test_a_file_that_changes_while_it_is_hashed_waits(
            self, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        HelixStore.init(every=True, environ=person.environ)
        inner = XetHasher.hash

        def meddle(self: XetHasher, path: str) -> str | None:
            found = inner(self, path)
            person.put(GIVEN, model_gguf(seed=2))
            return found

        monkeypatch.setattr(syncing.XetHasher, "hash", meddle)
        with person.open() as store:
            store.sync()
            monkeypatch.undo()
            store.sync()
            store.sync()
            assert shared(person).read_bytes() == model_gguf(seed=2)
            with XetHasher() as hasher:
                assert shared(person).name == hasher.hash(str(shared(person)))
