"""What happens to a watch: events that are lost, folders that go and come, signals, others at work beside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from watched import Home, Watching, until

from support.disks import as_root
from support.household import Household, gguf, sha

SYSCTL = Path("/proc/sys/fs/inotify/max_queued_events")


def test_it_starts_with_what_happened_while_it_was_off(home: Home) -> None:
    with home.watch() as watching:
        watching.adopted(home.model("models/first-Q4_K_M.gguf", "first", 1))
        there = home.everywhere("first")
    home.model("models/second-Q4_K_M.gguf", "second", 2)
    shutil.rmtree(Path(there["lmstudio"][0]).parent)
    with home.watch():
        home.everywhere("second")
        assert "lmstudio" not in home.where("first")


def test_events_that_are_lost_make_it_look_at_everything(home: Home) -> None:
    """Stopped while more happens than the kernel's queue holds."""
    with home.watch() as watching:
        watching.process.send_signal(signal.SIGSTOP)
        noise = home.home / "models/noise"
        noise.mkdir()
        for number in range(int(SYSCTL.read_text()) // 2 + 200):        # made and closed: two events each
            (home.home / f"models/{number}.txt").touch()
        path = home.model("models/unheard/unheard-Q4_K_M.gguf", "unheard", 3)
        before = watching.count()
        watching.process.send_signal(signal.SIGCONT)
        watching.event("lost", since=before)
        watching.adopted(path)
        # the folder that was made meanwhile is listened to as well
        watching.adopted(home.model("models/unheard/later-Q4_K_M.gguf", "later", 4))
    home.everywhere("unheard")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_where_no_watches_are_left_it_looks(home: Home) -> None:
    """In a user namespace with a limit of its own; what the process may have is used up by the first folders."""
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c",
               'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    for number in range(4):
        (home.home / f"models/folder-{number}").mkdir()
    with home.watch(*limited) as watching:
        told = watching.event("polling", lambda event: event["path"] == str(home.home / "models"))
        assert "limit of watches" in told["why"]
        assert re.search(r"sudo sysctl (fs\.inotify\.max_user_watches=\d{6,}); .*echo \1 .*/sysctl\.d/", told["why"])
        watching.adopted(home.model("models/folder-3/seen-Q4_K_M.gguf", "seen", 5))
        says = [event["path"] for event in watching.events if event["event"] == "polling"]
        assert sorted(says) == sorted(set(says))                        # each said once
    home.everywhere("seen")


def test_a_folder_that_is_moved_away_and_back(home: Home) -> None:
    with home.watch() as watching:
        watching.adopted(home.model("models/kept-Q4_K_M.gguf", "kept", 6))
        there = home.everywhere("kept")
        root = home.root("lmstudio")
        aside = root.with_name("aside")
        before = watching.count()
        root.rename(aside)
        watching.event("away", lambda event: event["path"] == str(root), before)
        watching.adopted(home.model("models/meanwhile-Q4_K_M.gguf", "meanwhile", 7))
        assert not root.exists()                                        # nothing is made where it was
        assert home.seen("lmstudio", "kept").state == "away"
        before = watching.count()
        aside.rename(root)
        watching.event("there", lambda event: event["path"] == str(root), before)
        until(lambda: "lmstudio" in home.where("meanwhile"), "the model that came meanwhile is there")
        assert home.where("kept")["lmstudio"] == there["lmstudio"]
        watching.adopted(home.model(".lmstudio/models/acme/again-GGUF/again.gguf", "again", 8))     # and is heard


def test_a_root_that_is_replaced_is_watched_as_it_is_now(home: Home) -> None:
    with home.watch() as watching:
        folder = home.home / "models"
        before = watching.count()
        folder.rename(home.home / "old-models")
        folder.mkdir()
        until(lambda: {"replaced", "there"} & {event["event"] for event in watching.events[before:]}, "it is noticed")
        watching.event("pass", lambda event: event["roots"] == [str(folder)], before)
        home.model("old-models/not-here-Q4_K_M.gguf", "not-here", 9)   # the old inode is nobody's any more
        watching.adopted(home.model("models/here-Q4_K_M.gguf", "here", 10))
        assert home.where("not-here") == {}


def test_a_root_behind_a_link_and_one_that_comes_later(home: Home) -> None:
    real = home.home / "big disk/lm"
    real.mkdir(parents=True)
    home.home.joinpath(".lmstudio").mkdir(exist_ok=True)
    shutil.rmtree(home.home / ".lmstudio/models", ignore_errors=True)
    home.home.joinpath(".lmstudio/models").symlink_to(real)
    later = home.home / "later/models"
    home.helix("config", "set", "scan", f"{home.home / 'models'}:{later}")
    with home.watch() as watching:
        watching.adopted(home.model("big disk/lm/acme/behind-GGUF/behind.gguf", "behind", 11))
        path = home.model("later/models/late-Q4_K_M.gguf", "late", 12)
        watching.adopted(path)
    home.everywhere("behind")
    home.everywhere("late")


@as_root
def test_a_disk_that_is_unmounted_and_mounted_again(home: Home) -> None:
    point, image = home.home / "disk", home.home / "disk.image"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
    try:
        home.helix("volume", "add", str(point))
        home.helix("config", "set", "scan", str(point))
        with home.watch() as watching:
            watching.adopted(home.model("disk/there-Q4_K_M.gguf", "there", 13))
            there = home.where("there")
            assert there
            before = watching.count()
            subprocess.run(["umount", str(point)], check=True)
            watching.event("replaced", lambda event: event["path"] == str(point), before)
            until(lambda: not any(os.path.lexists(path) for paths in home.where("there").values() for path in paths),
                  "no link leads to the disk that is gone")
            before = watching.count()
            subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
            watching.event("replaced", lambda event: event["path"] == str(point), before)
            until(lambda: home.where("there").keys() == there.keys(), "everything is back")
            watching.adopted(home.model("disk/after-Q4_K_M.gguf", "after", 14))
    finally:
        subprocess.run(["umount", str(point)], check=False)


def test_only_one_watches_and_a_second_says_who(home: Home) -> None:
    with home.watch() as watching:
        told = json.loads(home.helix("watch", "--json", expect=(1,)))
        assert told["error"]["kind"] == "busy"
        assert f"process {watching.process.pid}" in told["error"]["message"]


def test_commands_work_beside_it(home: Home) -> None:
    with home.watch() as watching:
        watching.adopted(home.model("models/shared-Q4_K_M.gguf", "shared", 15))
        home.everywhere("shared")
        home.helix("hide", "shared", "--provider", "jan")
        watching.adopted(home.model("models/next-Q4_K_M.gguf", "next", 16))     # after another process's operation
        assert "jan" not in home.where("shared")
        assert "jan" in home.where("next")
        done = [subprocess.Popen([watching.process.args[0], "sync", "--yes"], env=home.environ,  # type: ignore[index]
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
        paths = [home.model(f"models/beside-{number}-Q4_K_M.gguf", f"beside-{number}", 20 + number)
                 for number in range(3)]
        for process in done:
            _, error = process.communicate()
            assert process.returncode == 0, error
        for path in paths:
            until(lambda path=path: len(home.where(path.name[:8])) >= 10, f"{path.name} is everywhere")
    assert home.document("sync", "--yes")["actions"] == []


def test_what_another_host_adds_is_there_after_a_poll(home: Home, base: Path) -> None:
    """Another home over the same store: another state folder, and so another host's id, to the store."""
    other = Home.make(base / "another host")
    store = home.document("status")["store"]["path"]
    with home.watch() as watching:
        before = watching.count()
        path = other.model("far-Q4_K_M.gguf", "far", 30)
        other.helix("--store", store, "add", str(path))
        watching.event("pass", lambda event: event["linked"] >= 10, before)
        home.everywhere("far")


def test_settings_that_change_are_followed(home: Home) -> None:
    with home.watch() as watching:
        watching.adopted(home.model("models/seen-Q4_K_M.gguf", "seen", 31))
        paths = home.everywhere("seen")["gpt4all"]
        home.helix("providers", "off", "gpt4all")
        until(lambda: not any(map(os.path.lexists, paths)), "its links are gone")
        (home.home / "more").mkdir()
        home.helix("config", "set", "scan", str(home.home / "more"))
        watching.event("pass", lambda event: event["why"] == "the settings have changed", watching.count() - 1)
        watching.adopted(home.model("more/more-Q4_K_M.gguf", "more", 32))


def test_it_ends_in_the_middle_of_reading_a_large_file(home: Home) -> None:
    data = gguf("large", seed=40)
    Household(home.home).ollama("large", "latest", data)
    large = home.home / f".ollama/models/blobs/sha256-{sha(data)}"      # a file with such a name is read with its hole
    home.model("models/small-Q4_K_M.gguf", "small", 41)
    os.truncate(large, 6 << 30)                         # whole by its header, with far more behind it
    [manifest] = (home.home / ".ollama/models/manifests").rglob("latest")
    manifest.write_text(manifest.read_text().replace(f'"size": {len(data)}', f'"size": {6 << 30}'))
    watching = Watching(home)
    until(lambda: str(large) in _opened(watching.process.pid), "it reads the file")
    began = time.monotonic()
    watching.process.terminate()
    code = watching.process.wait(30)
    watching.__exit__(None, None, None) if code == 0 else pytest.fail(f"exit {code}: {watching.errors}")
    assert time.monotonic() - began < 5
    large.unlink()
    with home.watch():
        home.everywhere("small")


def _opened(process: int) -> set[str]:
    """The paths of what a process has open; what it closes while we look is left out."""
    paths = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            paths.add(os.readlink(descriptor))
    return paths


@pytest.mark.parametrize("linked", [0, 1, 5, 10, 20, 39] if os.environ.get("SOAK") else [5])
def test_it_ends_in_the_middle_of_changing_the_farm(home: Home, linked: int) -> None:
    for number in range(40):
        home.model(f"models/many-{number:02}-Q4_K_M.gguf", f"many-{number:02}", 100 + number)
    state = home.home / ".local/state/helixstore"
    watching = Watching(home)
    until(lambda: len(list(state.glob("*/ops/*/plan.json"))) >= 1, "an operation has begun")
    links = home.home / ".lmstudio/models"
    until(lambda: len(list(links.rglob("many*.gguf"))) >= linked, f"it has made {linked} links there")
    watching.process.send_signal(signal.SIGINT if linked else signal.SIGTERM)
    assert watching.process.wait(30) == 0
    watching.__exit__(None, None, None)
    with home.watch():
        for number in (0, 20, 39):
            home.everywhere(f"many-{number:02}")
    assert home.document("sync", "--yes")["actions"] == []


def test_systemd_is_told_when_it_works_and_when_it_ends(home: Home, base: Path) -> None:
    address = base / "notify.socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(address))
        listening.settimeout(60)
        with home.watch(NOTIFY_SOCKET=str(address)):
            assert b"READY=1" in listening.recv(1000).splitlines()
        assert listening.recv(1000) == b"STOPPING=1"
