"""`get` in a program's own code: downloaded the first time, found ever after, whoever answers or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from registries import ollama_model
from repository import COMMIT, GGUFS, MAKERS, NAME, weights

from helixstore import Format
from support import household
from support.hub import Repository
from support.person import Person
from support.registry import StandIn, serve


@pytest.mark.parametrize("what", [NAME, f"hf:{GGUFS}:Q4_K_M", f"{GGUFS}@{COMMIT}:Q6_K", f"hf:{MAKERS}"])
def test_get_downloads_once_and_asks_nobody_again(
    reader: Person, ggufs: Repository, makers: Repository, what: str,
) -> None:
    with reader.open() as store:
        first = store.get(what)
    assert first.is_dir() if MAKERS in what else first.read_bytes()[:4] == b"GGUF"
    asked = len(ggufs.asked) + len(makers.asked)
    reader.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    with reader.open() as store:
        assert store.get(what) == first
    assert len(ggufs.asked) + len(makers.asked) == asked


SCRIPT = "import sys; from helixstore import HelixStore; print(HelixStore().get(sys.argv[1]))"


def got(person: Person, what: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, what], env=person.environ | environ, text=True,
                          capture_output=True, check=False, timeout=60)


def test_a_branch_is_asked_for_by_one_request_and_known_when_nobody_answers(
    reader: Person, ggufs: Repository, makers: Repository,
) -> None:
    what = f"hf:{GGUFS}@main:Q4_K_M"
    with reader.open() as store:
        first = store.get(what)
        before = len(ggufs.asked)
        assert store.get(what) == first
    assert len(ggufs.asked) == before + 1
    for away in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert got(reader, what, **away).stdout.strip() == str(first), away
    name, data = "Meta-Llama-3-8B-Instruct-Q4_K_M.gguf", household.gguf("llama", "Q4_K_M", 9)
    ggufs.commit = "2" * 40
    ggufs.files[name].write_bytes(data)
    with reader.open() as store:
        assert store.get(f"hf:{GGUFS}:Q4_K_M").read_bytes() != data, "without a branch, what is here"
        assert store.get(what).read_bytes() == data


def test_a_branch_that_was_never_asked_for_is_no_guess(reader: Person) -> None:
    with reader.open() as store:
        store.get(f"hf:{GGUFS}@main:Q4_K_M")
    said = got(reader, f"hf:{GGUFS}@v1.0:Q4_K_M", HF_HUB_OFFLINE="1")
    assert said.returncode == 1
    assert "HF_HUB_OFFLINE is set" in said.stderr


def test_a_commit_that_changed_no_weights_is_asked_for_and_nothing_comes(
    reader: Person, ggufs: Repository,
) -> None:
    what = f"hf:{GGUFS}@main:Q4_K_M"
    with reader.open() as store:
        first = store.get(what)
        ggufs.commit = "2" * 40
        ggufs.files["README.md"].write_bytes(b"# another\n")
        ggufs.sent.clear()
        assert store.get(what).read_bytes() == first.read_bytes()
        assert ggufs.sent == {}
        asked = len(ggufs.asked)
        store.get(what)
        assert len(ggufs.asked) == asked + 1


def test_get_of_a_format_that_is_not_here_downloads_that(reader: Person) -> None:
    with reader.open() as store:
        assert store.get(NAME, Format.GGUF).suffix == ".gguf"
        assert (store.get(NAME, "hf") / "config.json").is_file()
        store.download(NAME, quantization="Q4_K_M")
        assert store.get(NAME, "gguf").name.endswith("Q8_0.gguf"), "of several the one that fits best"


def test_two_jobs_that_get_the_same_fetch_it_once(reader: Person, ggufs: Repository) -> None:
    script = "import sys; from helixstore import HelixStore; print(HelixStore().get(sys.argv[1]))"
    command = [sys.executable, "-c", script, NAME]
    jobs = [subprocess.Popen(command, env=reader.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {job.communicate(timeout=60)[0].strip() for job in jobs}
    assert len(said) == 1
    assert Path(said.pop()).read_bytes()[:4] == b"GGUF"
    gets = [line for line in ggufs.asked if line.startswith("GET") and line.endswith("Q8_0.gguf")]
    assert len(gets) == 1


@pytest.mark.parametrize("what", ["ollama:{host}/library/pebble:1b", "oci://{host}/library/pebble:1b",
                                  "oci://{host}/library/pebble@sha256:{digest}"])
def test_a_tag_of_a_registry_is_asked_for_once(person: Person, what: str) -> None:
    with serve(StandIn()) as registry:
        ollama_model(registry, "1b", weights(1, 5))
        name = what.format(host=registry.host, digest=registry.tags["1b"])
        with person.open() as store:
            first = store.get(name)
        assert first.read_bytes() == weights(1, 5)
    with person.open() as store:
        assert store.get(name) == first, "the registry is gone"
