"""The real programs that read Hugging Face folders and the hub cache, each told to load and delete one model."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.support.programs import ask, free_port, interpreter, python, serving
from tests.support.real_gguf import chat
from tests.support.sandbox import Sandbox

__all__ = [
    "downloads", "fastchat_answers", "hf", "hub_deletes", "hub_deletes_revision", "hub_reads", "mistralrs_loads",
    "mlx_answers", "mlx_deletes", "repository", "transformers_load", "vllm_answers",
]

_LOAD = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
name, folder = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
want = {k: v for file in Path(folder).glob("*.safetensors") for k, v in load_file(file).items()}
have = model.state_dict()
ids = tokenizer("hello", return_tensors="pt")
out = model.generate(**ids, max_new_tokens=4, do_sample=False)
print(json.dumps({"equal": [n for n in want if torch.equal(want[n], have[n])] == list(want), "tensors": len(want),
                  "length": out.shape[1] - ids["input_ids"].shape[1], "said": tokenizer.decode(out[0, -4:])}))
"""

_SNAPSHOT = """
import json, sys
from huggingface_hub import scan_cache_dir, snapshot_download
scan = scan_cache_dir()
print(json.dumps({"warnings": [str(w) for w in scan.warnings], "repositories": [r.repo_id for r in scan.repos],
                  "snapshot": snapshot_download(sys.argv[1], local_files_only=True)}))
"""

_DELETE = """
import json, sys
from huggingface_hub import scan_cache_dir
plan = scan_cache_dir().delete_revisions(*sys.argv[1:])
plan.execute()
print(json.dumps(plan.expected_freed_size))
"""

_DOWNLOAD = """
import json, sys
from huggingface_hub import snapshot_download
print(json.dumps(snapshot_download(sys.argv[1])))
"""

_MISTRALRS = """
import json, sys
from mistralrs import ChatCompletionRequest, Runner, Which
runner = Runner(which=Which.Plain(model_id=sys.argv[1]))
request = ChatCompletionRequest(model="default", messages=[{"role": "user", "content": "hello"}], max_tokens=4)
print(json.dumps(runner.send_chat_completion_request(request).usage.completion_tokens))
"""


def repository(sandbox: Sandbox, model: str) -> tuple[str, str, Path]:
    """Name, commit and snapshot folder of the cache entry under which vLLM and the others find `model`."""
    config = next(path for path in sandbox.linked("vllm", model).paths if "snapshots" in path.parts)
    at = config.parts.index("snapshots")
    name = config.parts[at - 1].removeprefix("models--").replace("--", "/")
    return name, config.parts[at + 1], Path(*config.parts[: at + 2])


