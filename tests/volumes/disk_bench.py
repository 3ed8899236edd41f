"""Disks that can be plugged in and taken away: real file systems in images, on loop devices."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.disks import run


@dataclass
class Disk:
    """A real file system in an image, on a loop device."""

    point: Path
    image: Path
    kind: str
    mounted: bool = field(default=False)

    def plug(self) -> None:
        command = ["mount", "-o", "loop"] if self.kind != "exfat" else ["mount", "-t", "exfat-fuse", "-o", "loop"]
        run(*command, str(self.image), str(self.point))
        self.mounted = True

    def unplug(self) -> None:
        run("umount", str(self.point))
        self.mounted = False

    def free(self) -> int:
        status = os.statvfs(self.point)
        return status.f_bfree * status.f_frsize


@dataclass
class Bench:
    """Where disks are made."""

    base: Path
    disks: list[Disk] = field(default_factory=list)

    def disk(self, kind: str = "ext4", name: str = "", megabytes: int = 0) -> Disk:
        """A new disk, plugged in."""
        if shutil.which(f"mkfs.{kind}") is None or (kind == "exfat" and shutil.which("mount.exfat-fuse") is None):
            pytest.skip(f"mkfs.{kind} is not installed")
        name = name or f"{kind}{len(self.disks)}"
        disk = Disk(self.base / name, self.base / f"{name}.image", kind)
        disk.point.mkdir()
        with disk.image.open("wb") as file:
            file.truncate((megabytes or {"xfs": 300, "btrfs": 114}.get(kind, 24)) << 20)
        run(f"mkfs.{kind}", *([] if kind == "exfat" else ["-q"]), str(disk.image))
        self.disks.append(disk)
        disk.plug()
        return disk

    def close(self) -> None:
        for disk in reversed(self.disks):
            if disk.mounted:
                disk.unplug()
        shutil.rmtree(self.base)
