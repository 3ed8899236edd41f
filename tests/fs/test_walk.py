from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from disks import SOMEBODY, Disks, apart, as_root

from helixstore.fs import walk as walking
from helixstore.fs.mounts import mount_of
from helixstore.fs.walk import list_folder, walk
from helixstore.values import Issue


def kinds(folder: Path) -> dict[str, tuple[str, bool]]:
    issues: list[Issue] = []
    listed = list_folder(folder, issues.append)
    assert listed is not None
    assert issues == []
    assert [item.name for item in listed.items] == sorted(item.name for item in listed.items)
    return {item.name: (item.kind, item.linked) for item in listed.items}


def test_every_kind_of_entry_is_told_apart(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (disk / "file").write_bytes(b"12345")
    (disk / "folder").mkdir()
    (disk / "to file").symlink_to("file")
    (disk / "to folder").symlink_to("folder")
    (disk / "dangling").symlink_to("nothing")
    (disk / "circle").symlink_to("circle")
    (disk / ".nfs0001").write_bytes(b"")
    os.mkfifo(disk / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(disk)
        server.bind("socket")
    os.mkdir(os.fsencode(disk) + b"/caf\xe9")
    assert kinds(disk) == {
        "file": ("file", False), "folder": ("folder", False), "to file": ("file", True), "to folder": ("folder", True),
        "dangling": ("link", True), "circle": ("link", True), "pipe": ("other", False), "socket": ("other", False),
        "caf\udce9": ("folder", False),
    }
    listed = list_folder(disk, lambda issue: None)
    assert listed is not None
    assert next(item for item in listed.items if item.name == "to file").fingerprint.bytes == 5


def test_links_to_folders_are_not_entered_and_loops_end(disk: Path) -> None:
    (disk / "a" / "b").mkdir(parents=True)
    (disk / "a" / "b" / "up").symlink_to(disk)
    (disk / "a" / "file").write_bytes(b"")
    found = [os.path.relpath(folder.path, disk) for folder in walk(disk)]
    assert found == [".", "a", "a/b"]
    assert [os.path.relpath(folder.path, disk) for folder in walk(disk, depth=1)] == [".", "a"]
    assert [folder.path for folder in walk(disk, depth=0)] == [str(disk)]
    assert [folder.path for folder in walk(disk, enter=lambda item: item.name != "a")] == [str(disk)]


def test_a_folder_mounted_into_itself_is_entered_once(disks: Disks, tmp_path: Path) -> None:
    inside = tmp_path / "x" / "y"
    inside.mkdir(parents=True)
    point = disks.bind(tmp_path / "x", "again")
    (inside / "z").mkdir()
    subprocess.run(["mount", "--bind", str(tmp_path / "x"), str(inside / "z")], check=True)
    try:
        assert len(list(walk(tmp_path / "x"))) == 2
    finally:
        subprocess.run(["umount", str(inside / "z")], check=True)
    assert mount_of(point / "y").point == str(point)


def test_what_vanishes_is_left_out_silently(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    issues: list[Issue] = []
    found = []
    for folder in walk(tmp_path, issue=issues.append):
        found.append(os.path.basename(folder.path))
        if folder.path == str(tmp_path):
            (tmp_path / "b").rmdir()
    assert found == [tmp_path.name, "a", "c"]
    assert issues == []
    assert list(walk(tmp_path / "nothing", issue=issues.append)) == []
    (tmp_path / "file").write_bytes(b"")
    assert list(walk(tmp_path / "file", issue=issues.append)) == []
    assert issues == []


@as_root
def test_what_may_not_be_read_is_an_issue_and_the_rest_goes_on(shared: Path) -> None:
    for name in ("a", "closed", "z"):
        (shared / name).mkdir()
    (shared / "closed").chmod(0o700)
    (shared / "link").symlink_to("closed/inside")

    def look() -> tuple[list[str], list[str]]:
        issues: list[Issue] = []
        found = [os.path.basename(folder.path) for folder in walking.walk(shared, issue=issues.append)]
        return found, [issue.path for issue in issues]

    found, issues = apart(look, SOMEBODY)
    assert found == [shared.name, "a", "z"]
    assert issues == [str(shared / "closed")]


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
