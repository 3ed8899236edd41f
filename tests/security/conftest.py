"""A group's store that `steward` made and `victim` and `mallory`, who is up to no good, fill with him."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helixstore import HelixStore
from support.attack import as_user
from support.disks import run
from support.people import People, User, people

sys.path.append(str(Path(__file__).parent.parent / "farm"))         # for `farmland`

PROVIDERS = ["ollama", "lmstudio"]


@dataclass
class Gang:
    """The people, and the group's store."""

    people: People
    steward: User
    victim: User
    mallory: User

    @property
    def store(self) -> Path:
        """Its folder."""
        return self.people.store

    def does(self, user: User, work: Callable[[HelixStore], Any]) -> Any:
        """Let a person do something with their helixstore."""
        def run() -> Any:
            with HelixStore(self.store, environ=user.environ) as store:
                return work(store)
        return as_user(user, run)

    def host(self, user: User) -> str:
        """The id of this machine as that person's helixstore knows it."""
        return str(as_user(user, lambda: self._host(user)))

    @staticmethod
    def _host(user: User) -> str:
        from helixstore.places import Places
        return Places.of(user.environ).host().id


@pytest.fixture(scope="session")
def machine() -> Iterator[People]:
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("needs root and useradd, to make people")
    with people({"steward": 0o022, "victim": 0o022, "mallory": 0o000}) as made:
        made.folder.chmod(0o1777)
        yield made


@pytest.fixture(scope="session")
def begun(machine: People) -> People:
    """Everybody has begun in the group's store; kept aside, to be taken anew by each test."""
    for user in machine.members.values():
        as_user(user, lambda user=user: HelixStore.init(
            machine.store, providers=PROVIDERS, group=machine.group if user.name.endswith("steward") else "",
            environ=user.environ))
    kept = machine.folder / "kept"
    kept.mkdir(mode=0o700)
    for path in (machine.store, *(user.home for user in machine.members.values())):
        run("cp", "-a", str(path), str(kept))
        shutil.rmtree(path)
    return machine


@pytest.fixture
def gang(begun: People) -> Iterator[Gang]:
    """The people and their store as they were when they had begun."""
    gang = Gang(begun, begun.steward, begun.victim, begun.mallory)
    places = [begun.store, *(user.home for user in begun.members.values())]
    for path in places:
        run("cp", "-a", str(begun.folder / "kept" / path.name), str(path))
    yield gang
    for path in places:
        shutil.rmtree(path)
