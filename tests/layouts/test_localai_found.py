"""What LocalAI has: YAML as galleries, its editor and people write it, and files that no YAML names."""

from __future__ import annotations

from pathlib import Path

import pytest
from lying import again, lay, look, unchanged, variant_of

from helixstore.providers.layout import Root
from helixstore.values import Format, Role
from layouts.localai import LocalAI
from support.layouts import FACTS, Shelf

LOCAL = LocalAI()

GALLERY = """backend: llama-cpp
context_size: 8192
f16: true
known_usecases:
    - chat
mmap: true
name: {name}
options:
    - use_jinja:true
parameters:
    model: {model}
stopwords:
    - <|im_end|>
template:
    chat: |
        {{{{.Input -}}}}
        <|im_start|>assistant
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def write(models: Path, name: str, text: str) -> Path:
    models.mkdir(exist_ok=True)
    (models / name).write_text(text)
    return models / name


def test_what_is_projected_is_found_again_and_stays_where_it_is(models: Path, shelf: Shelf) -> None:
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, seed=3), shelf.gguf("eye", projector=True, seed=7),
                shelf.hf("tiny-hf"), shelf.gptq()]
    found = again(LOCAL, Root(models, "test", owned=True), variants, shelf)
    assert [one.source.name for one in found] == [
        "big-Q4_K_M", "eye-Q4_K_M", "one-Q4_K_M", "tiny-GPTQ-int4-g128", "tiny-hf-BF16"]


def test_a_gallerys_models_lie_flat_and_keep_what_was_set(models: Path, shelf: Shelf) -> None:
    lay(models, {"llama-3.2-1b.Q4_K_M.gguf": shelf.gguf("a"), "gemma/eye-Q4_K_M.gguf": shelf.gguf(
        "eye", projector=True, seed=4), "0a1b2c": shelf.gguf("hash", seed=8)}, shelf)
    write(models, "llama-3.2-1b:q4.yaml", GALLERY.format(name="llama-3.2-1b:q4", model="llama-3.2-1b.Q4_K_M.gguf"))
    write(models, "eye.yaml", GALLERY.format(name="eye", model="gemma/eye-Q4_K_M.gguf")
          + "mmproj: gemma/mmproj.gguf\n")
    write(models, "no-ending.yml", GALLERY.format(name="other-name", model="0a1b2c"))
    write(models, "._gallery_eye.yaml", "files: []\n")
    found = unchanged(LOCAL, Root(models, "test"), others=[shelf.gguf("eye", stem="eye", seed=20)])
    assert [(one.source.name, one.name) for one in found] == [
        ("eye", "eye"), ("llama-3.2-1b:q4", "llama-3.2-1b"), ("other-name", "0a1b2c")]
    assert [part.role for part in found[0].inspection.parts] == [Role.WEIGHTS, Role.PROJECTOR]
    assert "<|im_end|>" in found[1].source.sidecars[0][1]


def test_several_models_in_one_file_and_several_names_for_one_model(models: Path, shelf: Shelf) -> None:
    lay(models, {"a.gguf": shelf.gguf("a"), "b.gguf": shelf.gguf("b", seed=3)}, shelf)
    write(models, "all.yaml", "- &base\n  name: first\n  backend: llama-cpp\n  parameters: {model: a.gguf}\n"
                              "- <<: *base\n  name: again\n  context_size: 4096\n"
                              "- name: second\n  parameters:\n    model: b.gguf\n")
    found = unchanged(LOCAL, Root(models, "test"))
    assert [one.source.name for one in found] == ["again", "first", "second"]
    assert {one.source.sidecars[0][0] for one in found} == {"all.yaml"}


def test_a_file_that_no_yaml_names_is_a_model_by_itself_and_its_first_file_the_witness(
    models: Path, shelf: Shelf
) -> None:
    eye = shelf.gguf("eye", projector=True)
    lay(models, {"eye-Q4_K_M.gguf": eye}, shelf)
    (found,) = unchanged(LOCAL, Root(models, "test"))
    assert (found.source.name, found.source.sidecars) == ("eye-Q4_K_M.gguf", ())
    assert [part.role for part in found.inspection.parts] == [Role.WEIGHTS], "nothing says that they belong together"
    (entry,) = LOCAL.project([variant_of(found)], Root(models, "test"), FACTS)
    assert entry.witness
    _, reader = look(LOCAL, Root(models, "test"))
    assert list(reader.notes) == [str(models / "mmproj.gguf")]


def test_a_folder_that_a_python_backend_loads(models: Path, shelf: Shelf) -> None:
    lay(models, {"Qwen/Qwen3-0.6B": shelf.hf("q")}, shelf)
    write(models, "qwen.yaml", "name: qwen\nbackend: cuda12-vllm\nparameters:\n  model: Qwen/Qwen3-0.6B\n")
    (found,) = unchanged(LOCAL, Root(models, "test"))
    assert (found.source.name, found.name, found.inspection.format) == ("qwen", "Qwen3-0.6B", Format.HF)


@pytest.mark.parametrize(("text", "why"), [
    ("backend: transformers\nparameters:\n  model: Qwen/Qwen3-0.6B\n", "downloads by name"),
    ("backend: vllm\nparameters: {model: org/x}\n", "downloads by name"),
    ("backend: diffusers\nparameters:\n  model: Lykon/dreamshaper-8\n", "diffusers"),
    ("backend: whisper\nparameters:\n  model: ggml-whisper-base.bin\n", "whisper"),
    ("backend: stablediffusion-ggml\nparameters:\n  model: flux.gguf\n", "stablediffusion-ggml"),
    ("backend: transformers-musicgen\nparameters:\n  model: facebook/musicgen\n", "musicgen"),
    ("backend: llama-cpp\nparameters:\n  model: huggingface://org/x/x.gguf\n", "address"),
    ("backend: llama-cpp\nparameters:\n  model: ollama://gemma:2b\n", "address"),
    ("backend: openai\nproxy: https://x\n", "names no file"),
    ("pipeline:\n  llm: a\n  tts: b\n", "names no file"),
])
def test_what_only_localai_can_run_is_noted(models: Path, shelf: Shelf, text: str, why: str) -> None:
    for name in ("ggml-whisper-base.bin", "flux.gguf"):
        lay(models, {name: shelf.gguf("x")}, shelf)
    sidecar = write(models, "it.yaml", f"name: it\n{text}")
    found, reader = look(LOCAL, Root(models, "test"))
    assert reader.issues == []
    assert why in reader.notes[str(sidecar)]
    assert [one.source.name for one in found] in ([], ["flux.gguf"])


HOSTILE = {
    "climbs": ("parameters: {model: ../x.gguf}\n", "unsafe"),
    "dots in a name": ("parameters: {model: foo..gguf}\n", "unsafe"),
    "absolute": ("backend: llama-cpp\nparameters:\n  model: /etc/passwd\n", "unsafe"),
    "projector": ("parameters: {model: good.gguf}\nmmproj: ../../m.gguf\n", "unsafe"),
    "gone": ("backend: llama-cpp\nparameters:\n  model: gone.gguf\n", "incomplete"),
    "gone, without a backend": ("parameters:\n  model: gone.gguf\n", "incomplete"),
    "projector gone": ("parameters: {model: good.gguf}\nmmproj: gone.gguf\n", "incomplete"),
    "no YAML": ("a: b: c\n", "unreadable"),
    "deep": ("{a: " * 60_000, "unreadable"),
    "long": ("# " + "x" * (1 << 19), "unreadable"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_yaml_that_makes_no_sense_costs_one_issue_and_the_rest_goes_on(
    models: Path, shelf: Shelf, hostile: str
) -> None:
    text, kind = HOSTILE[hostile]
    lay(models, {"good.gguf": shelf.gguf("x")}, shelf)
    write(models, "good.yaml", GALLERY.format(name="good", model="good.gguf"))
    bad = write(models, "bad.yaml", text)
    found, reader = look(LOCAL, Root(models, "test"))
    assert [one.source.name for one in found] == ["good"]
    assert [(issue.kind, issue.path) for issue in reader.issues] == [(kind, str(bad))]
    assert kind != "incomplete" or "LocalAI" in reader.issues[0].remedy


@pytest.mark.parametrize("text", ["", "just text\n", "- 1\n- [a]\n", "a: 1\n", "~\n"])
def test_a_yaml_that_is_no_model_is_none(models: Path, text: str) -> None:
    write(models, "settings.yaml", text)
    found, reader = look(LOCAL, Root(models, "test"))
    assert (found, reader.issues) == ([], [])


def test_a_link_in_place_of_a_yaml_and_a_folder_at_the_top_are_left(models: Path, shelf: Shelf, tmp_path: Path) -> None:
    lay(models, {"x.gguf": shelf.gguf("x")}, shelf)
    lay(models, {"Foo": shelf.hf("foo")}, shelf)
    write(tmp_path, "far.yaml", GALLERY.format(name="far", model="x.gguf"))
    (models / "far.yaml").symlink_to(tmp_path / "far.yaml")
    (models / "nowhere.yaml").symlink_to(tmp_path / "nowhere")
    found, reader = look(LOCAL, Root(models, "test"))
    assert [one.source.name for one in found] == ["x.gguf"]
    assert list(reader.notes) == [str(models / "far.yaml")]
