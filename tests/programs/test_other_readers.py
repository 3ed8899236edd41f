"""MLX's server, mistral.rs and GPT4All read what helixstore projected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.test_hub_readers import repository
from tests.support.programs import ask, free_port, interpreter, python, serving
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs

_MISTRALRS_HF = """
import json, sys
from mistralrs import ChatCompletionRequest, Runner, Which
runner = Runner(which=Which.Plain(model_id=sys.argv[1]))
request = ChatCompletionRequest(model="default", messages=[{"role": "user", "content": "hello"}], max_tokens=4)
print(json.dumps(runner.send_chat_completion_request(request).usage.completion_tokens))
"""

_MISTRALRS_GGUF = """
import json, os, sys
from mistralrs import CompletionRequest, Runner, Which
folder, name = os.path.split(sys.argv[1])
runner = Runner(which=Which.GGUF(quantized_model_id=folder, quantized_filename=name))
request = CompletionRequest(model="default", prompt="The capital of France is", max_tokens=4, temperature=0.0)
print(json.dumps(runner.send_completion_request(request).choices[0].text))
"""

_GPT4ALL = """
import json, os, sys
from gpt4all import GPT4All
folder, name = os.path.split(sys.argv[1])
model = GPT4All(name, model_path=folder, allow_download=False, device="cpu", n_ctx=128)
print(json.dumps(model.generate("hello", max_tokens=4, temp=0)))
"""


def test_mlx_serves_a_model_by_its_repository_name(laptop: Sandbox, tmp_path: Path) -> None:
    name, _, _ = repository(laptop, "tiny-llama")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [interpreter("mlx").with_name("mlx_lm.server"), "--host", "127.0.0.1", "--port", port]
    with serving(command, f"{address}/health", laptop.environ, tmp_path / "log"):
        assert name in [model["id"] for model in ask(f"{address}/v1/models")["data"]]
        said = ask(f"{address}/v1/chat/completions", {
            "model": name, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4,
        })
    assert said["usage"]["completion_tokens"] == 4


def test_mistralrs_loads_a_model_by_its_repository_name(laptop: Sandbox) -> None:
    name, _, _ = repository(laptop, "tiny-llama")
    assert python("mistralrs", _MISTRALRS_HF, name, environ=laptop.environ) == 4


def test_mistralrs_answers_from_a_real_gguf(sandbox: Sandbox, smollm: Path) -> None:
    sandbox.place(smollm, "Downloads/SmolLM2-135M-Instruct.Q4_1.gguf")
    sandbox.init("Downloads")
    file = next(p for p in sandbox.linked("mistralrs", "SmolLM2").paths if p.suffix == ".gguf")
    assert "Paris" in python("mistralrs", _MISTRALRS_GGUF, file, environ=sandbox.environ)


def test_gpt4all_generates_from_a_linked_gguf(laptop: Sandbox) -> None:
    file = laptop.linked("gpt4all", "pebble").paths[0]
    assert len(python("gpt4all", _GPT4ALL, file, environ=laptop.environ)) >= 4
