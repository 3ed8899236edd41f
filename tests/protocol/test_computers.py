"""Two computers with one store, by the engine and the command line: what one relies on survives the other's collections
until somebody forgets it; and it comes back."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helixstore import HelixStore
from helixstore.commands.hosts import forget
from helixstore.errors import Failed
from helixstore.results import ForgetReport
from helixstore.session import Session
from helixstore.store.host import Host
from helixstore.store.store import Store
from support.disks import SOMEBODY, apart, as_root
from support.raw import model_gguf

DAY = 86_400


def older(store: Path, seconds: float, *places: str) -> None:
    for place in places:
        for path in [store / place, *(store / place).rglob("*")]:
            then = path.lstat().st_mtime_ns - int(seconds * 10**9)
            os.utime(path, ns=(then, then), follow_symlinks=False)


class Computer:
    def __init__(self, home: Path, store: Path) -> None:
        home.mkdir()
        self.home = home
        self.environ = {"HOME": str(home), "HELIXSTORE_STORE": str(store), "PATH": os.environ["PATH"]}

    def open(self) -> HelixStore:
        return HelixStore(environ=self.environ)

    @property
    def shown(self) -> list[Path]:
        return sorted(self.home.glob(".lmstudio/models/*/*/*.gguf"))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Computer, Computer, Path]:
    """`desk` has brought a model, `laptop` shows it too."""
    store = tmp_path / "store"
    desk, laptop = Computer(tmp_path / "desk", store), Computer(tmp_path / "laptop", store)
    HelixStore(store, environ=desk.environ).close()
    for one in (desk, laptop):
        with one.open() as opened:
            opened.set_provider("lmstudio", on=True)
    (desk.home / "tiny.gguf").write_bytes(model_gguf(seed=1))
    with desk.open() as opened:
        opened.add(desk.home / "tiny.gguf", name="tiny")
        os.unlink(desk.home / "tiny.gguf")
    with laptop.open() as opened:
        opened.sync()
    assert len(laptop.shown) == 1
    older(store, 100, "refs", "hosts")
    return desk, laptop, store


def collected(computer: Computer, store: Path) -> None:
    """Forty days of collections, none of them beside anything."""
    with computer.open() as opened:
        for _ in range(4):
            opened.gc()
            older(store, 10 * DAY, "condemned", "forgotten", "refs", "hosts")


def test_what_another_computer_shows_stays_while_it_is_off_and_goes_when_it_is_forgotten(
        two: tuple[Computer, Computer, Path]) -> None:
    desk, laptop, store = two
    [shown] = laptop.shown
    bytes_ = shown.read_bytes()
    with desk.open() as opened:
        opened.remove("tiny")
    for keep in store.glob("hosts/*/*/keeps/*"):            # what undo would need is not the question here
        keep.unlink()
    collected(desk, store)
    assert shown.read_bytes() == bytes_
    assert len(list(store.glob("blobs/*/*"))) == 1
    with desk.open() as opened:
        here, there = opened.hosts.list()
        assert here.name == there.name == socket.gethostname(), "also who joined says who they are"
        assert (here.here, there.here, there.models, there.bytes) == (True, False, 1, len(bytes_))
        with pytest.raises(Failed, match="the computer that you are at"):
            opened.hosts.forget(here.id)
        preview = opened.hosts.forget(there.id, dry_run=True)
        assert (preview.models, preview.frees_bytes, preview.ended) == (("tiny",), len(bytes_), False)
        asked: list[ForgetReport] = []
        assert not opened.hosts.forget(there.id[:6], ask=lambda report: bool(asked.append(report))).ended
        assert asked == [preview]
        assert opened.hosts.list()[1].forgotten is None
        assert opened.hosts.forget(there.id[:6]).ended
        assert opened.hosts.list()[1].forgotten is not None
        assert opened.hosts.list()[1].models == 0
    with laptop.open() as opened:
        assert any("was forgotten on" in note for note in opened.notes)
        assert not opened.sync().issues
    with laptop.open() as opened:
        assert not opened.notes
    collected(desk, store)
    assert len(list(store.glob("blobs/*/*"))) == 1, "it has come back in time"
    older(store, 100, "refs", "hosts", "forgotten")
    with desk.open() as opened:
        opened.hosts.forget(there.id)
    os.unlink(shown)                                        # another name of the same bytes would keep them
    collected(desk, store)
    assert list(store.glob("blobs/*/*")) == []
    with laptop.open() as opened:
        assert [issue.message for issue in opened.sync().issues if issue.kind == "lost"] == [
            "files of tiny are gone from the store, since this computer's claims had ended"]


def test_a_forgotten_computer_is_not_named_and_not_counted(two: tuple[Computer, Computer, Path]) -> None:
    desk, _, _ = two
    with desk.open() as opened:
        mine = opened.status().store.copies_avoided_bytes - len(model_gguf(seed=1))      # the laptop avoids one
        assert any("also claimed" in note for note in opened.remove("tiny", dry_run=True).notes)
        opened.hosts.forget(opened.hosts.list()[1].id)
        assert not any("also claimed" in note for note in opened.remove("tiny", dry_run=True).notes)
        assert opened.du("user").total.copies_avoided_bytes == opened.status().store.copies_avoided_bytes == mine


def test_the_commands(two: tuple[Computer, Computer, Path], run_command: Callable[..., Any]) -> None:
    desk, laptop, _ = two
    listed = run_command(desk, "host", "list", "--json").json["hosts"]
    assert [one["here"] for one in listed] == [True, False]
    assert listed[1]["models"] == 1
    text = run_command(desk, "host").out
    assert "this one" in text
    assert listed[1]["id"] in text
    assert "would be ended" in run_command(desk, "host", "forget", listed[1]["id"], "--dry-run").out
    assert "these claims are ended" in run_command(desk, "host", "forget", listed[1]["id"], "--yes").out.lower()
    assert "forgotten" in run_command(desk, "host", "list").out
    assert run_command(desk, "host", "forget", "nobody").code == 1
    assert "was forgotten on" in run_command(laptop, "status").err
    assert "was forgotten on" not in run_command(laptop, "status").err


def test_a_run_of_a_container_holds_its_models_for_the_time_of_its_lease(
        two: tuple[Computer, Computer, Path], tmp_path: Path, run_command: Callable[..., Any]) -> None:
    desk, laptop, store = two
    run = Computer(tmp_path / "run", store)
    run.environ |= {"HELIXSTORE_EPHEMERAL": "1", "HELIXSTORE_LEASE": "2h", "HELIXSTORE_PROVIDERS_LMSTUDIO_ON": "true"}
    assert run_command(run, "sync").code == 0
    [listed] = [one for one in run_command(desk, "host", "list", "--json").json["hosts"] if one["ephemeral"]]
    assert listed["models"] == 1
    assert abs(listed["lease_ends"] - listed["seen"] - 7200) < 1
    assert "ephemeral, until" in run_command(desk, "host", "list").out
    for one in (desk, laptop):
        with one.open() as opened:
            opened.remove("tiny")
    for keep in store.glob("hosts/*/*/keeps/*"):
        keep.unlink()
    os.unlink(run.shown[0])
    own = listed["id"]
    older(store, 7000, f"refs/{own}", f"hosts/{own}")
    with desk.open() as opened:
        assert opened.gc().condemned == ()
        older(store, 1200, f"refs/{own}", f"hosts/{own}")
        assert len(opened.gc().condemned) == 1
    assert run_command(run, "sync").code == 0
    with desk.open() as opened:
        assert opened.gc().condemned == ()
        older(store, 10 * DAY, "condemned")
        assert opened.gc().trashed == (), "the run has renewed its lease"


@as_root
def test_only_the_owner_of_the_store_ends_the_claims_of_others(shared: Path) -> None:
    """A member may end their own, from any computer; what another writes ends nothing."""
    owner, member = SOMEBODY, SOMEBODY + 1
    store = shared / "store"
    for place, uid in ((store, owner), (shared / f"home{owner}", owner), (shared / f"home{member}", member)):
        place.mkdir()
        os.chown(place, uid, uid)
    apart(lambda: Store.create(store, Host("desk", owner, "b")).path, owner)
    for folder in [store, *[path for path in store.rglob("*") if path.is_dir()]]:
        folder.chmod(0o1777)
    apart(lambda: Store.open(store, Host("lap", member, "b")).register(), member)

    def computer(uid: int) -> Session:
        return Session({"HOME": str(shared / f"home{uid}"), "HELIXSTORE_STORE": str(store)})

    def refused() -> str:
        with pytest.raises(Failed) as error:
            forget(computer(member), "desk", None)
        return error.value.message

    assert "only the owner" in str(apart(refused, member))
    assert apart(lambda: forget(computer(member), "lap", None).ended, member) is True
    [record] = apart(lambda: [one[1:3] for one in Store.open(store, Host("desk", owner, "b")).hosts.forgotten()], owner)
    assert record == ("lap", member), "a member's record speaks for that member alone"
    assert apart(lambda: forget(computer(owner), "lap", None).ended, owner) is True
