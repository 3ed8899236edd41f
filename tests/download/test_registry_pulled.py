"""Models from registries, from the command to the programs: fetched once, proven, shown as their own program does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import TEXTS, machine, ollama_model, weights_shown
from repository import MIB, weights

from helixstore.errors import Failed, HelixError, NotFound, UnsafeName, Usage
from support import typist
from support.hub import Repository
from support.ollama import CONFIG, OllamaFolder
from support.person import Person, spoil
from support.registry import StandIn, serve


@pytest.fixture
def registry() -> Iterator[StandIn]:
    with serve(StandIn()) as one:
        yield one


def test_a_model_of_ollamas_registry_is_as_ollama_would_have_pulled_it(
    person: Person, registry: StandIn, tmp_path: Path,
) -> None:
    """Against the same pull by Ollama itself: every layer, and its very manifest."""
    data = weights(1, 9)
    ollama_model(registry, "1b", data)
    with person.open() as store:
        report = store.download(f"ollama:{registry.host}/library/pebble:1b")
        [variant] = store.show(report.name).variants
        assert store.sync().nothing
    assert report.name == "pebble:1b"
    assert (report.revision, report.fetched_bytes) == (registry.tags["1b"], len(data))
    assert [(source.get("kind"), source.get("repository")) for source in variant.sources] == [
        ("program", "127.0.0.1/library/pebble:1b"), ("registry", f"{registry.host}/library/pebble:1b")]
    assert [file.path for file in variant.files] == ["pebble-1b-F16.gguf"]
    ours, native = OllamaFolder(person.home / ".ollama/models"), OllamaFolder(tmp_path / "native")
    native.pull("127.0.0.1/library/pebble:1b", data, texts=list(TEXTS.items()))
    assert ours.shown("127.0.0.1/library/pebble:1b") == native.shown("127.0.0.1/library/pebble:1b")
    raw = ours.path("127.0.0.1/library/pebble:1b").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == registry.tags["1b"], "the id that `ollama list` shows is the registry's"
    assert ours.shown("127.0.0.1/library/pebble:1b")["config"] == json.dumps(CONFIG, separators=(",", ":"))
    assert weights_shown(person, "pebble:1b") == {"gguf:F16": {data}}


def test_what_ollama_has_already_is_not_fetched_and_stays_one_model(person: Person, registry: StandIn) -> None:
    data = weights(1, 5)
    ollama_model(registry, "1b", data)
    OllamaFolder(person.home / ".ollama/models").pull("127.0.0.1/library/pebble:1b", data, texts=list(TEXTS.items()))
    with person.open() as store:
        store.sync()
        report = store.download(f"ollama:{registry.host}/library/pebble:1b")
        assert report.fetched_bytes == 0
        assert len(store.show("pebble:1b").variants) == 1
        assert [model.name for model in store.shared_models()] == ["pebble:1b"]
    assert hashlib.sha256(data).hexdigest() not in registry.sent


@pytest.mark.parametrize("texts_only", [True, False])
def test_a_later_version_takes_the_place_of_ollamas_own_pull_and_undo_gives_that_back(
    person: Person, registry: StandIn, texts_only: bool,
) -> None:
    old = weights(1, 5)
    new = old if texts_only else weights(2, 5)
    name, folder = "127.0.0.1/library/pebble:1b", OllamaFolder(person.home / ".ollama/models")
    folder.pull(name, old, texts=list(TEXTS.items()))
    before = folder.shown(name)
    ollama_model(registry, "1b", new, {**TEXTS, "system": "be long"})
    with person.open() as store:
        store.sync()
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        after = folder.shown(name)
        assert (after["system"], after["model"]) == ("be long", f"sha256:{hashlib.sha256(new).hexdigest()}")
        assert store.sync().nothing
        assert weights_shown(person, "pebble:1b") == {"gguf:F16": {new}}
        store.undo()
        assert folder.shown(name) == before
        assert weights_shown(person, "pebble:1b") == {"gguf:F16": {old}}
        assert store.sync().nothing


def test_what_the_person_has_changed_in_ollama_since_is_left_to_them(person: Person, registry: StandIn) -> None:
    data = weights(1, 5)
    name, folder = "127.0.0.1/library/pebble:1b", OllamaFolder(person.home / ".ollama/models")
    folder.pull(name, data, texts=list(TEXTS.items()))
    ollama_model(registry, "1b", data, {**TEXTS, "system": "be long"})
    with person.open() as store:
        store.sync()
        folder.create(name, name, system="be mine")
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        store.sync()
    assert folder.shown(name)["system"] == "be mine"


def test_the_hubs_listing_is_met_by_what_ollamas_registry_gave_and_the_other_way_round(
    online: Person, served: Repository, registry: StandIn, tmp_path: Path,
) -> None:
    data = served.files["small-F16.gguf"].read_bytes()
    ollama_model(registry, "f16", data)
    with online.open() as store:
        store.download(f"ollama:{registry.host}/library/small:f16")
        report = store.download(f"hf:{served.name}:small-F16.gguf")
    assert served.sent == {}
    assert report.fetched_bytes == 0
    other = machine(tmp_path / "other")
    other.environ["HF_ENDPOINT"] = online.environ["HF_ENDPOINT"]
    before = registry.sent[hashlib.sha256(data).hexdigest()]
    with other.open() as store:
        store.download(f"hf:{served.name}:small-F16.gguf")
        again = store.download(f"ollama:{registry.host}/library/small:f16")
    assert again.fetched_bytes == 0
    assert registry.sent[hashlib.sha256(data).hexdigest()] == before == len(data)


def test_beside_a_gguf_only_what_its_manifest_names_is_fetched(person: Person, registry: StandIn) -> None:
    """A licence in Docker's form, a README in that of oras."""
    def layer(kind: str, data: bytes, title: str = "") -> dict[str, object]:
        named = {"annotations": {"org.opencontainers.image.title": title}} if title else {}
        return {"mediaType": kind, "digest": f"sha256:{registry.put(data)}", "size": len(data), **named}

    data, words = weights(1, 1), {b"Do as you like.": "application/vnd.docker.ai.license", b"# b": "text/markdown"}
    registry.tag("v1", {"schemaVersion": 2, "config": layer("application/vnd.docker.ai.model.config.v0.1+json", b"{}"),
                        "layers": [layer("application/vnd.docker.ai.gguf.v3", data),
                                   *(layer(kind, text, "README.md" if kind.startswith("text") else "")
                                     for text, kind in words.items())]})
    with person.open() as store:
        assert store.download(f"oci://{registry.host}/team/b:v1").fetched_bytes == len(data)
        store.gc(now=True)
        assert store.download(f"oci://{registry.host}/team/b:v1").fetched_bytes == 0
    assert not {hashlib.sha256(text).hexdigest() for text in words} & set(registry.sent)


