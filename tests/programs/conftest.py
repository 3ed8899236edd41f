"""What the tests against real programs share: a person's home with models in it, and the models themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.models import tiny_gguf, tiny_hf
from tests.support.programs import ROOT
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pebble.gguf` and the Hugging Face folders `tiny-llama`, of one file, and `tiny-sharded`."""
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf(folder / "pebble.gguf", name="Pebble")
    tiny_hf(folder / "tiny-llama")
    tiny_hf(folder / "tiny-sharded", shards=2, seed=1)
    return folder


@pytest.fixture(scope="session")
def smollm() -> Path:
    """A real model, SmolLM2 135M: 98 MB."""
    return _real("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A real Hugging Face folder, all-MiniLM-L6-v2: 92 MB, BERT."""
    return _real("all-MiniLM-L6-v2")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A home of its own; at the end every file that the test put there is still whole, and so is the store."""
    sandbox = Sandbox.make(tmp_path / "home")
    yield sandbox
    sandbox.whole()
    sandbox.helix("verify")


@pytest.fixture
def laptop(sandbox: Sandbox, tiny: Path) -> Sandbox:
    """LM Studio holds a tiny GGUF, a tiny Hugging Face model in two shards lies loose in ~/models; all is shared."""
    sandbox.place(tiny / "pebble.gguf", ".lmstudio/models/acme/pebble-GGUF/pebble.gguf")
    sandbox.place(tiny / "tiny-sharded", "models/tiny-llama")
    sandbox.init("models")
    return sandbox


def _real(name: str) -> Path:
    path = ROOT / ".cache" / "models" / name
    assert path.exists(), f"{path} is missing: `make test-programs` fetches it"
    return path
