"""`doctor --mount`: what it finds is what the file system does, it leaves nothing behind, and two hosts meet."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from hosts import HELIXSTORE, Host, wait_for

from helixstore.errors import Failed, NotFound
from helixstore.fs.mounts import Mount
from helixstore.trial import Trial, try_mount
from helixstore.trial.verdicts import verdicts

AGE = 1.0


def works(report: dict[str, Any]) -> dict[str, bool | None]:
    return {trial["name"]: trial["works"] for trial in report["trials"]}


def answers(report: dict[str, Any]) -> dict[str, str]:
    return {verdict["what"]: verdict["answer"] for verdict in report["verdicts"]}


def test_two_hosts_meet_and_one_tells_what_each_sees_of_the_other(pair: tuple[Host, Host]) -> None:
    ana, bob = pair
    for host in pair:
        host.set(age=AGE, skew=90)
    command = ("doctor", "--mount", str(ana.nas), "--with-other-host", "--json")
    first = ana.begin(HELIXSTORE, *command)
    backing = ana.home.parent / "backing"
    wait_for((backing / ".helixstore-meeting").exists, 30)
    second = json.loads(bob.helix(*command))
    out, said = first.communicate(timeout=120)
    report = json.loads(out)
    assert "helixstore doctor --mount DIR --with-other-host" in said
    assert (report["other"], second["other"]) == ("bob", "ana")
    found = works(report)
    assert found["clocks_agree"] is True
    assert (found["flock"], found["record_locks"]) == (False, False)            # both got it
    assert (found["create_race"], found["folder_race"], found["publish_race"]) == (True, True, True)
    assert (found["own_events"], found["others_events"]) == (True, False)
    assert found["unlink_by_other"] is False                                    # ESTALE
    late = {trial["name"]: trial["figure"] for trial in report["trials"] if trial["name"].startswith("seen_")}
    assert all(AGE / 2 < seconds < 30 for seconds in late.values()), late
    assert found["same_clock"] is False
    assert answers(report) == {"store": "care", "program folders": "yes", "index": "no", "watch": "care"}
    assert os.listdir(backing) == []


LACKS: list[tuple[dict[str, Any], str]] = [
    ({"hard_links": False}, "hard_links"), ({"squash": "all"}, "owner"), ({"modes": "ignored"}, "modes"),
    ({"modes": "refused"}, "modes"), ({"locks": "ENOLCK"}, "flock"), ({"skew": -90}, "same_clock"),
]


@pytest.mark.parametrize(("rules", "name"), LACKS if os.environ.get("SOAK") else LACKS[:2])
def test_what_a_share_lacks_is_found(two: tuple[Host, Host, Path], rules: dict[str, Any], name: str) -> None:
    ana, _, backing = two
    backing.chmod(0o777)
    ana.rules.clear()
    ana.set(**rules)
    report = ana.document("doctor", "--mount", str(ana.nas))
    assert works(report)[name] is False
    assert {trial for trial, good in works(report).items() if good is False} <= {
        name, "reflinks", "rename_no_replace", "leases", "acl_inheritance", "flock", "record_locks", "set_gid",
        *(["publish_race"] if name == "hard_links" else [])}        # a matter of chance then
    assert os.listdir(backing) == []


def test_what_a_killed_trial_left_has_a_clear_name_and_goes_with_the_next(pair: tuple[Host, Host]) -> None:
    ana, _ = pair
    backing = ana.home.parent / "backing"
    ana.set(faults=[{"op": "rename", "error": "EIO", "skip": 10**6}])
    process = ana.begin(HELIXSTORE, "doctor", "--mount", str(ana.nas))
    wait_for(lambda: any(backing.iterdir()), 30)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    [left] = os.listdir(backing)
    assert left.startswith(".helixstore-trial-")
    os.utime(backing / left, (1_700_000_000, 1_700_000_000))
    ana.helix("doctor", "--mount", str(ana.nas))
    assert os.listdir(backing) == []


def test_a_folder_that_cannot_be_tried(pair: tuple[Host, Host], tmp_path: Path) -> None:
    ana, _ = pair
    with pytest.raises(NotFound):
        try_mount(tmp_path / "missing")
    ana.set(server="eio")
    said = ana.document("doctor", "--mount", str(ana.nas), expect=(1,))["error"]
    assert "is not a folder" in said["message"] or "cannot be tried" in said["message"]
    ana.set(server="up", free=0)
    assert "no space left" in ana.document("doctor", "--mount", str(ana.nas), expect=(1,))["error"]["message"].lower()
    ana.helix("doctor", "--with-other-host", expect=(2,))


def test_both_commands_on_one_host_are_told(base: Path) -> None:
    said: list[str] = []
    waiting = threading.Event()

    def first() -> None:
        try:
            try_mount(base, with_other_host=True, note=lambda text: waiting.set())
        except Failed as error:
            said.append(error.message)

    thread = threading.Thread(target=first)
    thread.start()
    assert waiting.wait(30)
    with pytest.raises(Failed, match="ran on this host"):
        try_mount(base, with_other_host=True)
    thread.join(30)
    assert said == ["both commands ran on this host"]
    assert os.listdir(base) == []


@pytest.mark.parametrize(("lacking", "what", "answer"), [
    ("create_race", "store", "no"), ("rename_over", "store", "no"), ("large_files", "store", "no"),
    ("modes", "store", "care"), ("shared_maps", "index", "no"), ("record_locks", "index", "no"),
    ("others_events", "watch", "care"), ("symbolic_links", "program folders", "care"),
])
def test_each_lack_has_its_verdict(lacking: str, what: str, answer: str) -> None:
    local = Mount("/", "ext4", "/dev/sda1", False, "uuid:1:/")
    names = ("hard_links", "symbolic_links", "reflinks", "exclusive_create", "rename_no_replace", "rename_over",
             "modes", "owner", "large_files", "fsync", "same_clock", "shared_maps", "flock", "record_locks",
             "create_race", "publish_race", "own_events", "others_events", "leases")
    every = [Trial(name, True) for name in names]
    assert {verdict.answer for verdict in verdicts(local, every)} == {"yes"}
    without = [Trial(trial.name, trial.name != lacking) for trial in every]
    found = {verdict.what: verdict.answer for verdict in verdicts(local, without)}
    assert found.pop(what) == answer
    assert set(found.values()) == {"yes"}


def test_what_lies_in_memory_is_gone_at_the_next_start() -> None:
    store, *_ = verdicts(Mount("/ram", "tmpfs", "tmpfs", False, "1"), [])
    assert store.answer == "care"
    assert "gone at the next restart" in store.why
    assert "restart" not in verdicts(Mount("/disk", "ext4", "/dev/sda1", False, "2"), [])[0].why
