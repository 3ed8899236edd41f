"""From what a person types to the place that is asked: quantisations, formats, places that are closed or busy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from repository import repository, weights

from helixstore import HelixStore
from helixstore.errors import Failed, NotFound, Passing
from support import household
from support.hub import Repository, Trouble, hub
from support.person import Person
from support.typist import typed

OWN = """
["ours-7b"]
context = 4096
parameters = 7_000_000_000
sources = [
    { format = "gguf", at = "hf:acme/ours-GGUF", quantizations = ["Q8_0"] },
    { format = "mlx", at = "hf:acme/ours-mlx-{quantization}", quantizations = ["4bit", "8bit"] },
    { format = "awq", at = "hf:acme/ours-awq", quantizations = ["Int4"] },
    { format = "hf", at = "hf:acme/ours" },
    { format = "gguf", at = "ollama:127.0.0.1:9/library/ours:7b" },
]
"""


@pytest.fixture
def ours(tmp_path: Path) -> dict[str, Repository]:
    quants = {f"ours-{quant}.gguf": household.gguf("ours", quant, 3) for quant in ("Q4_K_M", "Q6_K", "Q8_0")}
    made = {"GGUF": quants, "mlx-4bit": household.mlx("ours", 1), "mlx-8bit": household.mlx("ours", 2),
            "awq": household.awq("ours", 4), "": household.hf("ours", 5)}
    names = {name: f"acme/ours-{name}" if name else "acme/ours" for name in made}
    return {name: repository(tmp_path, names[name], files) for name, files in made.items()}


@pytest.fixture
def member(person: Person, ours: dict[str, Repository]) -> Iterator[Person]:
    person.put(".config/helixstore/models.toml", OWN.encode())
    with hub(*ours.values()) as endpoint:
        person.environ |= {"HF_ENDPOINT": endpoint, "HELIXSTORE_MEMORY": "16GB", "HELIXSTORE_GPU": "cuda"}
        yield person


@pytest.mark.parametrize(("typed", "wanted", "place"), [
    ("ours-7b", {"quantization": "4bit"}, "acme/ours-mlx-4bit"),
    ("ours-7b", {"format": "mlx", "quantization": "8bit"}, "acme/ours-mlx-8bit"),
    ("ours-7b", {"quantization": "int4"}, "acme/ours-awq"),
    ("ours-7b", {"format": "mlx", "provider": "mlx"}, "acme/ours-mlx-8bit"),
    ("ours-7b:8bit", {}, "acme/ours-mlx-8bit"),
    ("hf:acme/ours-mlx-4bit", {"quantization": "4bit"}, "acme/ours-mlx-4bit"),
])
def test_a_quantisation_in_a_repository_of_its_own(
    member: Person, typed: str, wanted: Mapping[str, str], place: str,
) -> None:
    with member.open() as store:
        assert store.download(typed, dry_run=True, **wanted).repository == place


@pytest.mark.parametrize("typed", ["ours-7b:Q8_0", "Ours 7B:q8_0", "ours:7b-q8_0"])
def test_a_name_may_end_in_a_quantisation(member: Person, typed: str) -> None:
    with member.open() as store:
        report = store.download(typed, dry_run=True)
    assert (report.name, report.files[0].path) == ("ours-7b", "ours-Q8_0.gguf")


def test_a_name_that_is_none_is_none_with_a_quantisation_too(member: Person) -> None:
    with member.open() as store, pytest.raises(NotFound, match=r"ourz-7b:Q8_0") as error:
        store.download("ourz-7b:Q8_0")
    assert "ours-7b" in error.value.remedy


def test_the_hub_is_asked_for_a_quantisation_that_the_catalogue_does_not_list(member: Person) -> None:
    with member.open() as store:
        report = store.download("ours-7b", quantization="q4_k_m", dry_run=True)
        assert [one.path for one in report.files] == ["ours-Q4_K_M.gguf"]
        with pytest.raises(NotFound, match="has no Q5_0") as error:
            store.download("ours-7b", quantization="Q5_0")
    assert "gguf:Q6_K" in error.value.remedy, "not Ollama's own choice, which is another"


def test_a_repository_in_another_format_than_was_asked_for_is_none(
    member: Person, ours: dict[str, Repository],
) -> None:
    with member.open() as store:
        for provider in ("", "vllm"):
            with pytest.raises(NotFound, match="hf:acme/ours is hf, not awq"):
                store.download("hf:acme/ours", format="awq", provider=provider)
        assert store.download("hf:acme/ours-awq", format="awq", dry_run=True).repository == "acme/ours-awq"
        assert store.download("hf:acme/ours", format="safetensors", dry_run=True).files


def test_what_fits_nowhere_says_which_conversion_would(person: Person, tmp_path: Path) -> None:
    big = repository(tmp_path, "acme/big-GGUF", {"big-F16.gguf": weights(1, 40), "big-BF16.gguf": weights(2, 40)})
    with hub(big) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            [verdict] = store.compat("hf:acme/big-GGUF", "ollama", memory=30_000_000)
            assert (verdict.answer, verdict.convert_to) == ("after conversion", "gguf")
            assert verdict.reason.endswith("as gguf in Q8_0 it would fit")
            assert "with a context of 2,048 tokens" in verdict.reason, "what the model was made for"
            for provider in ("", "ollama"):
                with pytest.raises(Failed) as error:
                    store.download("hf:acme/big-GGUF", provider=provider, memory=30_000_000)
                assert "gguf" in error.value.remedy
                assert "--memory" in error.value.remedy
                assert "with a context of 2,048 tokens" in error.value.message
                assert "Q8_0 it would fit" in error.value.message or "as Q8_0 would fit" in error.value.remedy
            [verdict] = store.compat("hf:acme/big-GGUF", "ollama", memory=1000)
            assert (verdict.answer, verdict.convert_to) == ("no", None)
    assert big.sent.keys() <= big.files.keys()
    assert max(big.sent.values()) < 1 << 20, "headers alone"


# ---- closed and busy -------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_that_the_files_are_gated(member: Person, ours: dict[str, Repository]) -> None:
    ours["GGUF"].gated = True
    with member.open() as store, pytest.raises(Failed, match="is gated") as error:
        store.download("hf:acme/ours-GGUF:Q8_0", dry_run=True)
    assert "hf auth login" in error.value.remedy
    assert ours["GGUF"].sent == {}


def test_a_gated_place_is_passed_over_and_named(member: Person, ours: dict[str, Repository]) -> None:
    ours["GGUF"].gated = ours[""].gated = True
    with member.open() as store:
        report = store.download("ours-7b", provider="vllm", dry_run=True)
        assert report.repository == "acme/ours-awq"
        assert "passed over: acme/ours is gated" in report.why
        assert "hf auth login" in report.why
        assert store.download("ours-7b", dry_run=True).repository != "acme/ours-GGUF"


def test_what_a_provider_could_run_and_is_closed_is_what_the_person_hears_of(
    member: Person, ours: dict[str, Repository],
) -> None:
    """Not that the form which is open to everybody cannot be run."""
    ours[""].gated = ours["awq"].gated = True
    with member.open() as store:
        with pytest.raises(Failed, match=r"vllm can run none .* open to you: acme/ours is gated") as error:
            store.download("ours-7b", provider="vllm")
        assert "hf auth login" in error.value.remedy
        found = {one.provider: one for one in store.compat("ours-7b")}
    assert found["vllm"].answer == "after conversion"
    assert "acme/ours is gated: its owner lets people read it" in found["vllm"].reason
    assert "gated" not in found["ollama"].reason


def test_a_hub_that_is_too_busy_to_list_is_asked_again(member: Person, ours: dict[str, Repository]) -> None:
    answers = [Trouble(503), Trouble(429, {"Retry-After": "0.01"}), Trouble(cut=0)]
    ours["GGUF"].listing = lambda number: answers[number] if number < len(answers) else None
    with member.open() as store:
        assert store.download("hf:acme/ours-GGUF:Q8_0", dry_run=True).files
        ours["GGUF"].listing = lambda number: Trouble(503)
        with pytest.raises(Passing, match="the server answers 503"):
            store.download("hf:acme/ours-GGUF:Q8_0", dry_run=True)


# ---- what is printed and kept ----------------------------------------------------------------------------------------


def run(person: Person, *words: str) -> subprocess.CompletedProcess[str]:
    return typed(*words, environ=person.environ)


def test_json_has_the_files_as_the_documentation_says(member: Person) -> None:
    planned = json.loads(run(member, "models", "download", "ours-7b:Q8_0", "--dry-run", "--json").stdout)
    assert planned["files"] == [{"path": "ours-Q8_0.gguf", "bytes": planned["files"][0]["bytes"], "here_bytes": 0}]


def test_a_token_is_nowhere_but_in_what_is_sent_to_the_hub(member: Person, ours: dict[str, Repository]) -> None:
    """Whatever goes wrong: in no output, no record, no log."""
    token = "hf_ThisIsMySecretTokenOfThirtySix"
    member.environ["HF_TOKEN"] = token
    said = run(member, "models", "download", "hf:acme/ours-GGUF:Q8_0")
    assert said.returncode == 0, said.stderr
    assert f"Bearer {token}" in ours["GGUF"].tokens
    ours[""].trouble = lambda path, number: Trouble(418)
    ours["awq"].gated = True
    texts = [said.stdout, said.stderr]
    for name in ("hf:acme/ours", "hf:acme/ours-awq", "hf:acme/none"):
        for more in ((), ("--json",)):
            done = run(member, "models", "download", name, *more)
            assert done.returncode, name
            texts += [done.stdout, done.stderr]
    texts += [run(member, *words).stdout for words in (("log", "--json"), ("doctor",), ("config", "--json"))]
    kept = [path for path in member.home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert kept == []
    assert all(token not in text and token[8:20] not in text for text in texts)


def test_a_mistake_in_ones_own_names_is_said_where_the_name_is_missed(member: Person) -> None:
    member.put(".config/helixstore/models.toml", b'["ours-8b"]\nsources = [{ format = "zip", at = "hf:a/b" }]\n')
    missed = run(member, "models", "download", "ours-8b")
    assert missed.returncode == 1
    assert "models.toml: line 1: ours-8b has a source of an unknown format: zip" in missed.stderr
    assert "models.toml: line 1" in run(member, "models", "info", "ours-8b").stderr
    checks = json.loads(run(member, "doctor", "--json").stdout)["checks"]
    assert any("models.toml: line 1" in one["message"] and one["state"] == "warning" for one in checks)
    assert any("a model can have 16.0 GB" in one["message"] for one in checks)


def test_what_is_found_of_this_computer_needs_no_store(tmp_path: Path) -> None:
    assert HelixStore.search_models("llama-3", environ={"HOME": str(tmp_path), "PATH": "", "HELIXSTORE_GPU": "metal"})
