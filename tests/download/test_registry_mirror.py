"""This site's mirror: a registry that downloads ask first, and that is believed in nothing."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import machine, ollama_model, weights_shown
from repository import MIB, weights

from helixstore.errors import Failed, HelixError, Passing, Usage
from support.hub import Repository
from support.person import Person, spoil
from support.registry import Relay, StandIn, docker_registry, serve
from support.typist import typed

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
    assert served.sent == {}
    assert report.mirrored_bytes == report.fetched_bytes
    assert sources == {"hub"}, "the mirror is no source"
    assert weights_shown(other, "small-GGUF") == {
        f"gguf:{name}": {served.files[f"small-{name}.gguf"].read_bytes()} for name in ("F16", "Q8_0")}


@pytest.fixture
def filled(online: Person, served: Repository, real: str) -> str:
    """The mirror of both, filled by somebody whom the hub answers; a repository of its own for each test."""
    mirror = f"oci://{real}/{uuid.uuid4().hex}"
    online.environ["HELIXSTORE_MIRROR"] = mirror
    with online.open() as store:
        store.download(f"hf:{served.name}", quantization="all")
        store.push("small-GGUF")
    return mirror


@pytest.fixture
def alone(tmp_path: Path, filled: str) -> Person:
    """Somebody who reaches no hub."""
    person = machine(tmp_path / "alone")
    person.environ |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HELIXSTORE_MIRROR": filled}
    return person


def test_where_the_hub_cannot_be_reached_the_mirror_answers_alone(alone: Person, served: Repository) -> None:
    served.sent.clear()
    with alone.open() as store:
        for what in ("hf:acme/small-GGUF:Q8_0", "hf:Acme/Small-GGUF:small-Q8_0.gguf",
                     "hf:acme/small-GGUF@1edfc51f:Q8_0", "hf:acme/small-GGUF@main:Q8_0"):
            planned = store.download(what, dry_run=True)
            assert [one.path for one in planned.files] == ["small-Q8_0.gguf"], "what is no part of it is not pushed"
        report = store.download(what)
        [variant] = store.show("small-GGUF").variants
        assert store.verify().bad == []
        assert store.sync().nothing
    assert served.sent == {}
    assert report.mirrored_bytes == report.fetched_bytes > 0
    assert "hub cannot be asked" in report.why
    assert (report.repository, report.revision) == (served.name, served.commit)
    assert [(one["kind"], one["repository"], one["revision"], one["name"]) for one in variant.sources] == [
        ("hub", served.name, served.commit, "small-Q8_0.gguf")], "as if the hub had given it"
    assert weights_shown(alone, "small-GGUF") == {"gguf:Q8_0": {served.files["small-Q8_0.gguf"].read_bytes()}}


def test_without_the_hub_the_choice_among_the_mirrors_variants_is_as_ever(
    alone: Person, online: Person, served: Repository,
) -> None:
    with alone.open() as store:
        assert store.get(f"hf:{served.name}:F16").read_bytes() == served.files[BIG].read_bytes()
        assert {one.provider for one in store.compat(f"hf:{served.name}:Q8_0") if one.answer == "yes"} >= {"llamacpp"}
        assert len(store.download(f"hf:{served.name}", quantization="all").files) == 2
    alone.environ["HF_ENDPOINT"] = online.environ["HF_ENDPOINT"]
    with alone.open() as store:
        assert {one.state for one in store.update(check=True).updates} == {"current"}, "the hub knows that commit"


def test_what_the_mirror_has_not_is_said_with_both_reasons(alone: Person, served: Repository) -> None:
    with alone.open() as store:
        for what in ("hf:acme/small-GGUF:Q2_K", "hf:acme/small-GGUF@v1.0", "hf:acme/small-GGUF@2aaa1ff6",
                     "hf:acme/other-GGUF"):
            with pytest.raises(Failed, match=r"the mirror .* has no hf:acme/") as error:
                store.download(what)
            assert "helixstore push" in error.value.remedy
    alone.environ["HELIXSTORE_MIRROR"] = "oci://127.0.0.1:9/models"
    with alone.open() as store, pytest.raises(Passing, match="nor can the mirror"):
        store.download(f"hf:{served.name}")


def test_a_well_known_name_is_looked_for_at_all_its_places_in_the_mirror_and_nowhere_else(
    alone: Person, served: Repository, registry: StandIn,
) -> None:
    """A hub that is broken is asked once. Ollama's registry, which is beyond the same line, is not asked."""
    alone.put(".config/helixstore/models.toml", f"""
[small]
title = "Small"
can = ["chat"]
parameters = 10_000_000
sources = [
    {{ format = "gguf", at = "hf:acme/nothing-GGUF" }},
    {{ format = "gguf", at = "ollama:{registry.host}/library/small:q8_0" }},
    {{ format = "gguf", at = "hf:{served.name}" }},
]
""".encode())
    registry.answers = [("/api/models/", 503, {})] * 99
    alone.environ["HF_ENDPOINT"] = f"http://{registry.host}"
    with alone.open() as store:
        report = store.download("small", quantization="Q8_0")
    assert (report.repository, report.name) == (served.name, "small")
    assert {path.partition("?")[0] for _, path, _ in registry.seen} == {"/api/models/acme/nothing-GGUF"}


