"""`models download` of what the store has whole, where nobody can be asked: it is here, and that is said."""

from __future__ import annotations

import json
import subprocess

import pytest
from registries import ollama_model
from repository import COMMIT, GGUFS, MAKERS, NAME, only_on, weights

from support import typist
from support.person import Person
from support.registry import StandIn, serve

AWAY = ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"})


def typed(person: Person, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return typist.typed("models", "download", *words, environ=person.environ | environ)


@pytest.mark.parametrize("what", [NAME, f"hf:{GGUFS}:Q4_K_M", f"hf:{GGUFS}@{COMMIT}:Q6_K", f"hf:{MAKERS}",
                                  f"hf:{GGUFS}@main:Q4_K_M"])
def test_what_is_here_is_an_answer_where_nobody_answers(reader: Person, what: str) -> None:
    with reader.open() as store:
        fetched = store.download(what)
    for away, dry_run in ((AWAY[0], ()), (AWAY[1], ("--dry-run",))):
        said = typed(reader, what, *dry_run, **away)
        assert said.returncode == 0, said.stderr
        assert " is here already, as of 20" in said.stdout
        assert COMMIT[:8] in said.stdout
    reader.environ |= AWAY[1]
    with reader.open() as store:
        again = store.download(what)
    assert (again.name, again.repository, again.revision) == (fetched.name, fetched.repository, fetched.revision)
    assert again.fetched_bytes == 0
    assert all(file.here_bytes == file.bytes for file in again.files)


@pytest.mark.parametrize("words", [(f"hf:{GGUFS}:Q8_0",), (f"hf:{GGUFS}@v1.0:Q4_K_M",), (f"hf:{GGUFS}@{'2' * 40}",),
                                   (NAME, "--quantize", "all"), (NAME, "--provider", "vllm"), (NAME, "--format", "hf"),
                                   (NAME, "--name", "another")])
def test_what_is_not_here_stays_an_error(reader: Person, words: tuple[str, ...]) -> None:
    with reader.open() as store:
        store.download(NAME, quantization="Q4_K_M")
    said = typed(reader, *words, **AWAY[0])
    assert said.returncode == 1
    assert "HF_HUB_OFFLINE is set" in said.stderr


def test_what_a_blob_is_missing_of_is_not_whole(reader: Person) -> None:
    with reader.open() as store:
        store.download(NAME)
        [variant] = store.show(NAME).variants
        weight = max(variant.files, key=lambda file: file.bytes)
        (store.folder / "blobs" / weight.blake3[:2] / weight.blake3).unlink()
    assert typed(reader, NAME, **AWAY[0]).returncode == 1


def test_a_provider_that_runs_it_is_answered_too(reader: Person) -> None:
    with reader.open() as store:
        store.download(NAME)
    assert typed(reader, NAME, "--provider", "ollama", **AWAY[0]).returncode == 0


def test_a_tag_of_a_registry_too(person: Person) -> None:
    with serve(StandIn()) as registry:
        ollama_model(registry, "1b", weights(1, 2))
        what = f"ollama:{registry.host}/library/pebble:1b"
        with person.open() as store:
            store.download(what)
    with person.open() as store:
        assert "is here already" in store.download(what).why


# ---- download-all ----------------------------------------------------------------------------------------------------


def all_typed(person: Person, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return typist.typed("download-all", *words, environ=person.environ | environ)


def test_for_all_programs_what_is_here_is_an_answer_too(reader: Person) -> None:
    """The same forms for the same programs as when the hub was asked; who runs none of any is left out as ever."""
    only_on(reader, "ollama", "llamacpp", "vllm", "comfyui")
    with reader.open() as store:
        asked = store.download_for_all_providers(NAME)
    said = all_typed(reader, NAME, **AWAY[0])
    assert (said.returncode, "HF_HUB_OFFLINE is set. gguf:Q8_0 is here" in said.stdout) == (0, True), said.stderr
    reader.environ |= AWAY[1]
    with reader.open() as store:
        again = store.download_for_all_providers(NAME)
        planned = store.download_for_all_providers(NAME, dry_run=True)
    for one in (again, planned):
        assert (one.model, one.serves) == (asked.model, asked.serves)
        assert [left.provider for left in one.left_out] == ["comfyui"]
        assert {(form.repository, form.revision) for form in one.downloads} == {(GGUFS, COMMIT), (MAKERS, COMMIT)}
        assert all(file.here_bytes == file.bytes for form in one.downloads for file in form.files)
        assert {note.kind for note in one.unasked} == {"passed over"}, "it could have helped nobody"
        assert one.issues == ()
    assert sum(form.fetched_bytes for form in again.downloads) == 0
    said = all_typed(reader, NAME)
    assert said.returncode == 0, said.stderr
    assert "hf:BF16 is here already, as of 20" in said.stdout
    assert again.unasked[0].message in said.stdout, "that the hub was not asked is told"
    assert "Passed over" not in said.stdout, "and once"


def test_a_program_that_the_hub_may_serve_and_the_store_cannot_is_left_out_with_an_issue(reader: Person) -> None:
    only_on(reader, "ollama", "vllm")
    with reader.open() as store:
        store.download(NAME, quantization="Q6_K")
        store.download(NAME, quantization="Q4_K_M")
    said = all_typed(reader, NAME, "--json", **AWAY[0])
    assert said.returncode == 3, said.stderr
    told = json.loads(said.stdout)
    assert told["serves"] == [{"provider": "ollama", "variant": "gguf:Q6_K"}], "the best of those that are here"
    assert [one["provider"] for one in told["left_out"]] == ["vllm"]
    assert [one["kind"] for one in told["unasked"]] == ["failed"]
    assert "HF_HUB_OFFLINE is set" in told["unasked"][0]["message"]


@pytest.mark.parametrize("on", ["vllm", "comfyui"])
def test_what_is_here_and_serves_nobody_is_no_answer(reader: Person, on: str) -> None:
    only_on(reader, on)
    assert "HF_HUB_OFFLINE is set" in all_typed(reader, NAME, **AWAY[0]).stderr, "nothing is here"
    with reader.open() as store:
        store.download(NAME, quantization="Q6_K")
    said = all_typed(reader, NAME, **AWAY[0])
    assert said.returncode == 1
    assert "HF_HUB_OFFLINE is set" in said.stderr


def test_of_what_is_here_the_form_counts_that_the_named_program_runs(reader: Person) -> None:
    with reader.open() as store:
        store.download(NAME, quantization="Q8_0")
        store.download(NAME, format="hf")
    for provider, file in (("vllm", "safetensors"), ("ollama", "gguf")):
        said = typed(reader, NAME, "--provider", provider, "--json", **AWAY[0])
        assert said.returncode == 0, said.stderr
        assert any(one["path"].endswith(file) for one in json.loads(said.stdout)["files"])


def test_a_mirror_that_has_it_not_is_no_reason_to_forget_what_is_here(reader: Person) -> None:
    with serve(StandIn()) as registry:
        with reader.open() as store:
            store.download(NAME, quantization="Q6_K")
        away = {"HF_ENDPOINT": "http://127.0.0.1:9", "HELIXSTORE_MIRROR": f"oci://{registry.host}/models"}
        for command, what in ((typed, NAME), (typed, f"hf:{GGUFS}:Q6_K"), (all_typed, NAME)):
            only_on(reader, "ollama")
            said = command(reader, what, **away)
            assert said.returncode == 0, said.stderr
            assert "gguf:Q6_K is here already" in said.stdout
        said = typed(reader, f"hf:{GGUFS}:Q8_0", **away)
        assert (said.returncode, "and the mirror" in said.stderr) == (1, True)
