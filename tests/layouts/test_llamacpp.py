"""llama.cpp's router: what it would list from the projected folder, by the rules of its own scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from many import gguf

from helixstore.providers.layout import Root
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
    (own,) = LLAMA.roots(sandbox(home))
    assert own.owned
    assert own.path == sandbox(home).farms / "llamacpp"
    (named,) = LLAMA.roots(sandbox(home, {"LLAMA_ARG_MODELS_DIR": "~/gguf"}))
    assert (named.path, named.owned) == (home / "gguf", False)
    (chosen,) = LLAMA.roots(sandbox(home, {"LLAMA_ARG_MODELS_DIR": "~/gguf"}, setting=Path("/mine")))
    assert chosen.path == Path("/mine")
