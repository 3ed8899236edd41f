"""The real command line on two hosts with one store between them, as NFS shows it to each: late, and with faults."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hosts import HELIXSTORE, Host

from support.raw import model_gguf

Pair = tuple[Host, Host]
AGE = 0.5                                               # seconds for which each host believes what it saw


def together(*runs: tuple[Host, str], expect: tuple[int, ...] = (0,)) -> None:
    """A command on each host at once."""
    for host, line in runs:
        host.send(*line.split())
    for host, _ in runs:
        host.receive(expect)


def test_two_hosts_add_share_and_give_up_at_once(pair: Pair) -> None:
    ana, bob = pair
    for host in pair:
        host.init()
        host.set(age=AGE)
    together((ana, f"add {ana.model('hers', 1)}"), (bob, f"add {bob.model('his', 2)}"))
    time.sleep(AGE)
    together((ana, "sync --yes"), (bob, "sync --yes"))
    for host in pair:
        assert host.models() == {"hers": "linked", "his": "linked"}
        assert (host.seen("hers"), host.seen("his")) == (model_gguf(seed=1), model_gguf(seed=2))
    together((ana, "remove hers --yes"), (bob, f"add {bob.model('other', 3)}"))
    together((ana, "gc"), (bob, "gc"), expect=(0, 1))   # one may find the other at it
    time.sleep(AGE)
    together((ana, "sync --yes"), (bob, "sync --yes"))
    assert ana.models() == {"his": "linked", "other": "linked"}
    assert (bob.seen("his"), bob.seen("other")) == (model_gguf(seed=2), model_gguf(seed=3))
    bob.well()


@pytest.mark.parametrize("rules", [
    {"squash": "root", "locks": "ENOLCK", "skew": -3600,
     "faults": [{"op": op, "error": "EIO", "done": True, "times": 3} for op in ("link", "rename", "symlink")]},
    {"hard_links": False, "modes": "ignored", "skew": 3600, "locks": "ENOSYS",
     "faults": [{"op": "rename", "error": "ETIMEDOUT", "done": True, "times": 5}]},
], ids=["replies are lost, root is nobody, an hour behind", "as SMB, an hour ahead"])
def test_a_model_comes_over(pair: Pair, rules: dict[str, Any]) -> None:
    ana, bob = pair
    for host in pair:
        host.set(**{name: value for name, value in rules.items() if name != "faults"})
        host.init()
        host.set(faults=rules.get("faults", []))
    ana.helix("add", str(ana.model("one", 1)))
    ana.set(faults=rules.get("faults", []))
    bob.helix("sync", "--yes")
    assert ana.models() == bob.models() == {"one": "linked"}
    assert ana.seen("one") == bob.seen("one") == model_gguf(seed=1)
    again = bob.document("sync", "--yes")
    assert again["unchanged"] > 0
    assert not any(again[kind] for kind in ("linked", "removed", "adopted", "issues"))
    ana.well()


def test_a_listing_that_was_stale_when_a_model_was_announced_is_not_kept_for_good(pair: Pair) -> None:
    """The folder's time is new and the listing old: when the listing is new too, the time has not changed again."""
    ana, bob = pair
    for host in pair:
        host.init()
    ana.helix("add", str(ana.model("one", 1)))
    bob.set(listings=60)
    assert sorted(bob.models()) == ["one"]
    ana.helix("add", str(ana.model("two", 2)))
    time.sleep(2.1)                                     # older than a clock's tick
    assert sorted(bob.models()) == ["one"]
    bob.set(listings=0)
    assert sorted(bob.models()) == ["one", "two"]


