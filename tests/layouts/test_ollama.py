"""Ollama, point by point against its contract: names, blobs, manifests, prune, delete, roots."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from many import gguf, once

from helixstore.errors import LayoutError
from helixstore.providers.layout import Root, Text, Weight
from helixstore.values import Format, Header, Purpose, Role, Source, Variant
from layouts.ollama import Ollama
from layouts.parts.ollama_manifest import FILE_TYPES, human_number
from layouts.parts.ollama_names import DEFAULT_HOST
from support.layouts import FACTS, PlainReader, Shelf, check_entries, hub, materialise, sandbox

OLLAMA = Ollama()
LIBRARY = f"manifests/{DEFAULT_HOST}/library"


class Service(PlainReader):
    """A machine on which the install script made the service user's folder."""

    def exists(self, path: Path) -> bool:
        return path == Path("/usr/share/ollama/.ollama/models") or super().exists(path)


def project(root: Path, *variants: Variant) -> list[str]:
    return [entry.path for entry in OLLAMA.project(variants, Root(root, "test"), FACTS)]


def listed(root: Path) -> dict[str, dict[str, object]]:
    """What `ollama list` would show, by the rules of types/model/name.go and manifest/manifest.go."""
    names = {}
    for path in root.glob("manifests/*/*/*/*"):
        assert path.is_file()
        assert not path.is_symlink()
        host, namespace, model, tag = path.relative_to(root / "manifests").parts
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", host)
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", namespace)
        for part in (model, tag):
            assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", part)
        data = path.read_bytes()
        assert data.endswith(b"}\n")
        assert data.count(b"\n") == 1
        content = json.loads(data)
        for layer in (content["config"], *content["layers"]):
            assert re.fullmatch("sha256:[0-9a-f]{64}", layer["digest"])
            blob = root / "blobs" / layer["digest"].replace(":", "-")
            assert blob.stat().st_size == layer["size"]
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == layer["digest"][7:]
        before = "" if (host, namespace) == (DEFAULT_HOST, "library") else f"{host}/{namespace}/"
        names[f"{before}{model}:{tag}"] = content
    return names


