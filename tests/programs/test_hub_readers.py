"""transformers and huggingface_hub read the cache entries that helixstore made, offline, by repository name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.hub import Repository, hub
from tests.support.programs import interpreter, python
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs

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

_LIKENESS = """
import json, sys, torch
from transformers import AutoModel, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[1]), AutoModel.from_pretrained(sys.argv[1])
ids = tokenizer(sys.argv[2:], padding=True, return_tensors="pt")
with torch.no_grad():
    hidden, mask = model(**ids).last_hidden_state, ids["attention_mask"].unsqueeze(-1)
vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
print(json.dumps((vectors @ vectors.T)[0].tolist()))
"""

_SCAN = """
import json, sys
from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache
scan = scan_cache_dir()
print(json.dumps({
    "warnings": [str(w) for w in scan.warnings],
    "repositories": {r.repo_id: {"size": r.size_on_disk, "files": r.nb_files, "refs": sorted(r.refs),
                                 "commits": [v.commit_hash for v in r.revisions]} for r in scan.repos},
    "snapshot": snapshot_download(sys.argv[1], local_files_only=True),
    "config": try_to_load_from_cache(sys.argv[1], "config.json")}))
"""

_DOWNLOAD = """
import json, sys
from huggingface_hub import snapshot_download
print(json.dumps(snapshot_download(sys.argv[1])))
"""

_DELETE = """
import json, sys
from huggingface_hub import scan_cache_dir
plan = scan_cache_dir().delete_revisions(*sys.argv[1:])
plan.execute()
print(json.dumps(plan.expected_freed_size))
"""


def repository(sandbox: Sandbox, model: str) -> tuple[str, str, Path]:
    """Name, commit and snapshot folder of the cache entry under which vLLM and the others find `model`."""
    config = next(path for path in sandbox.linked("vllm", model).paths if "snapshots" in path.parts)
    at = config.parts.index("snapshots")
    name = config.parts[at - 1].removeprefix("models--").replace("--", "/")
    return name, config.parts[at + 1], Path(*config.parts[: at + 2])


def hf(sandbox: Sandbox, *arguments: str, endpoint: str) -> str:
    """Run the `hf` command online, against a hub on loopback."""
    program = interpreter("hub").with_name("hf")
    environ = {**sandbox.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "NO_COLOR": "1"}
    done = subprocess.run([str(program), *arguments], env=environ, cwd=sandbox.home, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"hf {arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_transformers_loads_the_weights_by_name_offline(laptop: Sandbox) -> None:
    name, _, _ = repository(laptop, "tiny-llama")
    loaded = python("hub", _LOAD, name, laptop.home / "models/tiny-llama", environ=laptop.environ)
    assert loaded["equal"]
    assert loaded["tensors"] == 21
    assert loaded["length"] == 4


def test_a_real_embedding_model_works_by_name_offline(sandbox: Sandbox, minilm: Path) -> None:
    sandbox.place(minilm, "models/all-MiniLM-L6-v2")
    sandbox.init("models")
    name, _, _ = repository(sandbox, "all-MiniLM-L6-v2")
    words = ("A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again in March.")
    itself, near, far = python("hub", _LIKENESS, name, *words, environ=sandbox.environ)
    assert itself > 0.999
    assert near > far + 0.3


@pytest.mark.parametrize("environment", ["hub", "hub-old"])
def test_the_hubs_own_scan_finds_nothing_wrong(laptop: Sandbox, environment: str) -> None:
    name, commit, snapshot = repository(laptop, "tiny-llama")
    found = python(environment, _SCAN, name, environ=laptop.environ)
    assert found["warnings"] == []
    entry = found["repositories"][name]
    assert entry["commits"] == [commit]
    assert "main" in entry["refs"]
    assert entry["size"] >= sum(path.stat().st_size for path in (laptop.home / "models/tiny-llama").iterdir())
    assert Path(found["snapshot"]) == snapshot
    assert Path(found["config"]) == snapshot / "config.json"


def test_the_hubs_own_verify_accepts_every_file(laptop: Sandbox) -> None:
    name, commit, _ = repository(laptop, "tiny-llama")
    with hub(Repository.of(name, commit, laptop.home / "models/tiny-llama")) as endpoint:
        said = hf(laptop, "cache", "verify", name, "--revision", commit, endpoint=endpoint)
    assert "checked: 8" in said


def test_a_repository_that_the_hub_client_downloaded_is_adopted_in_place(sandbox: Sandbox, tiny: Path) -> None:
    commit = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"
    served = Repository.of("acme/tiny-llama", commit, tiny / "tiny-llama")
    with hub(served) as endpoint:
        online = sandbox.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        snapshot = Path(python("hub", _DOWNLOAD, served.name, environ=online))
        sandbox.init()
        assert repository(sandbox, "tiny-llama") == (served.name, commit, snapshot)
        hf(sandbox, "cache", "verify", served.name, endpoint=endpoint)
        served.asked.clear()
        assert Path(python("hub", _DOWNLOAD, served.name, environ=online)) == snapshot
        assert not [request for request in served.asked if request.startswith("GET") and "/resolve/" in request]
    loaded = python("hub", _LOAD, served.name, tiny / "tiny-llama", environ=sandbox.environ)
    assert loaded["equal"]


@pytest.mark.parametrize("environment", ["hub", "hub-old"])
def test_deleting_from_the_cache_takes_the_model_from_nobody_else(laptop: Sandbox, environment: str) -> None:
    _, commit, snapshot = repository(laptop, "tiny-llama")
    elsewhere = laptop.linked("textgen", "tiny-llama").paths
    assert python(environment, _DELETE, commit, environ=laptop.environ) > 0
    assert not snapshot.exists()
    laptop.whole()
    laptop.sync()
    assert laptop.seen("vllm", "tiny-llama").state == "hidden"
    assert not snapshot.exists()
    assert laptop.linked("textgen", "tiny-llama").paths == elsewhere
    assert laptop.sync()["actions"] == []
