"""What is decided before a byte of the weights comes: by name, by memory, by provider; over a real hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from repository import COMMIT, GGUFS, MAKERS, NAME, only_on, repository, weights

from helixstore import Format, HelixStore
from helixstore.catalogue.references import HubReference
from helixstore.commands.models.prospects import Wish
from helixstore.commands.queries import foreseen
from helixstore.download.choosing import packages
from helixstore.download.offered import Offered
from helixstore.download.peeking import peek
from helixstore.errors import Failed, NotFound, Usage
from helixstore.hub.repository import repository_at
from helixstore.session import Machine
from helixstore.values import Source
from support import household
from support.hub import Repository, hub
from support.models import tiny_gguf, tiny_hf
from support.person import Person
from support.raw import gguf, gguf_array, gguf_string, number, tensor, text
from support.typist import typed

HEAD = 1 << 16


def sent(*served: Repository) -> set[str]:
    return {path for one in served for path in one.sent}


def test_a_well_known_name_is_enough(reader: Person, ggufs: Repository, makers: Repository) -> None:
    with reader.open() as store:
        report = store.download("Llama 3 8B instruct")
        assert store.show(NAME).name == NAME
        assert [variant.id for variant in store.show(NAME).variants] == ["gguf:Q8_0"]
    assert report.repository == GGUFS
    assert report.why.startswith("Q8_0 of 5 quantisations fits best")
    assert set(report.others) == {"gguf:IQ2_XXS", "gguf:Q4_K_M", "gguf:Q6_K", "gguf:F16"}
    assert sent(ggufs) == {"Meta-Llama-3-8B-Instruct-Q8_0.gguf"}
    assert sent(makers) == set()


def test_format_and_quantisation_choose_the_place(reader: Person, ggufs: Repository, makers: Repository) -> None:
    with reader.open() as store:
        assert store.download(NAME, format="hf", dry_run=True).repository == MAKERS
        assert store.download(NAME, quantization="q6_k", dry_run=True).files[0].path.endswith("Q6_K.gguf")
        every = store.download(NAME, format=Format.GGUF, quantization="all", dry_run=True)
        assert sum(one.path.endswith(".gguf") for one in every.files) == 5
        assert every.why == ""
        with pytest.raises(NotFound, match="no place that has llama-3-8b-instruct as awq") as error:
            store.download(NAME, format="awq")
        assert GGUFS in error.value.remedy
        with pytest.raises(Usage, match="no format"):
            store.download(NAME, format="zip")
    assert sent(ggufs, makers) == set()


def test_an_unknown_name_is_answered_with_those_that_are_near(reader: Person) -> None:
    with reader.open() as store, pytest.raises(NotFound, match="lama3:8b") as error:
        store.download("lama3:8b")
    assert NAME in error.value.remedy
    assert "helixstore models search" in error.value.remedy


def test_a_name_of_ones_own_leads_where_it_says(reader: Person, ggufs: Repository) -> None:
    reader.put(".config/helixstore/models.toml", f'''
["ours-7b"]
sources = [{{ format = "gguf", at = "hf:{GGUFS}" }}]
'''.encode())
    with reader.open() as store:
        assert store.download("ours-7b", quantization="Q4_K_M").name == "ours-7b"
        assert store.show("ours-7b").variants


@pytest.mark.parametrize(("memory", "wanted"), [(2600, "Q8_0"), (2400, "Q6_K"), (2200, "Q4_K_M"), (2100, "IQ2_XXS")])
def test_the_quantisation_follows_the_memory(reader: Person, ggufs: Repository, memory: int, wanted: str) -> None:
    """Of a repository that the catalogue does not know, the header of its smallest file is read."""
    ggufs.name = "acme/Other-GGUF"
    with reader.open() as store:
        report = store.download("hf:acme/Other-GGUF", memory=memory, dry_run=True)
    assert report.why.startswith(f"{wanted} of 5 ")
    assert sent(ggufs) == {"Meta-Llama-3-8B-Instruct-IQ2_XXS.gguf"}


def test_what_fits_nowhere_is_not_taken_unless_it_is_named(reader: Person, ggufs: Repository) -> None:
    with reader.open() as store:
        with pytest.raises(Failed, match=r"none of the 5 quantisations .*: the smallest, IQ2_XXS, needs") as error:
            store.download(NAME, memory=1000)
        assert "--memory" in error.value.remedy
        assert store.download(f"hf:{GGUFS}:Q8_0", memory=1000, dry_run=True).files


def test_a_server_without_ranges_is_chosen_from_too(reader: Person, ggufs: Repository) -> None:
    ggufs.name, ggufs.ranges = "acme/Other-GGUF", False
    with reader.open() as store:
        assert store.download("hf:acme/Other-GGUF").why.startswith("Q8_0")


# ---- providers -------------------------------------------------------------------------------------------------------


def test_what_a_provider_cannot_run_is_refused_before_its_weights_come(person: Person, tmp_path: Path) -> None:
    big = repository(tmp_path, "acme/big-GGUF", {"big-F16.gguf": weights(1, 20)})
    with hub(big) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store, pytest.raises(
                Failed, match=r"^format gguf is not compatible with provider vllm: ") as error:
            store.download("hf:acme/big-GGUF", provider="vllm")
        assert error.value.remedy == ("it could after a conversion to hf; who can run it as it is: "
                                      "helixstore compat hf:acme/big-GGUF")
        with person.open() as store:
            store.sync()
            assert big.sent == {"big-F16.gguf": HEAD}
            assert store.download("hf:acme/big-GGUF", provider="ollama").fetched_bytes > 20_000_000


def test_a_provider_gets_the_form_that_it_runs(reader: Person, ggufs: Repository, makers: Repository) -> None:
    with reader.open() as store:
        assert store.download(NAME, provider="vllm", dry_run=True).repository == MAKERS
        found = store.download(NAME, provider="ollama", dry_run=True)
        assert (found.repository, found.files[0].path) == (GGUFS, "Meta-Llama-3-8B-Instruct-Q8_0.gguf")
        assert found.why.startswith("ollama runs it: needs ")
        with pytest.raises(Failed, match="format gguf is not compatible with provider vllm") as error:
            store.download(f"hf:{GGUFS}:Q4_K_M", provider="vllm")
        assert error.value.remedy == f"helixstore models download {NAME} --provider vllm"
        with pytest.raises(Failed, match="format gguf is not compatible with provider vllm") as error:
            store.download(NAME, provider="vllm", format="gguf")
        assert error.value.remedy == f"helixstore models download {NAME} --provider vllm"
        with pytest.raises(Usage, match="no provider is called vlm"):
            store.download(NAME, provider="vlm")


def test_a_provider_that_refuses_one_quantisation_gets_another(person: Person, tmp_path: Path) -> None:
    """mistral.rs reads no IQ quantisations; the largest that fits is one."""
    served = repository(tmp_path, "acme/mixed-GGUF", {
        "mixed-IQ4_XS.gguf": household.gguf("mixed", "IQ2_XXS", 1) + bytes(400),
        "mixed-Q4_K_M.gguf": household.gguf("mixed", "Q4_K_M", 2)})
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            assert store.download("hf:acme/mixed-GGUF", provider="ollama", dry_run=True).files[0].path.startswith(
                "mixed-IQ4_XS")
            assert store.download("hf:acme/mixed-GGUF", provider="mistralrs", dry_run=True).files[0].path.startswith(
                "mixed-Q4_K_M")


def test_memory_counts_for_a_provider(reader: Person) -> None:
    with reader.open() as store, pytest.raises(Failed, match=r"provider ollama cannot run .*it needs ") as error:
        store.download(NAME, provider="ollama", memory=1_000_000)
    assert "--memory" in error.value.remedy


def test_a_program_that_needs_a_card_is_not_served_without_one(reader: Person) -> None:
    with reader.open() as store:
        store.download(NAME, provider="tabbyapi", dry_run=True)
        reader.environ["HELIXSTORE_GPU"] = "none"
    with reader.open() as store, pytest.raises(Failed, match="this computer has none"):
        store.download(NAME, provider="tabbyapi", dry_run=True)


# ---- compat ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def kinds(tmp_path: Path) -> Sequence[Repository]:
    """Models of every kind, as they are published."""
    split, mixed, real = household.shards("split", 3, 5), tmp_path / "real", tmp_path / "gguf"
    tiny_hf(mixed, shards=2)
    real.mkdir()
    tiny_gguf(real / "real-F16.gguf")
    vision = {"see-Q8_0.gguf": household.gguf("see", "Q8_0", 8), "mmproj-see-F16.gguf": household.projector(9)}
    return [repository(tmp_path, "acme/split", split), repository(tmp_path, "acme/see", vision),
            repository(tmp_path, "acme/gptq", household.gptq("a", 1)),
            repository(tmp_path, "acme/awq", household.awq("b", 2)),
            repository(tmp_path, "acme/exl3", household.exl3("c", 3)),
            repository(tmp_path, "acme/mlx", household.mlx("d", 4)),
            repository(tmp_path, "acme/plain", household.hf("e", 5)),
            repository(tmp_path, "acme/tower", {"tower.gguf": household.gguf("tower", "Q8_0", 6, tower=True)}),
            Repository.of("acme/real-hf", COMMIT, mixed), Repository.of("acme/real-gguf", COMMIT, real)]


def test_what_is_said_before_is_what_is_said_after(person: Person, kinds: Sequence[Repository]) -> None:
    """For every provider and every kind of model: the answer, the reason, the variant."""
    person.environ |= {"HELIXSTORE_MEMORY": "16GB", "HELIXSTORE_GPU": "cuda"}
    with hub(*kinds) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        for served in kinds:
            with person.open() as store:
                before = {one.provider: one for one in store.compat(f"hf:{served.name}")}
                assert served.sent.keys() <= served.files.keys()
                store.download(f"hf:{served.name}")
                after = {one.provider: one for one in store.compat(served.name)}
            for provider, one in after.items():
                early = before[provider]
                assert (early.answer, early.convert_to, early.variant, early.model) == (
                    one.answer, one.convert_to, one.variant, one.model), (served.name, provider)
                assert one.answer == "yes" or early.reason == one.reason


def test_a_header_is_read_and_no_more(person: Person, tmp_path: Path) -> None:
    """A vocabulary as large as models have it, before weights of many times its size."""
    words = b"".join(gguf_string(f"word-{one}") for one in range(150_000))
    values = [text("general.architecture", "llama"), number("llama.context_length", 2048),
              number("llama.block_count", 2), number("llama.embedding_length", 64),
              number("llama.attention.head_count", 4), number("general.file_type", 1),
              gguf_array("tokenizer.ggml.tokens", 8, 150_000, words),
              gguf_array("tokenizer.ggml.scores", 6, 150_000, bytes(600_000))]
    head = gguf(values, [tensor("blk.0.attn_q.weight", (1024, 8192), 1, 0)])
    served = repository(tmp_path, "acme/wordy-GGUF", {"wordy-F16.gguf": head + bytes(2 * 1024 * 8192)})
    with hub(served) as endpoint:
        environ = person.environ | {"HF_ENDPOINT": endpoint}
        [verdict] = HelixStore.compat_of("hf:acme/wordy-GGUF", "llamacpp", environ)
    assert verdict.answer == "yes"
    assert len(head) - 600_000 - HEAD < served.sent["wordy-F16.gguf"] < len(head) + (1 << 20)


def test_every_shard_counts_however_many_there_are(person: Person, tmp_path: Path) -> None:
    """Of twenty shards only the last says what most of the weights are, and how many."""
    files = {name: data for name, data in household.hf("llama", 4).items() if not name.endswith(".safetensors")}
    kinds = [("F32", 4)] * 19 + [("BF16", 2)]
    for at, (dtype, width) in enumerate(kinds, 1):
        rows = 100_000 if dtype == "BF16" else 16
        entry = {"dtype": dtype, "shape": [rows, 4], "data_offsets": [0, rows * 4 * width]}
        head = json.dumps({f"model.layers.{at}.weight": entry}).encode()
        files[f"model-{at:05}-of-00020.safetensors"] = len(head).to_bytes(8, "little") + head + bytes(rows * 4 * width)
    weight_map = {f"model.layers.{at}.weight": f"model-{at:05}-of-00020.safetensors" for at in range(1, 21)}
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    served = repository(tmp_path, "acme/sharded", files)
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        there = repository_at(served.name, endpoint=endpoint)
        source = Source("hub", repository=there.name, revision=there.commit, name=there.name)
        place = Offered(HubReference(there.name), there.name, there.commit, there.files, source, "sharded")
        [form] = packages(there.files)
        before = peek(place, form, "sharded").variant
        assert max(served.sent[path] for path in served.files if path.endswith(".safetensors")) <= HEAD
        with person.open() as store:
            store.download(f"hf:{served.name}")
            [after] = store.show("sharded").variants
    assert (before.key.variant, before.quantization) == (after.id, after.quantization) == ("hf:BF16", "BF16")
    assert before.header.parameters == after.parameters == 19 * 64 + 400_000
    assert before.header.shards == 20


def test_before_there_is_a_store_it_answers_too_and_writes_nothing(tmp_path: Path, kinds: Sequence[Repository]) -> None:
    home = tmp_path / "nobody"
    home.mkdir()
    with hub(*kinds) as endpoint:
        environ = {"HOME": str(home), "PATH": os.environ["PATH"], "HF_ENDPOINT": endpoint}
        verdicts = HelixStore.compat_of("hf:acme/gptq", environ=environ)
    assert {one.provider: one.answer for one in verdicts}["vllm"] == "yes"
    assert HelixStore.search_models("llama-3", environ=environ)
    assert HelixStore.describe_model("llama3:8b", environ=environ).name == NAME
    assert list(home.rglob("*")) == []


def test_a_name_is_answered_by_the_best_form_for_each(reader: Person) -> None:
    with reader.open() as store:
        found = {one.provider: (one.answer, one.variant) for one in store.compat(NAME)}
    assert found["ollama"] == ("yes", "gguf:Q8_0")
    assert found["vllm"] == ("yes", "hf:BF16")
    assert found["comfyui"][0] == "no"


def test_what_would_fit_after_a_conversion_is_said(reader: Person, ggufs: Repository) -> None:
    del ggufs.files["Meta-Llama-3-8B-Instruct-IQ2_XXS.gguf"]
    ggufs.files["Meta-Llama-3-8B-Instruct-Q8_0.gguf"].write_bytes(weights(2, 9, quantized=True))
    for quant in ("Q4_K_M", "Q6_K", "F16"):
        del ggufs.files[f"Meta-Llama-3-8B-Instruct-{quant}.gguf"]
    with reader.open() as store:
        [verdict] = store.compat(f"hf:{GGUFS}", "ollama", memory=1_350_000_000)
        assert (verdict.answer, verdict.convert_to) == ("no", None), "eight thousand million parameters fit in no way"
        [verdict] = store.compat(f"hf:{GGUFS}", "ollama", memory=5_000_000)
        assert "a model can have 5.0 MB here" in verdict.reason


def test_hostile_headers_cost_an_error(person: Person, tmp_path: Path) -> None:
    endless = b"GGUF" + (3).to_bytes(4, "little") + (1).to_bytes(8, "little") + (8000).to_bytes(8, "little")
    bad = {"cut": household.gguf("x")[:700], "none": b"<html>" * 100, "endless": endless + bytes(100_000)}
    for name, data in bad.items():
        served = repository(tmp_path, f"acme/{name}", {"bad-Q8_0.gguf": data})
        with hub(served) as endpoint:
            environ = person.environ | {"HF_ENDPOINT": endpoint}
            with pytest.raises(Exception, match=r"bad-Q8_0\.gguf"):
                HelixStore.compat_of(f"hf:acme/{name}", environ=environ)


def test_without_a_single_layout_the_answer_is_what_to_look_at(reader: Person, ggufs: Repository) -> None:
    machine = Machine(reader.environ)
    machine.layouts.clear()
    with pytest.raises(Failed, match="no program") as error:
        foreseen(machine, NAME, None, Wish())
    assert error.value.remedy == "helixstore layouts list"
    assert ggufs.asked == []


# ---- download-all ----------------------------------------------------------------------------------------------------


def test_all_providers_that_are_on_are_served_by_the_smallest_set(
    reader: Person, ggufs: Repository, makers: Repository,
) -> None:
    only_on(reader, "ollama", "llamacpp", "vllm", "tabbyapi", "comfyui")
    with reader.open() as store:
        planned = store.download_for_all_providers(NAME, dry_run=True)
        assert sent(ggufs) == {"Meta-Llama-3-8B-Instruct-Q8_0.gguf"}
        done = store.download_for_all_providers(NAME)
        assert [one.repository for one in done.downloads] == [one.repository for one in planned.downloads]
        assert {one.repository for one in done.downloads} == {GGUFS, MAKERS}
        assert {one.provider: one.variant for one in done.serves} == {
            "ollama": "gguf:Q8_0", "llamacpp": "gguf:Q8_0", "vllm": "hf:BF16", "tabbyapi": "hf:BF16"}
        assert [one.provider for one in done.left_out] == ["comfyui"]
        assert [model.name for model in store.shared_models()] == [NAME], "all forms of one entry are one model"
        linked = {provider for model in store.shared_models() for variant in model.variants
                  for provider, one in variant.providers.items() if one.state == "linked"}
        assert linked == {"ollama", "llamacpp", "vllm", "tabbyapi"}


def test_what_the_store_has_costs_nothing(reader: Person, ggufs: Repository, makers: Repository) -> None:
    """What Ollama once pulled serves, though a better quantisation would be chosen by whoever has none."""
    only_on(reader, "ollama", "llamacpp")
    reader.put("models/pulled.gguf", ggufs.files["Meta-Llama-3-8B-Instruct-Q4_K_M.gguf"].read_bytes())
    with reader.open() as store:
        store.add(reader.home / "models/pulled.gguf")
        planned = store.download_for_all_providers(NAME, dry_run=True)
        [one] = planned.downloads
        assert {file.path: file.bytes - file.here_bytes for file in one.files} == {
            "Meta-Llama-3-8B-Instruct-Q4_K_M.gguf": 0}
        done = store.download_for_all_providers(NAME)
        assert {(served.provider, served.variant) for served in done.serves} == {
            ("ollama", "gguf:Q4_K_M"), ("llamacpp", "gguf:Q4_K_M")}
        assert sum(one.fetched_bytes for one in done.downloads) == 0


def test_of_two_that_serve_the_same_the_one_that_is_here_is_taken(
    reader: Person, ggufs: Repository, makers: Repository,
) -> None:
    """mistral.rs runs the makers' weights and the GGUF; whichever is here, the other need not come."""
    only_on(reader, "mistralrs")
    with reader.open() as store:
        [first] = store.download_for_all_providers(NAME, dry_run=True).downloads
        other = MAKERS if first.repository == GGUFS else GGUFS
        store.download(f"hf:{other}")
        [second] = store.download_for_all_providers(NAME, dry_run=True).downloads
    assert second.repository == other
    assert all(file.here_bytes == file.bytes for file in second.files)