def run(sandbox: Sandbox, program: Path, *arguments: str, said: str = "", **variables: str) -> str:
    """Run a command of a program's environment to its end; its output. `said`: what the person types."""
    environ = {**sandbox.environ, "NO_COLOR": "1", **variables}
    done = subprocess.run([str(program), *arguments], env=environ, cwd=sandbox.home, input=said, capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{program.name} {arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def hf(sandbox: Sandbox, *arguments: str, environment: str = "hub", endpoint: str = "") -> str:
    """Run the `hf` command, online against a hub on loopback when its address is given."""
    online = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"} if endpoint else {}
    return run(sandbox, interpreter(environment).with_name("hf"), *arguments, **online)


def downloads(sandbox: Sandbox, name: str, endpoint: str) -> Path:
    """The real client's `snapshot_download` from a hub on loopback: the snapshot's folder."""
    online = sandbox.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
    return Path(python("hub", _DOWNLOAD, name, environ=online))


def transformers_load(sandbox: Sandbox, folder: Path) -> None:
    """transformers loads the model by name, offline, with exactly the tensors of the person's folder."""
    name, _, _ = repository(sandbox, "tiny-llama")
    loaded = python("hub", _LOAD, name, sandbox.home / "models/tiny-llama", environ=sandbox.environ)
    assert loaded["equal"]
    assert (loaded["tensors"], loaded["length"]) == (21, 4)


def hub_reads(environment: str, sandbox: Sandbox) -> None:
    """The library's own scan finds the repository and nothing wrong, and its download finds it whole, offline."""
    name, _, snapshot = repository(sandbox, "tiny-llama")
    found = python(environment, _SNAPSHOT, name, environ=sandbox.environ)
    # before 1.32 it knew no shared store, and says so of any cache that a newer one has used
    shared = f"Repo path is not a valid HuggingFace cache directory: {sandbox.home}/.cache/huggingface/hub/blobs"
    assert found["warnings"] == ([] if environment == "hub" else [shared])
    assert {name, "acme/cobble-GGUF"} <= set(found["repositories"])
    assert Path(found["snapshot"]) == snapshot


def hub_deletes(environment: str, sandbox: Sandbox) -> None:
    """`hf cache rm` of the repository; before 1.0 the library's `delete_revisions`, which had no command."""
    name, commit, snapshot = repository(sandbox, "tiny-llama")
    if environment == "hub-old":
        hub_deletes_revision(environment, sandbox, commit)
    else:
        hf(sandbox, "cache", "rm", f"model/{name}", "--yes", environment=environment)
    assert not snapshot.exists()


def hub_deletes_revision(environment: str, sandbox: Sandbox, commit: str) -> None:
    """The library's `delete_revisions` of one commit."""
    assert python(environment, _DELETE, commit, environ=sandbox.environ) > 0


def mlx_answers(sandbox: Sandbox, folder: Path) -> None:
    """MLX's server lists the repository and answers from it."""
    name, _, _ = repository(sandbox, "tiny-llama")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [interpreter("mlx").with_name("mlx_lm.server"), "--host", "127.0.0.1", "--port", port]
    with serving(command, f"{address}/health", sandbox.environ, folder / "log"):
        assert name in [model["id"] for model in ask(f"{address}/v1/models")["data"]]
        assert chat(address, name)


def mlx_deletes(sandbox: Sandbox, folder: Path) -> None:
    """`mlx_lm.manage --delete`, which asks once."""
    name, _, snapshot = repository(sandbox, "tiny-llama")
    run(sandbox, interpreter("mlx").with_name("mlx_lm.manage"), "--delete", "--pattern", name, said="y\n")
    assert not snapshot.exists()


def mistralrs_loads(sandbox: Sandbox, folder: Path) -> None:
    """mistral.rs loads the repository by its name and speaks four tokens."""
    name, _, _ = repository(sandbox, "tiny-llama")
    assert python("mistralrs", _MISTRALRS, name, environ=sandbox.environ) == 4


def fastchat_answers(sandbox: Sandbox, folder: Path) -> None:
    """FastChat's worker serves the folder through controller and API, under the folder's name."""
    model = sandbox.linked("fastchat", "tiny-llama").paths[0].parent
    controller, worker, api = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    environ = sandbox.environ | {"LOGDIR": str(folder)}

    def start(part: str, at: str, health: str, *arguments: object) -> None:
        command = [interpreter("fastchat"), "-m", f"fastchat.serve.{part}", "--host", "127.0.0.1",
                   "--port", at.rpartition(":")[2], *arguments]
        running.enter_context(serving(command, health, environ, folder / part))

    with ExitStack() as running:
        start("controller", controller, f"{controller}/test_connection")
        start("openai_api_server", api, f"{api}/v1/models", "--controller-address", controller)
        start("model_worker", worker, f"{worker}/docs", "--model-path", model, "--device", "cpu",
              "--worker-address", worker, "--controller-address", controller)
        assert [entry["id"] for entry in ask(f"{api}/v1/models")["data"]] == [model.name]
        said = ask(f"{api}/v1/completions", {       # its chat puts an example of 2000 characters before the question
            "model": model.name, "prompt": "hello", "max_tokens": 5, "temperature": 0,
        })
        assert said["choices"][0]["text"]


def vllm_answers(sandbox: Sandbox, folder: Path) -> None:
    """vLLM on the processor serves the repository by its name."""
    name, _, _ = repository(sandbox, "tiny-llama")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [interpreter("vllm"), "-m", "vllm.entrypoints.openai.api_server", "--model", name, "--host", "127.0.0.1",
               "--port", port, "--max-model-len", 256, "--enforce-eager", "--dtype", "float32"]
    environ = sandbox.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with serving(command, f"{address}/health", environ, folder / "log", timeout=170):
        listed = ask(f"{address}/v1/models")["data"]
        assert [entry["id"] for entry in listed] == [name]
        assert chat(address, name), json.dumps(listed)
