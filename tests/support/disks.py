"""Real file systems, other users, and processes that die: for the tests of `fs`, `store` and `farm`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.forked import Killed, forked

KINDS = ("ext4", "tmpfs", "xfs", "btrfs")
SOMEBODY = 12345                                        # a uid without name or rights

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to act as another user")


class Disks:
    """Mounts a file system on first use, and takes all of them down at the end."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.points: dict[str, Path] = {}

    def mount(self, kind: str, megabytes: int = 320, name: str = "") -> Path:
        name = name or kind
        if name not in self.points:
            if os.geteuid() != 0:
                pytest.skip(f"only root can mount {kind}")
            point = self.base / name
            point.mkdir()
            if kind == "tmpfs":
                run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(point))
            else:
                if shutil.which(f"mkfs.{kind}") is None:
                    pytest.skip(f"mkfs.{kind} is not installed")
                image = self.base / f"{name}.image"
                with image.open("wb") as file:
                    file.truncate(megabytes << 20)
                run(f"mkfs.{kind}", "-q", str(image))
                run("mount", "-o", "loop", str(image), str(point))
            self.points[name] = point
            point.chmod(0o755)
        return self.points[name]

    def bind(self, source: Path, name: str) -> Path:
        if os.geteuid() != 0:
            pytest.skip("only root can mount")
        point = self.base / name
        point.mkdir()
        run("mount", "--bind", str(source), str(point))
        self.points[name] = point
        return point

    def close(self) -> None:
        for point in reversed(self.points.values()):
            run("umount", str(point))


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def disks() -> Iterator[Disks]:
    base = fresh_folder()
    disks = Disks(base)
    yield disks
    disks.close()
    shutil.rmtree(base)


def fresh_folder(parent: Path | None = None) -> Path:
    """An empty folder that other users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="helixstore-test-", dir=parent))
    folder.chmod(0o755)
    return folder


@pytest.fixture(name="tmp_path")
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """In memory where it can be: what kill -9 leaves is the same there, and flushing costs nothing.

    Tests that are about file systems ask for `disk`.
    """
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    folder = fresh_folder(Path("/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder on each kind of file system in turn; the first is whatever /tmp is, ext4 where this is made."""
    base = {"ext4": None, "tmpfs": Path("/dev/shm")}.get(request.param, ...)
    folder = fresh_folder(request.getfixturevalue("disks").mount(request.param) if base is ... else base)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def shared() -> Iterator[Path]:
    """An empty folder that other users may enter."""
    folder = fresh_folder()
    yield folder
    shutil.rmtree(folder)


def apart(function: Callable[[], Any], uid: int | None = None) -> Any:
    """Call the function in a child process, as another user if wanted; its result, or its exception, comes back.

    A child that is killed by a signal gives minus its number.
    """
    def become() -> None:
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)

    try:
        return forked(function, become)
    except Killed as killed:
        return -killed.number


def dying_at(number: int, work: Callable[[], object], calls: Iterable[tuple[Any, str]]) -> bool:
    """Run the work in a child that is killed just before its n-th call of any of `calls`, pairs of a module and a name
    in it; False when it lived to the end."""
    def child() -> str:
        count = 0

        def counting(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **named: Any) -> Any:
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **named)
            return counted

        for module, name in calls:
            setattr(module, name, counting(getattr(module, name)))
        work()
        return "lived"

    answer = apart(child)
    assert answer in ("lived", -signal.SIGKILL)
    return bool(answer != "lived")
