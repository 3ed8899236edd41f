"""This site's mirror: a registry that downloads ask first, and that is believed in nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import machine, ollama_model, weights_shown
from repository import MIB, weights

from helixstore.errors import Usage
from support.hub import Repository
from support.person import Person
from support.registry import Relay, StandIn, docker_registry, serve

BIG = "small-F16.gguf"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("mirror")) as host:
        yield host


@pytest.fixture
def registry() -> Iterator[StandIn]:
    with serve(StandIn()) as one:
        yield one


@pytest.fixture
def other(online: Person, tmp_path: Path) -> Person:
    person = machine(tmp_path / "other")
    person.environ["HF_ENDPOINT"] = online.environ["HF_ENDPOINT"]
    return person


def test_one_downloads_and_pushes_and_the_others_have_it_without_the_internet(
    online: Person, served: Repository, other: Person, real: str,
) -> None:
    """Small files, of which the hub tells no SHA-256, still come from the hub."""
    for person in (online, other):
        with person.open() as store:
            store.set_config("mirror", f"oci://{real}/models")
    with online.open() as store:
        assert store.download(f"hf:{served.name}", quantization="all").mirrored_bytes == 0
        pushed = store.push("small-GGUF").pushed
    assert sorted(one.reference.rpartition("/")[2] for one in pushed) == ["small-gguf:f16", "small-gguf:q8_0"]
    assert {one.reference.rpartition("/")[0] for one in pushed} == {f"oci://{real}/models/acme"}
    served.sent.clear()
    with other.open() as store:
        report = store.download(f"hf:{served.name}", quantization="all")
        sources = {source["kind"] for variant in store.show("small-GGUF").variants for source in variant.sources}
    assert set(served.sent) == {"README.md"}
    assert report.mirrored_bytes == report.fetched_bytes - served.sent["README.md"]
    assert sources == {"hub"}, "the mirror is no source"
    assert weights_shown(other, "small-GGUF") == {
        f"gguf:{name}": {served.files[f"small-{name}.gguf"].read_bytes()} for name in ("F16", "Q8_0")}


def test_a_mirror_that_is_away_or_has_nothing_costs_no_download(
    online: Person, served: Repository, registry: StandIn,
) -> None:
    online.environ["HELIXSTORE_MIRROR"] = "oci://127.0.0.1:9/models"
    with online.open() as store:
        assert store.download(f"hf:{served.name}:Q8_0").mirrored_bytes == 0
    online.environ["HELIXSTORE_MIRROR"] = f"oci://{registry.host}/models"
    with online.open() as store:
        assert store.download(f"hf:{served.name}:{BIG}").mirrored_bytes == 0
    asked = [path for method, path, _ in registry.seen if "/blobs/" in path]
    assert asked == [f"/v2/models/acme/small-gguf/blobs/sha256:{served.etag(BIG)}"]
    assert len(weights_shown(online, "small-GGUF")) == 2


@pytest.mark.parametrize("how", ["rotten", "longer", "shorter"])
def test_a_mirror_that_lies_is_left_for_the_hub(
    online: Person, served: Repository, registry: StandIn, how: str,
) -> None:
    data = served.files[BIG].read_bytes()
    digest = registry.put(data)
    if how == "rotten":
        registry.rotten = {digest}
    else:
        registry.blobs[digest] = data + b"more" if how == "longer" else data[:-1]
    online.environ["HELIXSTORE_MIRROR"] = f"oci://{registry.host}/models"
    with online.open() as store:
        store.download(f"hf:{served.name}:{BIG}")
        assert store.verify().bad == []
    assert weights_shown(online, "small-GGUF") == {"gguf:F16": {data}}
    assert served.sent[BIG] == len(data)


def test_what_a_lying_mirror_gave_to_a_process_that_died_is_noticed_by_the_next(
    online: Person, served: Repository, registry: StandIn,
) -> None:
    """The first is stopped when some of the wrong bytes are there already; the second finds out, and asks the hub."""
    data = served.files[BIG].read_bytes()
    registry.rotten = {registry.put(data)}
    online.environ["HELIXSTORE_MIRROR"] = f"oci://{registry.host}/models"

    def stop(what: str, path: str, done: int, total: int) -> None:
        if what == "download" and done > 8 * MIB:
            raise KeyboardInterrupt

    from helixstore import HelixStore

    with pytest.raises(KeyboardInterrupt), HelixStore(environ=online.environ, progress=stop) as store:
        store.download(f"hf:{served.name}:{BIG}")
    registry.rotten = set()
    with online.open() as store:
        store.download(f"hf:{served.name}:{BIG}")
    assert weights_shown(online, "small-GGUF") == {"gguf:F16": {data}}


def test_a_mirror_whose_connections_are_cut_is_gone_on_with_and_then_left_alone(
    online: Person, served: Repository, registry: StandIn,
) -> None:
    data = served.files[BIG].read_bytes()
    registry.put(data)
    relay = Relay(registry.host)
    try:
        relay.cuts = [("down", 2_000_000)] * 40
        online.environ["HELIXSTORE_MIRROR"] = f"oci://{relay.host}/models"
        with online.open() as store:
            report = store.download(f"hf:{served.name}:{BIG}")
    finally:
        relay.close()
    assert 0 < report.mirrored_bytes < len(data)
    assert served.sent[BIG] < len(data)
    assert weights_shown(online, "small-GGUF") == {"gguf:F16": {data}}


def test_the_mirror_stands_before_other_registries_too(person: Person, registry: StandIn) -> None:
    data = weights(1, 6)
    ollama_model(registry, "1b", data)
    with serve(StandIn()) as mirror:
        mirror.put(data)
        person.environ["HELIXSTORE_MIRROR"] = f"oci://{mirror.host}"
        with person.open() as store:
            report = store.download(f"ollama:{registry.host}/library/pebble:1b")
        assert report.mirrored_bytes == report.fetched_bytes == len(data)
        assert next(path for _, path, _ in mirror.seen if "/blobs/" in path).startswith("/v2/library/pebble/blobs/")
    assert hashlib.sha256(data).hexdigest() not in registry.sent


@pytest.mark.parametrize("value", ["nas:5000", "https://nas/models", "oci://", "oci://nas/Models", "oci://nas/a b"])
def test_a_mirror_that_can_be_none_is_refused(person: Person, value: str) -> None:
    with person.open() as store, pytest.raises(Usage, match="must be a registry"):
        store.set_config("mirror", value)


def test_names_become_names_of_a_registry(person: Person) -> None:
    from helixstore.download.mirror import mirror_place
    from helixstore.oci.reference import read_reference
    from helixstore.session import Machine

    site = Machine({**person.environ, "HELIXSTORE_MIRROR": "oci://nas:5000/models"})
    for name, wanted in (("Org/Name-GGUF", "org/name-gguf"), ("a_b/C.-d", "a_b/c-d"), ("_x/y__z", "x/y-z"),
                         ("библиотека/модель", None), ("o/ünder", "o/nder")):
        place = mirror_place(site, name)
        assert (str(place) if place else None) == (f"nas:5000/models/{wanted}:latest" if wanted else None)
        assert place is None or read_reference(str(place)) == place
    assert mirror_place(Machine(person.environ), "org/name") is None
