"""Every real program by every kind of link: it reads what was projected, and its own delete takes it from nobody else.

The farm is made by the real engine from one home: a GGUF and a Hugging Face folder of the person's, and a GGUF that a
hub client has downloaded; the kind of link is the same everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import real_gguf, real_hub
from tests.support.hub import cached
from tests.support.models import tiny_gguf
from tests.support.sandbox import Sandbox, sha256

pytestmark = pytest.mark.programs

Act = Callable[[Sandbox, Path], object]
Key = tuple[str, str, str]                      # provider, model, variant


class Real(NamedTuple):
    """One program: whose folder it reads, which model, how it is made to read it, and its own delete, if it has one.

    `place`: the folder from which it deletes, relative to the home.
    """

    provider: str
    model: str
    read: Act
    delete: Act | None = None
    place: str = ""


_CACHE = ".cache/huggingface/hub"


def _hub(environment: str) -> Real:
    return Real("vllm", "tiny-llama", lambda sandbox, _: real_hub.hub_reads(environment, sandbox),
                lambda sandbox, _: real_hub.hub_deletes(environment, sandbox), _CACHE)


PROGRAMS = {
    "llama-server": Real("llamacpp", "pebble", real_gguf.router_answers),
    "llama-server-cache": Real("mistralrs", "cobble", real_gguf.router_reads_the_cache,
                               real_gguf.router_deletes_from_the_cache, _CACHE),
    "ollama": Real("ollama", "pebble", real_gguf.ollama_shows, real_gguf.ollama_deletes, ".ollama/models"),
    "transformers": Real("vllm", "tiny-llama", real_hub.transformers_load),
    "huggingface_hub-0.36": _hub("hub-old"),
    "huggingface_hub-1.28": _hub("hub-1"),
    "huggingface_hub-2.4": _hub("hub"),
    "mlx": Real("mlx", "tiny-llama", real_hub.mlx_answers, real_hub.mlx_deletes, _CACHE),
    "mistralrs-safetensors": Real("mistralrs", "tiny-llama", real_hub.mistralrs_loads),
    "mistralrs-gguf": Real("mistralrs", "pebble", real_gguf.mistralrs_answers),
    "gpt4all": Real("gpt4all", "pebble", real_gguf.gpt4all_answers),
    "fastchat": Real("fastchat", "tiny-llama", real_hub.fastchat_answers),
    "vllm": Real("vllm", "tiny-llama", real_hub.vllm_answers),
    "ollama-whole": Real("ollama", "pebble", real_gguf.ollama_loads),
}
OCCASIONAL = ("vllm", "ollama-whole")
READERS = [pytest.param(name, marks=pytest.mark.occasional if name in OCCASIONAL else ()) for name in PROGRAMS]
DELETERS = [name for name, program in PROGRAMS.items() if program.delete]


def shared(home: Path, tiny: Path, kind: str) -> Sandbox:
    """A home in which every program sees every model it can load, through links of this kind."""
    sandbox = Sandbox.make(home)
    sandbox.place(tiny / "pebble.gguf", "models/pebble.gguf")
    sandbox.place(tiny / "tiny-sharded", "models/tiny-llama")
    cobble = tiny_gguf(home.parent / "cobble-F16.gguf", seed=2, name="Cobble")
    snapshot = cached(sandbox.home / ".cache/huggingface/hub", "acme/cobble-GGUF", [cobble]) / "cobble-F16.gguf"
    sandbox.init("models", links=kind)
    os.unlink(snapshot.resolve())           # what the client downloaded was adopted as it lay; now it is a link of ours
    sandbox.document("sync", "--yes", expect=(0, 3))
    assert sandbox.sync()["actions"] == []
    return sandbox


def readers(sandbox: Sandbox, folder: Path) -> set[str]:
    """The providers that read a folder."""
    return {provider["name"] for provider in sandbox.document("providers")["providers"]
            if str(folder) in [root["path"] for root in provider["roots"]]}


def standing(sandbox: Sandbox) -> dict[Key, tuple[str, list[Path]]]:
    """How each variant stands with each provider, and under which paths."""
    return {(provider, model["name"], variant["id"]): (here["state"], [Path(path) for path in here["paths"]])
            for model in sandbox.document("list")["models"] for variant in model["variants"]
            for provider, here in variant["providers"].items()}


def projected(sandbox: Sandbox) -> dict[Key, dict[Path, str]]:
    """Each path under which a variant is linked, with the SHA-256 of what opens there."""
    return {key: {path: sha256(path) for path in paths}
            for key, (state, paths) in standing(sandbox).items() if state == "linked"}


@pytest.fixture(scope="module", params=("hard", "symlink"))
def kind(request: pytest.FixtureRequest) -> str:
    """By which links the programs get their weights."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def farm(kind: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One farm for all readers; none of them changes it."""
    sandbox = shared(tmp_path_factory.mktemp(kind) / "home", tiny, kind)
    before = projected(sandbox)
    yield sandbox
    sandbox.whole()
    assert projected(sandbox) == before
    assert sandbox.sync()["actions"] == []
    sandbox.helix("verify")


