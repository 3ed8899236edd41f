"""Three members of a group with an umask each, a stranger and a service's user: made once, homes emptied between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.people import People, people


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Accounts can be made by root only, and only where there is `useradd`."""
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("useradd"):
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs root and useradd, to make people"))


@pytest.fixture(scope="session")
def machine() -> Iterator[People]:
    """alice keeps everything to herself by her umask, bob nothing, carol is as most are."""
    with people({"alice": 0o077, "bob": 0o000, "carol": 0o022}) as made:
        yield made


@pytest.fixture
def lab(machine: People) -> Iterator[People]:
    """The same people with empty homes and no store."""
    yield machine
    for one in (*machine.members.values(), machine.stranger, machine.service):
        for path in one.home.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in [machine.store, machine.folder / "etc", *machine.folder.glob("disk*")]:
        shutil.rmtree(path, ignore_errors=True)
