"""Downloads into a store that a group fills: one fetches, the others have it; and nothing that is not for everybody."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.household import Household, projector
from support.hub import Repository, hub
from support.models import tiny_hf
from support.people import People, User, blob_of, founded, traces
from support.raw import gguf, number, tensor, text

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
    """A gated repository, whose terms alice has accepted: she may read it, and the group may not."""
    class Gated(Repository):
        def info(self) -> dict[str, Any]:
            return {**Repository.info(self), "gated": "manual"}

    gated = Gated(served.name, served.commit, dict(served.files))
    with hub(gated) as endpoint:
        online.alice.environ |= {"HF_ENDPOINT": endpoint}
        said = online.alice.fails("models", "download", f"hf:{NAME}")
    assert "not everybody may read acme/rocket" in said
    assert sum(gated.sent.values()) <= 1, "whether she may read it is asked with a byte"
    assert online.alice.document("list")["models"] == []


def test_an_address_with_a_signature_is_not_for_everybody(online: People, served: Repository) -> None:
    name = "model.safetensors"
    digest = hashlib.sha256(served.files[name].read_bytes()).hexdigest()
    with hub(served) as endpoint:
        address = f"{endpoint}/{served.name}/resolve/main/{name}"
        said = online.alice.fails("models", "download", f"{address}?token=a-signature#sha256={digest}")
        assert "not everybody may read" in said
        assert "a-signature" not in said
        assert served.sent.get(name, 0) <= 1
        online.alice.helix("models", "download", f"{address}#sha256={digest}")


def test_a_repository_that_only_a_login_reads_stays_out_whatever_the_hub_calls_it(
    online: People, served: Repository,
) -> None:
    """A company's own hub: nothing in it is `private`, and nobody from elsewhere sees anything."""
    class OfACompany(Repository):
        def info(self) -> dict[str, Any]:
            return {**Repository.info(self), "private": False}

    company = OfACompany(served.name, served.commit, dict(served.files), private=True)
    with hub(company) as endpoint:
        online.alice.environ |= {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_of_alice"}
        said = online.alice.fails("models", "download", f"hf:{NAME}")
        del online.alice.environ["HF_TOKEN"]
    assert f"not everybody may read {NAME}" in said
    assert company.sent == {}
    assert online.alice.document("list")["models"] == []


def test_a_later_version_that_is_not_for_everybody_does_not_come_into_the_groups_store(
    online: People, served: Repository, tmp_path: Path,
) -> None:
    """It was public when it came first; its owner has closed it since, and alice may still read it."""
    online.alice.document("models", "download", f"hf:{NAME}")
    later = tiny_hf(tmp_path / "later")
    (later / "model.safetensors").write_bytes((later / "model.safetensors").read_bytes()[:-8] + b"a secret")
    closed = Repository.of(NAME, "2" * 40, later)
    closed.private = True
    with hub(closed) as endpoint:
        online.alice.environ |= {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_of_alice"}
        told = online.alice.document("update", expect=(0, 1, 3))
        del online.alice.environ["HF_TOKEN"]
    assert [(one["state"], "not everybody may read" in one["why"]) for one in told["updates"]] == [("failed", True)]
    assert closed.sent == {}
    assert weights(online.alice) == served.files["model.safetensors"].read_bytes()


def test_one_that_was_killed_as_its_file_became_a_blob_goes_on(
    online: People, served: Repository, tmp_path: Path,
) -> None:
    """The file is read-only by then, which stops everybody but root."""
    (tmp_path / "rocket/model.safetensors").unlink()
    (tmp_path / "rocket/large-F16.gguf").write_bytes(big_gguf())
    large = Repository.of(NAME, COMMIT, tmp_path / "rocket")
    with hub(large) as endpoint:
        online.alice.environ |= {"HF_ENDPOINT": endpoint}
        done = online.alice.python(_DIES, f"hf:{NAME}")
        assert done.returncode == 9, done.stderr
        online.alice.document("models", "download", f"hf:{NAME}")
    assert large.sent["large-F16.gguf"] == large.files["large-F16.gguf"].stat().st_size


def test_a_model_of_mine_with_the_published_weights_leaves_no_trace(online: People, tmp_path: Path) -> None:
    """Ollama has them under a name of alice's, with a projector of her own: neither is for the group."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/large-F16.gguf").write_bytes(big_gguf())
    large, eye = Repository.of(NAME, COMMIT, tmp_path / "weights"), projector(41)
    Household(online.alice.home).ollama("merger", "secret", large.files["large-F16.gguf"].read_bytes(), beside=eye)
    for path in (online.alice.home / ".ollama", *(online.alice.home / ".ollama").rglob("*")):
        online.alice.own(path, 0o755 if path.is_dir() else 0o644)
    online.alice.helix("sync")
    with hub(large) as endpoint:
        online.alice.environ |= {"HF_ENDPOINT": endpoint}
        said = online.alice.document("models", "download", f"hf:{NAME}", "--dry-run")
        done = online.alice.document("models", "download", f"hf:{NAME}", expect=(3,))   # its name in Ollama is taken
    assert "need not come" not in said["why"] + done["why"]
    assert sum(large.sent.values()) == large.files["large-F16.gguf"].stat().st_size
    assert not blob_of(online, eye).exists()
    assert not traces(online, "merger")


def test_what_a_services_program_has_is_not_said_to_be_here(lab: People, tmp_path: Path) -> None:
    """Ollama runs as a user of its own: what it has stays that user's, and so is downloaded."""
    (tmp_path / "large-F16.gguf").write_bytes(big_gguf())
    large, models = Repository.of(NAME, COMMIT, tmp_path), lab.service.home / ".ollama/models"
    Household(lab.service.home).ollama("pulled", "latest", large.files["large-F16.gguf"].read_bytes())
    for path in (models.parent, *models.parent.rglob("*")):
        lab.service.own(path, 0o755 if path.is_dir() else 0o644)
    lab.alice.helix("init")
    lab.alice.helix("providers", "set", "ollama", "--root", str(models), expect=(0, 3))
    lab.alice.helix("providers", "on", "ollama", expect=(0, 3))
    before = dict(lab.alice.environ)
    with hub(large) as endpoint:
        lab.alice.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        said = lab.alice.document("models", "download", f"hf:{NAME}", "--dry-run")
        done = lab.alice.document("models", "download", f"hf:{NAME}", expect=(0, 3))
        lab.alice.environ = before
    assert [one["here_bytes"] for report in (said, done) for one in report["files"]] == [0, 0]
    assert "need not come" not in said["why"] + done["why"]
    assert done["fetched_bytes"] == large.files["large-F16.gguf"].stat().st_size
    assert [note for note in done["sync"]["notes"] if str(models) in note], "why what lies there was not taken is told"


def big_gguf() -> bytes:
    """More than what is fetched into memory."""
    values = [text("general.architecture", "llama"), number("llama.context_length", 2048),
              number("llama.block_count", 1), number("general.file_type", 1)]
    return gguf(values, [tensor("blk.0.attn_q.weight", (1024, 2560), 1, 0)]) + os.urandom(1024 * 2560 * 2)


_DIES = """
from helixstore import HelixStore
from helixstore.fs import kernel
real = kernel.sync_file
kernel.sync_file = lambda path: os._exit(9) if "/downloads/" in str(path) else real(path)
with HelixStore(environ=dict(os.environ)) as store:
    store.download(sys.argv[1])
"""
