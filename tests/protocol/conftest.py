"""The command line, on one of several computers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from support.disks import shared  # noqa: F401


@dataclass
class Ran:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run_command() -> Callable[..., Ran]:
    """`helixstore WORDS` with the environment of a computer."""
    def run(computer: Any, *words: str) -> Ran:
        done = subprocess.run([sys.executable, "-m", "helixstore", *words], env=computer.environ, cwd=computer.home,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        return Ran(done.returncode, done.stdout, done.stderr)
    return run
