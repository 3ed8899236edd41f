"""Programs with a folder of their own: what lies there is found, keeps its names, and nobody else gets them."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from many import gguf

from helixstore.fs.names import folded
from helixstore.layouts.fastchat import FastChat
from helixstore.layouts.gpt4all import GPT4All
from helixstore.layouts.llamacpp import LlamaCpp
from helixstore.layouts.lmstudio import LMStudio
from helixstore.layouts.mistralrs import MistralRs
from helixstore.layouts.tabbyapi import TabbyAPI
from helixstore.providers.layout import Entry, Layout, Root
from helixstore.providers.reader import DiskReader
from helixstore.values import Key, Source, Variant
from support.layouts import FACTS, Shelf

FOLDERS = [TabbyAPI(), FastChat()]
GGUF = [LlamaCpp(), LMStudio(), GPT4All(), MistralRs()]
_LABEL = {"llamacpp": "models", "mistralrs": "gguf"}


def root_of(layout: Layout, path: Path) -> Root:
    return Root(path, "test", label=_LABEL.get(layout.name, ""))


def own(layout: Layout, path: str) -> Source:
    return Source("program", program=layout.name, name=path)


def lay(shelf: Shelf, folder: Path, variant: Variant) -> None:
    """A model folder as a person has put it."""
    for file in variant.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shelf.blobs[file.blake3].read_bytes())


@pytest.mark.parametrize("layout", FOLDERS, ids=lambda layout: layout.name)
def test_a_model_folder_is_found_and_keeps_its_name(layout: Layout, tmp_path: Path) -> None:
    shelf, root = Shelf(tmp_path / "blobs"), root_of(layout, tmp_path / "models")
    model = shelf.hf("Mine")
    lay(shelf, root.path / "My Model.v1", model)
    lay(shelf, root.path / "nested/again", model)
    (root.path / "elsewhere").symlink_to(tmp_path / "outside")
    lay(shelf, tmp_path / "outside", shelf.hf("outside", seed=9))
    reader = DiskReader(tmp_path)
    found = list(layout.discover(root, reader))
    assert reader.issues == []
    assert [(f.source.program, f.source.name) for f in found] == [
        (layout.name, "My Model.v1"), (layout.name, "nested/again")]
    lies = replace(model, sources=tuple(f.source for f in found))
    newcomer = replace(shelf.hf("x", seed=4), key=Key("MY MODEL.v1", "hf:BF16"))
    nested = replace(shelf.hf("y", seed=5), key=Key("Nested", "hf:BF16"))
    entries = list(layout.project([newcomer, nested, lies], root, FACTS))
    folders = {entry.path.rpartition("/")[0] for entry in entries if entry.key == lies.key}
    assert folders == {"My Model.v1", "nested/again"}
    assert [e.path for e in entries if e.witness and e.key == lies.key] == [
        "My Model.v1/model.safetensors", "nested/again/model.safetensors"]
    others = {folded(entry.path.partition("/")[0]) for entry in entries if entry.key != lies.key}
    assert others.isdisjoint({"my model.v1", "nested"})


@pytest.mark.parametrize("layout", FOLDERS, ids=lambda layout: layout.name)
def test_what_is_no_model_folder_there_is_the_persons(layout: Layout, tmp_path: Path) -> None:
    shelf, root = Shelf(tmp_path / "blobs"), root_of(layout, tmp_path / "models")
    lay(shelf, root.path, shelf.gguf("one"))
    lay(shelf, root.path / "sub", shelf.gguf("two", seed=4))
    assert {(f.source.kind, f.source.name) for f in layout.discover(root, DiskReader(tmp_path))} == {
        ("file", "one-Q4_K_M.gguf"), ("file", "two-Q4_K_M.gguf")}
    whole = root_of(layout, tmp_path / "itself")
    lay(shelf, whole.path, shelf.hf("root", seed=7))
    (found,) = layout.discover(whole, DiskReader(tmp_path))
    assert found.source.kind == "file", "the folder itself is no model in it"


def test_mistralrs_finds_gguf_at_any_depth_of_its_folder(tmp_path: Path) -> None:
    layout, shelf = MistralRs(), Shelf(tmp_path / "blobs")
    root = root_of(layout, tmp_path / "models")
    flat, eye = shelf.gguf("flat"), shelf.gguf("eye", projector=True, shards=2, seed=4)
    lay(shelf, root.path, flat)
    lay(shelf, root.path / "a/b", eye)
    found = {f.name: f.source for f in layout.discover(root, DiskReader(tmp_path))}
    assert {source.name for source in found.values()} == {"flat-Q4_K_M.gguf", "a/b/eye-Q4_K_M-00001-of-00002.gguf"}
    again = [replace(variant, sources=(found[variant.key.model],)) for variant in (flat, eye)]
    assert {entry.path for entry in layout.project(again, root, FACTS)} == {
        "flat-Q4_K_M.gguf", "a/b/eye-Q4_K_M-00001-of-00002.gguf", "a/b/eye-Q4_K_M-00002-of-00002.gguf",
        "a/b/mmproj-eye-F16.gguf"}


@pytest.mark.parametrize("layout", [*GGUF, *FOLDERS], ids=lambda layout: layout.name)
@pytest.mark.parametrize("name", [
    "../x/y.gguf", "/etc/x.gguf", "a/../../x.gguf", "a//b/x.gguf", "a\\b/m/x.gguf", "a/m/x\n.gguf", "con/m/x.gguf",
    "a/m/x.gguf ", "C:/m/x.gguf", ".", "..", "a/./x.gguf", "a/m/\u202ex.gguf"])
def test_a_name_that_climbs_out_is_no_place(layout: Layout, name: str, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variant = shelf.hf("x") if layout in FOLDERS else shelf.gguf("x")
    root = root_of(layout, tmp_path / "models")
    plain = {entry.path for entry in layout.project([variant], root, FACTS)}
    assert {e.path for e in layout.project([replace(variant, sources=(own(layout, name),))], root, FACTS)} == plain


def paths_of(entries: list[Entry]) -> list[str]:
    return [folded(entry.path) for entry in entries]


@pytest.mark.parametrize("layout", GGUF, ids=lambda layout: layout.name)
def test_ten_thousand_models_need_no_quadratic_work(layout: Layout, tmp_path: Path) -> None:
    root = root_of(layout, tmp_path)
    many = [gguf(f"m{number}", sources=[own(layout, f"p/m{number}/x{number}.gguf")] if number % 2 else [])
            for number in range(10_000)]
    seconds = {}
    for count in (2_500, 10_000):
        began = time.process_time()
        paths = paths_of(list(layout.project(many[:count], root, FACTS)))
        seconds[count] = time.process_time() - began
        assert len(set(paths)) == len(paths) == count
    assert seconds[10_000] < max(12 * seconds[2_500], 0.5)


@pytest.mark.parametrize("layout", [*GGUF, *FOLDERS], ids=lambda layout: layout.name)
def test_a_folder_of_trouble_is_looked_at_without_harm(layout: Layout, tmp_path: Path) -> None:
    shelf, root = Shelf(tmp_path / "blobs"), root_of(layout, tmp_path / "models")
    where = root.path / "p/m"
    lay(shelf, where, shelf.gguf("good"))
    (where / "loop").symlink_to(where)
    (where / "self.gguf").symlink_to(where / "self.gguf")
    (where / "gone.gguf").symlink_to(tmp_path / "nowhere.gguf")
    (where / "climbs.gguf").symlink_to("../../../../../../../etc/passwd")
    (where / "cut.gguf").write_bytes(b"GGUF\x03\x00")
    (where / "incomplete-x.gguf").write_bytes(b"GGUF")
    with (where / "huge.json").open("wb") as file:
        file.truncate(1 << 34)
    os.mkfifo(where / "pipe.gguf")
    (root.path / "closed").mkdir(mode=0o000)
    try:
        reader = DiskReader(tmp_path)
        found = list(layout.discover(root, reader))
    finally:
        (root.path / "closed").chmod(0o755)
    assert [f.inspection.location.name for f in found] == ["good-Q4_K_M.gguf"]
    assert {issue.path.rpartition("/")[2] for issue in reader.issues} >= {"self.gguf", "gone.gguf", "pipe.gguf"}


@pytest.mark.parametrize("layout", [*GGUF, *FOLDERS], ids=lambda layout: layout.name)
def test_an_empty_or_missing_folder_holds_nothing(layout: Layout, tmp_path: Path) -> None:
    reader = DiskReader(tmp_path)
    assert list(layout.discover(root_of(layout, tmp_path / "no"), reader)) == []
    assert reader.issues == []
