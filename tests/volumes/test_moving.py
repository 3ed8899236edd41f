"""A model moves to another disk, copies on two disks become one, and a volume is detached or given up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from disk_bench import Bench, Disk
from shelf import dangling, names_below, opens_everywhere, put, scan, states

import support.mortal
from helixstore import HelixStore
from helixstore.cli.volume import _moved
from helixstore.errors import Failed, NotFound, StoreError, Usage
from helixstore.sizes import size
from support.models import tiny_hf
from support.person import Person
from support.raw import model_gguf
from support.typist import typed

BIG = model_gguf(seed=41)


def with_disk(ana: Person, bench: Bench, **options: bool) -> tuple[HelixStore, Disk]:
    disk = bench.disk("ext4", "disk")
    store = ana.open()
    store.volumes.add(disk.point, **options)
    return store, disk


def blobs_on(folder: Path) -> list[Path]:
    return list(names_below(folder / "blobs"))


def weights_in(store: HelixStore) -> list[Path]:
    return [path for path in blobs_on(store.folder) if path.stat().st_size == len(BIG)]


def test_what_was_lent_to_a_deleting_program_leaves_the_disk_too(ana: Person, bench: Bench) -> None:
    weights = (tiny_hf(ana.home / "models/tiny-llama") / "model.safetensors").read_bytes()
    scan(ana, ana.home / "models")
    store, disk = with_disk(ana, bench, always=True)
    with store:
        assert store.sync().issues == ()
        store.volumes.move("tiny-llama", "disk")
        opens_everywhere(store, "tiny-llama", {weights})
        there = [path for path in names_below(disk.point) if path.stat().st_size == len(weights)]
        assert len(there) == 3, "the blob, and two stand-ins"
        back = store.volumes.move("tiny-llama", "main")
        assert back.freed_bytes == len(weights)
        assert not [path for path in names_below(disk.point) if path.stat().st_size == len(weights)]
        assert set(opens_everywhere(store, "tiny-llama", {weights}).values()) == {"hard"}


def test_a_model_moves_there_and_back(ana: Person, bench: Bench) -> None:
    loose = ana.put("models/Big-F16.gguf", BIG)
    own = ana.put(".lmstudio/models/acme/Big-GGUF/Big-F16.gguf", BIG)
    scan(ana, ana.home / "models")
    store, disk = with_disk(ana, bench, always=True)
    with store:
        assert store.sync().issues == ()
        shown = store.volumes.move("Big", "disk", dry_run=True)
        assert (shown.copied_bytes, shown.dry_run) == (len(BIG), True)
        assert not blobs_on(disk.point / "helixstore")
        moved = store.volumes.move("Big", "disk")
        assert (moved.copied_bytes, moved.issues) == (len(BIG), ())
        assert len(blobs_on(disk.point / "helixstore")) == 1
        assert weights_in(store) == []
        for path in (loose, own):
            assert path.is_symlink(), "the person's own file is a link to the disk now"
            assert path.read_bytes() == BIG
        far = {path for path in names_below(ana.home) if not path.is_symlink() and path.stat().st_size == len(BIG)}
        assert far == set(), "no byte of it is left on the old disk"
        opens_everywhere(store, "Big", {BIG})
        again = store.sync()
        assert again.nothing, again.actions
        assert store.volumes.move("Big", "disk").copied_bytes == 0
        back = store.volumes.move("Big", "main")
        assert back.issues == ()
        assert len(weights_in(store)) == 1
        assert not blobs_on(disk.point / "helixstore")
        assert loose.read_bytes() == BIG
        assert not dangling(ana.home)
        assert set(opens_everywhere(store, "Big", {BIG}).values()) == {"hard"}
        assert not [path for path in names_below(disk.point) if path.stat().st_size == len(BIG)]
        again = store.sync()
        assert again.nothing, again.actions


def test_after_leaving_the_moved_file_has_its_bytes_back(ana: Person, bench: Bench) -> None:
    loose = ana.put("models/Big-F16.gguf", BIG, 0o640)
    scan(ana, ana.home / "models")
    store, _ = with_disk(ana, bench, always=True)
    with store:
        store.sync()
        store.volumes.move("Big", "disk")
        store.leave()
        assert not loose.is_symlink()
        assert loose.read_bytes() == BIG
        assert loose.stat().st_mode & 0o777 == 0o640
        assert not [path for path in names_below(ana.home) if path.is_symlink() and not path.exists()]


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_undo_after_a_move_goes_back_over_it(ana: Person, bench: Bench, steps: int) -> None:
    """The move itself is no step that undo takes back alone: the bytes stay where they are, and every path opens."""
    loose = ana.put("models/Big-F16.gguf", BIG, 0o640)
    scan(ana, ana.home / "models")
    store, _ = with_disk(ana, bench, always=True)
    with store:
        store.sync()
        store.volumes.move("Big", "disk")
        store.gc()
        store.undo(steps)
        assert loose.read_bytes() == BIG
        assert not dangling(ana.home)
        assert store.verify().bad == []
        if steps == 9:
            assert not loose.is_symlink()
            assert loose.stat().st_mode & 0o777 == 0o640
        report = store.sync(restore=True)
        assert not report.issues, report.issues
        assert loose.read_bytes() == BIG
        assert set(opens_everywhere(store, "Big", {BIG}))
        assert not dangling(ana.home)


def test_a_copy_that_another_computer_uses_stays_until_it_has_the_disk(
    ana: Person, bench: Bench, tmp_path: Path
) -> None:
    ana.put("models/Big-F16.gguf", BIG)
    scan(ana, ana.home / "models")
    store, disk = with_disk(ana, bench, always=True)
    other = Person(tmp_path / "other", {**ana.environ, "HOME": str(tmp_path / "other")})
    other.home.mkdir()
    with store:
        other.environ["HELIXSTORE_STORE"] = str(store.folder)
        store.sync()
        with other.open() as theirs:
            theirs.set_provider("lmstudio", on=True)
            theirs.sync()
            assert theirs.path("Big").read_bytes() == BIG
        report = store.volumes.move("Big", "disk")
        assert any("has not added" in note for note in report.notes), report.notes
        assert len(weights_in(store)) == len(blobs_on(disk.point / "helixstore")) == 1
        with other.open() as theirs:
            assert not theirs.sync().issues
            assert not dangling(other.home)
            theirs.volumes.add(str(disk.point), always=True)
        assert "has not added" not in " ".join(store.volumes.move("Big", "disk").notes)
        assert weights_in(store) == []
        with other.open() as theirs:
            theirs.sync()
            assert theirs.path("Big").read_bytes() == BIG
            assert not dangling(other.home)


def killed(ana: Person, number: int, *arguments: str) -> bool:
    """Run the command line, killed just before its n-th call that changes something; whether it was."""
    done = subprocess.run([sys.executable, support.mortal.__file__, str(number), *arguments], env=ana.environ,
                          capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("first", range(2))
def test_killed_at_any_moment_the_move_ends_when_it_is_run_again(ana: Person, bench: Bench, first: int) -> None:
    loose = ana.put("models/Big-F16.gguf", BIG)
    scan(ana, ana.home / "models")
    store, disk = with_disk(ana, bench, always=True)
    with store:
        store.sync()
    to, other, number = "disk", "main", 5 + first * 11
    while killed(ana, number, "volume", "move", "Big", to):
        assert loose.read_bytes() == BIG
        with ana.open() as store:
            assert [path.read_bytes() for path in [*blobs_on(disk.point / "helixstore"), *weights_in(store)]]
            done = store.volumes.move("Big", to)
            assert done.issues == ()
            assert loose.read_bytes() == BIG
            opens_everywhere(store, "Big", {BIG})
            again = store.sync()
            assert again.nothing, (number, again.actions)
            assert len(blobs_on(disk.point / "helixstore")) + len(weights_in(store)) == 1
            assert not list((disk.point / "helixstore/staging").iterdir())
        to, other, number = other, to, number + 31
    assert number > 100, "it was killed at several places"


def test_a_full_disk_lets_nothing_go(ana: Person, bench: Bench) -> None:
    big = BIG + b"\0" * (6 << 20)
    loose = ana.put("models/Big-F16.gguf", big)
    scan(ana, ana.home / "models")
    store, disk = with_disk(ana, bench, always=True)
    with store:
        store.sync()
        filler = disk.point / "filler"
        filler.write_bytes(b"x" * (disk.free() - (3 << 20)))
        with pytest.raises(Failed, match="needs"):
            store.volumes.move("Big", "disk")
        assert not blobs_on(disk.point / "helixstore")
        from helixstore.store import moving

        with pytest.raises(Failed, match="no space"):       # it fills up while it is being copied
            moving.copy_to(store._session.store, store.show("Big").variants[0].files[0].blake3,
                           store._session.store.volumes.find("disk"))
        assert not blobs_on(disk.point / "helixstore")
        assert not list((disk.point / "helixstore/staging").iterdir())
        assert loose.read_bytes() == big
        assert store.sync().nothing


def test_two_copies_on_two_disks_are_kept_until_one_is_asked_for(ana: Person, bench: Bench) -> None:
    here = ana.put("models/Big-F16.gguf", BIG)
    store, disk = with_disk(ana, bench, always=True)
    there = put(disk.point / "backup/Big-F16.gguf", BIG)
    scan(store, ana.home / "models", disk.point / "backup")
    with store:
        report = store.sync()
        assert any("--across-disks" in note for note in report.notes)
        assert not here.is_symlink()
        assert not there.is_symlink()
        assert (len(weights_in(store)), len(blobs_on(disk.point / "helixstore"))) == (1, 1)
        assert set(opens_everywhere(store, "Big", {BIG}).values()) == {"hard"}, "from the nearest copy"
        again = store.sync()
        assert again.nothing, again.actions
        disk.unplug()
        assert [issue.kind for issue in store.sync().issues] == ["away"]
        assert states(store, "Big")["lmstudio"] == "linked", "the other copy is here"
        disk.plug()
        assert store.sync().issues == ()
        assert store.sync(keep="disk", dry_run=True).notes == (f"{here} would become a link to disk",)
        assert not here.is_symlink()
        store.sync(keep="disk")
        assert here.is_symlink()
        assert here.read_bytes() == BIG
        assert not there.is_symlink()
        assert (len(weights_in(store)), len(blobs_on(disk.point / "helixstore"))) == (0, 1)
        opens_everywhere(store, "Big", {BIG})
        again = store.sync()
        assert again.nothing, again.actions


def test_one_of_two_copies_is_damaged(ana: Person, bench: Bench) -> None:
    ana.put("models/Big-F16.gguf", BIG)
    store, disk = with_disk(ana, bench)
    put(disk.point / "backup/Big-F16.gguf", BIG)
    scan(store, ana.home / "models", disk.point / "backup")
    with store:
        store.sync()
        [rotten] = blobs_on(disk.point / "helixstore")
        rotten.chmod(0o644)
        with rotten.open("r+b") as file:
            file.write(b"rot")
        found = store.verify()
        assert [bad.path for bad in found.bad] == [str(rotten)]
        assert not rotten.exists()
        opens_everywhere(store, "Big", {BIG})
        assert store.verify().bad == []


def test_detached_every_link_is_down_and_added_again_all_are_back(ana: Person, bench: Bench) -> None:
    store, disk = with_disk(ana, bench, always=True)
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(store, disk.point / "models")
    with store:
        store.sync()
        links = {path for path in names_below(ana.home) if path.is_symlink() and str(disk.point) in os.readlink(path)}
        assert links
        assert store.volumes.detach("disk", dry_run=True).models == ("Big",)
        assert all(path.is_symlink() for path in links)
        detached = store.volumes.detach("disk")
        assert detached.volume.state == "detached"
        assert not [path for path in names_below(ana.home) if str(disk.point) in (
            os.readlink(path) if path.is_symlink() else "")]
        assert set(states(store, "Big").values()) <= {"away", "incompatible", "convertible", "off"}
        assert store.sync().issues == (), "the person knows"
        disk.unplug()
        assert store.sync().issues == ()
        moved = Disk(bench.base / "elsewhere", disk.image, disk.kind)
        moved.point.mkdir()
        moved.plug()
        try:
            added = store.volumes.add(moved.point)
            assert (added.volume.name, added.volume.state) == ("disk", "here")
            scan(store, moved.point / "models")
            assert store.sync().issues == ()
            assert {path for path in names_below(ana.home) if path.is_symlink()
                    and str(moved.point) in os.readlink(path)} == links
            opens_everywhere(store, "Big", {BIG})
        finally:
            moved.unplug()


def test_remove_refuses_the_only_copy_and_says_which_move_helps(ana: Person, bench: Bench) -> None:
    store, disk = with_disk(ana, bench, always=True)
    mine = put(disk.point / "models/Big-F16.gguf", BIG)
    scan(store, disk.point / "models")
    with store:
        store.sync()
        with pytest.raises(Failed, match="only copy of Big") as refused:
            store.volumes.remove("disk")
        assert refused.value.remedy == "move it first: helixstore volume move 'Big' main"
        store.volumes.move("Big", "main")
        assert mine.is_symlink()
        store.volumes.remove("disk", dry_run=True)
        assert (disk.point / "helixstore/volume.json").exists()
        removed = store.volumes.remove("disk")
        assert removed.issues == ()
        assert not (disk.point / "helixstore").exists()
        assert [one.name for one in store.volumes.list()] == ["main"]
        opens_everywhere(store, "Big", {BIG})
        assert mine.read_bytes() == BIG
        with pytest.raises(NotFound):
            store.volumes.remove("disk")
        with pytest.raises(Usage):
            store.volumes.remove("main")


def test_links_to_a_disk_that_may_be_taken_away_lie_only_where_they_do_no_harm(ana: Person, bench: Bench) -> None:
    store, disk = with_disk(ana, bench, always=False)
    put(disk.point / "models/Big-F16.gguf", BIG)
    tiny_hf(disk.point / "models/tiny-llama")
    scan(store, disk.point / "models")
    with store:
        store.sync()
        stand = states(store, "Big")
        assert (stand["llamacpp"], stand["gpt4all"], stand["koboldai"]) == ("linked", "linked", "linked")
        assert (stand["lmstudio"], stand["ollama"], stand["jan"]) == ("pending", "pending", "pending")
        assert states(store, "tiny-llama")["vllm"] == "pending"
        reason = store.show("Big").variants[0].providers["lmstudio"].reason
        assert f"helixstore volume add {disk.point / 'helixstore'} --always" in reason
        assert store.sync().nothing
        disk.unplug()
        store.sync()
        assert not dangling(ana.home)
        disk.plug()
        store.volumes.add(disk.point, always=True)
        assert states(store, "Big")["lmstudio"] == states(store, "tiny-llama")["vllm"] == "linked"


def test_a_programs_own_file_does_not_move_where_its_list_would_break(ana: Person, bench: Bench) -> None:
    own = ana.put(".lmstudio/models/acme/Big-GGUF/Big-F16.gguf", BIG)
    store, disk = with_disk(ana, bench, always=False)
    with store:
        store.sync()
        with pytest.raises(Failed, match="LM Studio") as refused:
            store.volumes.move("Big", "disk")
        assert "--always" in refused.value.remedy
        assert not own.is_symlink()
        assert not blobs_on(disk.point / "helixstore")


def test_where_a_volume_cannot_be(ana: Person, bench: Bench) -> None:
    store, disk = with_disk(ana, bench)
    with store:
        with pytest.raises(StoreError, match="disk of the store itself"):
            store.volumes.add(ana.home / "more")
        with pytest.raises(StoreError, match="is a volume on that disk already"):
            store.volumes.add(disk.point / "second")
        assert store.volumes.add(disk.point).volume.id == store.volumes.list()[1].id, "taken up again"
        other = bench.disk("ext4", "other")
        (other.point / "helixstore").mkdir()
        put(other.point / "helixstore/volume.json", b'{"schema":1,"store_id":"another","volume_id":"x"}')
        with pytest.raises(StoreError, match="another store"):
            store.volumes.add(other.point)
        put(other.point / "things/a.txt", b"mine")
        assert store.volumes.add(other.point / "things", dry_run=True).volume.path == f"{other.point}/things/helixstore"


def test_the_command_line(ana: Person, bench: Bench) -> None:
    disk = bench.disk("ext4", "usb")
    put(disk.point / "models/Big-F16.gguf", BIG)
    scan(ana, disk.point / "models")

    def helix(*words: str, expect: int = 0) -> dict[str, object]:
        done = typed(*words, "--json", environ=ana.environ)
        assert done.returncode == expect, (done.stdout, done.stderr)
        document: dict[str, object] = json.loads(done.stdout)
        assert document["schema"] == 1
        return document

    assert helix("volume", "add", str(disk.point), "--dry-run")["dry_run"] is True
    assert not (disk.point / "helixstore").exists()
    added = helix("volume", "add", str(disk.point), "--name", "stick", "--always")
    assert added["volume"]["name"] == "stick"                       # type: ignore[index]
    helix("sync", "--yes")
    listed = helix("volume", "list")["volumes"]
    assert [(one["name"], one["state"], one["models"]) for one in listed] == [      # type: ignore[attr-defined]
        ("main", "here", 0), ("stick", "here", 1)]
    assert len(helix("status")["volumes"]) == 2                     # type: ignore[arg-type]
    assert helix("volume", "move", "Big", "main", "--dry-run")["copied_bytes"] == len(BIG)
    helix("volume", "remove", "stick", expect=1)
    disk.unplug()
    away = helix("status", expect=3)
    assert away["issues"][0]["kind"] == "away"                      # type: ignore[index]
    helix("sync", "--yes", expect=3)
    text = typed("volume", environ=ana.environ, check=True).stdout
    assert "away" in text
    disk.plug()
    helix("volume", "detach", "stick")
    assert [one["state"] for one in helix("volume", "list")["volumes"]] == ["here", "detached"]  # type: ignore[attr-defined]


def test_what_a_move_says_is_what_it_did(ana: Person, bench: Bench) -> None:
    ana.put("models/Big-F16.gguf", BIG)
    store, disk = with_disk(ana, bench, always=True)
    put(disk.point / "backup/Big-F16.gguf", BIG)
    scan(store, ana.home / "models", disk.point / "backup")
    with store:
        store.sync()
        assert list(_moved(store.volumes.move("Big", "disk", dry_run=True))) == [
            f"Big: is on disk already; {size(len(BIG))} would be freed elsewhere."]
        moved = store.volumes.move("Big", "disk")
        assert (moved.copied_bytes, moved.freed_bytes) == (0, len(BIG))
        assert next(_moved(moved)) == f"Big: is on disk already; {size(len(BIG))} freed elsewhere."
        assert list(_moved(store.volumes.move("Big", "disk", dry_run=True))) == ["Big: is on disk already."]
        again = store.volumes.move("Big", "disk")
        assert (again.freed_bytes, list(_moved(again))) == (0, ["Big: is on disk already."])
        back = next(_moved(store.volumes.move("Big", "main")))
        assert back.startswith(f"Big: {size(len(BIG))} copied to main")
