"""The hub's own client on cache entries that helixstore made or adopted; that it reads and deletes is in the matrix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hub import Repository, hub
from tests.support.real_hub import downloads, hf, repository
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs


def test_the_hubs_own_verify_accepts_every_file(laptop: Sandbox) -> None:
    name, commit, _ = repository(laptop, "tiny-llama")
    with hub(Repository.of(name, commit, laptop.home / "models/tiny-llama")) as endpoint:
        said = hf(laptop, "cache", "verify", name, "--revision", commit, endpoint=endpoint)
    assert "checked: 8" in said


@pytest.mark.parametrize("environment", ["hub-1", "hub"])
def test_the_hubs_own_list_counts_the_bytes(laptop: Sandbox, environment: str) -> None:
    name, commit, _ = repository(laptop, "tiny-llama")
    said = hf(laptop, "cache", "ls", "--revisions", "--format", "json", environment=environment)
    assert name in said
    assert commit in said


def test_a_repository_that_the_hub_client_downloaded_is_adopted_in_place(sandbox: Sandbox, tiny: Path) -> None:
    commit = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"
    served = Repository.of("acme/tiny-llama", commit, tiny / "tiny-llama")
    with hub(served) as endpoint:
        snapshot = downloads(sandbox, served.name, endpoint)
        sandbox.init()
        assert repository(sandbox, "tiny-llama") == (served.name, commit, snapshot)
        hf(sandbox, "cache", "verify", served.name, endpoint=endpoint)
        served.asked.clear()
        assert downloads(sandbox, served.name, endpoint) == snapshot
        assert not [request for request in served.asked if request.startswith("GET") and "/resolve/" in request]