def test_one_format_leaves_out_who_needs_another_and_says_so(reader: Person) -> None:
    only_on(reader, "ollama", "vllm")
    with reader.open() as store:
        done = store.download_for_all_providers(NAME, Format.GGUF)
    assert [one.repository for one in done.downloads] == [GGUFS]
    assert [(one.provider, one.convert_to) for one in done.left_out] == [("vllm", "hf")]


def test_a_gated_place_is_passed_over_and_named_where_it_would_have_helped(
    reader: Person, makers: Repository,
) -> None:
    makers.gated = True
    only_on(reader, "ollama", "vllm")
    with reader.open() as store:
        done = store.download_for_all_providers(NAME, dry_run=True)
    assert [one.repository for one in done.downloads] == [GGUFS]
    assert [one.provider for one in done.left_out] == ["vllm"]
    assert any("gated" in issue.message and "hf auth login" in issue.remedy for issue in done.issues)


@pytest.mark.parametrize("left_out", ["comfyui", "vllm"])
def test_a_closed_place_is_an_issue_only_where_it_would_have_helped(
    reader: Person, makers: Repository, left_out: str,
) -> None:
    """ComfyUI loads nothing of the kind that the place has; vLLM does."""
    makers.gated = True
    only_on(reader, "ollama", left_out)
    said = typed("download-all", NAME, "--dry-run", "--json", environ=reader.environ)
    assert said.returncode == (3 if left_out == "vllm" else 0), said.stderr
    told = json.loads(said.stdout)
    assert [one["provider"] for one in told["left_out"]] == [left_out]
    kinds = [one["kind"] for one in told["unasked"] if "gated" in one["message"]]
    assert kinds == ["failed" if left_out == "vllm" else "passed over"]


