"""One folder on each kind of file system, and how to run a command that sees it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hosts import Host, Ssh, network

from support.disks import run

LOCAL = ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "exfat")
NETWORK = ("sshfs", "nfs", "smb")
KINDS = (*LOCAL, *NETWORK)
#: what makes the test's own file system an NFS share, and an SMB one; a server with a clock of its own
SHARES = {"nfs": {"age": 0.5}, "smb": {"age": 0.5, "hard_links": False, "modes": "ignored", "skew": 90}}


@dataclass
class Ground:
    """`folder`: empty, on that file system. `execute` runs a command line where it is mounted."""

    kind: str
    folder: Path
    base: Path
    execute: Callable[..., str]

    def python(self, *arguments: str) -> str:
        return self.execute(sys.executable, *arguments)


def _here(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode in (0, 3), f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def _on(host: Host) -> Callable[..., str]:
    return lambda *command: host.run(*command, expect=(0, 3), seconds=170)


@contextlib.contextmanager
def ground(kind: str, base: Path) -> Iterator[Ground]:
    """Mount it, and let go of it whatever happens."""
    with contextlib.ExitStack() as stack:
        if kind in NETWORK:
            names = ("ana", "server") if kind == "sshfs" else ("ana",)
            [host, *servers] = stack.enter_context(network(base, *names))
            if kind == "sshfs":
                stack.callback(Ssh(base, servers[0], [host]).stop)
            else:
                (base / "backing").mkdir(mode=0o777)
                (base / "backing").chmod(0o777)
                host.mount(base / "backing", **SHARES[kind])
            yield Ground(kind, host.nas, base, _on(host))
            return
        point = base / "disk"
        point.mkdir()
        _mount(kind, base, point)
        stack.callback(run, "umount", "--lazy", str(point))
        yield Ground(kind, point, base, _here)


def _mount(kind: str, base: Path, point: Path) -> None:
    if kind == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(point))
        return
    if kind == "overlay":
        layers = [base / name for name in ("lower", "upper", "work")]
        for layer in layers:
            layer.mkdir()
        lower, upper, work = layers
        run("mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", str(point))
        return
    if shutil.which(f"mkfs.{kind}") is None or (kind == "exfat" and shutil.which("mount.exfat-fuse") is None):
        pytest.skip(f"mkfs.{kind} is not installed")
    image = base / "image"
    with image.open("wb") as file:
        file.truncate({"xfs": 300, "btrfs": 114}.get(kind, 64) << 20)
    run(f"mkfs.{kind}", *([] if kind == "exfat" else ["-q"]), str(image))
    run("mount", *(["-t", "exfat-fuse"] if kind == "exfat" else []), "-o", "loop", str(image), str(point))
