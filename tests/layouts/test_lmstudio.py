"""LM Studio: two folders deep, one projector to a folder, its settings, and the way back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from many import check_names, gguf, once

from helixstore.providers.layout import Entry, Root, Weight
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Header, LinkKind, Purpose, Source, Variant
from layouts.lmstudio import LMStudio
from support.layouts import FACTS, MAC, Shelf, check_entries, hub, materialise, sandbox

LMS = LMStudio()
_NAME = re.compile(r'[^<>:"\\|?*/]{1,100}')


def indexed(models: Path) -> dict[str, list[str]]:
    """`publisher/model` -> files: what lies exactly two folders deep; every leaf must open."""
    found: dict[str, list[str]] = {}
    for path in models.rglob("*"):
        assert path.is_dir() or path.stat().st_size > 0
        depth = len(path.relative_to(models).parts)
        if path.is_dir():
            assert not path.is_symlink()
            assert depth <= 2
            assert _NAME.fullmatch(path.name)
            assert path.name.strip(".") == path.name
        else:
            assert depth == 3
            found.setdefault(path.parent.relative_to(models).as_posix(), []).append(path.name)
    return {name: sorted(files) for name, files in found.items()}


@pytest.mark.parametrize("symbolic", [False, True])
def test_publisher_model_file(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [
        shelf.gguf("gemma-3-270m-it-GGUF", stem="gemma-3-270m-it-Q4_K_M",
                   sources=[hub("ggml-org/gemma-3-270m-it-GGUF")]),
        shelf.gguf("gemma-3-270m-it-GGUF", "Q8_0", stem="gemma-3-270m-it-Q8_0", seed=4,
                   sources=[hub("ggml-org/gemma-3-270m-it-GGUF")]),
        shelf.gguf("big", shards=3, seed=7), shelf.gguf("eye", projector=True, seed=11),
    ]
    root = tmp_path / "root"
    entries = list(LMS.project(variants, Root(root, "test"), FACTS))
    check_entries(entries, variants)
    materialise(root, entries, shelf.blobs, symbolic=symbolic)
    assert indexed(root) == {
        "ggml-org/gemma-3-270m-it-GGUF": ["gemma-3-270m-it-Q4_K_M.gguf", "gemma-3-270m-it-Q8_0.gguf"],
        "local-x7/big": [f"big-Q4_K_M-0000{i}-of-00003.gguf" for i in (1, 2, 3)],
        "local-x7/eye": ["eye-Q4_K_M.gguf", "mmproj-eye-F16.gguf"],
    }


def test_quantisations_of_one_model_share_its_projector_and_folder(tmp_path: Path) -> None:
    variants = [gguf("eye", quant, projector="mmproj-F16.gguf") for quant in ("Q4_K_M", "Q8_0")]
    entries = once(LMS.project(variants, Root(tmp_path, "test"), FACTS))
    assert {entry.path for entry in entries} == {
        "local-x7/eye/eye-Q4_K_M.gguf", "local-x7/eye/eye-Q8_0.gguf", "local-x7/eye/mmproj-F16.gguf"}


def test_no_folder_has_two_projectors_or_a_model_of_another(tmp_path: Path) -> None:
    one, two = gguf("eye", projector="mmproj-A.gguf"), gguf("eye", "Q8_0", projector="mmproj-B.gguf")
    plain = gguf("eye", "F16")
    entries = once(LMS.project([one, two, plain], Root(tmp_path, "test"), FACTS))
    check_names(entries, [one, two, plain])
    folders: dict[str, list[Entry]] = {}
    for entry in entries:
        folders.setdefault(entry.path.rpartition("/")[0], []).append(entry)
    assert len(folders) == 3
    assert [entry.path for entry in folders["local-x7/eye"]] == ["local-x7/eye/eye-F16.gguf"]
    assert once(LMS.project([two, plain, one], Root(tmp_path, "test"), FACTS)) != []
    assert {e.path for e in LMS.project([two, plain, one], Root(tmp_path, "test"), FACTS)} == {e.path for e in entries}


def test_what_lies_there_keeps_its_place(tmp_path: Path) -> None:
    lies = gguf("Q", file="whatever.gguf", sources=[
        Source("program", program="lmstudio", name="Some Publisher/Some Model/My File.gguf")])
    shards = gguf("S", shards=2, sources=[Source("program", program="lmstudio", name="p/m/s-00001-of-00002.gguf")])
    evil = gguf("evil", sources=[Source("program", program="lmstudio", name="../../x.gguf")])
    paths = {entry.path for entry in LMS.project([lies, shards, evil], Root(tmp_path, "test"), FACTS)}
    assert paths == {"Some Publisher/Some Model/My File.gguf", "p/m/s-00001-of-00002.gguf", "p/m/s-00002-of-00002.gguf",
                     "local-x7/evil/evil-Q4_K_M.gguf"}


def test_mlx_is_a_folder_of_its_own_on_a_mac(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.mlx("Foo-4bit", sources=[hub("mlx-community/Foo-4bit")])
    refusal = LMS.accepts(variant, FACTS)
    assert refusal is not None
    assert "Apple silicon" in refusal.reason
    assert LMS.accepts(variant, MAC) is None
    materialise(tmp_path / "root", LMS.project([variant], Root(tmp_path / "root", "test"), MAC), shelf.blobs)
    files = indexed(tmp_path / "root")["mlx-community/Foo-4bit"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)


def test_an_mlx_folder_shares_with_nobody(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.mlx("same"), shelf.gguf("same")]
    entries = list(LMS.project(variants, Root(tmp_path / "root", "test"), MAC))
    check_entries(entries, variants)
    folders = {entry.key: entry.path.split("/")[1] for entry in entries}
    assert folders[variants[0].key] != folders[variants[1].key]


@pytest.mark.parametrize(("variant", "reason"), [
    (replace(gguf(), format=Format.GPTQ), "LM Studio loads GGUF, and this is GPTQ"),
    (replace(gguf(), format=Format.HF), "Hugging Face safetensors"),
    (gguf(header=Header("gemma3", embedded_projector=True)), "only Ollama"),
    (gguf(purpose=Purpose.ADAPTER), "base model"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = LMS.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_no_symbolic_links_on_windows(tmp_path: Path) -> None:
    for entry in LMS.project([gguf(projector="mmproj.gguf")], Root(tmp_path, "test"), replace(FACTS, platform="win32")):
        assert isinstance(entry.body, Weight)
        assert LinkKind.SYMBOLIC not in entry.body.kinds


@pytest.mark.parametrize("symbolic", [False, True])
def test_discover_gives_back_what_was_projected(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [
        shelf.gguf("big", shards=3), shelf.gguf("eye", projector=True, seed=5), shelf.gguf("one", "Q8_0", seed=9)]
    root = Root(tmp_path / "root", "test")
    entries = list(LMS.project(variants, root, FACTS))
    materialise(root.path, entries, shelf.blobs, symbolic=symbolic)
    reader = DiskReader(tmp_path)
    found = sorted(LMS.discover(root, reader), key=lambda found: found.name)
    assert reader.issues == []
    assert [(f.name, f.inspection.quantization, f.inspection.whole) for f in found] == [
        ("big", "Q4_K_M", True), ("eye", "Q4_K_M", True), ("one", "Q8_0", True)]
    for variant, f in zip(variants, found, strict=True):
        assert [(part.path, part.bytes, part.role) for part in f.inspection.parts] == [
            (file.path, file.bytes, file.role) for file in variant.files]
    assert [(f.source.kind, f.source.program, f.source.repository, f.source.name) for f in found] == [
        ("program", "lmstudio", repository, name) for repository, name in (
            ("local-x7/big/big", "local-x7/big/big-Q4_K_M-00001-of-00003.gguf"),
            ("local-x7/eye/eye", "local-x7/eye/eye-Q4_K_M.gguf"), ("local-x7/one/one", "local-x7/one/one-Q8_0.gguf"))]
    again = [replace(variant, sources=(f.source,)) for variant, f in zip(variants, found, strict=True)]
    assert {e.path for e in LMS.project(again, root, FACTS)} == {e.path for e in entries}


def test_discover_finds_an_mlx_folder_where_it_lies(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant, root = shelf.mlx("Foo-4bit", sources=[hub("mlx-community/Foo-4bit")]), Root(tmp_path / "root", "test")
    entries = list(LMS.project([variant], root, MAC))
    materialise(root.path, entries, shelf.blobs)
    (found,) = LMS.discover(root, DiskReader(tmp_path))
    assert (found.name, found.inspection.format) == ("Foo-4bit", Format.MLX)
    name = "mlx-community/Foo-4bit"
    assert found.source == Source("program", f"{name}/Foo-4bit", program="lmstudio", name=name)
    again = replace(variant, sources=(found.source,))
    assert {entry.path for entry in LMS.project([again], root, MAC)} == {entry.path for entry in entries}


def test_discover_names_a_model_by_its_folder_unless_several_lie_there_and_tells_what_lm_studio_misses(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path / "blobs")
    data = shelf.blobs[shelf.gguf("x").weights[0].blake3].read_bytes()
    names = ("TheBloke/Mistral-GGUF/mistral.Q4_K_M.gguf", "imported/uncategorized/a-Q4_K_M.gguf",
             "imported/uncategorized/b-Q4_K_M.gguf", "high.gguf", "pub/higher.gguf", "p/m/deep/x.gguf",
             ".hidden/m/x.gguf")
    for name in names:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(data)
    discovered = LMS.discover(Root(tmp_path / "root", "test"), DiskReader(tmp_path))
    assert {(f.source.kind, f.source.name, f.name) for f in discovered} == {
        ("program", "TheBloke/Mistral-GGUF/mistral.Q4_K_M.gguf", "Mistral-GGUF"),
        ("program", "imported/uncategorized/a-Q4_K_M.gguf", "a"),
        ("program", "imported/uncategorized/b-Q4_K_M.gguf", "b"),
        ("file", "high.gguf", "high"), ("file", "higher.gguf", "higher"), ("file", "x.gguf", "x"),
    }


def test_every_name_of_one_content_stays_and_a_projector_keeps_its_own(tmp_path: Path) -> None:
    shelf, root = Shelf(tmp_path / "blobs"), Root(tmp_path / "root", "test")
    eye = shelf.gguf("eye", projector=True)
    weights, projector = (shelf.blobs[file.blake3].read_bytes() for file in (eye.weights[0], eye.projectors[0]))
    for folder in ("a/one", "b/two"):
        (root.path / folder).mkdir(parents=True)
        (root.path / folder / "w.gguf").write_bytes(weights)
    (root.path / "a/one/mmproj-x.gguf").write_bytes(projector)
    (root.path / "b/two/y-mmproj.gguf").write_bytes(projector)
    sources = [found.source for found in LMS.discover(root, DiskReader(tmp_path))]
    entries = list(LMS.project([replace(eye, sources=tuple(sources))], root, FACTS))
    assert {(entry.path, entry.witness) for entry in entries} == {
        ("a/one/w.gguf", True), ("b/two/w.gguf", True), ("a/one/mmproj-x.gguf", False),
        ("b/two/y-mmproj.gguf", False)}


def test_a_newcomer_shares_no_folder_with_what_lies_there_and_has_another_projector(tmp_path: Path) -> None:
    lies = gguf("eye", projector="mmproj-A.gguf", sources=[
        Source("program", program="lmstudio", name="Local-X7/Eye/eye.gguf",
               sidecars=(("Local-X7/Eye/mmproj-A.gguf", ""),))])
    newcomer, plain = gguf("eye", "Q8_0", projector="mmproj-B.gguf"), gguf("eye", "F16")
    entries = list(LMS.project([newcomer, lies, plain], Root(tmp_path, "test"), FACTS))
    folders = {entry.key: entry.path.rpartition("/")[0] for entry in entries}
    assert folders[lies.key] == "Local-X7/Eye"
    assert folders[newcomer.key].casefold() != "local-x7/eye"
    assert folders[plain.key] == "Local-X7/Eye", "spelt as it is there"


def test_what_was_left_in_the_folder_before_is_found_and_nothing_is_put_there(home: Path) -> None:
    shelf = Shelf(home / "blobs")
    old = home / ".lmstudio/models/p/m/x.gguf"
    old.parent.mkdir(parents=True)
    old.write_bytes(shelf.blobs[shelf.gguf("x").weights[0].blake3].read_bytes())
    (home / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(home / "big")}))
    now, before = LMS.roots(sandbox(home))
    assert (now.path, before.path) == (home / "big", home / ".lmstudio/models")
    (found,) = LMS.discover(before, DiskReader(home))
    assert (found.source.kind, found.inspection.location) == ("file", old)
    assert list(LMS.project([shelf.gguf("x")], before, FACTS)) == []
    (home / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(home / ".lmstudio/models/in")}))
    assert len(LMS.roots(sandbox(home))) == 1, "a folder is not looked at twice"


@pytest.mark.parametrize("symbolic", [False, True])
def test_deleting_in_lm_studio_leaves_the_store(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("eye", projector=True)
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    entries = list(LMS.project([variant], Root(tmp_path / "root", "test"), FACTS))
    materialise(tmp_path / "root", entries, shelf.blobs, symbolic=symbolic)
    LMS.delete_as_program_does(tmp_path / "root", variant, entries)
    assert indexed(tmp_path / "root") == {}
    assert {path: path.read_bytes() for path in before} == before


def test_roots(home: Path) -> None:
    (root,) = LMS.roots(sandbox(home))
    assert (root.path, root.present) == (home / ".lmstudio/models", (home / ".lmstudio",))
    (home / ".cache/lm-studio").mkdir(parents=True)
    assert LMS.roots(sandbox(home))[0].path == home / ".cache/lm-studio/models"
    (home / "elsewhere").mkdir()
    (home / ".lmstudio-home-pointer").write_text(f"{home}/elsewhere\n")
    assert LMS.roots(sandbox(home))[0].path == home / "elsewhere/models"
    (home / "elsewhere/settings.json").write_text(json.dumps({"downloadsFolder": "/big/models"}))
    (root,) = LMS.roots(sandbox(home))
    assert (root.path, root.origin) == (Path("/big/models"), "settings.json of LM Studio")
    assert LMS.roots(sandbox(home, setting=Path("/mine")))[0].path == Path("/mine")


@pytest.mark.parametrize("settings", ["{", "[]", '{"downloadsFolder": 3}', '{"downloadsFolder": ""}', ""])
def test_a_settings_file_that_makes_no_sense_is_as_none(home: Path, settings: str) -> None:
    (home / ".lmstudio").mkdir()
    (home / ".lmstudio/settings.json").write_text(settings)
    assert LMS.roots(sandbox(home))[0].path == home / ".lmstudio/models"
