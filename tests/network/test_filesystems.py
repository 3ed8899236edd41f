"""The main job, and what `doctor --mount` says, on each kind of file system; the rows of docs/filesystems.md."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import job
import matrix
import pytest
from grounds import KINDS, ground
from hosts import HELIXSTORE

PAGE = Path(__file__).parents[2] / "docs/filesystems.md"
#: few in `make test`; all with SOAK=1, which `make filesystems` sets
TRIED = KINDS if os.environ.get("SOAK") else ("tmpfs", "exfat", "nfs")


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, tuple[str, ...]]]:
    rows: dict[str, tuple[str, ...]] = {}
    yield rows
    for cells in (matrix.COLUMNS, *rows.values()):
        print(" | ".join(cells))


@pytest.mark.parametrize("kind", TRIED)
def test_the_main_job_on(kind: str, base: Path, found: dict[str, tuple[str, ...]]) -> None:
    with ground(kind, base) as here:
        before = sorted(os.listdir(here.folder))
        report = json.loads(here.execute(HELIXSTORE, "doctor", "--mount", str(here.folder), "--json"))
        assert [name for name in here.execute("ls", "-A", str(here.folder)).split() if name not in before] == []
        done = json.loads(here.python(job.__file__, str(here.folder), str(base / "own")))
    assert report["network"] == (kind in ("sshfs", "nfs", "smb"))
    assert done["lost"] == []
    assert done["verified"] == [2, 0]
    assert done["undone"] == ["one", "two"]
    assert done["hidden"] == "hidden"
    assert len(done["issues"]) <= len(done["files"]), "each file that cannot be taken in is told once"
    found[kind] = matrix.row(kind, report, done)
    print(done)
    assert found[kind] == matrix.ROWS[kind]


def test_the_page_has_what_was_found() -> None:
    assert list(matrix.ROWS) == list(KINDS)
    assert matrix.table() in PAGE.read_text()
