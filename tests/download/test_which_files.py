"""Which files of a repository come with a model: pure, over names and sizes; and read back by the store's reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from repository import repository, weights

from helixstore.download.choosing import choose, packages
from helixstore.errors import NotFound
from helixstore.hub.remote import RemoteFile
from helixstore.hub.repository import HubAddress
from helixstore.values import Family
from support import household
from support.hub import Repository, hub
from support.models import tiny_hf
from support.person import Person

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"
WORDS = ("README.md", "LICENSE", "USE_POLICY.md")


def listing(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 1000 + number, f"{number:064}", None, HubAddress("acme/a", COMMIT, path))
            for number, path in enumerate(paths)]


def taken(*paths: str, family: Family | None = None, wanted: str = "") -> list[set[str]]:
    return [{file.path for file in one.files}
            for one in choose("acme/a", packages(listing(*paths)), family=family, wanted=wanted)]


HF = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
      "chat_template.jinja", "vocab.json", "merges.txt", "preprocessor_config.json", "modeling_acme.py")


def test_safetensors_come_with_all_that_programs_read_beside_them_and_nothing_else() -> None:
    weights = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
    others = ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack",
              "original/consolidated.00.pth", "consolidated.safetensors", "onnx/model.onnx", "onnx/config.json",
              "training_args.bin", "runs/events.out", ".gitattributes", "figures/loss.png", "openvino/config.json")
    assert taken(*weights, *HF, *WORDS, *others) == [{*weights, *HF, *WORDS}]


def test_the_modules_of_an_embedding_model_come_with_it() -> None:
    """sentence-transformers loads what modules.json lists, vLLM its pooling."""
    model = ("model.safetensors", "config.json", "tokenizer.json", "modules.json", "sentence_bert_config.json",
             "config_sentence_transformers.json", "1_Pooling/config.json", "2_Dense/config.json",
             "2_Dense/model.safetensors")
    rest = ("2_Dense/pytorch_model.bin", "onnx/model.onnx", "onnx/tokenizer.json", "openvino/openvino_model.xml")
    assert taken(*model, *rest) == [set(model)]
    assert taken("model.safetensors", "config.json", "1_Pooling/config.json") == [{"model.safetensors", "config.json"}]


def test_templates_for_special_uses_come_too() -> None:
    model = ("model.safetensors", "config.json", "chat_template.jinja", "additional_chat_templates/rag.jinja")
    assert taken(*model, "additional_chat_templates/notes.bin") == [set(model)]


def test_one_quantisation_of_many_with_one_projector() -> None:
    files = ("a-Q4_K_M.gguf", "a-Q8_0.gguf", "Q2_K/a-Q2_K-00001-of-00002.gguf", "Q2_K/a-Q2_K-00002-of-00002.gguf",
             "F16/a-F16-00001-of-00002.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "a.imatrix.gguf", "imatrix.dat",
             "config.json", *WORDS)
    assert taken(*files, wanted="q4_k_m") == [{"a-Q4_K_M.gguf", "mmproj-F16.gguf"}]
    assert taken(*files, wanted="Q2_K") == [{*files[2:4], "mmproj-F16.gguf"}]
    with pytest.raises(NotFound, match="has no F16"):
        taken(*files, wanted="F16")                     # one of its shards is missing


def test_pickles_come_only_where_there_is_nothing_else() -> None:
    pickles = ("pytorch_model.bin", "config.json")
    assert taken(*pickles, "a-Q8_0.gguf") == [{"a-Q8_0.gguf"}]
    assert taken(*pickles) == [set(pickles)]
    assert taken(*pickles, "model.safetensors") == [{"model.safetensors", "config.json"}]


def test_words_come_only_where_a_folder_is_the_model() -> None:
    """Beside a file that is a model by itself no manifest would name them."""
    assert taken("lora.safetensors", "tokenizer.json", *WORDS) == [{"lora.safetensors"}]
    assert taken("pytorch_model.bin", *WORDS) == [{"pytorch_model.bin"}]
    adapter = {"adapter_model.safetensors", "adapter_config.json", *WORDS}
    assert taken(*adapter) == [adapter]


def test_a_repository_without_a_model_says_what_is_looked_for() -> None:
    with pytest.raises(NotFound, match=r"^acme/a has no model in GGUF files, safetensors or pickles at its top$"):
        taken("README.md", "unet/diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("kind", ["gguf", "hf", "safetensors"])
def test_all_that_comes_is_named_by_the_manifest_so_that_nothing_is_fetched_twice(
    person: Person, tmp_path: Path, kind: str,
) -> None:
    files = {"gguf": {"a-F16.gguf": weights(1, 1)}, "hf": household.hf("a", 1),
             "safetensors": {"a.safetensors": household.hf("a", 1)["model.safetensors"]}}[kind]
    served = repository(tmp_path, "acme/a", files | {name: name.encode() for name in WORDS})
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.download("hf:acme/a")
            [variant] = store.show("a").variants
            store.gc(now=True)
            assert {path.name for path in store.folder.glob("blobs/*/*")} == {one.blake3 for one in variant.files}
            assert store.download("hf:acme/a").fetched_bytes == 0
    there = {one.path for one in variant.files}
    assert set(served.sent) == there
    assert there.issuperset(WORDS) == (kind == "hf")


def test_an_embedding_model_is_whole_in_the_store(person: Person, tmp_path: Path) -> None:
    folder = tmp_path / "embedder"
    tiny_hf(folder)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    with hub(Repository.of("acme/embedder", COMMIT, folder)) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.download("hf:acme/embedder")
            [variant] = store.show("embedder").variants
            place = store.path("embedder")
    assert "1_Pooling/config.json" in {file.path for file in variant.files}
    assert (place / "1_Pooling/config.json").read_text() == '{"pooling_mode_cls_token": true}'
