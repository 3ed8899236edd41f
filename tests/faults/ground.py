"""Disks that can be put back as they were: inodes, times and all, which a copy of the files could not do.

Each is an image in memory with a real file system; saving and restoring copies the image, some 10 to 30 ms.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["Disk", "Ground"]

_SIZES = {"ext4": 48, "xfs": 320, "btrfs": 128}
_OPTIONS = {"ext4": ("-m", "0"), "btrfs": ("-m", "single", "-d", "single")}


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


class Disk:
    """One disk, mounted at `point`."""

    def __init__(self, base: Path, name: str, kind: str) -> None:
        self.base, self.name, self.kind = base, name, kind
        self.point = base / name
        self.point.mkdir()
        self._image = base / f"{name}.0"
        self._number = 0
        with self._image.open("wb") as file:
            file.truncate(_SIZES[kind] << 20)
        _run(f"mkfs.{kind}", "-q", *_OPTIONS.get(kind, ()), self._image)
        self._mounted = False

    def mount(self) -> None:
        options = "loop,nouuid" if self.kind == "xfs" else "loop"       # an image that is being let go has the same
        _run("mount", "-o", options, self._image, self.point)
        self._mounted = True

    def unmount(self) -> None:
        if self._mounted:
            _run("umount", self.point)
            self._mounted = False

    def save(self, state: str) -> None:
        self.unmount()
        _run("cp", "--sparse=always", self._image, self.base / f"{self.name}.{state}")
        self.mount()

    def restore(self, state: str) -> None:
        self.unmount()
        self._image.unlink()            # never the same file again: the kernel may hold its blocks for some time yet
        self._number += 1
        self._image = self.base / f"{self.name}.{self._number}"
        _run("cp", "--sparse=always", self.base / f"{self.name}.{state}", self._image)
        self.mount()


    def cut(self) -> None:
        """The power goes, and comes back: what had not reached the disk is gone, what its journal has is done."""
        before = self._image
        self._number += 1
        self._image = self.base / f"{self.name}.{self._number}"
        _run("cp", "--sparse=always", before, self._image)
        _run("umount", self.point)                  # into the old image, which nobody looks at any more
        before.unlink()
        self._mounted = False
        self.mount()


class Ground:
    """Two disks of one kind: the home is on the first.

    Args:
        kind: "ext4", "xfs" or "btrfs".
    """

    def __init__(self, kind: str) -> None:
        memory = Path("/dev/shm")
        self.base = Path(tempfile.mkdtemp(prefix="helixstore-faults-", dir=memory if memory.is_dir() else None))
        self.disks = [Disk(self.base, name, kind) for name in ("first", "second")]
        for disk in self.disks:
            disk.mount()
            for name in os.listdir(disk.point):                 # lost+found
                shutil.rmtree(disk.point / name)
        self.home = self.disks[0].point / "home"
        self.home.mkdir()
        self.other = self.disks[1].point
        self.states: set[str] = set()

    def save(self, state: str) -> None:
        """Remember everything as it is now."""
        for disk in self.disks:
            disk.save(state)
        self.states.add(state)

    def restore(self, state: str) -> None:
        """Everything as it was when it was saved."""
        for disk in self.disks:
            disk.restore(state)

    def cut(self) -> None:
        """The power goes, and comes back."""
        for disk in self.disks:
            disk.cut()

    def close(self) -> None:
        for disk in self.disks:
            disk.unmount()
        shutil.rmtree(self.base)
