from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helixstore.fs import mounts
from helixstore.fs.mounts import mount_of
from support.disks import Disks, as_root, run


def test_a_mount_is_known_by_what_it_is(disk: Path, tmp_path: Path) -> None:
    here = mount_of(disk)
    assert str(disk).startswith(here.point)
    assert here == mount_of(disk / "not" / "there" / "yet")
    assert here.kind
    assert not here.network
    (tmp_path / "way").symlink_to(disk)
    assert mount_of(tmp_path / "way" / "x") == here


def test_mounts_with_strange_names_and_on_top_of_each_other(disks: Disks) -> None:
    first = disks.mount("tmpfs", 1, "with a space")
    assert mount_of(first).point == str(first)
    assert mount_of(first).kind == "tmpfs"
    assert mount_of(first).id != mount_of(first.parent).id
    bound = disks.bind(first, "bound \\ too")
    assert mount_of(bound).point == str(bound)


@as_root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_the_id_stays_when_the_device_gets_another_number(kind: str, tmp_path: Path) -> None:
    """As after a restart, in a container that has no udev: XFS takes its `f_fsid` from the device."""
    image, point = tmp_path / "image", tmp_path / "point"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)
    run(f"mkfs.{kind}", "-q", str(image))
    seen = []
    for name in ("first", "second"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 20)
        if seen:
            run("losetup", "--find", str(tmp_path / name))           # takes the number that the image had
        run("mount", "-o", "loop", str(image), str(point))
        seen.append((mount_of(point).id, point.stat().st_dev))
        run("umount", str(point))
    for line in subprocess.run(["losetup", "--associated", str(tmp_path / "second")], capture_output=True, text=True,
                               check=True).stdout.splitlines():
        run("losetup", "--detach", line.partition(":")[0])
    assert seen[0][0] == seen[1][0]


@pytest.mark.parametrize(("kind", "source", "network"), [
    ("nfs4", "nas:/models", True), ("cifs", "//nas/models", True), ("9p", "share", True), ("virtiofs", "share", True),
    ("fuse.sshfs", "ana@nas:/models", True), ("fuse.rclone", "remote:models", True), ("fuse.anything-new", "x", True),
    ("fuse", "nas:/models", True), ("fuse", "//nas/models", True), ("fuse", "/home/ana/bound", False),
    ("fuseblk", "/dev/sdb1", False), ("fuse.exfat", "/dev/sdb1", False), ("fuse.bindfs", "/home/ana", False),
    ("fuse.mergerfs", "a:b", False), ("ext4", "/dev/sda1", False), ("overlay", "overlay", False),
])
def test_what_lies_on_another_machine(kind: str, source: str, network: bool) -> None:
    line = f"36 35 98:0 / /mnt/somewhere rw,noatime - {kind} {source} rw"
    assert mounts._from_mountinfo(line.split(" ")).network is network


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux is asked for the UUID")
@pytest.mark.parametrize(("number", "tells"), [
    (errno.EIO, False), (errno.EROFS, False), (errno.EXDEV, False), (errno.EMFILE, False), (errno.ENOTTY, True),
    (errno.EPERM, True),
])
def test_a_disk_that_fails_to_tell_its_uuid_gets_no_other_id(number: int, tells: bool, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """It would count as another disk for good."""
    def fail(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.ioctl", fail)
    if tells:
        assert mount_of(tmp_path).id
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            mount_of(tmp_path)
