"""What every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.person import Person

_FOREIGN = ("XDG_", "HELIXSTORE_", "HF_", "HUGGINGFACE_", "OLLAMA_", "LLAMA_", "LOCALAI_", "JAN_", "TABBY_")

# Tests that run in the background inherit that Ctrl-C is ignored; the programs that they start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sandbox HOME: no variable of the person who runs the tests is seen."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name == "CI":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def person(home: Path) -> Person:
    """Who lives there."""
    return Person(home)
