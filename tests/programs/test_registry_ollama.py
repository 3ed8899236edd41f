"""The real Ollama pushes to a real registry; what helixstore pulls from there it shows as its own pull."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import tiny_gguf
from tests.support.programs import ask, site_packages
from tests.support.real_gguf import ollama
from tests.support.registry import docker_registry
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs

_MODELFILE = """FROM ./pebble.gguf
TEMPLATE \"\"\"{{ .System }}
{{ .Prompt }}<|end|>\"\"\"
PARAMETER stop "<|end|>"
PARAMETER num_ctx 256
SYSTEM \"\"\"You are a pebble, say little.\"\"\"
LICENSE \"\"\"Throw it as far as you like.\"\"\"
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path / "registry") as host:
        yield host


def command(sandbox: Sandbox, address: str, *words: str, folder: Path | None = None) -> None:
    program = site_packages("ollama") / "bigdl" / "cpp" / "libs" / "ollama"
    done = subprocess.run([program, *words], env=sandbox.environ | {"OLLAMA_HOST": address.removeprefix("http://")},
                          cwd=folder or sandbox.home, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"


def shown(address: str, name: str) -> dict[str, Any]:
    """All that `ollama show` knows of a model, and its id in the list; its name, its time and the order apart."""
    said = ask(f"{address}/api/show", {"model": name, "verbose": True})
    ids = {model["name"]: model["digest"] for model in ask(f"{address}/api/tags")["models"]}
    modelfile = [line for line in said["modelfile"].splitlines() if not line.startswith(("#", "FROM"))]
    return {**said, "modelfile": sorted(modelfile), "parameters": sorted(said["parameters"].splitlines()),
            "modified_at": "", "id": ids[name]}


def test_what_is_pulled_is_shown_as_ollamas_own_pull(registry: str, tmp_path: Path) -> None:
    maker, native, ours = (Sandbox.make(tmp_path / name) for name in ("maker", "native", "ours"))
    name = f"{registry}/team/pebble:1b"
    (tmp_path / "Modelfile").write_text(_MODELFILE)
    tiny_gguf(tmp_path / "pebble.gguf", name="Pebble")
    with ollama(maker, tmp_path / "log") as address:
        command(maker, address, "create", name, "-f", "Modelfile", folder=tmp_path)
        command(maker, address, "push", "--insecure", name)
    with ollama(native, tmp_path / "log2") as address:
        command(native, address, "pull", "--insecure", name)
        wanted = shown(address, name)
    assert wanted["system"] == "You are a pebble, say little."
    ours.helix("init", "--all")
    ours.helix("pull", f"ollama:{name}")
    assert ours.linked("llamacpp", "pebble").paths[0].read_bytes() == (tmp_path / "pebble.gguf").read_bytes()
    with ollama(ours, tmp_path / "log3") as address:                    # it prunes as it starts
        assert shown(address, "127.0.0.1/team/pebble:1b") == wanted
    assert ours.sync()["actions"] == []


def test_what_is_here_by_another_name_is_shown_by_both(registry: str, tmp_path: Path) -> None:
    maker, ours = (Sandbox.make(tmp_path / name) for name in ("maker", "ours"))
    (tmp_path / "Modelfile").write_text(_MODELFILE)
    tiny_gguf(tmp_path / "pebble.gguf", name="Pebble")
    with ollama(maker, tmp_path / "log") as address:
        command(maker, address, "create", f"{registry}/team/pebble:1b", "-f", "Modelfile", folder=tmp_path)
        command(maker, address, "push", "--insecure", f"{registry}/team/pebble:1b")
    ours.helix("init", "--all")
    ours.helix("share", str(tmp_path / "pebble.gguf"), "--name", "stone")
    ours.helix("pull", f"ollama:{registry}/team/pebble:1b")
    with ollama(ours, tmp_path / "log2") as address:
        first, second = (model["name"] for model in sorted(
            ask(f"{address}/api/tags")["models"], key=lambda model: str(model["name"])))
        assert (first, second.partition(":")[0]) == ("127.0.0.1/team/pebble:1b", "stone")
        assert shown(address, first)["system"] == "You are a pebble, say little."
        assert "system" not in ask(f"{address}/api/show", {"model": second})
        command(ours, address, "rm", second)
    ours.sync()
    with ollama(ours, tmp_path / "log3") as address:
        assert [model["name"] for model in ask(f"{address}/api/tags")["models"]] == [first]