def test_nobody_to_serve_is_an_error(reader: Person) -> None:
    only_on(reader)
    with reader.open() as store, pytest.raises(Usage, match="no program is on"):
        store.download_for_all_providers(NAME)
    only_on(reader, "comfyui")
    with reader.open() as store, pytest.raises(Failed, match="no program that is on can run"):
        store.download_for_all_providers(NAME)


def test_the_commands_say_it(reader: Person) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return typed(*words, environ=reader.environ)

    dry = run("models", "download", NAME, "--dry-run")
    assert "Q8_0 of 5 quantisations fits best" in dry.stdout
    assert "There is also: gguf:Q6_K" in dry.stdout
    refused = run("models", "download", f"hf:{GGUFS}:Q4_K_M", "--provider", "vllm")
    assert refused.returncode == 1
    assert "format gguf is not compatible with provider vllm" in refused.stderr
    told = json.loads(run("compat", NAME, "--provider", "ollama", "--json").stdout)
    assert told["verdicts"][0]["answer"] == "yes"
    everything = run("download-all", NAME, "--format", "gguf", "--dry-run")
    assert "vllm is left out: " in everything.stdout
    several = run("download-all", NAME, "--dry-run").stdout
    assert several.count("would be downloaded.") == 2
    assert several.count("Nothing was changed.") == 1
    assert several.endswith("\nNothing was changed.\n")
    assert run("models", "download", NAME, "--memory", "much").returncode == 2


def test_of_a_well_known_model_that_is_here_the_other_forms_are_named(reader: Person) -> None:
    with reader.open() as store:
        store.download(NAME, format="gguf")
        found = {one.provider: one for one in store.compat(NAME)}
        assert found["vllm"].reason.endswith(f"another form: helixstore models download {NAME} --provider vllm")
        assert "another form" not in found["ollama"].reason
        assert "another form" not in found["comfyui"].reason
        store.download(NAME, provider="vllm")
        assert all("another form" not in one.reason for one in store.compat(NAME, "vllm"))
