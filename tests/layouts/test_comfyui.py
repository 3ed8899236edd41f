"""ComfyUI: files by kind, found by `folder_paths` over an installation or over our `extra_model_paths.yaml`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from many import gguf

from helixstore.formats import inspect
from helixstore.layouts.comfyui import ComfyUI
from helixstore.providers.layout import Root, Text
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Header, Purpose, Source, Variant
from support.layouts import FACTS, Shelf, check_entries, materialise, safetensors_bytes, sandbox

COMFY = ComfyUI()


def lone(shelf: Shelf, name: str, architecture: str | None, *, seed: int = 0, sources: tuple[Source, ...] = (),
         shards: int = 1) -> Variant:
    """A safetensors file without a configuration, whose header says `architecture` by ModelSpec."""
    metadata = {"modelspec.architecture": architecture} if architecture else {}
    files = {f"{name}.safetensors" if shards == 1 else f"{name}-{i}.safetensors": safetensors_bytes(
        {"a.weight": ("F16", (8, 8))}, seed + i, metadata) for i in range(shards)}
    header = Header(architecture, 64, tensors=1)
    return shelf.variant(name, files, Format.SAFETENSORS, "F16", header, sources=sources)


def encoder(shelf: Shelf, name: str, cls: str, **more: object) -> Variant:
    made = shelf.hf(name, **more)  # type: ignore[arg-type]
    return replace(made, header=replace(made.header, classes=(cls,)), purpose=Purpose.EMBEDDING)


def files(root: Path) -> dict[str, list[str]]:
    """What `get_filename_list` gives for each kind that `load_extra_path_config` adds."""
    found = {}
    for section in yaml.safe_load((root / "extra_model_paths.yaml").read_text()).values():
        assert "base_path" not in section
        for kind, folder in section.items():
            here = root / folder
            names = sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file())
            if names:
                found[kind] = names
    return found


@pytest.mark.parametrize("symbolic", [False, True])
def test_every_kind_is_found_through_the_list_of_paths(shelf: Shelf, tmp_path: Path, symbolic: bool) -> None:
    models = [
        lone(shelf, "sd_xl_base_1.0", "stable-diffusion-xl-v1-base"), lone(shelf, "cat", "Flux.1-dev/lora", seed=1),
        lone(shelf, "old-lora", "stable-diffusion-v1-lora", seed=2),
        lone(shelf, "canny", "stable-diffusion-xl-v1-base/controlnet", seed=3),
        lone(shelf, "word", "stable-diffusion-v1/textual-inversion", seed=4),
        shelf.gguf("flux1-dev", architecture="flux", seed=5), shelf.gguf("t5xxl", architecture="t5encoder", seed=6),
        encoder(shelf, "clip-l", "CLIPTextModel", seed=7), encoder(shelf, "vit-h", "CLIPVisionModelWithProjection",
                                                                   seed=8)]
    root = Root(tmp_path / "root", "test", owned=True)
    assert [COMFY.accepts(variant, FACTS) for variant in models] == [None] * len(models)
    entries = list(COMFY.project(models, root, FACTS))
    check_entries([entry for entry in entries if entry.key], models)
    materialise(root.path, entries, shelf.blobs, symbolic=symbolic)
    assert files(root.path) == {
        "checkpoints": ["sd_xl_base_1.0.safetensors"], "loras": ["cat.safetensors", "old-lora.safetensors"],
        "controlnet": ["canny.safetensors"], "embeddings": ["word.safetensors"],
        "diffusion_models": ["flux1-dev-Q4_K_M.gguf"],
        "text_encoders": ["clip-l-BF16.safetensors", "t5xxl-Q4_K_M.gguf"], "clip_vision": ["vit-h-BF16.safetensors"]}


def test_the_reader_of_headers_tells_what_the_layout_goes_by(shelf: Shelf, tmp_path: Path) -> None:
    variant = lone(shelf, "cat", "Flux.1-dev/lora")
    (tmp_path / "cat.safetensors").write_bytes(shelf.blobs[variant.weights[0].blake3].read_bytes())
    found = inspect(tmp_path / "cat.safetensors")
    assert (found.format, found.header.architecture) == (Format.SAFETENSORS, "Flux.1-dev/lora")


@pytest.mark.parametrize(("build", "reason"), [
    (lambda s: s.gguf(), "text encoder that an image model was made with"),
    (lambda s: s.gguf(architecture="qwen2vl"), "text encoder"),
    (lambda s: s.hf(), "language model"),
    (lambda s: s.awq(), "language model"),
    (lambda s: replace(s.hf(), purpose=Purpose.ADAPTER), "adapter of a language model"),
    (lambda s: lone(s, "x", None), "does not say what it is"),
    (lambda s: lone(s, "x", "flux-1-dev"), "does not say what it is"),
    (lambda s: lone(s, "x", "stable-diffusion-v3-medium"), "does not say what it is"),
    (lambda s: lone(s, "x", "gpt-neo-x"), "does not say what it is"),
    (lambda s: lone(s, "x", "stable-diffusion-xl-v1-base", shards=2), "in shards"),
    (lambda s: encoder(s, "t5", "T5EncoderModel", shards=2), "in shards"),
])
def test_each_refusal_says_why(build, reason: str, shelf: Shelf) -> None:  # type: ignore[no-untyped-def]
    refusal = COMFY.accepts(build(shelf), FACTS)
    assert refusal is not None
    assert reason in refusal.reason


def test_what_lies_in_comfyui_is_for_it_and_keeps_its_place(shelf: Shelf, tmp_path: Path) -> None:
    """The folder is the person's word for what a file is, when its header says nothing."""
    variant, root = lone(shelf, "anything", None), Root(tmp_path / "models", "test", label="models")
    data = shelf.blobs[variant.weights[0].blake3].read_bytes()
    for name in ("checkpoints/sub folder/My Model.safetensors", "unet/other.safetensors", "custom/x.safetensors"):
        (root.path / name).parent.mkdir(parents=True, exist_ok=True)
        (root.path / name).write_bytes(data)
    found = list(COMFY.discover(root, DiskReader(tmp_path)))
    assert sorted(str(f.source.name) for f in found) == [
        "checkpoints/sub folder/My Model.safetensors", "unet/other.safetensors"]
    own = replace(variant, sources=tuple(f.source for f in found))
    assert COMFY.accepts(own, FACTS) is None
    entries = list(COMFY.project([own], root, FACTS))
    assert {entry.path for entry in entries} == {f.source.name for f in found}
    assert all(entry.witness for entry in entries)