def test_cut_connections_and_a_busy_registry_cost_little(person: Person, registry: StandIn) -> None:
    data = weights(1, 20)
    ollama_model(registry, "1b", data)
    digest = hashlib.sha256(data).hexdigest()
    registry.cut_after = [3_000_000, 5_000_000, 7]
    registry.answers = [(f"GET /v2/library/pebble/blobs/sha256:{digest}", 429, {"Retry-After": "0"}),
                        (f"GET /v2/library/pebble/blobs/sha256:{digest}", 503, {})]
    with person.open() as store:
        store.download(f"ollama:{registry.host}/library/pebble:1b")
    assert registry.sent[digest] < len(data) + 2 * MIB
    assert weights_shown(person, "pebble:1b") == {"gguf:F16": {data}}


@pytest.mark.parametrize("ranges", [True, False])
def test_wrong_bytes_never_come_in(person: Person, registry: StandIn, ranges: bool) -> None:
    data = weights(1, 6)
    ollama_model(registry, "1b", data)
    registry.ranges = ranges
    registry.rotten = {hashlib.sha256(data).hexdigest()}
    with person.open() as store:
        with pytest.raises(HelixError, match="not what its listing names"):
            store.download(f"ollama:{registry.host}/library/pebble:1b")
        assert store.shared_models() == []
        registry.rotten = set()
        store.download(f"ollama:{registry.host}/library/pebble:1b")
    assert weights_shown(person, "pebble:1b") == {"gguf:F16": {data}}


