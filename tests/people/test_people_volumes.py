"""Two people and one disk more: who may take what off it, and that no copy is let go of twice."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator

import pytest

from support.people import People, blob_of, founded
from support.raw import model_gguf

WEIGHTS = model_gguf(seed=91)


@pytest.fixture
def disks(lab: People) -> Iterator[People]:
    """carol's store, and a second disk that everybody may write to, as a volume of alice's."""
    founded(lab, lab.carol)
    disk = lab.folder / "disk-two"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "tmpfs", str(disk)], check=True)
    lab.alice.helix("volume", "add", str(disk))
    yield lab
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def copy_of(lab: People) -> os.PathLike[str]:
    return lab.folder / "disk-two/helixstore" / blob_of(lab, WEIGHTS).relative_to(lab.store)


def test_a_volume_is_filled_by_both_and_each_takes_off_only_what_is_theirs(disks: People) -> None:
    lab = disks
    volume = lab.folder / "disk-two/helixstore"
    folders = [path for path in volume.rglob("*") if path.is_dir() and "farms" not in path.parts]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (volume, *folders)} == {0o3770}
    assert {path.stat().st_gid for path in (volume, *folders)} == {lab.gid}
    source = lab.folder / "disk-two/alice.gguf"
    source.write_bytes(WEIGHTS)
    lab.alice.own(source)
    lab.alice.helix("share", str(source))
    assert os.stat(copy_of(lab)).st_ino == source.stat().st_ino
    lab.bob.helix("sync")
    assert lab.bob.document("list")["models"]
    lab.bob.helix("volume", "add", str(lab.folder / "disk-two"))
    path = lab.bob.helix("path", "alice").strip()
    assert lab.bob.reads(path) == WEIGHTS
    said = lab.bob.document("volume", "move", "alice", "main", expect=(0, 3))
    assert any("belongs to user" in issue["message"] for issue in said["issues"]), said
    assert lab.bob.reads(copy_of(lab)) == WEIGHTS, "alice's copy stays"
    assert lab.bob.reads(blob_of(lab, WEIGHTS)) == WEIGHTS
    assert blob_of(lab, WEIGHTS).stat().st_uid == lab.bob.uid
    assert "they, or the owner" in lab.bob.fails("volume", "remove", "disk-two")
    lab.alice.helix("sync")
    assert lab.alice.reads(source) == WEIGHTS


def test_of_two_who_let_go_of_each_others_copy_one_keeps_it(disks: People) -> None:
    """Both start at once, again and again; at no time is the last copy gone."""
    lab = disks
    source = lab.folder / "disk-two/alice.gguf"
    source.write_bytes(WEIGHTS)
    lab.alice.own(source)
    lab.alice.helix("share", str(source))
    lab.carol.helix("volume", "add", str(lab.folder / "disk-two"))
    lab.alice.helix("sync")
    for _ in range(3):
        lab.carol.types("volume", "move", "alice", "main")
        both = [threading.Thread(target=one.types, args=("volume", "move", "alice", where))
                for one, where in ((lab.alice, "disk-two"), (lab.carol, "main"))]
        for one in both:
            one.start()
        for one in both:
            one.join()
        copies = [path for path in (copy_of(lab), blob_of(lab, WEIGHTS)) if os.path.exists(path)]
        assert copies
        assert all(lab.bob.reads(path) == WEIGHTS for path in copies)
    assert not (lab.store / "volumes/letting-go").exists()


def test_a_sign_that_somebody_left_stops_the_others_with_words(disks: People) -> None:
    lab = disks
    lab.bob.helix("share", str(lab.bob.put("m/bobs.gguf", WEIGHTS)))
    lab.alice.helix("sync")
    sign = lab.store / "volumes/letting-go"
    sign.write_text(json.dumps({"host": "elsewhere", "schema": 1, "uid": lab.alice.uid}))
    os.chown(sign, lab.alice.uid, lab.gid)
    lab.bob.helix("volume", "add", str(lab.folder / "disk-two"))
    said = lab.bob.document("volume", "move", "bobs", "disk-two", expect=(0, 3))
    assert any("letting go of copies" in issue["message"] for issue in said["issues"])
    assert lab.bob.reads(blob_of(lab, WEIGHTS)) == WEIGHTS
    sign.unlink()
    lab.bob.helix("volume", "move", "bobs", "disk-two", expect=(0, 3))
    assert lab.bob.reads(copy_of(lab)) == WEIGHTS
