"""What lies in Ollama's folder: found with its names and texts, given back byte for byte, left alone where it must."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from helixstore.providers.layout import Found, Root, Text, Weight
from helixstore.providers.reader import DiskReader
from helixstore.values import File, Key, Role, Variant
from layouts.ollama import Ollama
from layouts.parts.ollama_names import DEFAULT_HOST, Name
from support.layouts import FACTS, Shelf, check_entries
from support.ollama import CONFIG, OllamaFolder
from support.raw import gguf, model_gguf, number, tensor, text

OLLAMA = Ollama()
SMALL = model_gguf(seed=1)
PROJECTOR = gguf([text("general.architecture", "clip"), text("general.type", "mmproj"), number("general.file_type", 1)],
                 [tensor("v.blk.0.attn_q.weight", (32, 32), 1, 0)], data=2048)


@pytest.fixture
def ollama(tmp_path: Path) -> OllamaFolder:
    return OllamaFolder(tmp_path / "ollama")


def look(ollama: OllamaFolder) -> tuple[list[Found], DiskReader]:
    reader = DiskReader(ollama.root.parent)
    return list(OLLAMA.discover(Root(ollama.root, "test"), reader)), reader


def taken_in(found: Found) -> Variant:
    """The variant as intake would make it."""
    files = []
    for part in found.inspection.parts:
        data = part.location.read_bytes()
        files.append(File(part.path, len(data), blake3(data).hexdigest(), part.role, hashlib.sha256(data).hexdigest()))
    one = found.inspection
    return Variant(Key(found.name, f"gguf:{one.quantization}"), "ab" * 32, one.format, one.quantization, one.purpose,
                   one.header, tuple(sorted(files, key=lambda file: file.path)), (found.source,))


@pytest.mark.parametrize(("name", "family", "title", "file"), [
    ("llama3.1:8b", "llama3.1:8b", "llama3.1:8b", "llama3.1-8b-F16.gguf"),
    ("llama3.1:latest", "llama3.1", "llama3.1", "llama3.1-F16.gguf"),
    ("llama3.1:8b-instruct-q4_K_M", "llama3.1:8b-instruct", "llama3.1:8b-instruct", "llama3.1-8b-instruct-F16.gguf"),
    ("llama3.1:8b-instruct-fp16", "llama3.1:8b-instruct", "llama3.1:8b-instruct", "llama3.1-8b-instruct-F16.gguf"),
    ("qwen:q8_0", "qwen", "qwen", "qwen-F16.gguf"),
    ("gemma3:12b-it-qat", "gemma3:12b-it-qat", "gemma3:12b-it-qat", "gemma3-12b-it-qat-F16.gguf"),
    ("me/mine:v1", "me/mine:v1", "mine:v1", "mine-v1-F16.gguf"),
    ("hf.co/Org/Model-GGUF:Q4_K_M", "hf.co/Org/Model-GGUF", "Model-GGUF", "Model-F16.gguf"),
    ("hf.co/Org/Model-GGUF:UD-Q4_K_XL", "hf.co/Org/Model-GGUF", "Model-GGUF", "Model-F16.gguf"),
    ("example.com/team/thing:IQ2_XXS", "example.com/team/thing", "thing", "thing-F16.gguf"),
])
def test_names(ollama: OllamaFolder, name: str, family: str, title: str, file: str) -> None:
    ollama.pull(name, SMALL)
    [found], reader = look(ollama)
    assert reader.issues == []
    assert (found.source.kind, found.source.program) == ("program", "ollama")
    assert (found.source.name, found.source.repository, found.name) == (name, family, title)
    [part] = found.inspection.parts
    assert (part.path, part.role, part.location) == (file, Role.WEIGHTS, ollama.blob(SMALL))
    assert found.claims == {file: hashlib.sha256(SMALL).hexdigest()}


def test_everything_small_that_a_manifest_names_is_kept_and_given_back_byte_for_byte(ollama: OllamaFolder) -> None:
    path = ollama.pull("vision:7b", SMALL, projector=PROJECTOR, texts=[
        ("template", "{{ .System }}\r\n{{ .Prompt }}"), ("system", "\ufeffBe brief.\n"), ("license", "one"),
        ("license", "two"), ("params", '{"num_ctx":8192}'), ("messages", "[]")])
    path.write_bytes(json.dumps(json.loads(path.read_bytes()), indent=3).encode())       # not as we would write it
    [found], reader = look(ollama)
    assert (reader.issues, reader.notes) == ([], {})
    assert [(part.path, part.role) for part in found.inspection.parts] == [
        ("vision-7b-F16.gguf", Role.WEIGHTS), ("mmproj-vision-7b-F16.gguf", Role.PROJECTOR)]
    variant = taken_in(found)
    entries = list(OLLAMA.project([variant], Root(ollama.root, "test"), FACTS))
    check_entries(entries, [variant])
    there = {str(path.relative_to(ollama.root)): path.read_bytes() for path in ollama.root.rglob("*") if path.is_file()}
    assert {entry.path for entry in entries} == set(there)
    for entry in entries:
        if isinstance(entry.body, Text):
            assert entry.body.data == there[entry.path]
        else:
            assert isinstance(entry.body, Weight)
            assert entry.body.blob == blake3(there[entry.path]).hexdigest()
    assert [entry.path for entry in entries if entry.witness] == [str(path.relative_to(ollama.root))]
    assert found.source.sidecars == tuple(sorted(found.source.sidecars))


def test_several_tags_of_one_blob_are_one_content_under_several_names(ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    ollama.cp("llama3.1:8b", "llama3.1:latest")
    ollama.create("mine:latest", "llama3.1:8b", system="You are a cat.")
    every, reader = look(ollama)
    assert reader.issues == []
    assert [found.source.name for found in every] == ["llama3.1:8b", "llama3.1:latest", "mine:latest"]
    assert len({found.inspection.parts[0].location for found in every}) == 1
    variant = replace(taken_in(every[0]), sources=tuple(found.source for found in every))
    entries = list(OLLAMA.project([variant], Root(ollama.root, "test"), FACTS))
    paths = [entry.path for entry in entries]
    assert len(set(paths)) == len(paths)
    assert [entry.path for entry in entries if entry.witness] == [Name.read(n).path for n in ollama.names()]  # type: ignore[union-attr]
    assert {str(path.relative_to(ollama.root)) for path in ollama.root.rglob("*") if path.is_file()} == set(paths)


def test_what_others_bring_keeps_clear_of_the_names_that_ollama_has(ollama: OllamaFolder, tmp_path: Path) -> None:
    ollama.pull("tiny:q4_k_m", SMALL)
    [found], _ = look(ollama)
    other = Shelf(tmp_path / "blobs").gguf("tiny", "Q4_K_M")
    entries = list(OLLAMA.project([taken_in(found), other], Root(ollama.root, "test"), FACTS))
    names = [entry.path.split("/")[-1] for entry in entries if entry.witness]
    assert names == ["q4_k_m", f"Q4_K_M-{other.manifest[:8]}"]


def test_a_name_whose_weights_are_others_now_is_not_the_variants(ollama: OllamaFolder, tmp_path: Path) -> None:
    """Its manifest would lead to a blob that this variant does not have."""
    ollama.pull("tiny:latest", SMALL)
    [found], _ = look(ollama)
    updated = replace(Shelf(tmp_path / "blobs").gguf("tiny", "Q4_K_M", seed=7), sources=(found.source,))
    entries = list(OLLAMA.project([updated], Root(ollama.root, "test"), FACTS))
    assert [entry.path for entry in entries if entry.witness] == [f"manifests/{DEFAULT_HOST}/library/tiny/Q4_K_M"]


def test_a_host_with_a_port_stays_in_its_place_and_its_content_is_shared(ollama: OllamaFolder) -> None:
    ollama.pull("127.0.0.1:5000/helix/tiny:latest", SMALL)
    [found], reader = look(ollama)
    assert reader.issues == []
    assert (found.source.name, found.name) == ("127.0.0.1:5000/helix/tiny:latest", "tiny")
    variant = taken_in(found)
    entries = list(OLLAMA.project([variant], Root(ollama.root, "test"), FACTS))
    check_entries(entries, [variant])
    assert entries[0].witness
    assert not [entry.path for entry in entries if entry.path.startswith("manifests")]


def descriptors(ollama: OllamaFolder, *layers: tuple[str, bytes]) -> list[dict[str, Any]]:
    return [{"mediaType": f"application/vnd.ollama.image.{kind}", **ollama.put(data)} for kind, data in layers]


@pytest.mark.parametrize(("config", "layers", "why"), [
    (CONFIG, [("model", SMALL), ("adapter", model_gguf(seed=3))], "adapter"),
    (CONFIG, [("model", SMALL), ("draft", model_gguf(seed=3))], "draft"),
    ({**CONFIG, "model_format": "safetensors"}, [("tensor", b"one"), ("tensor", b"two"), ("json", b"{}")],
     "one blob for each tensor"),
    ({"remote_host": "https://example.com", "remote_model": "big"}, [("template", b"x")], "https://example.com"),
    (CONFIG, [("template", b"x")], "no weights"),
    (CONFIG, [("model", SMALL), ("model", model_gguf(seed=3))], "several blobs"),
    (CONFIG, [("model", SMALL), ("novelty\x1b[2J", b"x")], r"not known here: novelty\x1b[2J"),
    (CONFIG, [("model", SMALL), ("license", b"L" * (1 << 20))], "more than are kept"),
    (CONFIG, [("model", model_gguf(seed=3, shard=(0, 2)))], "no whole GGUF"),
])
def test_what_only_ollama_reads_stays_there_with_the_reason(
    ollama: OllamaFolder, config: dict[str, Any], layers: list[tuple[str, bytes]], why: str
) -> None:
    path = ollama.write("odd:latest", json.dumps(config).encode(), descriptors(ollama, *layers))
    ollama.pull("good:latest", SMALL)
    [found], reader = look(ollama)
    assert found.name == "good"
    assert reader.issues == []
    [(noted, reason)] = reader.notes.items()
    assert (noted, why in reason) == (str(path), True), reason


def says(ollama: OllamaFolder, content: object) -> None:
    ollama.path("bad:7b").write_bytes(json.dumps(content).encode())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(("spoil", "kind", "said", "remedy"), [
    (lambda o: o.path("bad:7b").write_bytes(b"{"), "unreadable", "not JSON", "ollama pull bad:7b"),
    (lambda o: o.path("bad:7b").write_bytes(b"[" * 100_000), "unreadable", "", ""),
    (lambda o: o.path("bad:7b").write_bytes(b"[]"), "unreadable", "no layers", "ollama pull"),
    (lambda o: says(o, {"layers": [7]}), "unreadable", "one of its layers", ""),
    (lambda o: says(o, {"layers": [{"mediaType": "m", "digest": "sha256:../../../etc/passwd"}]}),
     "unreadable", "no digest: sha256:../../../etc/passwd", ""),
    (lambda o: says(o, {"layers": [{"mediaType": "m", "digest": 5}]}), "unreadable", "no digest", ""),
    (lambda o: o.path("bad:7b").write_bytes(b" " * (5 << 20)), "unreadable", "longer than", ""),
    (lambda o: o.path("bad:7b").write_bytes(b"\xff\xfe"), "unreadable", "UTF-8", ""),
    (lambda o: o.blob(SMALL).unlink(), "incomplete", "lacks 1 of its 5 files", "ollama pull bad:7b"),
    (lambda o: o.blob(b"{{ .Prompt }}\n").unlink(), "incomplete", "lacks 1", "ollama pull bad:7b"),
    (lambda o: cut(o.blob(SMALL)), "damaged", "bytes; it is left alone", "ollama pull bad:7b"),
    (lambda o: o.blob(b"{{ .Prompt }}\n").write_bytes(b"{{ .Prompt }} "), "damaged", "its name says", "delete"),
    (lambda o: o.blob(SMALL).write_bytes(b"?" * len(SMALL)), "", "", ""),
])
def test_what_is_broken_is_said_and_the_rest_goes_on(
    ollama: OllamaFolder, spoil: Callable[[OllamaFolder], object], kind: str, said: str, remedy: str
) -> None:
    ollama.pull("bad:7b", SMALL)
    ollama.pull("good:7b", model_gguf(seed=9), texts=[])
    spoil(ollama)
    every, reader = look(ollama)
    assert [found.name for found in every] == ["good:7b"]
    if not kind:                                            # no model at all: said once, one way or the other
        assert len(reader.issues) + len(reader.notes) == 1
        return
    [issue] = reader.issues
    assert issue.kind == kind
    assert said in issue.message
    assert remedy in issue.remedy


def test_strange_things_in_the_tree_of_manifests(ollama: OllamaFolder) -> None:
    good = ollama.pull("good:7b", SMALL)
    (good.parent / ".DS_Store").write_bytes(b"x")
    (good.parent / "gone").symlink_to("nowhere")
    (good.parent / "deeper").mkdir()
    (ollama.root / "manifests" / "stray").write_bytes(b"x")
    (ollama.root / "blobs" / (ollama.blob(SMALL).name + "-partial-0")).write_bytes(b"x")
    (ollama.root / "blobs" / "sha256-").mkdir()
    every, reader = look(ollama)
    assert [found.name for found in every] == ["good:7b"]
    assert [(issue.kind, issue.path) for issue in reader.issues] == [("unreadable", str(good.parent / "gone"))]
    assert list(reader.notes) == [str(good.parent / ".DS_Store")]


def test_what_we_made_is_found_as_what_it_is(tmp_path: Path) -> None:
    """discover(project(x)) names the very files of x."""
    from support.layouts import materialise

    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.gguf("plain"), shelf.gguf("seeing", projector=True, seed=4)]
    root = tmp_path / "root"
    entries = list(OLLAMA.project(variants, Root(root, "test"), FACTS))
    materialise(root, entries, shelf.blobs)
    reader = DiskReader(tmp_path)
    every = list(OLLAMA.discover(Root(root, "test"), reader))
    assert reader.issues == []
    assert [{part.location.stat().st_ino for part in found.inspection.parts} for found in every] == [
        {shelf.blobs[file.blake3].stat().st_ino for file in variant.files} for variant in variants]
    again = [replace(variant, sources=(found.source,)) for variant, found in zip(variants, every, strict=True)]
    assert {e.path: getattr(e.body, "data", e.body) for e in OLLAMA.project(again, Root(root, "test"), FACTS)} == {
        e.path: getattr(e.body, "data", e.body) for e in entries}
