"""What somebody else calls `org/repo` at a commit is shown so when the hub's own listing says that it is, and not
before: by a real client, from a hub on loopback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helixstore.hub.names import HubNames
from helixstore.values import Source
from support.hub import Repository, cached, hub
from support.models import tiny_hf
from support.people import People, User, founded

NAME, COMMIT = "acme/rocket", "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model that the hub has, and another one."""
    names = ("real", "bait")
    return {name: tiny_hf(tmp_path_factory.mktemp(name) / name, seed=seed) for seed, name in enumerate(names)}


@pytest.fixture
def shared(lab: People) -> Iterator[People]:
    """carol's store. Everybody's cache is on, and nobody asks the hub until the test says so."""
    founded(lab, lab.carol)
    site = lab.folder / "etc/helixstore/config.toml"
    site.write_text(f'{site.read_text()}public = ["acme/*"]\nlocal_namespace = "local-lab"\n'
                    "[providers.vllm]\non = true\n")
    before = {who: dict(user.environ) for who, user in lab.members.items()}
    yield lab
    for who, user in lab.members.items():
        user.environ = before[who]


def has_it_from_the_hub(user: User, folder: Path) -> None:
    """The repository lies in their cache as the client leaves it, and their sync has taken it in."""
    place = user.home / "tmp"
    shutil.copytree(folder, place)
    cached(user.home / ".cache/huggingface/hub", NAME, sorted(place.iterdir()), COMMIT)
    shutil.rmtree(place)
    for path in (user.home / ".cache", *(user.home / ".cache").rglob("*")):
        user.own(path, 0o755 if path.is_dir() else 0o644)
    assert len(user.document("sync")["adopted"]) == 1


def lies(lab: People, user: User, folder: Path) -> Path:
    """A model of theirs is shared, and their ref says that it is the hub's; the ref."""
    target = user.home / "bait"
    shutil.copytree(folder, target)
    for path in (target, *target.rglob("*")):
        user.own(path, 0o755 if path.is_dir() else 0o644)
    user.helix("share", str(target))
    [ref] = (lab.store / "refs").glob(f"*/{user.uid}/*.json")
    record = json.loads(ref.read_bytes())
    record["sources"] = [Source("hub", NAME, COMMIT, name=NAME).described()]
    ref.chmod(0o644)
    ref.write_text(json.dumps(record))
    user.own(ref, 0o444)
    return ref


def cache(user: User) -> dict[str, bytes]:
    """Repository -> the weights that a program finds there."""
    found = {}
    for path in (user.home / ".cache/huggingface/hub").glob("models--*/snapshots/*/model.safetensors"):
        found[path.parts[-4]] = user.reads(path) or b""
    return found


def online(user: User, endpoint: str) -> None:
    user.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_of_theirs"}


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_name_that_the_hub_does_not_confirm_is_not_used(shared: People, made: dict[str, Path]) -> None:
    """bob calls his own file acme/rocket. Nobody loads it by that name, and nobody repeats it."""
    lab, repository = shared, Repository.of(NAME, COMMIT, made["real"])
    lies(lab, lab.bob, made["bait"])
    local = {"models--local-lab--bait": weights(made["bait"])}
    with hub(repository) as endpoint:
        online(lab.alice, endpoint)
        [note] = [note for note in lab.alice.document("sync")["notes"] if NAME in note]
        assert "the hub lists other files there" in note
        assert f"user {lab.bob.uid}" in note
        assert cache(lab.alice) == local
        assert len(repository.asked) == 1, "one listing, no download"
        said = lab.alice.helix("explain", "bait")
        assert f"not shown as {NAME} at {COMMIT[:12]} of the hub, as user {lab.bob.uid} calls it" in said
        assert "the hub lists other files there" in said
        assert lab.alice.types("path", NAME)[0] == 1, "no model is found by that name"
        assert lab.alice.document("sync")["actions"] == []
        lab.alice.helix("pin", "bait")
        assert lab.alice.document("sync")["actions"] == []
        online(lab.carol, endpoint)
        assert any(NAME in note for note in lab.carol.document("sync")["notes"]), "the steward is told, too"
        assert len(repository.asked) == 2, "each asks once"
    for victim in (lab.alice, lab.carol):
        own = b"".join(path.read_bytes() for path in (lab.store / "refs").glob(f"*/{victim.uid}/*"))
        assert own, "they claim what they show"
        assert NAME.encode() not in own, "and do not repeat the name"
    assert cache(lab.alice) == local


def test_a_name_is_proven_by_the_hubs_listing_once_and_for_all(shared: People, made: dict[str, Path]) -> None:
    lab, repository = shared, Repository.of(NAME, COMMIT, made["real"])
    has_it_from_the_hub(lab.alice, made["real"])
    real = {"models--acme--rocket": weights(made["real"])}
    with hub(repository) as endpoint:
        online(lab.bob, endpoint)
        assert lab.bob.document("sync")["notes"] == []
        assert cache(lab.bob) == real, "by its name from the first"
        assert len(repository.asked) == 1
        assert lab.bob.document("sync")["actions"] == []
        lab.bob.helix("pin", "rocket")
        assert lab.bob.document("sync")["actions"] == []
        assert len(repository.asked) == 1, "it is asked once"
    lab.bob.environ["HF_HUB_OFFLINE"] = "1"
    lab.bob.helix("reindex")
    assert lab.bob.document("sync")["actions"] == []
    assert cache(lab.bob) == real
    file = lab.bob.home / ".local/state/helixstore/hub-names.json"
    assert file.stat().st_mode & 0o077 == 0
    assert (lab.bob.home / ".cache/huggingface/hub/models--acme--rocket/refs/main").read_text() == COMMIT


