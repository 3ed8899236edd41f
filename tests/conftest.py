"""What every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.person import Person

_FOREIGN = ("XDG_", "HELIXSTORE_", "HF_", "HUGGINGFACE_", "OLLAMA_", "LLAMA_", "LOCALAI_", "JAN_", "TABBY_")

#: Begun first: files that fork often, which costs by what the worker holds in memory, and then the longest, so that one
#: worker is not left with a long one at the end.
_FIRST = ("farm/test_kill.py", "store/test_crash.py", "volumes/test_moving.py", "/security/", "/faults/", "/people/",
          "watch/test_watch_enduring.py", "network/test_two_hosts.py", "layouts/test_conformance.py",
          "engine/test_ollama_life.py", "engine/test_folder_life.py")

# Tests that run in the background inherit that Ctrl-C is ignored; the programs that they start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((place for place, part in enumerate(_FIRST) if part in item.path.as_posix()),
                                     len(_FIRST)))


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
