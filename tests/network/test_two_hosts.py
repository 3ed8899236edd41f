"""The real command line on two hosts with one store between them, as NFS shows it to each: late, and with faults."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hosts import HELIXSTORE, Host

from support.raw import model_gguf

Pair = tuple[Host, Host]
AGE = 0.5                                               # seconds for which each host believes what it saw
_LONG_AGO = (1_700_000_000, 1_700_000_000)


def model(host: Host, name: str, seed: int) -> Path:
    """A model on the host's own disk, outside every program's folder."""
    path = host.home / "downloads" / f"{name}.gguf"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model_gguf(seed=seed))
    os.utime(path, _LONG_AGO)
    return path


def init(*hosts: Host) -> None:
    for host in hosts:
        host.helix("init", "--store", str(host.nas / "store"), "--provider", "lmstudio")


def together(*runs: tuple[Host, list[str]], expect: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
    """Commands that run at once; their documents."""
    processes = [host.begin(HELIXSTORE, *words, "--json") for host, words in runs]
    documents = []
    for process, (host, words) in zip(processes, runs, strict=True):
        out, error = process.communicate(timeout=90)
        assert process.returncode in expect, f"{host.name} {words}: {out} {error}"
        documents.append(json.loads(out))
    return documents


def seen(host: Host, name: str) -> bytes:
    """The model's bytes as the host's program reads them."""
    found = host.run("find", str(host.home / ".lmstudio"), "-name", f"{name}*.gguf").splitlines()
    assert len(found) == 1, f"{host.name}: {found}"
    return host.run("sha256sum", found[0]).split()[0].encode()


def sha(seed: int) -> bytes:
    return hashlib.sha256(model_gguf(seed=seed)).hexdigest().encode()


def well(*hosts: Host) -> None:
    """Nothing is damaged or missing, and no problem is found, on any of them."""
    for host in hosts:
        found = host.document("verify")
        assert (found["bad"], found["issues"]) == ([], [])
        checks = host.document("doctor", expect=(0, 3))["checks"]
        assert [check for check in checks if check["state"] == "problem" and check["name"] == "store"
                and "everybody may write" not in check["message"]] == []


def test_two_hosts_add_share_and_give_up_at_once(pair: Pair) -> None:
    ana, bob = pair
    init(ana, bob)
    for host in pair:
        host.set(age=AGE)
    together((ana, ["add", str(model(ana, "hers", 1))]), (bob, ["add", str(model(bob, "his", 2))]))
    time.sleep(AGE)
    together((ana, ["sync", "--yes"]), (bob, ["sync", "--yes"]))
    for host in pair:
        assert host.models() == {"hers": "linked", "his": "linked"}
        assert (seen(host, "hers"), seen(host, "his")) == (sha(1), sha(2))
    together((ana, ["remove", "hers", "--yes"]), (bob, ["add", str(model(bob, "other", 3))]), (bob, ["gc"]))
    time.sleep(AGE)
    together((ana, ["gc"]), (ana, ["sync", "--yes"]), (bob, ["sync", "--yes"]), (bob, ["gc"]), expect=(0, 1, 3))
    assert ana.models() == {"his": "linked", "other": "linked"}
    assert (seen(bob, "his"), seen(bob, "other")) == (sha(2), sha(3))
    well(ana, bob)


@pytest.mark.parametrize("rules", [
    {"faults": [{"op": op, "error": "EIO", "done": True, "times": 3} for op in ("link", "rename")]},
    {"hard_links": False, "modes": "ignored", "skew": 3600, "locks": "ENOSYS",
     "faults": [{"op": "rename", "error": "ETIMEDOUT", "done": True, "times": 5}]},
    {"squash": "root", "locks": "ENOLCK", "skew": -3600},
], ids=["replies are lost", "as SMB, an hour ahead", "root is nobody, an hour behind"])
def test_a_model_comes_over_and_goes_again(pair: Pair, rules: dict[str, Any]) -> None:
    ana, bob = pair
    for host in pair:
        host.set(**{name: value for name, value in rules.items() if name != "faults"})
    init(ana, bob)
    ana.set(faults=rules.get("faults", []))
    ana.helix("add", str(model(ana, "one", 1)))
    ana.set(faults=rules.get("faults", []))
    bob.set(faults=rules.get("faults", []))
    ana.helix("sync", "--yes")
    bob.helix("sync", "--yes")
    assert ana.models() == bob.models() == {"one": "linked"}
    assert seen(bob, "one") == sha(1)
    assert ana.document("sync", "--yes")["unchanged"] > 0
    assert not any(ana.document("sync", "--yes")[kind] for kind in ("linked", "removed", "adopted"))
    well(ana, bob)


def test_a_server_that_stops_in_the_middle_loses_nothing(pair: Pair) -> None:
    ana, _ = pair
    init(ana)
    moments = range(0, 400, 8) if os.environ.get("SOAK") else (3, 9, 15, 28)
    for number, moment in enumerate(moments):
        path = model(ana, f"m{number}", number)
        dies = [{"op": op, "error": "EIO", "skip": moment // 5, "times": 10**6}
                for op in ("create", "link", "mkdir", "write", "fsync", "unlink", "fsyncdir")]
        ana.set(faults=dies)
        ana.helix("add", str(path), expect=(0, 1, 3))
        ana.set(server="eio")
        ana.helix("list", expect=(0, 1, 3))
        ana.set(server="up")
        ana.helix("add", str(path))
        assert ana.models()[f"m{number}"] == "linked"
        assert seen(ana, f"m{number}") == sha(number)
    well(ana)


def test_a_server_that_hangs_or_is_full_is_told_and_the_next_command_completes(pair: Pair) -> None:
    ana, bob = pair
    init(ana)
    path = model(ana, "one", 1)
    ana.set(free=2000, full="EDQUOT")
    said = ana.document("add", str(path), expect=(1, 3))
    assert "no space is left" in json.dumps(said)
    ana.set(free=None, server="hang", patience=0.3)
    process = ana.begin(HELIXSTORE, "add", str(path))
    ana.set(server="up")
    process.communicate(timeout=60)
    ana.helix("add", str(path))
    init(bob)
    bob.helix("sync", "--yes")
    assert seen(bob, "one") == sha(1)
    well(ana, bob)


def test_a_share_that_is_not_mounted_is_away_and_nothing_is_concluded(pair: Pair) -> None:
    ana, bob = pair
    init(ana, bob)
    ana.helix("add", str(model(ana, "one", 1)))
    bob.helix("sync", "--yes")
    links = bob.run("find", str(bob.home / ".lmstudio"), "-type", "l")
    bob.unmount()
    said = bob.document("sync", "--yes", expect=(1, 3))
    assert "there is no store" in json.dumps(said)
    assert bob.run("find", str(bob.home / ".lmstudio"), "-type", "l") == links
    bob.mount(bob.nas.parent / "backing")
    bob.helix("sync", "--yes")
    assert seen(bob, "one") == sha(1)


def test_the_index_is_never_on_the_share(pair: Pair) -> None:
    ana, _ = pair
    init(ana)
    ana.environ["HELIXSTORE_INDEX"] = str(ana.nas / "index")
    said = ana.document("list", expect=(1,))["error"]
    assert "network file system (fuse.nfs)" in said["message"]
    assert "HELIXSTORE_INDEX" in said["remedy"]
    del ana.environ["HELIXSTORE_INDEX"]
    ana.environ["XDG_CACHE_HOME"] = str(ana.nas / "cache")
    ana.helix("add", str(model(ana, "one", 1)))
    assert not (ana.home.parent / "backing/cache").exists()
    assert "/var/tmp/helixstore-" in ana.helix("doctor", expect=(0, 3))


def test_what_another_host_trashed_is_served_from_and_comes_back(pair: Pair) -> None:
    """A blob is moved by a collector that could not see a claim yet: its reader has the bytes, and the next gc sees."""
    ana, bob = pair
    init(ana, bob)
    ana.helix("add", str(model(ana, "one", 1)))
    bob.set(age=30)
    bob.helix("sync", "--yes")
    store = ana.home.parent / "backing/store"
    [blob] = (store / "blobs").glob("*/*")
    (store / "trash/1-test").mkdir()
    blob.rename(store / "trash/1-test" / blob.name)     # which bob's caches do not tell
    assert seen(bob, "one") == sha(1)
    assert bob.helix("path", "one").strip().endswith(".gguf")
    assert ana.document("gc", expect=(0, 3))["restored"] == [blob.name]
    assert blob.exists()
    assert seen(bob, "one") == sha(1)
