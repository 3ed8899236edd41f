"""Models from registries in a store that a group fills: what everybody may pull, and nothing that needs a login."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models import tiny_gguf
from support.people import People, founded
from support.person import Person
from support.registry import docker_registry

USER = ("ana", "secret-of-ana")


@pytest.fixture
def pushed(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An open registry and one that wants a login, both with the same model, pushed from a machine of its own."""
    from helixstore import HelixStore

    home = tmp_path / "maker"
    home.mkdir()
    maker = Person(home, {"HOME": str(home), "PATH": "/usr/bin:/bin"})
    tiny_gguf(home / "pebble.gguf", name="Pebble")
    HelixStore.init(every=False, environ=maker.environ)
    with docker_registry(tmp_path / "open") as free, docker_registry(tmp_path / "closed", login=USER) as closed:
        login = base64.b64encode(":".join(USER).encode()).decode()
        (home / ".docker").mkdir()
        (home / ".docker/config.json").write_text(json.dumps({"auths": {closed: {"auth": login}}}))
        with maker.open() as store:
            store.add(home / "pebble.gguf")
            for host in (free, closed):
                store.push("pebble", f"oci://{host}/team/pebble:v1")
        yield free, closed


def test_what_everybody_may_pull_comes_in_and_names_no_registry_to_the_others(
    lab: People, pushed: tuple[str, str],
) -> None:
    founded(lab, lab.carol)
    free, _ = pushed
    assert lab.alice.document("pull", f"oci://{free}/team/pebble:v1")["fetched_bytes"] > 0
    assert [source["kind"] for source in lab.alice.document("show", "pebble")["variants"][0]["sources"]] == ["registry"]
    store = Path(lab.alice.document("status")["store"]["path"])
    assert not [path for path in store.glob("refs/*/*/*.json") if free in path.read_text()]
    assert lab.bob.document("pull", f"oci://{free}/team/pebble:v1")["fetched_bytes"] == 0


def test_what_needs_a_login_stays_out_of_the_groups_store(lab: People, pushed: tuple[str, str]) -> None:
    founded(lab, lab.carol)
    free, closed = pushed
    login = base64.b64encode(":".join(USER).encode()).decode()
    lab.alice.put(".docker/config.json", json.dumps({"auths": {host: {"auth": login} for host in pushed}}).encode())
    code, _, said = lab.alice.types("pull", f"oci://{closed}/team/pebble:v1")
    assert code == 1
    assert f"not everybody may read {closed}/team/pebble:v1" in said
    assert USER[1] not in said
    assert lab.alice.document("list")["models"] == []
    assert lab.alice.document("pull", f"oci://{free}/team/pebble:v1")["fetched_bytes"] > 0, "a login that nobody wants"
