"""`models download` of what the store has whole, where nobody can be asked: it is here, and that is said."""

from __future__ import annotations

import subprocess
import sys

import pytest
from registries import ollama_model
from repository import COMMIT, GGUFS, MAKERS, NAME, weights

from support.person import Person
from support.registry import StandIn, serve

AWAY = ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"})


def typed(person: Person, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "helixstore", "models", "download", *words], text=True,
                          env=person.environ | environ, capture_output=True, check=False, timeout=60)


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