def config_of(root: Path, manifest: dict[str, object]) -> dict[str, object]:
    digest = manifest["config"]["digest"].replace(":", "-")  # type: ignore[index]
    value = json.loads((root / "blobs" / digest).read_bytes())
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("symbolic", [False, True])
def test_manifest_configuration_and_blobs_as_ollama_reads_them(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("gemma-3-270m", projector=True, architecture="gemma3")
    entries = list(OLLAMA.project([variant], Root(tmp_path / "root", "test"), FACTS))
    check_entries(entries, [variant])
    materialise(tmp_path / "root", entries, shelf.blobs, symbolic=symbolic)
    models = listed(tmp_path / "root")
    assert list(models) == ["gemma-3-270m:Q4_K_M"]
    manifest = models["gemma-3-270m:Q4_K_M"]
    assert manifest["schemaVersion"] == 2
    kinds = [layer["mediaType"] for layer in manifest["layers"]]  # type: ignore[attr-defined]
    assert kinds == ["application/vnd.ollama.image.model", "application/vnd.ollama.image.projector"]
    assert config_of(tmp_path / "root", manifest) == {
        "model_format": "gguf", "model_family": "gemma3", "model_families": ["gemma3"],
        "model_type": human_number(variant.header.parameters or 0), "file_type": "Q4_K_M",
        "architecture": "amd64", "os": "linux"}


def test_nothing_but_blobs_lies_in_blobs_and_all_of_them_survive_the_start_up_prune(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.gguf("a", seed=1), shelf.gguf("b", "Q8_0", projector=True, seed=2),
                shelf.gguf("c", architecture="gemma4")]
    entries = once(OLLAMA.project(variants, Root(tmp_path / "root", "test"), FACTS))
    materialise(tmp_path / "root", entries, shelf.blobs)
    root = tmp_path / "root"
    named = {layer["digest"].replace(":", "-") for manifest in listed(root).values()
             for layer in (manifest["config"], *manifest["layers"])}  # type: ignore[misc,has-type]
    assert set(os.listdir(root / "blobs")) == named


def test_the_bytes_of_a_manifest_are_the_same_every_time_and_its_layers_come_first(tmp_path: Path) -> None:
    variant = Shelf(tmp_path).gguf("tiny", projector=True)
    first, second = (list(OLLAMA.project([variant], Root(tmp_path, "test"), FACTS)) for _ in range(2))
    assert first == second
    manifest = next(entry for entry in first if entry.witness)
    assert manifest.order > max(entry.order for entry in first if entry is not manifest)
    weights = [i for i, entry in enumerate(first) if isinstance(entry.body, Weight)]
    texts = [i for i, entry in enumerate(first) if isinstance(entry.body, Text)]
    assert max(weights) < min(texts)


@pytest.mark.parametrize(("count", "said"), [
    (8_030_261_312, "8.0B"), (7_000_000_000, "7B"), (268_098_176, "268.10M"), (135_000_000, "135M"),
    (512_400, "512K"), (999, "999"), (1_000_000_000, "1B"),
    (1_235_814_432, "1.2B"), (999_999_999, "1000.00M"), (405_853_388_800, "405.9B"),
])
def test_numbers_of_parameters_are_written_as_ollama_writes_them(count: int, said: str) -> None:
    assert human_number(count) == said


@pytest.mark.parametrize(("file_type", "said"), [
    (15, "Q4_K_M"), (0, "unknown"), (None, "unknown"), (5, "unknown"), (38, "MXFP4_MOE")])
def test_file_types(tmp_path: Path, file_type: int | None, said: str) -> None:
    header = Header("llama", 1000, 10, True, file_type)
    entries = list(OLLAMA.project([gguf(header=header)], Root(tmp_path, "test"), FACTS))
    texts = [entry.body.data for entry in entries if isinstance(entry.body, Text)]
    assert json.loads(texts[0])["file_type"] == said


def test_the_table_of_file_types_agrees_with_llama_cpp() -> None:
    from gguf import LlamaFileType

    theirs = {int(kind): kind.name.removeprefix("MOSTLY_") for kind in LlamaFileType}
    known = {number: name for number, name in FILE_TYPES.items() if number in theirs}
    assert len(known) >= 30
    assert {number: theirs[number] for number in known} == known


@pytest.mark.parametrize(("architecture", "renderer", "stop"), [
    ("gemma4", "gemma4", ["<turn|>"]), ("laguna", "laguna", None), ("nemotron_h_moe", "nemotron-3-nano", None)])
def test_architectures_that_need_a_renderer_get_what_create_gives_them(
    tmp_path: Path, architecture: str, renderer: str, stop: list[str] | None
) -> None:
    shelf = Shelf(tmp_path / "blobs")
    entries = list(OLLAMA.project([shelf.gguf("x", architecture=architecture)], Root(tmp_path, "test"), FACTS))
    materialise(tmp_path / "root", entries, shelf.blobs)
    manifest = listed(tmp_path / "root")["x:Q4_K_M"]
    config = config_of(tmp_path / "root", manifest)
    assert (config["renderer"], config["parser"]) == (renderer, renderer)
    params = [layer for layer in manifest["layers"] if layer["mediaType"].endswith("params")]  # type: ignore[attr-defined]
    if stop is None:
        assert params == []
    else:
        blob = tmp_path / "root" / "blobs" / params[0]["digest"].replace(":", "-")
        assert json.loads(blob.read_bytes()) == {"stop": stop}


@pytest.mark.parametrize(("name", "path"), [
    ("llama3.1:8b", f"{LIBRARY}/llama3.1/8b"),
    ("llama3.1", f"{LIBRARY}/llama3.1/latest"),
    ("me/mine:v1", f"manifests/{DEFAULT_HOST}/me/mine/v1"),
    ("hf.co/Org/Model-GGUF:Q4_K_M", "manifests/hf.co/Org/Model-GGUF/Q4_K_M"),
    ("../../x:y", f"{LIBRARY}/tiny/Q4_K_M"),
    ("a/b/c/d:e", f"{LIBRARY}/tiny/Q4_K_M"),
    ("a:b/c", f"{LIBRARY}/tiny/Q4_K_M"),
])
def test_what_came_from_ollama_gets_its_own_name_back(tmp_path: Path, name: str, path: str) -> None:
    assert path in project(tmp_path, gguf(sources=[Source("program", program="ollama", name=name)]))


def test_no_part_of_a_name_is_spelt_in_two_ways(tmp_path: Path) -> None:
    """A lookup takes any spelling of a part from anywhere in the tree: two would hide one of the models."""
    own = gguf("pulled", sources=[Source("program", program="ollama", name="hf.co/Org/Some-Model:q4_k_m")])
    paths = project(tmp_path, own, gguf("other", "Q4_K_M"), gguf("SOME-model", "Q8_0"))
    manifests = [path.split("/")[1:] for path in paths if path.startswith("manifests/")]
    for level in zip(*manifests, strict=True):
        assert len({part.casefold() for part in level}) == len(set(level)), level
    assert ["hf.co", "Org", "Some-Model", "q4_k_m"] in manifests


def test_a_second_variant_of_one_quantisation_and_one_of_none(tmp_path: Path) -> None:
    second = gguf("m", variant="gguf:Q4_K_M@1f2e3d4c", seed=2)
    paths = project(tmp_path, gguf("m"), second, gguf("m", "", variant="gguf:"))
    assert [path for path in paths if path.startswith("manifests/")] == [
        f"{LIBRARY}/m/Q4_K_M", f"{LIBRARY}/m/Q4_K_M-1f2e3d4c", f"{LIBRARY}/m/latest"]


@pytest.mark.parametrize(("variant", "reason", "wants"), [
    (gguf(shards=3), "split GGUF", (Format.GGUF,)),
    (gguf(purpose=Purpose.ADAPTER), "base model", ()),
    (gguf(purpose=Purpose.VOCABULARY), "vocabulary", ()),
    (gguf(purpose=Purpose.PROJECTOR), "projector", ()),
    (gguf(header=Header("llama", byte_order="big")), "big-endian", ()),
    (replace(gguf(), format=Format.HF), "loads GGUF", (Format.GGUF,)),
    (replace(gguf(), format=Format.EXL3), "EXL3", ()),
])
def test_refusals_say_why(variant: Variant, reason: str, wants: tuple[Format, ...]) -> None:
    refusal = OLLAMA.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason
    assert refusal.wants == wants


def test_a_projector_inside_the_weights_is_what_ollama_itself_makes() -> None:
    assert OLLAMA.accepts(gguf(header=Header("gemma3", embedded_projector=True)), FACTS) is None


def test_a_hash_that_nobody_has_computed_is_an_error_not_a_wrong_name(tmp_path: Path) -> None:
    variant = gguf()
    variant = replace(variant, files=tuple(replace(file, sha256=None) for file in variant.files))
    with pytest.raises(LayoutError, match="SHA-256"):
        project(tmp_path, variant)


def test_of_several_projectors_the_one_in_f16_is_used(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("v", projector=True)
    more = tuple(shelf.put(f"mmproj-{kind}.gguf", kind.encode(), Role.PROJECTOR) for kind in ("A-Q8_0", "B-BF16"))
    variant = replace(variant, files=(*variant.files, *more))
    entries = list(OLLAMA.project([variant], Root(tmp_path, "test"), FACTS))
    materialise(tmp_path / "root", entries, shelf.blobs)
    layers = listed(tmp_path / "root")["v:Q4_K_M"]["layers"]
    sha = next(file.sha256 for file in variant.files if file.path == "mmproj-v-F16.gguf")
    assert [layer["digest"] for layer in layers][1:] == [f"sha256:{sha}"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("symbolic", [False, True])
def test_ollama_rm_leaves_the_store_and_what_others_use(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    one, two = shelf.gguf("one", projector=True), shelf.gguf("two", projector=True, sources=[hub("org/two")])
    root = tmp_path / "root"
    entries = once(OLLAMA.project([one, two], Root(root, "test"), FACTS))
    materialise(root, entries, shelf.blobs, symbolic=symbolic)
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    OLLAMA.delete_as_program_does(root, one, entries)
    assert list(listed(root)) == ["two:Q4_K_M"]
    OLLAMA.delete_as_program_does(root, two, entries)
    assert not (root / "manifests").exists()
    assert os.listdir(root / "blobs") == []
    assert {path: path.read_bytes() for path in before} == before


def test_roots(home: Path) -> None:
    (default,) = OLLAMA.roots(sandbox(home))
    assert (default.path, default.present, default.forbid) == (home / ".ollama/models", (home / ".ollama",), "")
    (named,) = OLLAMA.roots(sandbox(home, {"OLLAMA_MODELS": ' "/data/my models" '}))
    assert (named.path, named.origin) == (Path("/data/my models"), "OLLAMA_MODELS")
    (chosen,) = OLLAMA.roots(sandbox(home, {"OLLAMA_MODELS": "/data"}, setting=Path("/mine")))
    assert chosen.path == Path("/mine")
    for platform in ("darwin", "win32"):
        (root,) = OLLAMA.roots(sandbox(home, platform=platform, reader=Service()))  # type: ignore[arg-type]
        assert root.path == home / ".ollama/models"


def test_the_system_services_folder_is_named_with_the_commands_that_open_it(home: Path) -> None:
    (root,) = OLLAMA.roots(sandbox(home, {"USER": "ann"}, reader=Service()))  # type: ignore[arg-type]
    assert root.path == Path("/usr/share/ollama/.ollama/models")
    assert "setfacl -R -m u:ann:rwX" in root.forbid
    assert "helixstore providers set ollama --root /usr/share/ollama/.ollama/models" in root.forbid
    (own,) = OLLAMA.roots(sandbox(Path("/usr/share/ollama"), reader=Service()))  # type: ignore[arg-type]
    assert own.forbid == ""
    (open_,) = OLLAMA.roots(sandbox(home, reader=Service(), setting=root.path))  # type: ignore[arg-type]
    assert open_.forbid == ""
