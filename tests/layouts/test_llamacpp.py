"""llama.cpp's router: what it would list from the projected folder, by the rules of its own scan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from many import gguf

from helixstore.providers.layout import Root
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Header, Purpose, Role, Variant
from layouts.llamacpp import LlamaCpp
from support.layouts import FACTS, Shelf, check_entries, materialise, sandbox

LLAMA = LlamaCpp()


def router(folder: Path) -> dict[str, tuple[str, str | None]]:
    """id -> (file of the model, projector): `load_from_models_dir` of common/preset.cpp."""
    found: dict[str, tuple[str, str | None]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_file():
            special = "mmproj" in entry.name or entry.name.startswith(("mtp-", "dspark-", "dflash-"))
            if entry.name.endswith(".gguf") and not special:
                found[entry.name.replace(".gguf", "")] = (entry.name, None)
        elif entry.is_dir():
            model = projector = None
            for file in sorted(entry.iterdir()):
                if not file.is_file() or not file.name.endswith(".gguf"):
                    continue
                if "mmproj" in file.name:
                    assert projector is None, "two projectors: the last one wins"
                    projector = file.name
                elif file.name.startswith(("mtp-", "dspark-", "dflash-")):
                    raise AssertionError("taken for a draft")
                elif "-00001-of-" in file.name or "-of-" not in file.name:
                    assert model is None, "two models in one folder"
                    model = file.name
            if model:
                found[entry.name] = (f"{entry.name}/{model}", projector)
    return found


@pytest.mark.parametrize("symbolic", [False, True])
def test_the_router_lists_each_model_once_under_its_name(tmp_path: Path, symbolic: bool) -> None:
    shelf = Shelf(tmp_path / "blobs")
    variants = [
        shelf.gguf("gemma-3-270m"), shelf.gguf("big", shards=3, seed=5), shelf.gguf("vision", projector=True, seed=9),
        shelf.gguf("gemma-3-270m", "Q8_0", seed=20),
    ]
    root = tmp_path / "root"
    entries = list(LLAMA.project(variants, Root(root, "test"), FACTS))
    check_entries(entries, variants)
    materialise(root, entries, shelf.blobs, symbolic=symbolic)
    assert router(root) == {
        "gemma-3-270m-Q4_K_M": ("gemma-3-270m-Q4_K_M.gguf", None),
        "gemma-3-270m-Q8_0": ("gemma-3-270m-Q8_0.gguf", None),
        "big-Q4_K_M": ("big-Q4_K_M/big-Q4_K_M-00001-of-00003.gguf", None),
        "vision-Q4_K_M": ("vision-Q4_K_M/vision-Q4_K_M.gguf", "mmproj-vision-F16.gguf"),
    }


@pytest.mark.parametrize(("file", "projector", "model_id"), [
    ("mmproj-model-x.gguf", "", "mm-proj-model-x"),
    ("mtp-x.gguf", "", "model-mtp-x"),
    ("a #1;b:c.gguf", "", "a-1-b-c"),
    ("X.GGUF", "", "X"),
    ("x.gguf", "Vision-Tower.GGUF", "x"),
    ("one-00001-of-00001.gguf", "", "one"),
])
def test_names_that_the_router_would_misread_are_changed(
    tmp_path: Path, file: str, projector: str, model_id: str
) -> None:
    shelf = Shelf(tmp_path / "blobs")
    files = {file: b"GGUF-weights", **({projector: b"GGUF-proj"} if projector else {})}
    name = file[:-5].removesuffix("-00001-of-00001")
    variant = shelf.variant(name, files, Format.GGUF, "Q4_K_M", Header("llama"))
    roles = {file: Role.WEIGHTS, projector: Role.PROJECTOR}
    variant = replace(variant, files=tuple(replace(f, role=roles[f.path]) for f in variant.files))
    materialise(tmp_path / "root", LLAMA.project([variant], Root(tmp_path / "root", "test"), FACTS), shelf.blobs)
    listed = router(tmp_path / "root")
    assert list(listed) == [model_id]
    assert (listed[model_id][1] is not None) == bool(projector)


@pytest.mark.parametrize(("variant", "reason"), [
    (gguf(purpose=Purpose.ADAPTER), "base model"), (gguf(purpose=Purpose.DRAFT), "draft"),
    (gguf(purpose=Purpose.VOCABULARY), "vocabulary"), (gguf(purpose=Purpose.PROJECTOR), "projector"),
    (gguf(header=Header("gemma3", embedded_projector=True)), "only Ollama"),
    (gguf(header=Header("llama", shards=5), shards=3), "3 of its 5 shards"),
    (replace(gguf(), format=Format.MLX), "loads GGUF, and this is MLX"),
    (replace(gguf(), format=Format.PYTORCH), "pickle"),
])
def test_refusals_say_why(variant: Variant, reason: str) -> None:
    refusal = LLAMA.accepts(variant, FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_big_endian_files_run_on_big_endian_machines() -> None:
    variant = gguf(header=Header("llama", byte_order="big"))
    assert LLAMA.accepts(variant, FACTS) is not None
    assert LLAMA.accepts(variant, replace(FACTS, machine="s390x")) is None
    assert LLAMA.accepts(gguf(), replace(FACTS, machine="s390x")) is not None


def test_roots(home: Path) -> None:
    own, hub, cache = LLAMA.roots(sandbox(home))
    assert (own.owned, own.path) == (True, sandbox(home).farms / "llamacpp")
    assert (hub.path, cache.path) == (home / ".cache/huggingface/hub", home / ".cache/llama.cpp")
    assert hub.present == (cache.path,), "a hub cache is no sign of llama.cpp"
    assert len({own.label, hub.label, cache.label}) == 3
    named = LLAMA.roots(sandbox(home, {"LLAMA_ARG_MODELS_DIR": "~/gguf"}))[0]
    assert (named.path, named.owned) == (home / "gguf", False)
    chosen = LLAMA.roots(sandbox(home, {"LLAMA_ARG_MODELS_DIR": "~/gguf"}, setting=Path("/mine")))[0]
    assert chosen.path == Path("/mine")


@pytest.mark.parametrize(("environ", "platform", "path"), [
    ({"XDG_CACHE_HOME": "/xdg"}, "linux", "/xdg/llama.cpp"),
    ({}, "darwin", "{home}/Library/Caches/llama.cpp"),
    ({}, "win32", "{home}/AppData/Local/llama.cpp"),
    ({"LOCALAPPDATA": "/c/local"}, "win32", "/c/local/llama.cpp"),
    ({"LLAMA_CACHE": "/told"}, "linux", "/told"),
])
def test_the_old_cache_of_each_system(home: Path, environ: dict[str, str], platform: str, path: str) -> None:
    _, hub, cache = LLAMA.roots(sandbox(home, environ, platform))
    assert cache.path == Path(path.format(home=home))
    assert (hub.path == cache.path) == ("LLAMA_CACHE" in environ)


def lie(shelf: Shelf, root: Path, variant: Variant, *names: str) -> None:
    """The files of a variant as a person has put them."""
    for name, file in zip(names, variant.files, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(shelf.blobs[file.blake3].read_bytes())


def test_what_lies_there_is_found_and_keeps_its_place(tmp_path: Path) -> None:
    shelf, root = Shelf(tmp_path / "blobs"), Root(tmp_path / "models", "test", label="models")
    one, big, eye = shelf.gguf("one"), shelf.gguf("big", shards=2, seed=3), shelf.gguf("eye", projector=True, seed=8)
    lie(shelf, root.path, one, "My One.gguf")
    lie(shelf, root.path, one, "again/one.gguf")
    lie(shelf, root.path, big, *(f"Big/b-{i:05d}-of-00002.gguf" for i in (1, 2)))
    lie(shelf, root.path, eye, "Eye/e.gguf", "Eye/mmproj-mine.gguf")
    lie(shelf, root.path, shelf.gguf("deep", seed=20), "a/b/deep.gguf")
    lie(shelf, root.path, shelf.gguf("upper", seed=30), "UPPER.GGUF")
    reader = DiskReader(tmp_path)
    found = list(LLAMA.discover(root, reader))
    assert reader.issues == []
    assert {(f.source.kind, f.source.name) for f in found} == {
        ("program", "My One.gguf"), ("program", "again/one.gguf"),
        ("program", "Big/b-00001-of-00002.gguf"), ("program", "Eye/e.gguf"),
        ("file", "deep.gguf"), ("file", "UPPER.GGUF")}
    sources = {str(f.source.name): f.source for f in found}
    variants = [
        replace(one, sources=(sources["My One.gguf"], sources["again/one.gguf"])),
        replace(big, sources=(sources["Big/b-00001-of-00002.gguf"],)),
        replace(eye, sources=(sources["Eye/e.gguf"],)),
    ]
    newcomers = [shelf.gguf("Big", seed=40, stem="Big"), shelf.gguf("my one", seed=50, stem="my one")]
    entries = list(LLAMA.project([*newcomers, *variants], root, FACTS))
    theirs = {entry.path for entry in entries if entry.key in {variant.key for variant in variants}}
    assert theirs == {
        "My One.gguf", "again/one.gguf", "Big/b-00001-of-00002.gguf", "Big/b-00002-of-00002.gguf", "Eye/e.gguf",
        "Eye/mmproj-mine.gguf"}
    assert {entry.path for entry in entries if entry.witness} >= {"My One.gguf", "again/one.gguf"}
    folders = {path.partition("/")[0].removesuffix(".gguf").casefold() for path in theirs}
    assert not folders & {entry.path.removesuffix(".gguf").casefold() for entry in entries if entry.path not in theirs}


def test_the_old_cache_tells_the_repository(tmp_path: Path) -> None:
    shelf, root = Shelf(tmp_path / "blobs"), Root(tmp_path / "cache", "test", label="cache")
    by_answer, by_address, plain = shelf.gguf("a"), shelf.gguf("b", "Q8_0", seed=5), shelf.gguf("c", "F16", seed=9)
    big = shelf.gguf("d", shards=2, seed=12)
    lie(shelf, root.path, by_answer, "acme_My_Model-GGUF_sub_a-Q4_K_M.gguf")
    lie(shelf, root.path, by_address, "acme_other_b-Q8_0.gguf")
    lie(shelf, root.path, plain, "c-F16.gguf")
    lie(shelf, root.path, big, *(f"acme_Big-GGUF_d-{i:05d}-of-00002.gguf" for i in (1, 2)))
    hub = "http" + "s://hub.example/"
    texts = {
        "manifest=acme=My_Model-GGUF=Q4_K_M.json": {"ggufFile": {"rfilename": "sub/a-Q4_K_M.gguf"}, "mmprojFile": None},
        "manifest=acme_Big-GGUF=latest.json": {"ggufFile": {"rfilename": "d-00001-of-00002.gguf"}},
        "manifest=a=b=c=d.json": {"ggufFile": {"rfilename": "x"}},
        "acme_other_b-Q8_0.gguf.json": {"url": f"{hub}acme/other/resolve/main/b-Q8_0.gguf", "etag": '"abc"'},
        "c-F16.gguf.json": {"url": f"{hub}some/where/c-F16.gguf"},
    }
    for name, value in texts.items():
        (root.path / name).write_text(json.dumps(value))
    (root.path / "acme_My_Model-GGUF_sub_a-Q4_K_M.gguf.etag").write_text("abc")
    reader = DiskReader(tmp_path)
    found = {f.source.name: (f.source.kind, f.source.repository, f.name) for f in LLAMA.discover(root, reader)}
    assert reader.issues == []
    assert found == {
        "cache:acme_My_Model-GGUF_sub_a-Q4_K_M.gguf": ("program", "acme/My_Model-GGUF", "My_Model-GGUF"),
        "cache:acme_other_b-Q8_0.gguf": ("program", "acme/other", "other"),
        "cache:c-F16.gguf": ("program", None, "c"),
        "cache:acme_Big-GGUF_d-00001-of-00002.gguf": ("program", "acme/Big-GGUF", "Big-GGUF"),
    }
    again = [replace(plain, sources=(f.source,)) for f in LLAMA.discover(root, reader)]
    assert list(LLAMA.project(again, root, FACTS)) == [], "nothing is put there"


@pytest.mark.parametrize("text", ["{", "[]", '{"ggufFile": 3}', '{"url": 3}', "\x00", "[" * 5000, "x" * (2 << 20)])
def test_notes_that_make_no_sense_are_as_none(tmp_path: Path, text: str) -> None:
    shelf, root = Shelf(tmp_path / "blobs"), Root(tmp_path / "cache", "test", label="cache")
    lie(shelf, root.path, shelf.gguf("a"), "acme_m_a.gguf")
    for name in ("acme_m_a.gguf.json", "manifest=acme=m=latest.json"):
        (root.path / name).write_text(text)
    (found,) = LLAMA.discover(root, DiskReader(tmp_path))
    assert (found.source.repository, found.name) == (None, found.inspection.name)
