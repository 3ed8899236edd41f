"""The snapshot notices every change below its folders, and only those."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helixstore.farm.snapshot import ABSENT, RACY_NS, Snapshot, changed, take
from helixstore.fs.kernel import Fingerprint, fingerprint

LATER = 10 * RACY_NS        # the scan is said to begin so much after the files were made


def scan(root: Path) -> tuple[dict[str, int], dict[str, Fingerprint]]:
    folders, files = {}, {}
    for folder, _, names in os.walk(root):
        folders[folder] = os.stat(folder).st_mtime_ns
        files.update({f"{folder}/{name}": fingerprint(f"{folder}/{name}") for name in names})
    return folders, files


def snapshot(root: Path) -> Snapshot:
    return take(*scan(root), began_ns=time.time_ns() + LATER)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "one").write_bytes(b"1")
    os.link(root / "a" / "one", root / "a" / "b" / "two")
    (root / "a" / "link").symlink_to("one")
    (root / "text").write_bytes(b"t")
    return root


def write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def swap(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes())
    os.replace(path.with_name("new"), path)


CHANGES = {
    "written in place": lambda root: write(root / "a" / "one"),
    "written through the other name": lambda root: write(root / "a" / "b" / "two"),
    "written with its old time": lambda root: (write(root / "text"), os.utime(root / "text", ns=(0, 5))),
    "replaced by the same": lambda root: swap(root / "text"),
    "another name replaced": lambda root: swap(root / "a" / "b" / "two"),
    "deleted": lambda root: (root / "a" / "b" / "two").unlink(),
    "link deleted": lambda root: (root / "a" / "link").unlink(),
    "link points elsewhere": lambda root: ((root / "a" / "link").unlink(), (root / "a" / "link").symlink_to("b")),
    "new file": lambda root: (root / "a" / "b" / "new").write_bytes(b""),
    "new folder": lambda root: (root / "new").mkdir(),
    "renamed": lambda root: (root / "text").rename(root / "text2"),
    "folder gone": lambda root: (root / "a").rename(root.parent / "elsewhere"),
    "root gone": lambda root: root.rename(root.parent / "elsewhere"),
    "mode": lambda root: (root / "text").chmod(0o600),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(root: Path, change: str) -> None:
    before = Snapshot.decode(snapshot(root).encode())
    assert before is not None
    assert changed(before) == set()
    CHANGES[change](root)                               # type: ignore[no-untyped-call]
    assert changed(before)
    assert len(changed(before, first=True)) == 1


def test_links_are_looked_at_through_their_folder_or_once(root: Path) -> None:
    assert snapshot(root).files == (f"{root}/a/b/two", f"{root}/text")
    _, files = scan(root)
    alone = take({}, files, began_ns=time.time_ns() + LATER)
    assert len(alone.files) == 4, "without the folders every name is looked at itself"
    (root / "a" / "link").unlink()
    assert changed(alone) == {f"{root}/a/link"}


def test_what_was_not_there_is_noticed_when_it_comes(tmp_path: Path) -> None:
    before = take({f"{tmp_path}/models": ABSENT}, {}, began_ns=time.time_ns())
    assert changed(before) == set()
    (tmp_path / "models").mkdir()
    assert changed(before) == {f"{tmp_path}/models"}


def test_what_changed_just_before_the_scan_is_not_trusted(root: Path) -> None:
    folders, files = scan(root)
    os.utime(root / "text", ns=(0, 5))
    files[f"{root}/text"] = fingerprint(root / "text")
    before = take(folders, files, began_ns=time.time_ns())
    assert changed(before) == {*folders, f"{root}/a/b/two", f"{root}/text"}, "ctime counts too"
    assert changed(Snapshot.decode(before.encode()) or before) == changed(before)


def test_a_root_may_be_a_link_to_a_folder(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    before = take({str(link): os.stat(link).st_mtime_ns}, {}, began_ns=time.time_ns() + LATER)
    assert changed(before) == set()
    (root / "new").write_bytes(b"")
    assert changed(before) == {str(link)}


PARTS = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)), min_size=1)
PATHS = st.lists(PARTS, max_size=4)
NUMBERS = st.integers(-(1 << 62), (1 << 62) - 1)
MARKS = st.builds(Fingerprint, st.integers(0, (1 << 128) - 1), NUMBERS, NUMBERS, NUMBERS, st.just(1),
                  st.sampled_from([0o100644, 0o120777]), st.just(0), st.integers(1, 3))


@given(st.dictionaries(PATHS.map(lambda parts: "/" + "/".join(parts)), NUMBERS),
       st.dictionaries(PATHS.map(lambda parts: "/" + "/".join([*parts, "\udcff"])), MARKS), NUMBERS)
def test_encoding_loses_nothing(folders: dict[str, int], files: dict[str, Fingerprint], began: int) -> None:
    before = take(folders, files, began)
    assert Snapshot.decode(before.encode()) == before


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_bytes_give_none_and_never_an_error(noise: bytes, at: int) -> None:
    good = take({"/a": 1}, {"/a/b": Fingerprint(1, 2, 3, 4, 5, 0o100644, 7, 1)}, 10**18).encode()
    assert Snapshot.decode(noise) is None
    assert Snapshot.decode(good[:at % len(good)]) is None
    place = at % len(good)
    found = Snapshot.decode(good[:place] + noise + good[place:])
    assert found is None or isinstance(found, Snapshot)
