"""The real Ollama before and after: what it made is shown the same once it is shared, and outlives what is ours."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import ask, site_packages
from tests.support.real_gguf import ollama
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs

Run = Callable[..., str]
_MODELFILE = """FROM {base}
TEMPLATE \"\"\"{{{{ .System }}}}
{{{{ .Prompt }}}}<|end|>\"\"\"
PARAMETER stop "<|end|>"
PARAMETER num_ctx 256
SYSTEM \"\"\"You are a pebble — say little.\"\"\"
LICENSE \"\"\"Throw it as far as you like.\"\"\"
"""


@contextlib.contextmanager
def server(sandbox: Sandbox, log: Path) -> Iterator[tuple[str, Run]]:
    """A server, which prunes when it starts, and its command line."""
    program = site_packages("ollama") / "bigdl" / "cpp" / "libs" / "ollama"
    with ollama(sandbox, log) as address:
        environ = sandbox.environ | {"OLLAMA_HOST": address.removeprefix("http://")}

        def run(*arguments: str) -> str:
            done = subprocess.run([program, *arguments], env=environ, cwd=sandbox.home, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
            return done.stdout

        yield address, run


def shown(address: str, *names: str) -> dict[str, Any]:
    """All that `ollama show` knows of these models, and the ids in its list.

    Left out is the time of the manifest; parameters come in another order each time.
    """
    ids = {model["name"]: model["digest"] for model in ask(f"{address}/api/tags")["models"]}
    found = {}
    for name in names or sorted(ids):
        said = ask(f"{address}/api/show", {"model": name, "verbose": True})
        unordered = {key: sorted(said.get(key, "").splitlines()) for key in ("parameters", "modelfile")}
        found[name] = {**said, **unordered, "id": ids[name], "modified_at": ""}
    return found


def create(sandbox: Sandbox, run: Run, name: str, modelfile: str) -> None:
    path = sandbox.home / "Modelfile"
    path.write_text(modelfile, encoding="utf-8")
    run("create", name, "-f", str(path))


def tree(root: Path) -> dict[str, bytes]:
    return {os.path.relpath(path, root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_it_made_is_shown_the_same_after_adoption_and_after_undo(
    sandbox: Sandbox, tiny: Path, tmp_path: Path
) -> None:
    source = sandbox.place(tiny / "pebble.gguf", ".lmstudio/models/acme/pebble-GGUF/pebble.gguf")
    with server(sandbox, tmp_path / "log") as (address, run):
        create(sandbox, run, "pebble:1b", _MODELFILE.format(base=source))
        create(sandbox, run, "cat", "FROM pebble:1b\nSYSTEM You are a cat.\n")
        run("cp", "pebble:1b", "me/stone:v2")
        before = shown(address)
    assert sorted(before) == ["cat:latest", "me/stone:v2", "pebble:1b"]
    assert before["pebble:1b"]["system"] == "You are a pebble — say little."
    root = sandbox.home / ".ollama" / "models"
    files = tree(root)
    sandbox.init()
    assert tree(root) == files
    assert sandbox.linked("llamacpp", "pebble").paths[0].read_bytes() == source.read_bytes()
    with server(sandbox, tmp_path / "log2") as (address, _):            # it prunes as it starts
        assert shown(address) == before
    assert tree(root) == files
    assert sandbox.sync()["actions"] == []
    sandbox.helix("undo", "--yes")
    assert tree(root) == files
    with server(sandbox, tmp_path / "log3") as (address, _):
        assert shown(address) == before


def test_its_rm_cp_and_create_on_what_it_made(sandbox: Sandbox, tiny: Path, tmp_path: Path) -> None:
    with server(sandbox, tmp_path / "log") as (address, run):
        create(sandbox, run, "pebble:1b", _MODELFILE.format(base=tiny / "pebble.gguf"))
        sandbox.init()
        run("cp", "pebble:1b", "stone")
        sandbox.sync()
        before = shown(address, "stone:latest")
        run("rm", "pebble:1b")
        sandbox.sync()
        assert shown(address) == before
        assert sandbox.linked("ollama", "pebble").paths
        create(sandbox, run, "stone", "FROM stone\nSYSTEM You are a stone.\n")
        before = shown(address)
        assert before["stone:latest"]["system"] == "You are a stone."
        sandbox.sync()
        assert shown(address) == before
        run("rm", "stone")
        sandbox.sync()
        assert shown(address) == {}
        assert sandbox.seen("ollama", "pebble").state == "hidden"
        assert sandbox.linked("lmstudio", "pebble").paths
        sandbox.helix("unhide", "pebble:1b", "--provider", "ollama")
        assert shown(address) == before
    assert sandbox.sync()["actions"] == []


@pytest.mark.parametrize("kind", ["hard", "symlink"])
def test_what_the_person_makes_there_from_ours_outlives_it(
    sandbox: Sandbox, tiny: Path, tmp_path: Path, kind: str
) -> None:
    sandbox.environ["HELIXSTORE_PROVIDERS_OLLAMA_LINKS"] = kind
    given = sandbox.place(tiny / "pebble.gguf", ".lmstudio/models/acme/pebble-GGUF/pebble.gguf")
    sandbox.init()
    root = sandbox.home / ".ollama" / "models"
    assert any(path.is_symlink() for path in (root / "blobs").iterdir()) == (kind == "symlink")
    with server(sandbox, tmp_path / "log") as (address, run):
        [ours] = shown(address)
        run("cp", ours, "stone")
        create(sandbox, run, "cat", f"FROM {ours}\nSYSTEM You are a cat.\n")
        before = shown(address)
        sandbox.sync()
        assert shown(address) == before
        sandbox.helix("remove", "pebble", "--yes")
        assert shown(address, "cat:latest", "stone:latest") == {
            name: before[name] for name in ("cat:latest", "stone:latest")}
    sandbox.helix("gc", "--now", "--yes")
    with server(sandbox, tmp_path / "log2") as (address, run):
        after = shown(address)
        assert {name: after[name] for name in ("cat:latest", "stone:latest")} == {
            name: before[name] for name in ("cat:latest", "stone:latest")}
        for name in after:
            run("rm", name)
    assert given.exists()
    assert sandbox.sync()["issues"] == []
