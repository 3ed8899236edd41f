"""Disks that can be put back as they were: inodes, times and all, which a copy of the files could not do.

Each is an image in memory with a real file system; saving and restoring copies the image, some 10 to 30 ms.

Btrfs cannot be shut down as ext4 and XFS can (its ioctl came after Linux 6.18), so the power is lost by copying its
image as it is at that moment, when what was to write is dead. It writes nothing over what its last commit or its log of
flushed files refers to, so what else reaches the image while it is copied does not count. And it gives an image another
UUID that is mounted while a copy of it still is, as in a mount namespace that somebody made meanwhile: so its copies
wait until the one before is let go.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ["Disk", "Ground"]

_SIZES = {"ext4": 48, "xfs": 320, "btrfs": 128}
_OPTIONS = {"ext4": ("-m", "0"), "btrfs": ("-m", "single", "-d", "single")}


#: an image of XFS that is being let go has the same UUID; btrfs is not to commit while its image is copied
_MOUNT = {"xfs": "loop,nouuid", "btrfs": "loop,commit=300"}
_SHUTDOWN = 0x8004587D              # FS_IOC_SHUTDOWN of linux/fs.h, XFS_IOC_GOINGDOWN: as fstests loses the power
_NO_LOG_FLUSH = 2
_LET_GO = 60.0                      # seconds


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def _text(file: Path) -> str:
    """What stands in a file of /sys that may go meanwhile."""
    try:
        return file.read_text()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise
        return ""


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
        self._left: Path | None = None

    def mount(self) -> None:
        if self.kind == "btrfs":
            self._wait_until_let_go()
        _run("mount", "-o", _MOUNT.get(self.kind, "loop"), self._image, self.point)
        self._mounted = True

    def unmount(self) -> None:
        if self._mounted:
            _run("umount", self.point)
            self._mounted = False

    def _wait_until_let_go(self) -> None:
        """Until no image of this disk is mounted anywhere."""
        begun, mine = time.monotonic(), f"{self.base}/{self.name}."
        while any(_text(file).startswith(mine) for file in Path("/sys/block").glob("loop*/loop/backing_file")):
            assert time.monotonic() - begun < _LET_GO, f"{mine}* is still mounted in another mount namespace"
            time.sleep(0.05)

    def save(self, state: str) -> None:
        _run("sync", "-f", self.point)      # a mount namespace made meanwhile may hold it, and then unmounting does not
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

    def stop(self) -> None:
        """The power goes: from now on nothing reaches the disk, what is in its journal neither."""
        folder = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                raise
            before, self._image = self._image, self.base / f"{self.name}.stopped"
            _run("cp", "--sparse=always", before, self._image)      # commits seldom enough: see _MOUNT
            self._left = before
        finally:
            os.close(folder)

    def start(self) -> None:
        """The power is back: what the journal has is done."""
        self.unmount()
        if self._left is not None:
            self._left.unlink()
            self._left = None
        self._number += 1
        again = self.base / f"{self.name}.{self._number}"
        _run("cp", "--sparse=always", self._image, again)
        self._image.unlink()
        self._image = again
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
            disk.stop()
        for disk in self.disks:
            disk.start()

    def close(self) -> None:
        for disk in self.disks:
            disk.unmount()
        shutil.rmtree(self.base)