@pytest.mark.timeout(900)
def test_a_server_that_stops_in_the_middle_loses_nothing(pair: Pair) -> None:
    ana, _ = pair
    ana.init()
    moments = range(0, 400, 20) if os.environ.get("SOAK") else (4, 20)
    for number, moment in enumerate(moments):
        path = ana.model(f"m{number}", number)
        dies = [{"op": op, "error": "EIO", "skip": moment // 5, "times": 10**6}
                for op in ("create", "link", "mkdir", "write", "fsync", "unlink", "fsyncdir")]
        ana.set(faults=dies)
        ana.helix("add", str(path), expect=(0, 1, 3))
        ana.set(server="eio")
        ana.helix("list", expect=(0, 1, 3))
        ana.set(server="up")
        ana.helix("add", str(path))
        assert ana.models()[f"m{number}"] == "linked"
        assert ana.seen(f"m{number}") == model_gguf(seed=number)
    ana.well()


def test_a_server_that_hangs_or_is_full_is_told_and_the_next_command_completes(pair: Pair) -> None:
    ana, bob = pair
    ana.init()
    path = ana.model("one", 1)
    ana.set(free=2000, full="EDQUOT")
    said = ana.document("add", str(path), expect=(1, 3))
    assert "no space is left" in json.dumps(said)
    ana.set(free=None, server="hang", patience=0.3)
    process = ana.begin(HELIXSTORE, "add", str(path))
    ana.set(server="up")
    process.communicate(timeout=60)
    ana.helix("add", str(path))
    bob.init()
    bob.helix("sync", "--yes")
    assert bob.seen("one") == model_gguf(seed=1)
    bob.well()


def test_a_share_that_is_not_mounted_is_away_and_nothing_is_concluded(pair: Pair) -> None:
    ana, bob = pair
    ana.init()
    bob.init()
    ana.helix("add", str(ana.model("one", 1)))
    bob.helix("sync", "--yes")
    links = bob.run("find", str(bob.home / ".lmstudio"), "-type", "l")
    bob.unmount()
    said = bob.document("sync", "--yes", expect=(1, 3))
    assert "there is no store" in json.dumps(said)
    assert bob.run("find", str(bob.home / ".lmstudio"), "-type", "l") == links
    bob.mount(bob.nas.parent / "backing")
    bob.helix("sync", "--yes")
    assert bob.seen("one") == model_gguf(seed=1)


def test_the_index_is_never_on_the_share(pair: Pair) -> None:
    ana, _ = pair
    ana.init()
    ana.environ["HELIXSTORE_INDEX"] = str(ana.nas / "index")
    said = ana.document("list", expect=(1,))["error"]
    assert "network file system (fuse.nfs)" in said["message"]
    assert "HELIXSTORE_INDEX" in said["remedy"]
    del ana.environ["HELIXSTORE_INDEX"]
    ana.environ["XDG_CACHE_HOME"] = str(ana.nas / "cache")
    ana.helix("add", str(ana.model("one", 1)))
    assert not (ana.home.parent / "backing/cache").exists()
    assert "/var/tmp/helixstore-" in ana.helix("doctor", expect=(0, 3))


def test_what_another_host_trashed_is_served_from_and_comes_back(pair: Pair) -> None:
    """A blob is moved by a collector that could not see a claim yet: its reader has the bytes, and the next gc sees."""
    ana, bob = pair
    ana.init()
    bob.init()
    ana.helix("add", str(ana.model("one", 1)))
    bob.set(age=30)
    bob.helix("sync", "--yes")
    store = ana.home.parent / "backing/store"
    [blob] = (store / "blobs").glob("*/*")
    (store / "trash/1-test").mkdir()
    blob.rename(store / "trash/1-test" / blob.name)     # which bob's caches do not tell
    assert bob.seen("one") == model_gguf(seed=1)
    assert bob.helix("path", "one").strip().endswith(".gguf")
    assert ana.document("gc", expect=(0, 3))["restored"] == [blob.name]
    assert blob.exists()
    assert bob.seen("one") == model_gguf(seed=1)


def test_one_home_on_the_share_serves_two_hosts_at_once(pair: Pair) -> None:
    """State, ledgers and a program's folder are common then, and the lock of each host is granted to both."""
    ana, bob = pair
    share = ana.home.parent / "backing"
    for host in pair:
        host.environ["HOME"] = str(host.nas / "home")
    (share / "home").mkdir()
    ana.init()
    for host in pair:
        host.set(age=0.3)
    put: dict[Path, bytes] = {}
    for number in range(20 if os.environ.get("SOAK") else 2):
        path = share / f"home/.lmstudio/models/pub/m{number}/m{number}.gguf"
        path.parent.mkdir(parents=True)
        path.write_bytes(model_gguf(seed=number))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        put[path] = path.read_bytes()
        together((ana, "sync --yes"), (bob, "sync --yes"), expect=(0, 1, 3))
    time.sleep(0.3)
    for host in pair:
        host.helix("sync", "--yes", expect=(0, 3))      # an operation that the other is at counts as cut short
    assert ana.models() == bob.models() == {path.stem: "linked" for path in put}
    assert {path: path.read_bytes() for path in put} == put
    ana.well()


def test_each_host_links_by_what_its_own_client_can(pair: Pair) -> None:
    """One has the share as NFS, the other as SMB without hard links; the programs' folders are on it."""
    ana, bob = pair
    bob.set(hard_links=False, modes="ignored")
    for host in pair:
        host.init()
        host.helix("providers", "set", "lmstudio", "--root", str(host.nas / f"{host.name}-models"))
    ana.helix("add", str(ana.model("one", 1)))
    bob.helix("sync", "--yes")
    links = {host.name: host.document("list")["models"][0]["variants"][0]["providers"]["lmstudio"] for host in pair}
    assert {name: (one["state"], one["link"]) for name, one in links.items()} == {
        "ana": ("linked", "hard"), "bob": ("linked", "symlink")}
    assert "no such links" in links["bob"]["reason"]
    for host in pair:
        [path] = links[host.name]["paths"]
        assert subprocess.run(host.on("cat", path), capture_output=True, check=True).stdout == model_gguf(seed=1)
        host.well()


def test_a_file_that_another_host_may_still_be_writing_waits(pair: Pair) -> None:
    """A download that was laid out at its full size looks whole from the first byte on, and no lease tells."""
    ana, _ = pair
    loose = ana.home.parent / "backing" / "loose"
    loose.mkdir()
    path = loose / "new.gguf"
    path.write_bytes(model_gguf(seed=1))
    ana.helix("init", "--store", str(ana.nas / "store"), "--provider", "lmstudio", "--scan", str(ana.nas / "loose"))
    assert "nobody can tell whether it is still being written" in " ".join(ana.document("sync", "--yes")["notes"])
    assert ana.models() == {}
    assert path.stat().st_mode & 0o222, "it can still be written"
    os.utime(path, (1_700_000_000, 1_700_000_000))
    ana.helix("sync", "--yes")
    assert ana.models() == {"new": "linked"}