def test_without_an_answer_a_name_waits_and_is_asked_about_later(shared: People, made: dict[str, Path]) -> None:
    lab, repository = shared, Repository.of(NAME, COMMIT, made["real"])
    has_it_from_the_hub(lab.alice, made["real"])
    local, real = ({name: weights(made["real"])} for name in ("models--local-lab--rocket", "models--acme--rocket"))
    [note] = [note for note in lab.bob.document("sync")["notes"] if NAME in note]
    assert "HF_HUB_OFFLINE" in note
    assert cache(lab.bob) == local
    online(lab.bob, "http://127.0.0.1:9")
    [note] = [note for note in lab.bob.document("sync")["notes"] if NAME in note]
    assert "the hub did not answer" in note
    assert cache(lab.bob) == local
    assert lab.bob.document("sync")["actions"] == []
    with hub(repository) as endpoint:
        online(lab.bob, endpoint)
        lab.bob.put("m/unrelated", b"x")
        lab.bob.document("sync")
        assert cache(lab.bob) == real
        assert lab.bob.document("sync")["actions"] == []
        assert len(repository.asked) == 1


def by_the_steward(lab: People, folder: Path) -> None:
    has_it_from_the_hub(lab.carol, folder)


def by_ones_own_cache(lab: People, folder: Path) -> None:
    has_it_from_the_hub(lab.alice, folder)
    place = lab.bob.home / ".cache/huggingface/hub"
    shutil.copytree(lab.alice.home / ".cache/huggingface/hub", place, symlinks=True)
    for path in (lab.bob.home / ".cache", *(lab.bob.home / ".cache").rglob("*")):
        lab.bob.own(path, 0o755 if path.is_dir() else 0o644)


def by_a_setting(lab: People, folder: Path) -> None:
    has_it_from_the_hub(lab.alice, folder)
    lab.bob.helix("sync")
    assert [*cache(lab.bob)] == ["models--local-lab--rocket"]
    lab.bob.helix("config", "set", "trust_hub_names", "true")


@pytest.mark.parametrize("told", [by_the_steward, by_ones_own_cache, by_a_setting], ids=lambda told: told.__name__)
def test_whose_word_counts_without_the_hub(
    shared: People, made: dict[str, Path], told: Callable[[People, Path], None],
) -> None:
    lab = shared
    told(lab, made["real"])
    lab.bob.document("sync")
    assert cache(lab.bob) == {"models--acme--rocket": weights(made["real"])}
    assert lab.bob.document("sync")["actions"] == []


def test_a_hub_that_does_not_answer_is_left_alone_for_an_hour_and_others_come_first(tmp_path: Path) -> None:
    """Nobody keeps the hub from being asked by one claim about which it does not answer."""
    (tmp_path / "f").write_bytes(b"x")
    repository = Repository(NAME, COMMIT, {"f": tmp_path / "f"})
    file, good, bad = str(tmp_path / "names.json"), Source("hub", NAME, COMMIT), Source("hub", "acme/bad", COMMIT)
    dead = HubNames(file, {"HF_ENDPOINT": "http://127.0.0.1:9"}, clock=1000.0)
    assert dead.listing(bad) is None
    dead.note(bad, "m", "silent")
    dead.keep()
    again = HubNames(file, {"HF_ENDPOINT": "http://127.0.0.1:9"}, clock=2000.0)
    again.begin()
    assert again.silent
    assert again.why(good, "m") == "the hub did not answer"
    assert again.due(good, "m") == again.due(bad, "m") == 4600.0
    assert again.asked(good, "m") < again.asked(bad, "m")
    with hub(repository) as endpoint:
        live = HubNames(file, {"HF_ENDPOINT": endpoint}, clock=2000.0)
        live.begin()
        assert live.due(good, "m") <= 2000.0, "another hub is another hub"
        assert set(live.listing(good) or ()) == {"f"}
        assert live.listing(bad) == {}, "no such repository"
        assert live.listing(Source("hub", NAME, "0" * 40)) == {}, "no such commit"
        asked = len(repository.asked)
        live.listing(good)
        assert len(repository.asked) == asked, "one listing for all variants of a commit"
        live.note(good, "m")
        live.note(bad, "m", "unknown")
        live.keep()
    assert HubNames(file, {}).proven(good, "m") is False, "it is read when it is asked for"
    other = HubNames(file, {}, clock=2000.0)
    other.begin()
    assert other.proven(good, "m"), "what a hub has confirmed holds wherever one asks"
    assert not other.proven(good, "n")
    assert other.mark != HubNames(str(tmp_path / "none"), {}).mark
    os.chmod(file, 0o666)
    open_to_all = HubNames(file, {}, clock=2000.0)
    open_to_all.begin()
    assert not open_to_all.proven(good, "m"), "others could have written it"