def test_texts_that_are_not_what_their_digests_say_are_refused(person: Person, registry: StandIn) -> None:
    ollama_model(registry, "1b", weights(1, 1))
    registry.rotten = {hashlib.sha256(TEXTS["template"].encode()).hexdigest()}
    with person.open() as store, pytest.raises(Failed, match="not what its digest says"):
        store.download(f"ollama:{registry.host}/library/pebble:1b")


def test_what_only_ollama_puts_together_is_left_to_it(person: Person, registry: StandIn) -> None:
    ollama_model(registry, "lora", weights(1, 1), adapter=b"GGUF")
    with person.open() as store, pytest.raises(Failed, match="adapter, which only Ollama applies"):
        store.download(f"ollama:{registry.host}/library/pebble:lora")
    ollama_model(registry, "long", weights(1, 1), {"license": "x" * (1 << 20)})
    with person.open() as store, pytest.raises(Failed, match="more than are kept"):
        store.download(f"ollama:{registry.host}/library/pebble:long")


@pytest.mark.parametrize("path", ["../../escaped.gguf", "/etc/escaped.gguf", "a\\b.gguf", "con.gguf/aux"])
def test_names_that_climb_are_refused(person: Person, registry: StandIn, path: str, tmp_path: Path) -> None:
    data = weights(1, 1)
    registry.tag("v1", {"schemaVersion": 2, "config": None, "layers": [
        {"mediaType": "application/octet-stream", "digest": f"sha256:{registry.put(data)}", "size": len(data),
         "annotations": {"org.opencontainers.image.title": path}}]})
    with person.open() as store, pytest.raises(UnsafeName):
        store.download(f"oci://{registry.host}/team/bad:v1")
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_tag_leaves_no_choice_and_a_name_that_is_none_is_told(person: Person, registry: StandIn) -> None:
    ollama_model(registry, "1b", weights(1, 1))
    with person.open() as store:
        with pytest.raises(Usage, match="no choice"):
            store.download(f"oci://{registry.host}/team/model:1b", quantization="Q4_K_M")
        with pytest.raises(NotFound, match="is not there") as error:
            store.download(f"oci://{registry.host}/team/model:v1")
        assert error.value.remedy == "it has: 1b"
        with pytest.raises(Usage, match="no SHA-256"):
            store.download(f"oci://{registry.host}/team/model@sha512:{'0' * 128}")


def test_an_update_follows_the_tag_and_rollback_goes_back(person: Person, registry: StandIn) -> None:
    old, new = weights(1, 5), weights(2, 5)
    ollama_model(registry, "1b", old)
    first = registry.tags["1b"]
    with person.open() as store:
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        assert [one.state for one in store.update(check=True).updates] == ["current"]
        ollama_model(registry, "1b", new, {**TEXTS, "system": "be long"})
        checked = store.update(check=True).updates
        assert [(one.state, one.fetch_bytes) for one in checked] == [("new", len(new))]
        assert [one.state for one in store.update().updates] == ["updated"]
        assert store.sync().nothing
        assert [one.state for one in store.update(check=True).updates] == ["current"]
    assert weights_shown(person, "pebble:1b") == {"gguf:F16": {new}}
    folder = OllamaFolder(person.home / ".ollama/models")
    assert folder.shown("127.0.0.1/library/pebble:1b")["system"] == "be long"
    with person.open() as store:
        store.rollback("pebble:1b")
        assert next((one.revision, one.current) for one in store.history("pebble:1b")) == (first, True)
    assert weights_shown(person, "pebble:1b") == {"gguf:F16": {old}}
    assert folder.shown("127.0.0.1/library/pebble:1b")["system"] == "be brief"