def test_variants_of_several_commits_are_each_what_they_are(
    online: Person, alone: Person, served: Repository,
) -> None:
    """One file changed on the hub, and only its variant was pushed again."""
    old = served.commit
    served.commit = "2aaa1ff61fdd41a1ea0ea81799d23522f379b2ff"
    served.files[BIG].write_bytes(weights(3, 20))
    served.files["README.md"].write_text("# better\n")
    with online.open() as store:
        store.update()
        store.push("small-GGUF")
    with alone.open() as store:
        for quantization in ("Q8_0", "F16"):
            store.download(f"hf:{served.name}", quantization=quantization)
        found = {variant.id: [one["revision"] for one in variant.sources] for variant in
                 store.show("small-GGUF").variants}
        assert store.verify().bad == []
    assert found == {"gguf:Q8_0": [old], "gguf:F16": [served.commit]}
    assert weights_shown(alone, "small-GGUF")["gguf:F16"] == {served.files[BIG].read_bytes()}


def test_what_is_named_is_looked_for_under_the_tag_that_push_gives_it_first(
    online: Person, alone: Person, served: Repository, registry: StandIn,
) -> None:
    """Two requests, whatever else lies there; all tags only where that one has not got it."""
    online.environ["HELIXSTORE_MIRROR"] = alone.environ["HELIXSTORE_MIRROR"] = f"oci://{registry.host}/models"
    with online.open() as store:
        store.download(f"hf:{served.name}", quantization="all")
        store.push("small-GGUF")
        store.push("small-GGUF:Q8_0", f"oci://{registry.host}/models/acme/small-gguf:a-q8_0-of-monday")
    for number in range(40):
        registry.tag(f"a{number}", {"schemaVersion": 2, "layers": [], "annotations": {"number": str(number)}})
    registry.tags["f16"], registry.tags["z-the-whole"] = registry.tags["q8_0"], registry.tags["f16"]

    def asked(what: str) -> list[str]:
        registry.seen.clear()
        with alone.open() as store:
            report = store.download(what, dry_run=True)
            assert report.revision == served.commit
        return [path.partition("/small-gguf/")[2] for _, path, _ in registry.seen if "/small-gguf/" in path]

    for what in (f"hf:{served.name}:Q8_0", f"hf:{served.name}:small-Q8_0.gguf", f"hf:{served.name}@1edfc51f:Q8_0"):
        first, second = asked(what)
        assert (first, second.partition(":")[0]) == ("manifests/q8_0", "blobs/sha256")
    del registry.tags["q8_0"]
    assert [one for one in asked(f"hf:{served.name}:Q8_0") if one.startswith("manifests/")] == [
        "manifests/q8_0", "manifests/a-q8_0-of-monday"], "then those that have it in their names"
    assert asked(f"hf:{served.name}:F16")[-2] == "manifests/z-the-whole", "in the end, all"


