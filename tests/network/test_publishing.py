"""What the kernel is asked to do with names, on a file system that says that it failed although it did, and the other
way round; one host beside another."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest
from hosts import Host, wait_for

_CODE = """
import os, sys, errno
from helixstore.fs import kernel, locks
from helixstore.fs.mounts import mount_of
os.chdir({folder!r})
def told(work):
    try:
        return work()
    except OSError as error:
        return errno.errorcode[error.errno]
"""


@dataclass
class Bench:
    """A folder on the share: `here` on the hosts, `behind` on the server."""

    ana: Host
    bob: Host
    here: Path
    behind: Path

    def does(self, line: str, host: Host | None = None, setup: str = "") -> str:
        """What the expression says, or the name of its error."""
        code = f"{_CODE.format(folder=str(self.here))}\n{setup}\nprint(told(lambda: {line}))"
        return (host or self.ana).python(code).strip()

    def names(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.behind.iterdir()) if path.is_file()}


@pytest.fixture
def bench(two: tuple[Host, Host, Path]) -> Bench:
    ana, bob, backing = two
    name = secrets.token_hex(4)
    (backing / name).mkdir()
    for host in (ana, bob):
        host.rules.clear()
        host.set()
    return Bench(ana, bob, ana.nas / name, backing / name)


def fault(op: str, error: str, done: bool, **more: object) -> dict[str, object]:
    return {"op": op, "error": error, "done": done, **more}


@pytest.mark.parametrize(("error", "age"), [("EIO", 0), ("EIO", 60), ("ETIMEDOUT", 60), ("EEXIST", 60)])
def test_a_link_that_was_made_although_it_failed_is_a_publish(bench: Bench, error: str, age: int) -> None:
    (bench.behind / "new").write_text("bytes")
    bench.ana.set(age=age, faults=[fault("link", error, True)])
    assert bench.does('kernel.publish("new", "final")', setup='os.path.lexists("final")') == "True"
    assert bench.names() == {"final": "bytes"}


@pytest.mark.parametrize("links", [True, False])
def test_what_was_not_published_is_not_there_and_the_staged_file_stays(bench: Bench, links: bool) -> None:
    (bench.behind / "new").write_text("bytes")
    bench.ana.set(hard_links=links, faults=[fault("link" if links else "rename", "EIO", False)])
    assert bench.does('kernel.publish("new", "final")') == "EIO"
    assert bench.names() == {"new": "bytes"}
    assert bench.does('kernel.publish("new", "final")') == "True"
    assert bench.names() == {"final": "bytes"}


@pytest.mark.parametrize("error", ["EIO", "ENOENT"])            # the second: a reply was lost and the call repeated
def test_a_rename_that_was_done_although_it_failed(bench: Bench, error: str) -> None:
    for name in ("one", "two"):
        (bench.behind / name).write_text(name)
    bench.ana.set(faults=[fault("rename", error, True, times=3)])
    assert bench.does('kernel.rename_new("one", "moved")') == "True"
    assert bench.does('kernel.replace("two", "moved")') == "None"
    assert bench.names() == {"moved": "two"}
    bench.ana.set(hard_links=False, faults=[fault("rename", error, True)])
    (bench.behind / "new").write_text("new")
    assert bench.does('kernel.publish("new", "final")') == "True"
    assert bench.names() == {"moved": "two", "final": "new"}


def test_a_rename_that_was_not_done_leaves_everything(bench: Bench) -> None:
    (bench.behind / "old").write_text("old")
    bench.ana.set(faults=[fault("rename", "EIO", False, times=3)])
    assert bench.does('kernel.rename_new("old", "moved")') == "EIO"
    assert bench.does('kernel.replace_file(os.path.abspath("old"), b"new")') == "EIO"
    assert bench.names() == {"old": "old"}


def test_a_name_that_another_host_took_unseen_is_not_taken_again(bench: Bench) -> None:
    bench.ana.set(age=60)
    (bench.behind / "new").write_text("ana's")
    before = bench.does('os.path.lexists("name")')
    assert bench.does('kernel.write_new(os.path.abspath("name"), b"bob\'s")', bench.bob) == "None"
    assert before == bench.does('os.path.lexists("name")') == "False"       # she does not see it
    assert bench.does('kernel.write_new(os.path.abspath("name"), b"ana\'s")') == "EEXIST"
    assert bench.does('kernel.publish("new", "name")') == "False"
    assert bench.does('kernel.create("name")') == "EEXIST"
    assert bench.names() == {"name": "bob's", "new": "ana's"}


def test_many_files_are_flushed_one_by_one_where_no_other_flush_reaches_the_server(bench: Bench) -> None:
    setup = 'names = [f"{n}" for n in range(20)]\nfor name in names: open(name, "w").close()'
    bench.ana.set(faults=[fault("fsync", "EDQUOT", False, skip=15)])
    assert bench.does("kernel.sync_all(names)", setup=setup) == "EDQUOT"
    assert bench.does("kernel.sync_all(names)", setup=setup) == "None"


def test_a_full_share_leaves_no_half_a_file(bench: Bench) -> None:
    for full in ("ENOSPC", "EDQUOT"):
        bench.ana.set(free=1000, full=full)
        assert bench.does('kernel.write_new(os.path.abspath("big"), b"x" * 100_000)') == full
        assert bench.names() == {}
        bench.ana.set(free=None)


@pytest.mark.parametrize("locks", ["everybody", "ENOLCK", "ENOSYS"])
def test_a_lease_there_says_nothing_and_the_mount_is_known(bench: Bench, locks: str) -> None:
    (bench.behind / "file").write_text("x")
    bench.ana.set(locks=locks)
    with_lease = "kernel.create('other') and locks.in_use(os.path.abspath('file'))"
    assert bench.does(with_lease) == "None"
    assert bench.does("(mount_of('.').kind, mount_of('.').network)") == "('fuse.nfs', True)"


def test_an_open_file_that_is_unlinked_stays_for_this_host_only(bench: Bench) -> None:
    """The rig itself: `.nfs...` here until it is closed, ESTALE there."""
    (bench.behind / "file").write_text("x" * 300_000)
    hold = (_CODE.format(folder=str(bench.here)) + "file = open('file', 'rb', buffering=0)\nprint('open', flush=True)\n"
            "sys.stdin.readline()\nprint(told(lambda: os.pread(file.fileno(), 1, 299_999)))\n"
            "print([name[:4] for name in os.listdir('.')])")
    with bench.ana.holding(hold) as hers, bench.bob.holding(hold) as his:
        assert bench.does("kernel.unlink('file')") == "None"
        assert hers() == "b'x'\n['.nfs']\n"
        wait_for(lambda: not bench.names())
        assert his() == "ESTALE\n[]\n"
