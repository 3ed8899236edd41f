"""A real network file system: sshfs on two hosts, sshd on a third, each in a network of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Host, Ssh, network, wait_for

from support.raw import model_gguf

CACHED = 1.2                                            # seconds; for which the mounts remember, and a little more


@pytest.fixture
def lan(base: Path) -> Iterator[tuple[Host, Host, Ssh]]:
    with network(base, "ana", "bob", "server") as (ana, bob, server):
        ssh = Ssh(base, server, [ana, bob])
        try:
            yield ana, bob, ssh
        finally:
            ssh.stop()


def test_two_hosts_over_ssh_and_a_server_that_dies_under_a_command(lan: tuple[Host, Host, Ssh]) -> None:
    ana, bob, ssh = lan
    for host in (ana, bob):
        host.init()
    ana.helix("add", str(ana.model("one", 1)))
    time.sleep(CACHED)
    bob.helix("sync", "--yes")
    assert ana.models() == bob.models() == {"one": "linked"}
    assert bob.seen("one") == model_gguf(seed=1)
    again = ana.document("sync", "--yes")
    assert not any(again[kind] for kind in ("linked", "removed", "adopted", "issues"))
    Path("/proc/sys/vm/drop_caches").write_text("2")    # FUSE forgets the folders, and numbers them anew
    forgotten = ana.document("sync", "--yes")
    assert not any(forgotten[kind] for kind in ("linked", "removed", "adopted", "issues"))

    path = bob.model("two", 2)
    links = bob.run("find", str(bob.home / ".lmstudio"), "-type", "l")
    bob.send("add", str(path))
    ssh.stop()
    bob.receive((0, 1, 3))
    bob.helix("sync", "--yes", expect=(1, 3))           # it says so, and concludes nothing
    assert bob.run("find", str(bob.home / ".lmstudio"), "-type", "l").splitlines()[:1] == links.splitlines()[:1]
    ssh.start()
    for host in (ana, bob):
        wait_for(lambda host=host: host.run("ls", str(host.nas), expect=(0, 1, 2)) != "", 20)
    bob.helix("add", str(path))
    time.sleep(CACHED)
    ana.helix("sync", "--yes")
    assert ana.models() == bob.models() == {"one": "linked", "two": "linked"}
    assert ana.seen("two") == model_gguf(seed=2)
    ana.helix("remove", "one", "--yes")
    bob.helix("gc")
    assert bob.seen("one") == model_gguf(seed=1)        # whatever ana gave up, bob's program has it until he syncs
    ana.well()
    ana.environ["HELIXSTORE_INDEX"] = str(ana.nas / "index")
    assert "network file system (fuse.sshfs)" in ana.document("list", expect=(1,))["error"]["message"]