def test_a_mirror_that_answers_alone_and_lies_gives_nothing(
    person: Person, served: Repository, registry: StandIn,
) -> None:
    """Wrong bytes, another repository under the name, a commit that is none, a configuration that is none."""
    data = served.files["small-Q8_0.gguf"].read_bytes()
    layer = {"mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": f"sha256:{registry.put(data)}",
             "size": len(data), "annotations": {"org.cncf.model.filepath": "small-Q8_0.gguf"}}

    def tagged(tag: str, config: object) -> None:
        raw = json.dumps(config).encode()
        registry.tag(tag, {"schemaVersion": 2, "layers": [layer], "config": {
            "mediaType": "application/vnd.cncf.model.config.v1+json", "digest": f"sha256:{registry.put(raw)}",
            "size": len(raw)}})

    page = "https://" + ".".join(("huggingface", "co"))
    person.environ |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HELIXSTORE_MIRROR": f"oci://{registry.host}/models"}
    for config in ([], {"descriptor": 1}, {"descriptor": {"sourceURL": f"{page}/acme/small-GGUF", "revision": "main"}},
                   {"descriptor": {"sourceURL": f"{page}/acme/other", "revision": served.commit}},
                   {"descriptor": {"sourceURL": "file:///etc/passwd", "revision": served.commit}}):
        tagged("v1", config)
        with person.open() as store, pytest.raises(Failed, match="has no hf:acme/small-GGUF"):
            store.download("hf:acme/small-GGUF")
    tagged("v2", {"descriptor": {"sourceURL": f"{page}/acme/small-GGUF", "revision": served.commit}})
    registry.rotten = {layer["digest"].removeprefix("sha256:")}
    with person.open() as store:
        with pytest.raises(HelixError, match="not what its listing names"):
            store.download("hf:acme/small-GGUF")
        assert store.shared_models() == []
        registry.rotten = set()
        store.download("hf:acme/small-GGUF")
    assert weights_shown(person, "small-GGUF") == {"gguf:Q8_0": {data}}


def test_offline_mode_asks_the_mirror_and_nobody_else(alone: Person, online: Person, served: Repository) -> None:
    alone.environ |= {"HF_ENDPOINT": online.environ["HF_ENDPOINT"], "HF_HUB_OFFLINE": "1"}
    served.asked.clear()
    said = typed("models", "download", f"hf:{served.name}:Q8_0", environ=alone.environ, check=True).stdout
    assert "The hub cannot be asked; this is what the mirror has" in said
    assert "from the mirror" in said
    assert served.asked == []


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
    from helixstore.catalogue.references import OciReference, parse_reference
    from helixstore.download.mirror import mirror_place
    from helixstore.download.registries import registry_place
    from helixstore.session import Machine

    site = Machine({**person.environ, "HELIXSTORE_MIRROR": "oci://nas:5000/models"})
    for name, wanted in (("Org/Name-GGUF", "org/name-gguf"), ("a_b/C.-d", "a_b/c-d"), ("_x/y__z", "x/y-z"),
                         ("библиотека/модель", None), ("o/ünder", "o/nder")):
        place = mirror_place(site, name)
        assert (str(place) if place else None) == (f"nas:5000/models/{wanted}:latest" if wanted else None)
        if place is not None:
            typed = parse_reference(f"oci://{place}")
            assert isinstance(typed, OciReference)
            assert registry_place(typed) == place
    assert mirror_place(Machine(person.environ), "org/name") is None


def test_damaged_bytes_come_back_from_the_mirror_before_anybody_else_is_asked(
    alone: Person, served: Repository,
) -> None:
    data = served.files[BIG].read_bytes()
    with alone.open() as store:
        store.download(f"hf:{served.name}:{BIG}")
        store.verify()
        [blob] = [path for path in store.folder.glob("blobs/*/*") if path.stat().st_size == len(data)]
        spoil(blob, 17 * MIB)
        [mended] = store.verify(repair=True).mended
        assert [one.remote for one in mended.taken] == [True]
        assert "/acme/small-gguf: small-F16.gguf" in mended.taken[0].source
        assert sum(one.bytes for one in mended.taken) < len(data) // 2
        assert blob.read_bytes() == data
