"""The command line as people call it: its whole run in this process, with a sandbox HOME."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import helixstore.cli


@dataclass
class Ran:
    """What one run left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document = json.loads(self.out)
        assert document["schema"] == 1
        return document


Run = Callable[..., Ran]


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`call("sync", "--json")` runs that command line; nobody sits at a terminal."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*args: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["helixstore", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            helixstore.cli.main()
        seen = capsys.readouterr()
        assert "Traceback" not in seen.err
        assert isinstance(end.value.code, int)
        return Ran(end.value.code, seen.out, seen.err)

    return call
