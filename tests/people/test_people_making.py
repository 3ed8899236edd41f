"""`init --group G --site`: whose folders are made with which modes, whatever the umask of whoever makes them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from support.people import People, founded, modes
from support.raw import model_gguf

COMMON, OWN = 0o3770, 0o2750


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_every_folder_has_its_mode_whatever_the_umask(lab: People, who: str) -> None:
    steward = lab.members[who]
    founded(lab, steward)
    for one in lab.members.values():
        one.helix("sync")
    found = modes(lab.store)
    assert stat.S_IMODE(lab.store.stat().st_mode) == COMMON
    common = {name for name, mode in found.items() if mode == COMMON}
    fanned = {f"{kind}/{number:02x}" for kind in ("blobs", "meta", "manifests") for number in range(256)}
    assert fanned <= common
    assert {"blobs", "refs", "hosts", "farms", "volumes", "trash", "condemned", "quarantine", "staging"} <= common
    assert {path.stat().st_gid for path in lab.store.rglob("*")} == {lab.gid}
    own = {name: mode for name, mode in found.items() if name.partition("/")[0] in ("refs", "hosts", "farms")
           and name.count("/")}
    assert set(own.values()) == {OWN}, own
    for one in lab.members.values():
        mine = [name for name in own if (lab.store / name).stat().st_uid == one.uid]
        assert any(name.startswith("refs/") and name.endswith(f"/{one.uid}") for name in mine)
    assert not [path for path in lab.store.rglob("*") if path.is_file() and path.stat().st_mode & 0o022]


def test_the_others_need_no_init_and_have_settings_of_their_own(lab: People) -> None:
    founded(lab, lab.carol)
    lab.bob.put(".ollama/models/manifests/.keep", b"")
    report = lab.bob.document("sync")
    assert report["issues"] == []
    settings = {row["key"]: row for row in lab.bob.document("config", "list")["settings"]}
    assert settings["store"]["value"] == str(lab.store)
    assert settings["store"]["origin"] == str(lab.folder / "etc/helixstore/config.toml")
    assert settings["providers.ollama.on"]["origin"] == str(lab.bob.home / ".config/helixstore/config.toml")
    alice = {row["key"]: row["value"] for row in lab.alice.document("config", "list")["settings"]}
    lab.alice.helix("sync")
    after = {row["key"]: row["value"] for row in lab.alice.document("config", "list")["settings"]}
    assert alice.get("providers.ollama.on") is None
    assert after.get("providers.ollama.on") is None, "alice has no Ollama"
    assert after["local_namespace"] != settings["local_namespace"]["value"]


def test_a_rehearsal_of_the_first_sync_writes_nothing(lab: People) -> None:
    founded(lab, lab.carol)
    before = {str(path) for path in lab.store.rglob("*")}
    lab.bob.helix("sync", "--dry-run")
    assert {str(path) for path in lab.store.rglob("*")} == before
    assert not (lab.bob.home / ".config/helixstore/config.toml").exists()


def test_a_second_init_writes_the_members_own_configuration_only(lab: People) -> None:
    founded(lab, lab.carol)
    before = (lab.store / "store.json").read_bytes()
    made = lab.alice.document("init", "--store", str(lab.store), "--group", lab.group, "--provider", "lmstudio")
    assert not made["created"]
    assert made["group"] == lab.group
    assert (lab.store / "store.json").read_bytes() == before
    assert lab.store.stat().st_uid == lab.carol.uid


def test_without_the_right_to_write_the_sites_settings_the_file_and_the_command_are_shown(lab: People) -> None:
    lab.store.mkdir()
    os.chown(lab.store, lab.bob.uid, lab.bob.gid)
    (lab.folder / "etc").mkdir()                                # root's
    told = lab.bob.document("init", "--store", str(lab.store), "--group", lab.group, "--site")["site"]
    assert not told["written"]
    assert str(lab.store) in told["text"]
    assert told["command"].startswith("sudo install ")
    subprocess.run(told["command"].removeprefix("sudo "), shell=True, check=True)
    assert stat.S_IMODE(Path(told["file"]).stat().st_mode) == 0o644
    lab.alice.helix("sync")


def test_what_cannot_be_is_refused_with_the_command_that_an_administrator_runs(lab: People) -> None:
    lab.store.mkdir()
    os.chown(lab.store, lab.stranger.uid, lab.stranger.gid)
    folder = str(lab.store)
    assert f"sudo groupadd {lab.group}x" in lab.stranger.fails("init", "--store", folder, "--group", f"{lab.group}x")
    said = lab.stranger.fails("init", "--store", folder, "--group", lab.group)
    assert f"sudo usermod -aG {lab.group} {lab.stranger.name}" in said
    assert "sudo chown" in lab.bob.fails("init", "--store", folder, "--group", lab.group)
    assert "in your home" in lab.bob.fails("init", "--store", str(lab.bob.home / "s"), "--group", lab.group)
    assert not list(lab.store.iterdir())


def test_a_stranger_is_told_who_is_let_in(lab: People) -> None:
    founded(lab, lab.bob)
    for command in (["sync"], ["status"], [], ["list"], ["init", "--store", str(lab.store)]):
        said = lab.stranger.fails(*command)
        assert lab.group in said
        assert "usermod" in said


def test_a_store_of_ones_own_is_not_taken_for_a_groups(lab: People) -> None:
    lab.bob.helix("init", "--store", str(lab.bob.home / "s"))
    lab.store.mkdir()
    os.chown(lab.store, lab.bob.uid, lab.bob.gid)
    lab.bob.helix("init", "--store", str(lab.store))
    assert "one person's" in lab.bob.fails("init", "--store", str(lab.store), "--group", lab.group)
    assert not any(path.stat().st_mode & 0o022 for path in (lab.bob.home / "s").rglob("*")), "umask 000 was his"


def test_a_default_acl_that_keeps_the_group_out_is_refused_with_what_opens_it(lab: People) -> None:
    lab.store.mkdir(mode=0o755)
    os.chown(lab.store, lab.bob.uid, lab.bob.gid)
    subprocess.run(["setfacl", "-m", f"d:u:{lab.service.name}:rx", str(lab.store)], check=True)     # d:g::r-x, then
    said = lab.bob.fails("init", "--store", str(lab.store), "--group", lab.group)
    assert not list(lab.store.iterdir())
    subprocess.run(said[said.index("setfacl"):].splitlines()[0], shell=True, check=True)
    lab.bob.helix("init", "--store", str(lab.store), "--group", lab.group)
    path = lab.alice.put("m/one.gguf", model_gguf(seed=72))
    assert "linked" in lab.alice.document("share", "--store", str(lab.store), str(path))


def test_a_default_acl_of_the_administrators_stays(lab: People) -> None:
    lab.store.mkdir()
    os.chown(lab.store, lab.bob.uid, lab.bob.gid)
    entry = f"u:{lab.service.name}:rx"
    subprocess.run(["setfacl", "-m", f"{entry},d:{entry},d:g::rwx,d:o::-", str(lab.store)], check=True)
    lab.bob.helix("init", "--store", str(lab.store), "--group", lab.group)
    for folder in (lab.store, lab.store / "blobs", lab.store / "blobs/00", lab.store / "refs"):
        shown = subprocess.run(["getfacl", "-c", "-p", str(folder)], check=True, capture_output=True, text=True).stdout
        assert f"user:{lab.service.name}:r-x\n" in shown, (folder, shown)
        assert folder.stat().st_mode & 0o3000 == 0o3000
    lab.bob.put("models/pub.gguf", b"x")
    assert lab.service.reads(lab.store / "store.json")
