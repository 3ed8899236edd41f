"""Downloads into a store that a group fills: one fetches, the others have it; and nothing that is not for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hub import Repository, hub
from support.models import tiny_hf
from support.people import People, User, founded

NAME, COMMIT = "acme/rocket", "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


@pytest.fixture
def served(tmp_path: Path) -> Repository:
    return Repository.of(NAME, COMMIT, tiny_hf(tmp_path / "rocket"))


@pytest.fixture
def online(lab: People, served: Repository) -> Iterator[People]:
    """carol's store; everybody's programs that read the hub's cache are on, and the hub answers all of them."""
    founded(lab, lab.carol)
    site = lab.folder / "etc/helixstore/config.toml"
    site.write_text(f"{site.read_text()}[providers.vllm]\non = true\n")
    before = {who: dict(user.environ) for who, user in lab.members.items()}
    with hub(served) as endpoint:
        for user in lab.members.values():
            user.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        yield lab
    for who, user in lab.members.items():
        user.environ = before[who]


def weights(user: User) -> bytes:
    """What vLLM loads by the repository's own name."""
    cache = user.home / ".cache/huggingface/hub/models--acme--rocket/snapshots" / COMMIT
    return (cache / "model.safetensors").read_bytes()


def test_one_downloads_and_the_others_have_it(online: People, served: Repository) -> None:
    size = sum(file.stat().st_size for file in served.files.values())
    assert online.alice.document("models", "download", f"hf:{NAME}")["fetched_bytes"] == size
    online.bob.helix("sync")
    wanted = served.files["model.safetensors"].read_bytes()
    assert weights(online.alice) == weights(online.bob) == wanted
    again = online.bob.document("models", "download", f"hf:{NAME}")
    assert again["fetched_bytes"] == 0
    assert sum(served.sent.values()) == size
    for user in (online.alice, online.bob):
        assert user.document("sync")["actions"] == []
        assert user.document("verify")["bad"] == []


def test_what_is_not_for_everybody_is_not_brought_into_the_groups_store(online: People, served: Repository) -> None:
    served.gated = True
    code, _, said = online.alice.types("models", "download", f"hf:{NAME}")
    assert code == 1
    assert "not everybody may read acme/rocket" in said
    assert served.sent == {}
    assert online.alice.document("list")["models"] == []
