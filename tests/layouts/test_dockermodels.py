"""Docker Model Runner: its OCI store, point by point of the contract, read back as the program reads it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from many import gguf, variants

from helixstore import HelixStore
from helixstore.layouts.dockermodels import DockerModels
from helixstore.providers.layout import Entry, Root, Text, Weight
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, LinkKind, Source, Variant
from support.layouts import FACTS, Shelf, check_entries, hub, materialise, sandbox
from support.person import Person
from support.raw import model_gguf

DOCKER = DockerModels()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def shown(root: Path) -> dict[str, dict[str, Any]]:
    """What `docker model ls` and the first run read: tag -> config, and the files that a bundle would link."""
    listed = {}
    for entry in json.loads((root / "models.json").read_text())["models"]:
        raw = (root / "manifests/sha256" / entry["id"].removeprefix("sha256:")).read_bytes()
        assert sha(raw) == entry["id"].removeprefix("sha256:")
        manifest = json.loads(raw)
        files: dict[str, list[Path]] = {}
        for layer in manifest["layers"]:
            path = root / "blobs/sha256" / layer["digest"].removeprefix("sha256:")
            assert (sha(path.read_bytes()), path.stat().st_size) == (path.name, layer["size"])
            files.setdefault(layer["mediaType"].rpartition(".ai.")[2], []).append(path)
        config = root / "blobs/sha256" / manifest["config"]["digest"].removeprefix("sha256:")
        assert sha(config.read_bytes()) == config.name
        assert set(entry["files"]) == {part["digest"] for part in (*manifest["layers"], manifest["config"])}
        for tag in entry["tags"]:
            assert tag not in listed
            listed[tag] = {"config": json.loads(config.read_bytes()), "files": files, "id": entry["id"]}
    return listed


def pull(root: Path, data: bytes, tags: list[str], license_: bytes = b"free") -> str:
    """Write a model as the program does (`store.Write`), beside what is there; returns its id."""
    config = json.dumps({"config": {"format": "gguf"}, "descriptor": {"created": "2026-01-01T00:00:00Z"},
                         "rootfs": {"type": "rootfs", "diff_ids": [f"sha256:{sha(data)}"]}}).encode()
    parts = [("gguf.v3", data), ("license", license_), ("model.config.v0.1+json", config)]
    for _, part in parts:
        (root / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (root / "blobs/sha256" / sha(part)).write_bytes(part)
    described = [{"mediaType": f"application/vnd.docker.ai.{kind}", "size": len(part), "digest": f"sha256:{sha(part)}"}
                 for kind, part in parts]
    manifest = json.dumps({"schemaVersion": 2, "config": described[2], "layers": described[:2]}).encode()
    (root / "manifests/sha256").mkdir(parents=True, exist_ok=True)
    (root / "manifests/sha256" / sha(manifest)).write_bytes(manifest)
    path = root / "models.json"
    listed = json.loads(path.read_text()) if path.exists() else {"models": []}
    listed["models"].append({"id": f"sha256:{sha(manifest)}", "tags": tags,
                             "files": [part["digest"] for part in described]})
    path.write_text(json.dumps(listed, indent=2))
    return f"sha256:{sha(manifest)}"


def test_the_program_would_list_and_bundle_every_model(shelf: Shelf, tmp_path: Path) -> None:
    models = [shelf.gguf("tiny", sources=[hub("Acme/Tiny-GGUF")]), shelf.gguf("My Model"),
              shelf.gguf("big", shards=3, seed=3), shelf.gguf("eye", projector=True, seed=5)]
    root = Root(tmp_path / "root", "test")
    entries = list(DOCKER.project(models, root, FACTS))
    check_entries([entry for entry in entries if entry.key], models)
    materialise(root.path, entries, shelf.blobs)
    listed = shown(root.path)
    host = "huggingface" + ".co"
    assert set(listed) == {f"{host}/acme/tiny-gguf:q4_k_m", "local-x7/my-model:Q4_K_M", "local-x7/big:Q4_K_M",
                           "local-x7/eye:Q4_K_M"}
    assert [path.name for path in listed["local-x7/big:Q4_K_M"]["files"]["gguf.v3"]] == [
        file.sha256 for file in models[2].weights]
    assert set(listed["local-x7/eye:Q4_K_M"]["files"]) == {"gguf.v3", "mmproj"}
    said = listed["local-x7/my-model:Q4_K_M"]["config"]
    assert (said["config"]["format"], said["config"]["quantization"], said["config"]["architecture"]) == (
        "gguf", "Q4_K_M", "llama")
    assert said["rootfs"]["diff_ids"] == [f"sha256:{models[1].weights[0].sha256}"]


def test_a_bundle_is_made_by_hard_links_so_no_blob_is_a_symbolic_one(shelf: Shelf, tmp_path: Path) -> None:
    for entry in DOCKER.project([shelf.gguf("eye", projector=True)], Root(tmp_path, "test"), FACTS):
        if isinstance(entry.body, Weight):
            assert LinkKind.SYMBOLIC not in entry.body.kinds


def test_the_weights_come_first_and_the_list_last(shelf: Shelf, tmp_path: Path) -> None:
    entries = list(DOCKER.project([shelf.gguf()], Root(tmp_path, "test"), FACTS))
    orders = {entry.path.partition("/")[0]: entry.order for entry in entries}
    assert orders["blobs"] < orders["manifests"] < orders["models.json"]


@given(variants())
def test_names_are_references_whatever_models_are_called(made: list[Variant]) -> None:
    root = Root(Path("/r"), "test")
    entries = list(DOCKER.project(made, root, FACTS))
    check_entries([entry for entry in entries if entry.key], made)
    body = entries[-1].body
    assert isinstance(body, Text)
    tags = [tag for entry in json.loads(body.data)["models"] for tag in entry["tags"]]
    assert len(set(map(str.lower, tags))) == len(tags) == len(made)
    for tag in tags:
        repository, _, version = tag.rpartition(":")
        assert len(repository) <= 255
        assert all(part and part == part.lower() and part[0].isalnum() and part[-1].isalnum() and part.isascii()
                   for part in repository.split("/")), tag
        assert 0 < len(version) <= 128
        assert version[0].isalnum() or version[0] == "_"


def test_what_docker_pulled_is_found_and_stays_as_it_is(shelf: Shelf, tmp_path: Path) -> None:
    variant, root = shelf.gguf("smollm2", "Q8_0"), Root(tmp_path / "root", "test")
    data = shelf.blobs[variant.weights[0].blake3].read_bytes()
    pull(root.path, data, ["ai/smollm2:latest", "ai/smollm2:360M"])
    reader = DiskReader(tmp_path)
    found = list(DOCKER.discover(root, reader))
    assert reader.issues == []
    assert [(f.name, f.source.name, f.source.repository) for f in found] == [
        ("smollm2", "ai/smollm2:latest", "ai/smollm2"), ("smollm2:360M", "ai/smollm2:360M", "ai/smollm2")]
    assert found[0].claims == {"smollm2-Q8_0.gguf": sha(data)}
    again = replace(variant, sources=tuple(f.source for f in found))
    entries = list(DOCKER.project([again], root, FACTS))
    before = {path.relative_to(root.path).as_posix(): path.read_bytes() for path in root.path.rglob("*")
              if path.is_file()}
    assert {entry.path for entry in entries} == set(before)
    assert sum(entry.witness for entry in entries) == 1
    for entry in entries:
        if isinstance(entry.body, Text):
            merge = entry.body.merge
            assert merge is not None
            assert merge(None, before[entry.path], entry.body.data) == before[entry.path]


def test_weights_that_are_no_whole_model_stay_dockers_with_a_reason(shelf: Shelf, tmp_path: Path) -> None:
    root = Root(tmp_path / "root", "test")
    materialise(root.path, DOCKER.project([shelf.gguf("big", shards=3)], root, FACTS), shelf.blobs)
    manifest = next((root.path / "manifests/sha256").iterdir())
    manifest.write_text(manifest.read_text().replace("vnd.docker.ai.gguf.v3", "vnd.docker.ai.dir.tar", 1))
    reader = DiskReader(tmp_path)
    assert list(DOCKER.discover(root, reader)) == []
    assert len(reader.notes) == 1


def test_discover_gives_back_what_was_projected(shelf: Shelf, tmp_path: Path) -> None:
    models = [shelf.gguf("big", shards=3), shelf.gguf("eye", projector=True, seed=5),
              shelf.gguf("one", "Q8_0", seed=9, sources=[hub("acme/one-GGUF")])]
    root = Root(tmp_path / "root", "test")
    entries = list(DOCKER.project(models, root, FACTS))
    materialise(root.path, entries, shelf.blobs)
    found = sorted(DOCKER.discover(root, DiskReader(tmp_path)), key=lambda f: f.name)
    assert [f.name for f in found] == ["big", "eye", "one-gguf"]
    assert found[0].inspection.whole
    assert found[0].inspection.header.tensors == models[0].header.tensors
    again = [replace(variant, sources=(f.source,)) for variant, f in zip(models, found, strict=True)]
    for variant, f in zip(models, found, strict=True):
        assert sorted(f.claims.values()) == sorted(str(file.sha256) for file in variant.files)
    assert {entry.path for entry in DOCKER.project(again, root, FACTS)} == {entry.path for entry in entries}


def merged(entries: list[Entry], base: bytes | None, theirs: bytes) -> list[str] | None:
    body = entries[-1].body
    assert isinstance(body, Text)
    assert body.merge is not None
    result = body.merge(base, theirs, body.data)
    return None if result is None else [tag for entry in json.loads(result)["models"] for tag in entry["tags"]]


def test_the_list_keeps_what_docker_wrote_and_takes_ours_in_and_out(shelf: Shelf, tmp_path: Path) -> None:
    root, one, two = Root(tmp_path / "root", "test"), shelf.gguf("one"), shelf.gguf("two", seed=5)
    pull(root.path, b"x" * 64, ["ai/theirs:latest"])
    theirs = (root.path / "models.json").read_bytes()
    both, only = (list(DOCKER.project(models, root, FACTS)) for models in ([one, two], [one]))
    ours = both[-1].body
    assert isinstance(ours, Text)
    added = merged(both, None, theirs)
    assert added is not None
    assert added[0] == "ai/theirs:latest"
    assert set(added[1:]) == {"local-x7/one:Q4_K_M", "local-x7/two:Q4_K_M"}
    assert ours.merge
    together = ours.merge(None, theirs, ours.data)
    assert together
    assert merged(only, ours.data, together) == ["ai/theirs:latest", "local-x7/one:Q4_K_M"]
    assert merged(both, ours.data, theirs) == ["ai/theirs:latest"], "what `docker model rm` took out stays out"
    assert ours.merge(ours.data, together, ours.data) is together, "nothing to do is nothing done"
    assert merged(both, None, b"{") is None
    assert merged(both, None, b'{"models": null}') == added[1:]


def test_a_tag_that_the_person_gave_to_ours_stays(shelf: Shelf, tmp_path: Path) -> None:
    body = list(DOCKER.project([shelf.gguf("one")], Root(tmp_path, "test"), FACTS))[-1].body
    assert isinstance(body, Text)
    listed = json.loads(body.data)
    listed["models"][0]["tags"].append("mine/best:v1")
    theirs = json.dumps(listed).encode()
    assert body.merge is not None
    assert body.merge(body.data, theirs, body.data) == theirs


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("way", ["hide", "off", "leave"])
def test_what_docker_pulled_beside_ours_stays_listed_when_ours_go(tmp_path: Path, first: str, way: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    person, root = Person(home, {"HOME": str(home)}), home / ".docker/models"
    mine = [pull(root, model_gguf(seed=9), ["docker.io/ai/early:latest"])] if first == "theirs" else []
    file = person.put("loose/gem-F16.gguf", model_gguf(seed=1))
    root.mkdir(parents=True, exist_ok=True)
    HelixStore.init(providers=["dockermodels"], environ=person.environ)
    with person.open() as store:
        store.share(file)
    ours = set(listed_ids(root)) - set(mine)
    assert len(ours) == 1
    mine.append(pull(root, model_gguf(seed=10), ["docker.io/ai/late:latest"]))
    with person.open() as store:
        store.sync()
        assert set(listed_ids(root)) == {*ours, *mine}
        if way == "hide":
            store.hide("gem", "dockermodels")
        elif way == "off":
            store.set_provider("dockermodels", on=False)
            store.sync()
        else:
            store.leave()
    left = [*mine, *(ours if way == "leave" else ())]       # what is left behind is the person's, and is still there
    assert sorted(listed_ids(root)) == sorted(left)
    assert len(shown(root)) == len(left)


def listed_ids(root: Path) -> list[str]:
    return [entry["id"] for entry in json.loads((root / "models.json").read_text())["models"]]


def test_deleting_in_docker_leaves_the_store_and_the_others(shelf: Shelf, tmp_path: Path) -> None:
    models, root = [shelf.gguf("eye", projector=True), shelf.gguf("eye", "Q8_0", projector=True)], tmp_path / "root"
    entries = list(DOCKER.project(models, Root(root, "test"), FACTS))
    materialise(root, entries, shelf.blobs)
    first = shown(root)["local-x7/eye:Q4_K_M"]
    bundle = root / "bundles/sha256" / first["id"].removeprefix("sha256:") / "model"
    bundle.mkdir(parents=True)
    os.link(first["files"]["gguf.v3"][0], bundle / "model.gguf")
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    DOCKER.delete_as_program_does(root, models[0], entries)
    assert set(shown(root)) == {"local-x7/eye:Q8_0"}
    assert not bundle.exists()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(("variant", "reason"), [
    (replace(gguf(), format=Format.HF), "Docker Model Runner loads GGUF, and this is Hugging Face"),
    (replace(gguf(), header=replace(gguf().header, shards=2)), "1 of its 2 shards"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = DOCKER.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


@pytest.mark.parametrize("text", ["{", "[]", '{"models": [{"tags": []}]}', '{"models": 3}'])
def test_a_list_that_makes_no_sense_is_an_issue(text: str, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text(text)
    reader = DiskReader(tmp_path)
    assert list(DOCKER.discover(Root(tmp_path, "test"), reader)) == []
    assert len(reader.issues) == 1


def test_hostile_names_lead_nowhere(tmp_path: Path) -> None:
    listed = {"models": [{"id": "sha256:../../../etc/passwd", "tags": ["a:b"], "files": []}]}
    (tmp_path / "models.json").write_text(json.dumps(listed))
    assert list(DOCKER.discover(Root(tmp_path, "test"), DiskReader(tmp_path))) == []
    evil = replace(gguf(), sources=(Source("program", program="dockermodels", name="a:b", sidecars=(
        ("manifests/sha256/../x", "{}"),)),))
    for entry in DOCKER.project([evil], Root(tmp_path, "test"), FACTS):
        assert ".." not in entry.path.split("/")


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_roots(platform: str, tmp_path: Path) -> None:
    root, = DOCKER.roots(sandbox(tmp_path, platform=platform))
    assert (root.path, root.owned, root.forbid) == (tmp_path / ".docker/models", False, "")
    environ = {"MODELS_PATH": str(tmp_path / "m")}
    assert DOCKER.roots(sandbox(tmp_path, environ, platform))[0].path == root.path, "that may be LocalAI's"
    (tmp_path / "m").mkdir()
    (tmp_path / "m/layout.json").write_text('{"version": "1.0.0"}')
    assert DOCKER.roots(sandbox(tmp_path, environ, platform))[0].path == tmp_path / "m"
    assert DOCKER.roots(sandbox(tmp_path, environ, platform, setting=Path("/mine")))[0].path == Path("/mine")


def test_the_volume_of_a_container_is_only_looked_at(tmp_path: Path) -> None:
    volume = tmp_path / ".local/share/docker/volumes/docker-model-runner-models/_data"
    volume.mkdir(parents=True)
    root, = DOCKER.roots(sandbox(tmp_path))
    assert root.path == volume
    assert "belongs to the container" in root.forbid
    (tmp_path / ".docker/models").mkdir(parents=True)
    assert DOCKER.roots(sandbox(tmp_path))[0].path == tmp_path / ".docker/models"


@given(st.binary(max_size=60))
def test_merging_with_anything_raises_nothing(data: bytes) -> None:
    body = list(DOCKER.project([gguf()], Root(Path("/r"), "test"), FACTS))[-1].body
    assert isinstance(body, Text)
    assert body.merge is not None
    body.merge(None, data, body.data)