@pytest.mark.parametrize("name", READERS)
def test_it_lists_or_loads_and_answers(name: str, kind: str, farm: Sandbox, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    assert farm.linked(program.provider, program.model).link == kind
    program.read(farm, tmp_path)


@pytest.mark.parametrize("name", DELETERS)
def test_its_own_delete_takes_the_model_from_nobody_else(name: str, kind: str, tiny: Path, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    assert program.delete
    sandbox = shared(tmp_path / "home", tiny, kind)
    before, affected = projected(sandbox), readers(sandbox, sandbox.home / program.place)
    gone = {key for key in before if key[0] in affected and key[1].startswith(program.model)}
    assert program.provider in {provider for provider, _, _ in gone}
    program.delete(sandbox, tmp_path)
    sandbox.whole()
    sandbox.helix("verify")
    assert sandbox.sync()["issues"] == []
    assert {state for key, (state, _) in standing(sandbox).items() if key in gone} == {"hidden"}
    assert projected(sandbox) == {key: paths for key, paths in before.items() if key not in gone}
    assert sandbox.sync()["actions"] == []
    sandbox.helix("verify")


@pytest.mark.parametrize("environment", ["hub-old", "hub-1", "hub"])
def test_deleting_one_revision_of_several_leaves_the_bytes_to_everybody_else(
    environment: str, kind: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The dangerous delete: not the folder but each file, before 1.32 by following its link to the end."""
    cache, kept, dropped = sandbox.home / _CACHE, "1" * 40, "2" * 40
    for commit, name, seed in ((dropped, "cobble-early-F16.gguf", 5), (kept, "cobble-F16.gguf", 6)):
        file = tiny_gguf(tmp_path / name, seed=seed, name="Cobble")
        blob = (cached(cache, "acme/cobble-GGUF", [file], commit) / file.name).resolve()
        sandbox.put[blob] = sha256(blob)
    sandbox.init(links=kind)
    for blob in list(sandbox.put):
        del sandbox.put[blob]
        blob.unlink()                       # so that links of ours take their places
    sandbox.document("sync", "--yes", expect=(0, 3))
    before = projected(sandbox)
    real_hub.hub_deletes_revision(environment, sandbox, dropped)
    sandbox.helix("verify")
    sandbox.document("sync", "--yes", expect=(0, 3))
    assert sandbox.sync()["actions"] == []
    deleted = {key[1:] for key, paths in before.items() if any(dropped in path.parts for path in paths)}
    affected = readers(sandbox, cache)
    gone = {key for key in before if key[0] in affected and key[1:] in deleted}
    assert gone
    after = projected(sandbox)
    for key in before.keys() - gone:
        assert _contents(after[key]) == _contents(before[key]), key
        assert key[0] in affected or after[key] == before[key], key     # a name that is alone now may be shorter


def _contents(paths: dict[Path, str]) -> set[str]:
    """The digests of a model's files; the cache's `main` may name another revision than before."""
    return {digest for path, digest in paths.items() if "refs" not in path.parts}
