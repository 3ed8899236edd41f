"""Files of others: what is refused and said, what a farm lets services read, what nobody can foist on anybody."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

import pytest

from support.hub import Repository, hub
from support.people import People, blob_of, founded
from support.raw import model_gguf

WEIGHTS = model_gguf(seed=51)
SECRET = model_gguf(seed=52)


@pytest.fixture
def shared(lab: People) -> People:
    """carol's store, and WEIGHTS in it by carol's word."""
    founded(lab, lab.carol)
    lab.carol.helix("share", str(lab.carol.put("m/common-model.gguf", WEIGHTS)))
    return lab


def test_a_file_of_anothers_is_left_to_them_with_the_commands_that_would_free_its_bytes(shared: People) -> None:
    lab = shared
    theirs = lab.service.put("models/second.gguf", WEIGHTS)
    new = lab.service.put("models/new.gguf", SECRET)
    lab.bob.helix("config", "set", "scan", str(theirs.parent))
    notes = lab.bob.document("sync")["notes"]
    [second] = [note for note in notes if "second.gguf" in note]
    assert lab.service.name in second
    assert f"{len(WEIGHTS):,} bytes" in second
    [other] = [note for note in notes if "new.gguf" in note]
    assert f"helixstore share {new}" in other
    assert f"helixstore add {new}" in other
    assert theirs.read_bytes() == WEIGHTS
    assert not blob_of(lab, SECRET).exists()
    command = second.partition("freed by: ")[2]
    assert command.startswith("sudo ln ")
    subprocess.run(command.removeprefix("sudo "), shell=True, check=True)
    assert theirs.is_symlink()
    assert lab.bob.reads(theirs) == WEIGHTS
    refused = lab.bob.document("share", str(new))
    if not blob_of(lab, SECRET).exists():               # where the file system clones, bob has a clone of it now
        assert any("stays theirs" in note for note in refused["notes"])
    lab.service.own(new, 0o600)
    assert "may not be read by" in lab.bob.fails("share", str(new))


def test_a_service_of_the_group_reads_a_farm_whatever_the_umask_of_its_owner(shared: People) -> None:
    lab = shared
    lab.alice.helix("sync")
    lab.alice.helix("providers", "on", "llamacpp")
    lab.alice.helix("sync")
    made = [path for path in (lab.store / "farms").rglob("*")
            if path.lstat().st_uid == lab.alice.uid and stat.S_ISDIR(path.lstat().st_mode)]
    assert any("llamacpp" in path.parts for path in made)
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) != 0o2750] == []
    weights = [path for path in (lab.store / "farms").rglob("*.gguf") if path.lstat().st_uid == lab.alice.uid]
    assert weights
    assert all(lab.bob.reads(path) == WEIGHTS for path in weights)
    assert all(lab.stranger.reads(path) is None for path in weights)


def test_what_somebody_planted_under_a_digest_is_taken_for_nobodys_model(shared: People) -> None:
    """bob knows alice's file, and puts other bytes under its digest before she shares it."""
    lab = shared
    for one in (lab.alice, lab.bob):
        one.helix("sync")
    target = blob_of(lab, SECRET)
    planted = SECRET[:-1] + b"#"
    source = lab.bob.put("planted", planted, 0o444)
    shutil.copyfile(source, target)
    lab.bob.own(target, 0o444)
    mine = lab.alice.put("m/mine.gguf", SECRET)
    done = lab.alice.types("share", str(mine))
    assert mine.read_bytes() == SECRET
    path = lab.alice.types("path", "mine")
    assert "Traceback" not in done[2] + path[2]
    if path[0] == 0:
        assert lab.alice.reads(path[1].strip()) == SECRET


