from __future__ import annotations

from pathlib import Path

from helixstore.fs.mounts import mount_of
from support.disks import Disks


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
