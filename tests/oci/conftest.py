"""What the tests of registries share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wares import QUICK

from helixstore.oci.access import Access, Patience
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry
from support.registry import StandIn, docker_registry, serve


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serve(StandIn()) as registry:
        yield registry


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry: its host."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def opened(environ: dict[str, str]) -> Callable[..., Registry]:
    """A repository of a host."""
    def one(host: str, repository: str = "team/model", tag: str = "v1", patience: Patience = QUICK,
            digest: str | None = None) -> Registry:
        return Registry(Reference(host, repository, tag, digest), Access.of(environ, patience=patience))

    return one