def test_the_hub_is_asked_once_and_without_a_token_whether_a_repository_is_public(lab: People) -> None:
    from people.test_people_together import from_the_hub

    founded(lab, lab.carol)
    source = lab.bob.put("served/rocket-Q4_K_M.gguf", WEIGHTS)
    repository = Repository("acme/rocket-GGUF", "1edfc51ff61fdd41a1ea0ea81799d23522f379b2", {source.name: source})
    with hub(repository) as endpoint:
        lab.alice.environ |= {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_of_alices"}
        lab.alice.environ["HF_HUB_OFFLINE"] = "1"
        from_the_hub(lab.alice, WEIGHTS)
        assert lab.alice.document("sync")["adopted"] == []
        assert len(lab.alice.document("status")["waiting"]) == 1
        assert repository.asked == []
        lab.alice.environ["HF_HUB_OFFLINE"] = "0"
        assert len(lab.alice.document("sync")["adopted"]) == 1, "what was not known is asked by the next sync"
        assert len(repository.asked) == 1
        from_the_hub(lab.alice, SECRET, "other-Q4_K_M.gguf", "acme/kept-to-ourselves")
        assert lab.alice.document("sync")["adopted"] == []
        asked = len(repository.asked)
        lab.alice.put("m/unrelated", b"x")
        lab.alice.document("sync")
        assert len(repository.asked) == asked, "the answer is remembered"
    lab.alice.environ |= {"HF_HUB_OFFLINE": "1"}
    for name in ("HF_ENDPOINT", "HF_TOKEN"):
        lab.alice.environ.pop(name)
    said = b"".join(path.read_bytes() for path in (lab.store / "refs").rglob("*.json"))
    assert b"acme/rocket-GGUF" in said
    assert b"kept-to-ourselves" not in said


@pytest.mark.parametrize("answer", [{"private": True}, {"gated": "auto"}, {"disabled": True}])
def test_a_repository_that_is_not_for_everybody_is_not_public(
    home: os.PathLike[str], answer: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str],
) -> None:
    from pathlib import Path

    from helixstore.hub.public import PublicRepositories

    file = Path(tmp_path, "rocket.gguf")
    file.write_bytes(WEIGHTS)
    repository = Repository("acme/rocket-GGUF", "1edfc51ff61fdd41a1ea0ea81799d23522f379b2", {file.name: file})
    told = repository.info()
    monkeypatch.setattr(Repository, "info", lambda self: told | answer)
    with hub(repository) as endpoint:
        known = PublicRepositories((), str(Path(tmp_path, "public.json")), {"HF_ENDPOINT": endpoint})
        assert known.ask("acme/rocket-GGUF") is False
        assert PublicRepositories(("acme/*",), str(Path(tmp_path, "x.json")), {}).ask("Acme/Rocket-GGUF") is True
        again = PublicRepositories((), str(Path(tmp_path, "public.json")), {"HF_ENDPOINT": endpoint})
        assert again.known("acme/rocket-GGUF") is False
    gone = PublicRepositories((), str(Path(tmp_path, "public.json")), {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert gone.ask("nobody/asked-before") is None, "nobody answers there"


def test_a_repository_that_was_closed_since_is_not_public_any_more(tmp_path: os.PathLike[str]) -> None:
    """What the hub said once is its last word only while it does not answer."""
    from pathlib import Path

    from helixstore.hub.public import PublicRepositories

    file, kept = Path(tmp_path, "rocket.gguf"), Path(tmp_path, "public.json")
    file.write_bytes(WEIGHTS)
    repository = Repository("acme/rocket-GGUF", "1edfc51ff61fdd41a1ea0ea81799d23522f379b2", {file.name: file})

    def says(endpoint: str, **how: bool) -> bool | None:
        return PublicRepositories((), str(kept), {"HF_ENDPOINT": endpoint}).ask("acme/rocket-GGUF", **how)

    def ages() -> None:
        record = json.loads(kept.read_text())
        record["repositories"] = {name: [public, at - 2 * 86_400] for name, (public, at) in
                                  record["repositories"].items()}
        kept.write_text(json.dumps(record))

    with hub(repository) as endpoint:
        assert says(endpoint) is True
        repository.private = True
        assert says(endpoint) is True, "asked a moment ago"
        assert says(endpoint, fresh=True) is False
        repository.private = False
        assert says(endpoint) is False
        assert says(endpoint, fresh=True) is True
        ages()
        repository.private = True
        assert says(endpoint) is False
        repository.private = False
        assert says(endpoint, fresh=True) is True
    ages()
    assert says(endpoint) is True, "nobody answers there"
