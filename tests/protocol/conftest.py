"""The command line, on one of several computers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from support.disks import shared  # noqa: F401
from support.typist import typed


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
        done = typed(*words, environ=computer.environ, folder=computer.home)
        return Ran(done.returncode, done.stdout, done.stderr)
    return run