def test_an_update_of_the_texts_alone_fetches_no_weights(person: Person, registry: StandIn) -> None:
    data = weights(1, 5)
    ollama_model(registry, "1b", data)
    with person.open() as store:
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        ollama_model(registry, "1b", data, {**TEXTS, "template": "{{ .Prompt }}!"})
        [one] = store.update().updates
        assert (one.state, one.fetch_bytes) == ("updated", 0)
        assert [one.state for one in store.update(check=True).updates] == ["current"]
    folder = OllamaFolder(person.home / ".ollama/models")
    assert folder.shown("127.0.0.1/library/pebble:1b")["template"] == "{{ .Prompt }}!"


@pytest.mark.parametrize("scheme", ["ollama", "oci"])
def test_an_update_along_a_tag_that_leads_to_another_quantisation_puts_it_in_the_place_of_the_old(
    person: Person, registry: StandIn, scheme: str,
) -> None:
    old, new, folder = weights(1, 5), weights(2, 5, quantized=True), OllamaFolder(person.home / ".ollama/models")
    ollama_model(registry, "latest", old)
    with person.open() as store:
        store.download(f"{scheme}://{registry.host}/library/pebble")
        ollama_model(registry, "latest", new)
        assert [one.state for one in store.update(check=True).updates] == ["new"]
        [done] = store.update().updates
        assert (done.variant, done.state) == ("gguf:F16", "updated")
        assert [variant.id for variant in store.show("pebble").variants] == ["gguf:Q8_0"]
        assert store.sync().nothing
        assert [one.state for one in store.update(check=True).updates] == ["current"]
    assert weights_shown(person, "pebble") == {"gguf:Q8_0": {new}}
    assert folder.shown("127.0.0.1/library/pebble:latest")["model"] == f"sha256:{hashlib.sha256(new).hexdigest()}"
    registry.sent.clear()
    with person.open() as store:
        store.undo()
        assert store.sync().nothing
    assert weights_shown(person, "pebble") == {"gguf:F16": {old}}
    assert folder.shown("127.0.0.1/library/pebble:latest")["model"] == f"sha256:{hashlib.sha256(old).hexdigest()}"
    assert not registry.sent


def test_what_the_tag_left_stays_where_it_also_is_something_else(person: Person, registry: StandIn) -> None:
    """The person's own file, of the same bytes, was shared before."""
    old, new = weights(1, 5), weights(2, 5, quantized=True)
    person.put("models/mine-F16.gguf", old)
    ollama_model(registry, "latest", old)
    with person.open() as store:
        store.share(person.home / "models/mine-F16.gguf")
        store.download(f"oci://{registry.host}/library/pebble")
        ollama_model(registry, "latest", new)
        store.update()
        assert {content for model in store.shared_models() for variant in model.variants
                for content in [variant.id]} == {"gguf:F16", "gguf:Q8_0"}
        assert (person.home / "models/mine-F16.gguf").read_bytes() == old


def test_pulling_a_tag_that_leads_to_another_quantisation_takes_nothing_away(
    person: Person, registry: StandIn,
) -> None:
    ollama_model(registry, "latest", weights(1, 5))
    with person.open() as store:
        store.download(f"oci://{registry.host}/library/pebble")
        ollama_model(registry, "latest", weights(2, 5, quantized=True))
        store.download(f"oci://{registry.host}/library/pebble")
        assert sorted(variant.id for variant in store.show("pebble").variants) == ["gguf:F16", "gguf:Q8_0"]
        told = {one.variant: (one.state, one.remedy) for one in store.update().updates}
        assert {variant: state for variant, (state, _) in told.items()} == {"gguf:F16": "gone", "gguf:Q8_0": "current"}
        assert told["gguf:F16"][1].endswith("helixstore remove 'pebble:F16'")
        store.remove("pebble:F16")
        assert [variant.id for variant in store.show("pebble").variants] == ["gguf:Q8_0"]