def test_a_name_that_climbs_out_counts_for_nothing(shelf: Shelf) -> None:
    evil = lone(shelf, "x", None, sources=(Source("program", program="comfyui", name="loras/../../x.safetensors"),))
    assert COMFY.accepts(evil, FACTS) is not None


def test_discover_gives_back_what_was_projected(shelf: Shelf, tmp_path: Path) -> None:
    models = [lone(shelf, "base", "stable-diffusion-v1"), shelf.gguf("flux1-dev", architecture="flux", seed=5)]
    root = Root(tmp_path / "root", "test", owned=True)
    entries = list(COMFY.project(models, root, FACTS))
    materialise(root.path, entries, shelf.blobs)
    found = list(COMFY.discover(root, DiskReader(tmp_path)))
    again = [replace(variant, sources=(f.source,)) for variant, f in zip(models, found, strict=True)]
    assert {entry.path for entry in COMFY.project(again, root, FACTS)} == {entry.path for entry in entries}


def test_pickles_stay_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "models/loras/old.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PK\x03\x04" + b"\x00" * 100)
    reader = DiskReader(tmp_path)
    assert list(COMFY.discover(Root(tmp_path / "models", "test", label="models"), reader)) == []


def test_an_installations_own_models_need_no_list(shelf: Shelf, tmp_path: Path) -> None:
    root = Root(tmp_path / "models", "test", label="models")
    paths = [entry.path for entry in COMFY.project([lone(shelf, "a", "stable-diffusion-v1")], root, FACTS)]
    assert paths == ["checkpoints/a.safetensors"]


def test_two_of_one_name_are_told_apart_by_more_than_case(shelf: Shelf, tmp_path: Path) -> None:
    models = [lone(shelf, "Cat", "x/lora"), lone(shelf, "cat", "x/lora", seed=3)]
    check_entries([e for e in COMFY.project(models, Root(tmp_path, "t"), FACTS) if e.key], models)


def merge(theirs: bytes) -> bytes | None:
    entries = list(COMFY.project([gguf(header=Header("flux"))], Root(Path("/r"), "t", owned=True), FACTS))
    body = entries[-1].body
    assert isinstance(body, Text)
    assert body.merge is not None
    return body.merge(b"before", theirs, body.data)


def test_the_list_keeps_the_sections_of_others() -> None:
    theirs = b"# mine\na1111:\n  base_path: /sd\n  loras: |\n    models/Lora\n    models/LyCORIS\n"
    merged = merge(theirs)
    assert merged is not None
    assert merged.startswith(theirs)
    sections = yaml.safe_load(merged)
    assert list(sections) == ["a1111", "helixstore"]
    assert sections["helixstore"]["loras"] == "loras"
    assert merge(merged) == merged
    older = b"helixstore:\n  loras: lora\nother:\n  vae: /v\n"
    changed = merge(older)
    assert changed is not None
    assert yaml.safe_load(changed)["helixstore"]["loras"] == "loras"
    assert yaml.safe_load(changed)["other"] == {"vae": "/v"}
    assert merge(b"- a\n- b\n") is None
    assert COMFY.left_of("extra_model_paths.yaml", merged, lambda path: True) == theirs
    assert COMFY.left_of("extra_model_paths.yaml", merge(b"") or b"", lambda path: True) == b""
    assert COMFY.left_of("loras/x", theirs, lambda path: True) is None


@given(st.binary(max_size=60))
def test_merging_with_anything_raises_nothing_and_loses_nothing(data: bytes) -> None:
    merged = merge(data)
    assert merged is None or data.strip() in merged


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_roots(platform: str, tmp_path: Path) -> None:
    root, = COMFY.roots(sandbox(tmp_path, platform=platform))
    assert (root.path, root.owned, root.label) == (tmp_path / "store/farms/h/1000/comfyui", True, "")
    for place in ("Documents/ComfyUI", "comfy/ComfyUI", "ComfyUI"):
        (tmp_path / place / "models").mkdir(parents=True)
        root, = COMFY.roots(sandbox(tmp_path, platform=platform))
        assert (root.path, root.owned, root.label) == (tmp_path / place / "models", False, "models")
    (tmp_path / "apps/main.py").parent.mkdir()
    (tmp_path / "apps/main.py").touch()
    root, = COMFY.roots(sandbox(tmp_path, setting=tmp_path / "apps"))
    assert (root.path, root.label) == (tmp_path / "apps/models", "models")
    root, = COMFY.roots(sandbox(tmp_path, setting=tmp_path / "shared"))
    assert (root.path, root.label) == (tmp_path / "shared", "")
