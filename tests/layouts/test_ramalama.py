"""RamaLama: refs, snapshots and blobs as it reads them, and what it pulled itself. The real one: tests/programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from many import check_names, gguf, once, variants

from helixstore.layouts.ramalama import RamaLama
from helixstore.providers.layout import Facts, Found, Root, Text
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Purpose, Source, Variant
from support.layouts import FACTS, MAC, Shelf, check_entries, hub, materialise, sandbox

RAMA = RamaLama()


def listed(store: Path) -> dict[str, dict[str, str]]:
    """What `GlobalModelStore.list_models` finds: name -> file -> type, each file through the snapshot and its blob."""
    models = {}
    for refs in store.rglob("refs"):
        for path in refs.iterdir():
            ref = json.loads(path.read_text())
            assert (ref["version"], ref["path"]) == ("v1.0.1", str(path))
            transport, _, rest = refs.parent.relative_to(store).as_posix().partition("/")
            for file in ref["files"]:
                there = refs.parent / "snapshots" / ref["hash"].replace(":", "-") / file["name"]
                blob = refs.parent / "blobs" / file["hash"].replace(":", "-")
                assert there.read_bytes() == blob.read_bytes() != b""
            models[f"{transport}://{rest}:{path.stem}"] = {file["name"]: file["type"] for file in ref["files"]}
    return models


def discovered(root: Root, reader: DiskReader) -> list[Found]:
    """What it finds under names of RamaLama's own; each is there once more, as a blob."""
    found = list(RAMA.discover(root, reader))
    own = [f for f in found if f.source.kind == "program"]
    assert [f.name for f in found if f.source.kind == "file"] == [f.name for f in own]
    return own


def pull(store: Path, name: str, data: bytes, template: str = "{{ messages }}") -> None:
    """A model as `ramalama pull` leaves it: a GGUF, and its chat template as a blob of its own, listed too."""
    transport, _, rest = name.partition("://")
    path, _, tag = rest.rpartition(":")
    model = store / transport / path
    files = {"tiny.gguf": ("sha256-" + "a" * 64, "gguf", data),
             "chat_template_extracted": ("sha256-" + "b" * 64, "chat_template", template.encode())}
    for file, (blob, _, content) in files.items():
        for where in (model / "blobs" / blob, model / "snapshots/sha256-c" / file):
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(content)
    ref = model / "refs" / f"{tag}.json"
    ref.parent.mkdir(exist_ok=True)
    ref.write_text(json.dumps({
        "files": [{"hash": blob, "name": file, "type": kind} for file, (blob, kind, _) in files.items()],
        "hash": "sha256-c", "path": str(ref), "version": "v1.0.1"}, sort_keys=True, indent=2))


