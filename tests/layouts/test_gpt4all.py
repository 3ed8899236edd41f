"""GPT4All: what its own iteration would list, its settings file, its whitelist, and the way back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from many import gguf

from helixstore.providers.layout import LINKS, Root, Weight
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Header, LinkKind, Purpose, Source, Variant
from layouts.gpt4all import ARCHITECTURES, GPT4All
from support.layouts import FACTS, Shelf, check_entries, materialise, sandbox

GPT = GPT4All()


def listed(folder: Path) -> list[str]:
    """`processModelDirectory`: files at any depth, folders that are links not entered, by bare name."""
    names = []
    for _, _, files in os.walk(folder):
        names += [name for name in files if name.endswith(".gguf") and not name.startswith("incomplete")]
    return sorted(names)


@pytest.mark.parametrize("symbolic", [False, True])
def test_models_lie_flat_under_their_own_names(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [
        shelf.gguf("one"), shelf.gguf("ONE", seed=3, stem="ONE-Q4_K_M"), shelf.gguf("eye", projector=True, seed=5),
        shelf.gguf("incomplete-x", seed=8)]
    root = tmp_path / "root"
    entries = list(GPT.project(variants, Root(root, "test"), FACTS))
    check_entries(entries, variants)
    materialise(root, entries, shelf.blobs, symbolic=symbolic)
    names = listed(root)
    assert len(names) == 4
    assert len({name.casefold() for name in names}) == 4
    assert {path.parent for path in root.rglob("*")} == {root}
    assert {"eye-Q4_K_M.gguf", "model-incomplete-x-Q4_K_M.gguf"} <= set(names)


def test_on_windows_there_are_no_symbolic_links(tmp_path: Path) -> None:
    (entry,) = GPT.project([gguf()], Root(tmp_path, "test"), replace(FACTS, platform="win32"))
    assert isinstance(entry.body, Weight)
    assert LinkKind.SYMBOLIC not in entry.body.kinds
    (entry,) = GPT.project([gguf()], Root(tmp_path, "test"), FACTS)
    assert isinstance(entry.body, Weight)
    assert entry.body.kinds == LINKS


@pytest.mark.parametrize(("variant", "reason"), [
    (gguf(header=Header("gemma3")), "does not know the architecture gemma3"),
    (gguf(header=Header(None)), "architecture"),
    (gguf(shards=3), "each shard"),
    (gguf(header=Header("llama", tensor_types=(("MXFP4", 3), ("F32", 1)))), "MXFP4"),
    (gguf(header=Header("llama", embedded_projector=True)), "projector inside"),
    (gguf(purpose=Purpose.ADAPTER), "base model"),
    (replace(gguf(), format=Format.AWQ), "AWQ"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = GPT.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_every_architecture_of_its_list_is_accepted() -> None:
    assert all(GPT.accepts(gguf(header=Header(name)), FACTS) is None for name in ARCHITECTURES)
    assert not ARCHITECTURES & {"qwen3", "gemma3", "llama4", "gpt-oss", "clip"}


@pytest.mark.parametrize("symbolic", [False, True])
def test_discover_gives_back_what_was_projected(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [shelf.gguf("one"), shelf.gguf("two", "Q8_0", seed=3)]
    root = Root(tmp_path / "root", "test")
    entries = list(GPT.project(variants, root, FACTS))
    materialise(root.path, entries, shelf.blobs, symbolic=symbolic)
    reader = DiskReader(tmp_path)
    found = sorted(GPT.discover(root, reader), key=lambda found: found.name)
    assert [(f.name, f.inspection.quantization, f.inspection.format) for f in found] == [
        ("one", "Q4_K_M", Format.GGUF), ("two", "Q8_0", Format.GGUF)]
    assert [f.source.name for f in found] == ["one-Q4_K_M.gguf", "two-Q8_0.gguf"]
    assert reader.issues == []
    again = [replace(variant, sources=(f.source,)) for variant, f in zip(variants, found, strict=True)]
    assert {e.path for e in GPT.project(again, root, FACTS)} == {e.path for e in entries}


def test_discover_takes_what_gpt4all_does_not_list_for_the_persons(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    data = shelf.blobs[shelf.gguf("x").weights[0].blake3].read_bytes()
    for name in ("Odd Name.v1.gguf", "sub/deep.gguf", "UPPER.GGUF", "incomplete-y.gguf"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(data)
    (tmp_path / "root" / "hf").mkdir()
    for file in shelf.hf("h").files:
        (tmp_path / "root" / "hf" / file.path).write_bytes(shelf.blobs[file.blake3].read_bytes())
    discovered = GPT.discover(Root(tmp_path / "root", "test"), DiskReader(tmp_path))
    assert {(f.source.kind, f.source.name) for f in discovered} == {
        ("program", "Odd Name.v1.gguf"), ("program", "sub/deep.gguf"), ("file", "UPPER.GGUF"), ("file", "hf")}


def test_what_lies_there_keeps_its_place_and_a_newcomer_of_the_same_name_yields(tmp_path: Path) -> None:
    lies = gguf("deep", file="deep.gguf", sources=[Source("program", program="gpt4all", name="sub/deep.gguf")])
    new = gguf("Deep", "Q8_0", file="Deep.gguf", seed=2)
    evil = gguf("evil", file="evil.gguf", sources=[Source("program", program="gpt4all", name="../../x.gguf")])
    paths = [entry.path for entry in GPT.project([lies, new, evil], Root(tmp_path, "test"), FACTS)]
    assert paths == ["sub/deep.gguf", f"Deep-{new.manifest[:8]}.gguf", "evil.gguf"]


def test_deleting_in_gpt4all_leaves_the_store(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.gguf("one")
    entries = list(GPT.project([variant], Root(tmp_path / "root", "test"), FACTS))
    for symbolic in (False, True):
        materialise(tmp_path / "root", entries, shelf.blobs, symbolic=symbolic)
        GPT.delete_as_program_does(tmp_path / "root", variant, entries)
        assert listed(tmp_path / "root") == []
        assert shelf.blobs[variant.weights[0].blake3].stat().st_size == variant.bytes


def test_roots_of_each_system(home: Path) -> None:
    assert GPT.roots(sandbox(home))[0].path == home / ".local/share/nomic.ai/GPT4All"
    assert GPT.roots(sandbox(home, {"XDG_DATA_HOME": "/xdg"}))[0].path == Path("/xdg/nomic.ai/GPT4All")
    mac = GPT.roots(sandbox(home, platform="darwin"))[0].path
    assert mac == home / "Library/Application Support/nomic.ai/GPT4All"
    assert GPT.roots(sandbox(home, platform="win32"))[0].path == home / "AppData/Local/nomic.ai/GPT4All"
    local = GPT.roots(sandbox(home, {"LOCALAPPDATA": "/c/local"}, "win32"))[0].path
    assert local == Path("/c/local/nomic.ai/GPT4All")
    assert GPT.roots(sandbox(home, setting=Path("/mine")))[0].path == Path("/mine")


def test_the_python_packages_downloads_are_found_and_nothing_is_put_there(home: Path) -> None:
    shelf = Shelf(home / "blobs")
    (home / ".cache/gpt4all").mkdir(parents=True)
    (home / ".cache/gpt4all/x.gguf").write_bytes(shelf.blobs[shelf.gguf("x").weights[0].blake3].read_bytes())
    python = GPT.roots(sandbox(home))[1]
    (found,) = GPT.discover(python, DiskReader(home))
    assert (found.source.kind, found.name) == ("file", "x")
    assert list(GPT.project([shelf.gguf("x")], python, FACTS)) == []


@pytest.mark.parametrize(("ini", "path"), [
    ("[General]\nmodelPath=/data/m\n", "/data/m"),
    ("[Other]\nmodelPath=/no\n[General]\nx=1\nmodelPath = \"/data/with \\\"quotes\\\"\"\n", '/data/with "quotes"'),
    ("[General]\nmodelPath=/data/\\x6a21\\x578b\n", "/data/模型"),
    ("[General]\nmodelPath=~/m\n", "~/m"),
    ("[General]\nmodelPath=\n", None), ("modelPath=/no\n", None), ("", None),
])
def test_the_folder_in_its_settings_wins(home: Path, ini: str, path: str | None) -> None:
    file = home / ".config/nomic.ai/GPT4All.ini"
    file.parent.mkdir(parents=True)
    file.write_text(ini)
    root = GPT.roots(sandbox(home))[0]
    expected = sandbox(home).expand(path) if path else home / ".local/share/nomic.ai/GPT4All"
    assert root.path == expected
    assert root.present == ((file,) if path else ())
