"""`doctor` in a store of a group: what keeps people out is found, and the command that it prints mends it."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helixstore.fs.access import READ, TRAVERSE, WRITE, Person, Rights, allows, rights_of
from support.people import People, User, blob_of, founded
from support.raw import model_gguf

WEIGHTS = model_gguf(seed=71)


def problems(user: User) -> list[dict[str, str]]:
    """What doctor says is wrong."""
    return [check for check in user.document("doctor", expect=(0, 1, 3))["checks"] if check["state"] == "problem"]


def mend(command: str) -> None:
    """Do as doctor says, as the administrator, who has no sudo and needs none."""
    subprocess.run(command.replace("sudo ", "").partition(" (and")[0], shell=True, check=True)


@pytest.fixture
def root(lab: People) -> Iterator[User]:
    """The administrator, with a home of their own."""
    home = lab.folder / "disk-root"
    home.mkdir()
    admin = User("root", 0, 0, home, (0,), 0o022, lab.carol.interpreter,
                 lab.carol.environ | {"HOME": str(home), "USER": "root", "LOGNAME": "root"})
    yield admin
    admin.leaves()


def test_a_sound_store_has_no_problems_for_anybody_and_root_really_tries(lab: People, root: User) -> None:
    founded(lab, lab.carol)
    for one in (*lab.members.values(), root):
        one.helix("sync")
        assert problems(one) == []
    said = root.helix("doctor")
    for one in lab.members.values():
        assert f"{one.name} reads the store, adds to it, and removes nothing of others (tried as that user)" in said
    assert "by the rules" in lab.bob.helix("doctor")
    assert "protected_hardlinks" in said
    assert not [path for path in (lab.store / "blobs").rglob("*") if path.is_file()], "no trace of the trial"


def test_a_parent_folder_that_keeps_the_members_out_is_named_with_what_opens_it(lab: People) -> None:
    (lab.folder / "etc").mkdir()
    os.chown(lab.folder / "etc", lab.carol.uid, lab.carol.gid)
    closed = lab.folder / "disk-closed"
    closed.mkdir()
    os.chown(closed, lab.carol.uid, lab.carol.gid)
    closed.chmod(0o700)
    made = lab.carol.document("init", "--store", str(closed / "models"), "--group", lab.group, "--site")
    [note] = made["notes"]
    assert str(closed) in note
    [found] = [check for check in problems(lab.carol) if "cannot pass" in check["message"]]
    assert lab.alice.name in found["message"]
    assert lab.bob.name in found["message"]
    assert "sudo" not in found["remedy"], "the folder is carol's own"
    assert f"belongs to {lab.carol.name}, and you cannot pass it" in lab.bob.fails("sync")
    mend(found["remedy"])
    lab.bob.helix("sync")
    assert lab.stranger.reads(closed / "models/store.json") is None
    assert problems(lab.carol) == []


def test_nobody_is_made_a_member_of_roots_group_to_pass_a_folder(lab: People) -> None:
    closed = lab.folder / "disk-of-root"
    (closed / "models").mkdir(parents=True)
    os.chown(closed / "models", lab.carol.uid, lab.gid)
    closed.chmod(0o750)
    said = lab.carol.fails("init", "--store", str(closed / "models"), "--group", lab.group)
    mend(said[said.index("sudo setfacl"):].splitlines()[0])
    lab.carol.helix("init", "--store", str(closed / "models"), "--group", lab.group)
    [found] = [check for check in problems(lab.carol) if "cannot pass" in check["message"]]
    assert "usermod" not in found["remedy"]
    mend(found["remedy"])
    assert problems(lab.carol) == []


def test_a_service_user_who_does_not_reach_the_blobs_is_named_with_the_group_to_join(lab: People) -> None:
    founded(lab, lab.carol)
    folder = lab.folder / "disk-service"
    folder.mkdir()
    os.chown(folder, lab.service.uid, lab.gid)
    folder.chmod(0o2775)
    lab.bob.environ["OLLAMA_MODELS"] = str(folder)
    try:
        lab.bob.helix("share", str(lab.bob.put("m/one.gguf", WEIGHTS)))
        lab.bob.helix("providers", "on", "ollama")
        lab.bob.helix("sync")
        [found] = [check for check in problems(lab.bob) if lab.service.name in check["message"]]
        assert f"sudo usermod -aG {lab.group} {lab.service.name}" in found["remedy"]
        assert lab.service.reads(blob_of(lab, WEIGHTS)) is None
        mend(found["remedy"])
        lab.service.groups = tuple(os.getgrouplist(lab.service.name, lab.service.gid))
        assert lab.service.reads(blob_of(lab, WEIGHTS)) == WEIGHTS
        assert problems(lab.bob) == []
    finally:
        lab.bob.environ.pop("OLLAMA_MODELS")
        subprocess.run(["gpasswd", "-d", lab.service.name, lab.group], check=False, capture_output=True)
        lab.service.groups = tuple(os.getgrouplist(lab.service.name, lab.service.gid))


def test_wrong_modes_and_closed_blobs_are_found_and_mended(lab: People, root: User) -> None:
    founded(lab, lab.carol)
    lab.alice.helix("share", str(lab.alice.put("m/one.gguf", WEIGHTS)))
    blob = blob_of(lab, WEIGHTS)
    (lab.store / "staging").chmod(0o777)
    blob.parent.chmod(0o2770)                           # not sticky: anybody removes anything
    blob.chmod(0o400)
    said = problems(root)
    assert any("can remove another's blob" in check["message"] for check in said) is (blob.parent.name == "00")
    for check in said:
        if check["remedy"].startswith(("sudo ch", "chgrp", "chmod")):
            mend(check["remedy"])
    assert stat.S_IMODE((lab.store / "staging").stat().st_mode) == 0o3770
    assert stat.S_IMODE(blob.parent.stat().st_mode) == 0o3770
    assert stat.S_IMODE(blob.stat().st_mode) == 0o440
    assert problems(root) == []
    (lab.store / "blobs/00").chmod(0o2770)
    assert any("can remove another's blob" in check["message"] for check in problems(root))
    for number in range(5):                             # so many that they are not named one by one
        (lab.store / f"blobs/{number:02x}").chmod(0o2770)
    [many] = [check for check in problems(root) if "lack the mode" in check["message"]]
    mend(many["remedy"])
    assert problems(root) == []
    assert stat.S_IMODE((lab.store / "store.json").stat().st_mode) == 0o444


def test_the_rules_say_what_the_kernel_does(lab: People, tmp_path: Path) -> None:
    """Random owners, groups, modes and ACLs; what `allows` says is compared with real tries of four people."""
    folder = lab.folder / "disk-rules"
    folder.mkdir()
    chance = random.Random(7)
    everybody = [*lab.members.values(), lab.stranger]
    for number in range(40):
        file = folder / str(number)
        file.write_text("#!/bin/sh\n")
        os.chown(file, chance.choice(everybody).uid, chance.choice([lab.gid, lab.stranger.gid, 0]))
        file.chmod(chance.randrange(0o1000))
        if number % 2:
            entries = [f"u:{chance.choice(everybody).name}:{chance.randrange(8)}",
                       f"g:{chance.choice([lab.group, lab.stranger.name])}:{chance.randrange(8)}"]
            subprocess.run(["setfacl", "-m", ",".join(entries), str(file)], check=True)
            if number % 4 == 1:
                subprocess.run(["setfacl", "-m", f"m::{chance.randrange(8)}", str(file)], check=True)
    script = f'for n in $(seq 0 39); do f={folder}/$n; [ -r $f ]; r=$?; [ -w $f ]; w=$?; [ -x $f ]; echo $r$w$?; done'
    for one in everybody:
        who = Person(one.name, one.uid, frozenset(one.groups))
        for number, line in enumerate(one.run("/bin/sh", "-c", script).stdout.split()):
            rights = rights_of(folder / str(number))
            said = [allows(rights, who, wanted) for wanted in (READ, WRITE, TRAVERSE)]
            assert said == [letter == "0" for letter in line], (rights, who)


def test_root_is_kept_out_of_nothing() -> None:
    assert allows(Rights(1, 1, 0), Person("root", 0, frozenset()), READ | WRITE | TRAVERSE)


def test_a_services_folder_is_opened_by_the_very_command_that_doctor_prints(lab: People) -> None:
    founded(lab, lab.carol)
    folder = lab.folder / "disk-service"
    (folder / "inner").mkdir(parents=True)
    for path in (folder, folder / "inner"):
        os.chown(path, lab.service.uid, lab.service.gid)
        path.chmod(0o755)
    lab.bob.environ["OLLAMA_MODELS"] = str(folder)
    try:
        lab.bob.helix("sync", expect=(0, 3))
        lab.bob.helix("providers", "on", "ollama")
        [found] = [check for check in problems(lab.bob) if str(folder) in check["message"]]
        assert found["remedy"].startswith("sudo setfacl "), found
        mend(found["remedy"])
        assert not [check for check in problems(lab.bob) if "cannot be written to" in check["message"]]
        assert lab.bob.run("touch", str(folder / "inner/new")).returncode == 0
        assert lab.service.run("touch", str(folder / "inner/its-own")).returncode == 0
    finally:
        lab.bob.environ.pop("OLLAMA_MODELS")


def test_a_member_is_told_to_end_their_own_claims_only_where_they_have_any(lab: People) -> None:
    founded(lab, lab.carol)
    record = lab.store / "hosts" / ("f" * 16) / str(lab.carol.uid) / "seen.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(next((lab.store / "hosts").glob(f"*/{lab.carol.uid}/seen.json")).read_bytes())
    for path in (record.parent.parent, record.parent, record):
        os.chown(path, lab.carol.uid, lab.gid)
    said = lab.bob.fails("host", "forget", "f" * 16, "--yes")
    assert f"ask {lab.carol.name}" in said
    assert "--user" not in said