@pytest.mark.parametrize("symbolic", [False, True])
def test_ramalama_would_list_every_model(shelf: Shelf, tmp_path: Path, symbolic: bool) -> None:
    models = [shelf.gguf("tiny", projector=True, sources=[hub("acme/Tiny-GGUF")]), shelf.gguf("My Model", seed=2),
              shelf.gguf("tiny", "Q8_0", seed=8, sources=[hub("acme/Tiny-GGUF")]), shelf.gguf("big", shards=3, seed=3),
              shelf.hf("tiny-hf", shards=2, seed=5), shelf.awq("a-AWQ", sources=[hub("acme/a-AWQ")])]
    root = Root(tmp_path / "base/store", "test")
    entries = list(RAMA.project(models, root, FACTS))
    check_entries(entries, models)
    materialise(root.path, entries, shelf.blobs, symbolic=symbolic)
    seen = listed(root.path)
    assert {name.partition("://")[2] for name in seen} == {
        "acme/Tiny-GGUF:Q4_K_M", "acme/Tiny-GGUF:Q8_0", "local-x7/My-Model:Q4_K_M", "local-x7/big:Q4_K_M",
        "local-x7/tiny-hf:latest", "acme/a-AWQ:latest"}
    assert seen["huggingface://acme/Tiny-GGUF:Q4_K_M"] == {
        "tiny-Q4_K_M.gguf": "gguf", "mmproj-tiny-F16.gguf": "mmproj"}
    types = seen["huggingface://local-x7/tiny-hf:latest"]
    assert {name for name, kind in types.items() if kind == "safetensor"} == {
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert set(types.values()) == {"safetensor", "other"}


def test_shards_are_found_by_their_blobs_names_without_a_container(shelf: Shelf, tmp_path: Path) -> None:
    """llama.cpp gets the first blob's path, and computes the others' from it."""
    root = Root(tmp_path / "store", "test")
    materialise(root.path, RAMA.project([shelf.gguf("big", shards=3)], root, FACTS), shelf.blobs)
    blobs = sorted(path.name for path in root.path.rglob("blobs/*"))
    stem = blobs[0].removesuffix("-00001-of-00003.gguf")
    assert blobs == [f"{stem}-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]


def test_the_ref_comes_last_and_is_the_witness(shelf: Shelf, tmp_path: Path) -> None:
    entries = list(RAMA.project([shelf.gguf("eye", projector=True)], Root(tmp_path, "test"), FACTS))
    ref = next(entry for entry in entries if entry.witness)
    assert "/refs/" in ref.path
    assert all(entry.order < ref.order for entry in entries if entry is not ref)


@given(variants())
def test_names_are_its_own_whatever_models_are_called(made: list[Variant]) -> None:
    entries = once(RAMA.project(made, Root(Path("/r"), "test"), FACTS))
    check_names(entries, made)
    for entry in entries:
        parts = entry.path.split("/")
        assert len(parts) >= 5
        assert not {"blobs", "refs", "snapshots"} & set(parts[:3])
        assert ".json" not in "/".join(parts[:-1])
        if entry.witness:
            tag = parts[-1].removesuffix(".json")
            assert tag in ("latest", tag.upper()), "huggingface tags are looked up in capitals"


def test_a_model_called_like_ramalamas_own_folders(tmp_path: Path) -> None:
    made = [replace(gguf("refs"), sources=(hub("blobs/refs"),))]
    paths = [entry.path for entry in RAMA.project(made, Root(tmp_path, "test"), FACTS)]
    assert all(path.startswith("huggingface/blobs-model/refs-model/") for path in paths)


@pytest.mark.parametrize("symbolic", [False, True])
def test_discover_gives_back_what_was_projected(shelf: Shelf, tmp_path: Path, symbolic: bool) -> None:
    models = [shelf.gguf("Eye-GGUF", projector=True, sources=[hub("acme/Eye-GGUF")]),
              shelf.gguf("big", shards=3, seed=3), shelf.hf("tiny-hf", shards=2, seed=5)]
    root = Root(tmp_path / "store", "test")
    entries = list(RAMA.project(models, root, FACTS))
    materialise(root.path, entries, shelf.blobs, symbolic=symbolic)
    reader = DiskReader(tmp_path)
    found = discovered(root, reader)
    assert reader.issues == []
    assert [(f.name, f.source.name, f.source.repository) for f in found] == [
        ("Eye-GGUF", "huggingface://acme/Eye-GGUF:Q4_K_M", "acme/Eye-GGUF"),
        ("big", "huggingface://local-x7/big:Q4_K_M", "local-x7/big"),
        ("tiny-hf", "huggingface://local-x7/tiny-hf:latest", "local-x7/tiny-hf")]
    again = [replace(variant, sources=(f.source,)) for variant, f in zip(models, found, strict=True)]
    for variant, f in zip(models, found, strict=True):
        assert {part.path for part in f.inspection.parts} == {file.path for file in variant.files}
    assert {entry.path for entry in RAMA.project(again, root, FACTS)} == {entry.path for entry in entries}


def test_what_ramalama_pulled_keeps_its_ref_and_its_template(shelf: Shelf, tmp_path: Path) -> None:
    variant, root = shelf.gguf("tiny", stem="tiny"), Root(tmp_path / "store", "test")
    data = shelf.blobs[variant.weights[0].blake3].read_bytes()
    pull(root.path, "ollama://library/tiny:latest", data)
    found, = discovered(root, DiskReader(tmp_path))
    assert (found.name, found.source.name, found.source.repository) == ("tiny", "ollama://library/tiny:latest", None)
    model = "ollama/library/tiny"
    assert [path for path, _ in found.source.sidecars] == [
        f"{model}/blobs/sha256-{'b' * 64}", f"{model}/refs/latest.json",
        f"{model}/snapshots/sha256-c/chat_template_extracted"]
    entries = list(RAMA.project([replace(variant, sources=(found.source,))], root, FACTS))
    there = {path.relative_to(root.path).as_posix(): path for path in root.path.rglob("*") if path.is_file()}
    assert {entry.path for entry in entries} == set(there)
    for entry in entries:
        if isinstance(entry.body, Text):
            assert entry.body.data == there[entry.path].read_bytes()


def test_a_made_name_never_takes_the_place_of_a_pulled_one(shelf: Shelf, tmp_path: Path) -> None:
    pulled = shelf.gguf("tiny", sources=[hub("acme/Tiny-GGUF")])
    root = Root(tmp_path / "store", "test")
    materialise(root.path, RAMA.project([pulled], root, FACTS), shelf.blobs)
    found, = discovered(root, DiskReader(tmp_path))
    other = shelf.gguf("other", seed=7, sources=[hub("acme/Tiny-GGUF", "b" * 40)])
    both = [replace(pulled, sources=(found.source,)), other]
    check_entries(list(RAMA.project(both, root, FACTS)), both)


def test_its_ref_is_kept_where_ramalama_has_added_to_it(shelf: Shelf, tmp_path: Path) -> None:
    entry = next(e for e in RAMA.project([shelf.gguf()], Root(tmp_path, "test"), FACTS) if e.witness)
    assert isinstance(entry.body, Text)
    assert entry.body.merge is not None
    ours = entry.body.data
    ref = json.loads(ours)
    ref["files"].append({"hash": "sha256-b", "name": "chat_template_extracted", "type": "chat_template"})
    theirs = json.dumps(ref).encode()
    assert entry.body.merge(ours, theirs, ours) == theirs
    assert entry.body.merge(ours, ours, ours) == ours
    assert entry.body.merge(ours, json.dumps({**ref, "hash": "sha256-other"}).encode(), ours) is None
    assert entry.body.merge(ours, b"{", ours) is None


@pytest.mark.parametrize("symbolic", [False, True])
def test_deleting_in_ramalama_leaves_the_store_and_the_other_tags(
    shelf: Shelf, tmp_path: Path, symbolic: bool
) -> None:
    models = [shelf.gguf("tiny", projector=True, sources=[hub("acme/Tiny-GGUF")]),
              shelf.gguf("tiny", "Q8_0", projector=True, seed=8, sources=[hub("acme/Tiny-GGUF")])]
    root = tmp_path / "store"
    entries = list(RAMA.project(models, Root(root, "test"), FACTS))
    materialise(root, entries, shelf.blobs, symbolic=symbolic)
    before = {path: path.read_bytes() for path in shelf.blobs.values()}
    RAMA.delete_as_program_does(root, models[0], entries)
    assert set(listed(root)) == {"huggingface://acme/Tiny-GGUF:Q8_0"}
    RAMA.delete_as_program_does(root, models[1], entries)
    assert listed(root) == {}
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(("variant", "facts", "reason"), [
    (replace(gguf(), format=Format.EXL3), FACTS, "RamaLama loads GGUF, and this is EXL3"),
    (replace(gguf(), purpose=Purpose.ADAPTER), FACTS, "base model"),
    (replace(gguf(), format=Format.MLX), FACTS, "Apple silicon"),
    (replace(gguf(), format=Format.HF), FACTS, "config.json"),
])
def test_refusals_say_why(variant: Variant, facts: Facts, reason: str) -> None:
    refusal = RAMA.accepts(variant, facts)
    assert refusal is not None
    assert reason in refusal.reason


def test_mlx_where_it_runs(shelf: Shelf) -> None:
    assert RAMA.accepts(shelf.mlx(), MAC) is None


@pytest.mark.parametrize("text", [
    "{", "[]", '{"hash": "x"}', '{"hash": "../..", "files": []}',
    '{"hash": "x", "files": [{"hash": "y", "name": "../../z", "type": "gguf"}]}',
    '{"hash": "x", "files": [{"hash": "../y", "name": "z", "type": "gguf"}]}',
])
def test_a_ref_that_makes_no_sense_is_an_issue(text: str, tmp_path: Path) -> None:
    refs = tmp_path / "store/huggingface/a/b/refs"
    refs.mkdir(parents=True)
    (refs / "x.json").write_text(text)
    reader = DiskReader(tmp_path)
    assert list(RAMA.discover(Root(tmp_path / "store", "test"), reader)) == []
    assert [issue.kind for issue in reader.issues] == ["unreadable"]


def test_a_sidecar_that_climbs_out_counts_for_nothing(tmp_path: Path) -> None:
    ref = json.dumps({"hash": "x", "files": [], "path": "", "version": "v1.0.1"})
    source = Source("program", program="ramalama", name="a://b:c", sidecars=(("../../x/refs/c.json", ref),))
    paths = [entry.path for entry in RAMA.project([replace(gguf(), sources=(source,))], Root(tmp_path, "t"), FACTS)]
    assert paths
    assert all(path.startswith("huggingface/local-x7/") for path in paths)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_roots(platform: str, tmp_path: Path) -> None:
    root, = RAMA.roots(sandbox(tmp_path, platform=platform))
    assert root.path == tmp_path / ".local/share/ramalama/store"
    assert root.present == (tmp_path / ".local/share/ramalama",)
    root, = RAMA.roots(sandbox(tmp_path, {"XDG_DATA_HOME": "/d"}, platform))
    assert root.path == Path("/d/ramalama/store")
    root, = RAMA.roots(sandbox(tmp_path, {"RAMALAMA_STORE": "~/s"}, platform))
    assert (root.path, root.origin) == (tmp_path / "s/store", "RAMALAMA_STORE")
    assert RAMA.roots(sandbox(tmp_path, platform=platform, setting=Path("/mine")))[0].path == Path("/mine/store")


def test_the_last_configuration_that_names_a_store_wins(tmp_path: Path) -> None:
    folder = tmp_path / ".config/ramalama"
    (folder / "ramalama.conf.d").mkdir(parents=True)
    (folder / "ramalama.conf").write_text('[ramalama]\nstore = "/one"\n')
    assert RAMA.roots(sandbox(tmp_path))[0].path == Path("/one/store")
    (folder / "ramalama.conf.d/50.conf").write_text('[ramalama]\nstore = "~/two"\n')
    (folder / "ramalama.conf.d/60.conf").write_text("[ramalama]\nimage = 3\n")
    root, = RAMA.roots(sandbox(tmp_path))
    assert (root.path, root.origin) == (tmp_path / "two/store", str(folder / "ramalama.conf.d/50.conf"))
    (tmp_path / "named.conf").write_text("[ramalama\n")
    root, = RAMA.roots(sandbox(tmp_path, {"RAMALAMA_CONFIG": str(tmp_path / "named.conf")}))
    assert root.origin == "default", "the named one alone counts, and it makes no sense"


def test_root_has_the_systems_store() -> None:
    assert RAMA.roots(sandbox(Path("/root"), {"RAMALAMA_CONFIG": ""}))[0].path == Path("/var/lib/ramalama/store")
