"""A folder that several people's programs read has one owner; each person's own settings, index and hidden list."""

from __future__ import annotations

import os

import pytest

from support.people import People, User, founded
from support.raw import model_gguf

WEIGHTS = model_gguf(seed=31)


@pytest.fixture
def service(lab: People) -> People:
    """carol's store with one model in it, and a folder of a system service that members may write into."""
    founded(lab, lab.carol)
    lab.carol.helix("share", str(lab.carol.put("m/common-model.gguf", WEIGHTS)))
    folder = lab.folder / "disk-service"
    folder.mkdir()
    os.chown(folder, lab.service.uid, lab.gid)
    folder.chmod(0o2775)
    for one in lab.members.values():
        one.environ["OLLAMA_MODELS"] = str(folder)
        one.helix("sync")
        one.helix("providers", "on", "ollama")
    yield lab
    for one in lab.members.values():
        one.environ.pop("OLLAMA_MODELS")


def ollama(user: User) -> dict[str, object]:
    """Its line of status."""
    return next(row for row in user.document("status")["providers"] if row["name"] == "ollama")


def test_who_comes_first_serves_a_systems_folder_and_the_others_see_it_as_off(service: People) -> None:
    lab = service
    folder = lab.folder / "disk-service"
    lab.alice.helix("sync")
    made = {path: path.lstat().st_uid for path in folder.rglob("*")}
    assert set(made.values()) == {lab.alice.uid}
    done = lab.bob.document("sync")
    assert not [action for action in done["actions"] if str(folder) in action["path"]]
    assert {path: path.lstat().st_uid for path in folder.rglob("*")} == made
    line = ollama(lab.bob)
    assert line["state"] == "off"
    assert str(line["reason"]).startswith(lab.alice.name)
    assert ollama(lab.alice)["state"] == "here"
    said = lab.bob.helix("status")
    assert f"is off: {lab.alice.name} shares models" in said
    assert "3 people on 1 computer\n" in said, "each has a host id of their own, and all are on this one"
    lab.alice.helix("providers", "off", "ollama")
    lab.alice.helix("sync")
    lab.alice.helix("sync")
    lab.bob.helix("sync")
    assert {path.lstat().st_uid for path in folder.rglob("*") if path.is_symlink()} == {lab.bob.uid}
    assert ollama(lab.bob)["state"] == "here"


def test_hidden_pinned_and_settings_are_each_persons_own(service: People) -> None:
    lab = service
    for one in (lab.alice, lab.bob):
        one.environ.pop("OLLAMA_MODELS")
        one.helix("providers", "off", "ollama")
        one.helix("providers", "on", "llamacpp")
        one.helix("sync")
    lab.alice.helix("hide", "common-model", "--provider", "llamacpp")
    lab.alice.helix("pin", "common-model")
    lab.alice.helix("config", "set", "share", "chosen")
    for one in (lab.alice, lab.bob):
        one.helix("sync")

    def seen(user: User) -> dict[str, str]:
        [variant] = user.document("show", "common-model")["variants"]
        return {"state": variant["providers"]["llamacpp"]["state"], "pinned": variant["pinned"]}

    assert seen(lab.alice) == {"state": "hidden", "pinned": True}
    assert seen(lab.bob) == {"state": "linked", "pinned": False}
    farms = {path.name for host in (lab.store / "farms").iterdir() for path in host.iterdir()}
    assert {str(one.uid) for one in lab.members.values()} <= farms
    for one in (lab.alice, lab.bob):
        one.environ["OLLAMA_MODELS"] = ""