def test_damaged_bytes_come_back_from_the_registry(person: Person, registry: StandIn) -> None:
    """A flipped byte in the weights: only that range is fetched."""
    data = weights(1, 40)
    ollama_model(registry, "1b", data)
    with person.open() as store:
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        store.verify()
        [blob] = [path for path in store.folder.glob("blobs/*/*") if path.stat().st_size == len(data)]
        spoil(blob, 20 * MIB)
        registry.sent.clear()
        mended = store.verify(repair=True).mended
        assert [one.why for one in mended] == [""]
        assert blob.read_bytes() == data
    assert 0 < sum(registry.sent.values()) < len(data) // 2


def test_two_processes_fetch_it_once(person: Person, registry: StandIn) -> None:
    data = weights(1, 12)
    ollama_model(registry, "1b", data)
    code = ("import os, sys\nfrom helixstore import HelixStore\nwith HelixStore(environ=dict(os.environ)) as store:\n"
            "    print(store.download(sys.argv[1]).fetched_bytes)")
    both = [subprocess.Popen([sys.executable, "-c", code, f"ollama:{registry.host}/library/pebble:1b"],
                             env=person.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(int(process.communicate(timeout=60)[0]) for process in both) == [0, len(data)]
    assert registry.sent[hashlib.sha256(data).hexdigest()] == len(data)


def test_a_pinned_model_stays_whatever_the_tag_says(person: Person, registry: StandIn) -> None:
    old = weights(1, 5)
    ollama_model(registry, "1b", old)
    with person.open() as store:
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        store.pin("pebble:1b")
        ollama_model(registry, "1b", weights(2, 5))
        assert [one.state for one in store.update().updates] == ["pinned"]
        report = store.download(f"ollama:{registry.host}/library/pebble:1b")
        assert report.sync is not None
        assert {issue.kind for issue in report.sync.issues} == {"conflict"}
    assert weights_shown(person, "pebble:1b") == {"gguf:F16": {old}}


def test_what_the_person_deletes_in_ollama_stays_deleted_and_another_pull_brings_it_back_elsewhere(
    person: Person, registry: StandIn,
) -> None:
    data = weights(1, 5)
    ollama_model(registry, "1b", data)
    folder = OllamaFolder(person.home / ".ollama/models")
    with person.open() as store:
        store.download(f"ollama:{registry.host}/library/pebble:1b")
        folder.rm("127.0.0.1/library/pebble:1b")
        store.sync()
        [variant] = store.show("pebble:1b").variants
        assert variant.providers["ollama"].state == "hidden"
        assert store.sync().nothing
        store.unhide("pebble:1b", "ollama")
    assert folder.shown("127.0.0.1/library/pebble:1b")["system"] == "be brief"


def test_the_command_line_says_what_came_and_from_where(person: Person, registry: StandIn) -> None:
    ollama_model(registry, "1b", weights(1, 5))

    def typed(*words: str) -> str:
        done = typist.typed(*words, environ=person.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    name = f"ollama:{registry.host}/library/pebble:1b"
    assert "5.2 MB of 5.2 MB would be downloaded" in typed("pull", name, "--dry-run")
    assert "1 file, 5.2 MB downloaded." in typed("pull", name)
    assert f"{registry.host}/library/pebble:1b" in typed("show", "pebble:1b")
    with serve(StandIn()) as elsewhere:
        target = f"oci://{elsewhere.host}/team/pebble"
        planned = typed("push", "pebble:1b", f"{target}:2", "--for", "docker", "--dry-run")
        assert "pebble-1b-F16.gguf  5.2 MB  missing" in planned
        assert f"5.2 MB would be sent to {target}:2." in planned
        assert elsewhere.uploads == {}
        assert typed("push", "pebble:1b", target).splitlines() == [
            "pebble:1b (gguf:F16): 5.2 MB sent.", f"helixstore pull {target}:latest"]
        assert "0 B sent; the registry had 1 file already." in typed("push", "pebble:1b", target)
