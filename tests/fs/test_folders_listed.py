"""What lies in folders: nothing that cannot be looked into counts as empty, and links are not followed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helixstore.fs.listing import check_listable, listdir, scandir, walk


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a file, a folder, a link to it, and a folder that only root can list; looked at by somebody else."""
    made = Path(tempfile.mkdtemp())                     # pytest's own folders are closed to others
    made.chmod(0o755)
    (made / "open").mkdir()
    (made / "open/file").write_bytes(b"x")
    (made / "link").symlink_to("open")
    (made / "shut").mkdir(mode=0)
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    yield made
    if mine == 0:
        os.seteuid(0)
    (made / "shut").chmod(0o700)
    shutil.rmtree(made)


def test_what_cannot_be_listed_is_an_error(folder: Path) -> None:
    for look in (listdir, scandir, check_listable, lambda path: list(walk(str(path)))):
        with pytest.raises(PermissionError):
            look(folder / "shut")
    with pytest.raises(PermissionError):
        list(walk(str(folder)))
    assert list(walk(f"{folder}/missing")) == list(walk(f"{folder}/open/file")) == []


def test_every_folder_in_both_orders_and_no_link_is_followed(folder: Path) -> None:
    down = [(above, sorted(folders), files) for above, folders, files in walk(str(folder), lenient=True)]
    assert down == [(str(folder), ["open", "shut"], ["link"]), (f"{folder}/open", [], ["file"])]
    up = [above for above, _, _ in walk(str(folder), topdown=False, lenient=True)]
    assert up == [f"{folder}/open", str(folder)]
    with scandir(folder) as entries:
        assert sorted(entry.name for entry in entries) == sorted(listdir(folder)) == ["link", "open", "shut"]
    check_listable(folder)
