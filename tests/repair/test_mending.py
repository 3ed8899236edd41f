"""Damage is found, and mended from whatever still has the bytes; nobody's file is lost on the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from rot import BIG, DIGEST, SMALL, all_right, blob, flip, part, shown

from helixstore.errors import NotFound, Usage
from helixstore.store.hashing import BLOCK
from support.person import Person

LAST = len(BIG) - BLOCK


def test_only_the_bad_ranges_are_taken_and_every_name_reads_right_again(laptop: Person) -> None:
    given = laptop.home / "models/big-F16.gguf"
    copy = laptop.put("backup/whatever.bin", BIG)
    with laptop.open() as store:
        before = shown(store, "big")
        flip(before["jan"][0] if before["jan"][0].endswith("gguf") else before["llamacpp"][0], BLOCK + 7, BLOCK + 9)
        assert given.read_bytes() != BIG, "every hard link reads the damage"
        report = store.verify(repair=True, source=[copy.parent])
        assert report.bad == []
        assert report.repaired == [DIGEST]
        [mended] = report.mended
        assert (mended.bytes, mended.bad_bytes, mended.why) == (len(BIG), LAST, "")
        assert [(taken.source, taken.bytes, taken.remote) for taken in mended.taken] == [(str(copy), LAST, False)]
        assert Path(mended.kept).read_bytes() != BIG, "the damaged bytes are kept"
        assert shown(store, "big") == before
    assert given.read_bytes() == BIG
    assert given.samefile(blob(store)), "the path that the person gave is a name of the mended blob"
    assert copy.stat().st_nlink == 1, "what gave the bytes is not touched"
    all_right(laptop)


def test_good_ranges_of_several_damaged_copies_make_one_whole(laptop: Person) -> None:
    laptop.put("one/a.bin", part(BIG, 0))
    laptop.put("two/b.bin", part(BIG, 1))
    with laptop.open() as store:
        flip(blob(store), 5, BLOCK + 5)
        report = store.verify("big", repair=True, source=[laptop.home / "one", laptop.home / "two"])
        [mended] = report.mended
        assert mended.why == ""
        assert {(Path(taken.source).name, taken.bytes) for taken in mended.taken} == {
            ("a.bin", BLOCK), ("b.bin", LAST)}
    all_right(laptop)


def test_without_another_copy_it_stays_withdrawn_and_says_what_to_do(laptop: Person) -> None:
    with laptop.open() as store:
        flip(blob(store), 3)
        report = store.verify(repair=True)
        [bad], [mended] = report.bad, report.mended
        assert (bad.models, bad.given) == (("big",), (str(laptop.home / "models/big-F16.gguf"),))
        assert {"jan", "llamacpp", "ollama"} <= set(bad.programs)
        assert mended.why
        assert "--from" in mended.remedy
        assert shown(store, "big") == {}
        assert shown(store, "small")
        [issue] = [issue for issue in store.status().issues if issue.kind == "quarantined"]
        assert "jan" in issue.message
        assert str(laptop.home / "models/big-F16.gguf") in issue.message
        assert issue.remedy == "helixstore verify --repair big"
        assert any(check.state != "ok" and "big-F16.gguf is damaged" in check.message and "--repair" in check.remedy
                   for check in store.doctor())
        store.sync()
        assert {one.name for one in store.shared_models()} == {"big", "small"}, "damage is no model of its own"


def test_a_dry_run_says_it_all_and_writes_nothing(laptop: Person) -> None:
    copy = laptop.put("backup/whatever.bin", BIG)
    with laptop.open() as store:
        flip(blob(store), 5)
        store.status()
        before = laptop.tree()
        report = store.verify(repair=True, source=[copy], dry_run=True)
    after = laptop.tree()
    assert {path: what for path, what in after.items() if before.get(path) != what and ".mdb" not in path} == {}
    assert before.keys() == after.keys()
    [mended] = report.mended
    assert (mended.bad_bytes, mended.why, mended.kept) == (BLOCK, "", "")
    assert [(taken.source, taken.bytes) for taken in mended.taken] == [(str(copy), BLOCK)]


@pytest.mark.parametrize("damage", ["unknown", "wrong"])
def test_where_the_ranges_cannot_be_told_one_copy_must_be_whole(laptop: Person, damage: str) -> None:
    laptop.put("backup/half.bin", part(BIG, 0))
    whole = laptop.put("backup/whole.bin", BIG)
    with laptop.open() as store:
        meta = store.folder / "meta" / DIGEST[:2] / f"{DIGEST}.json"
        record = json.loads(meta.read_text())
        record["blocks"] = ["0" * 32] * 2 if damage == "wrong" else None
        meta.chmod(0o644)
        meta.write_text(json.dumps(record))
        flip(blob(store), 5)
        [mended] = store.verify("big", repair=True, source=[laptop.home / "backup"]).mended
        assert [(taken.source, taken.bytes) for taken in mended.taken] == [(str(whole), len(BIG))]
        assert len(json.loads(meta.read_text())["blocks"]) == 2, "now they are known"
    all_right(laptop)


@pytest.mark.parametrize("how", ["appended", "cut", "gone", "zeroed", *(["emptied"] if os.environ.get("SOAK") else [])])
def test_whatever_became_of_the_file(laptop: Person, how: str) -> None:
    given = laptop.home / "models/big-F16.gguf"
    laptop.put("backup/whole.bin", BIG)
    with laptop.open() as store:
        path = blob(store)
        if how == "gone":
            path.unlink()
            given.unlink()
            for paths in shown(store, "big").values():
                for one in paths:
                    if Path(one).is_file():
                        Path(one).unlink()
        else:
            path.chmod(0o644)
            with path.open("r+b") as file:
                if how == "appended":
                    file.seek(0, os.SEEK_END)
                    file.write(b"more")
                elif how == "zeroed":
                    file.write(bytes(4096))
                else:
                    file.truncate(len(BIG) - 7 if how == "cut" else 0)
            path.chmod(0o444)
        report = store.verify(repair=True, source=[laptop.home / "backup"])
        [mended] = report.mended
        assert mended.why == "", mended
        assert mended.bad_bytes == {"appended": 0, "cut": LAST, "zeroed": BLOCK}.get(how, len(BIG))
        assert path.read_bytes() == BIG
        if how == "gone":
            store.sync(restore=True)
    all_right(laptop, edits=how == "appended")
    if how == "appended":
        assert given.read_bytes() == BIG + b"more", "a whole model, with a new time: theirs"
    elif how != "gone":
        assert given.read_bytes() == BIG, "no edit: it was no model any more"


def test_what_the_person_wrote_stays_theirs_and_the_model_comes_back(laptop: Person) -> None:
    """Invariant 6: a whole model with a new time is an edit, however it came about."""
    given = laptop.home / "models/big-F16.gguf"
    laptop.put("backup/whole.bin", BIG)
    flip(given, BLOCK + 99, quietly=False)
    edited = given.read_bytes()
    with laptop.open() as store:
        report = store.verify(repair=True, source=[laptop.home / "backup"])
        assert report.mended[0].why == ""
        [issue] = [issue for issue in report.issues if issue.path == str(given)]
        assert issue.kind == "modified"
        assert given.read_bytes() == edited
        assert blob(store).read_bytes() == BIG
        programs = shown(store, "big")
        assert all(any(Path(path).read_bytes() == BIG for path in paths) for paths in programs.values())
        store.sync()
        assert given.read_bytes() == edited
        contents = {Path(path).read_bytes() for model in store.shared_models() for path in shown(store, model.name)
                    .get("llamacpp", ())[:1]}
        assert {edited, BIG, SMALL} <= contents | {blob(store).read_bytes()}
        assert store.verify().bad == []


def test_undo_and_leave_still_find_the_file_as_it_was(laptop: Person) -> None:
    given = laptop.home / "models/big-F16.gguf"
    laptop.put("backup/whole.bin", BIG)
    with laptop.open() as store:
        flip(blob(store), 1)
        assert store.verify(repair=True, source=[laptop.home / "backup"]).mended[0].why == ""
        while not (issues := store.undo().issues) and given.stat().st_nlink > 1:
            pass
        assert not issues
        assert given.read_bytes() == BIG
        assert given.stat().st_mode & 0o777 == 0o644
        assert given.stat().st_mtime == 1_700_000_000
        small = laptop.home / ".lmstudio/models/acme/small/small-F16.gguf"
        assert small.read_bytes() == SMALL


def test_a_copy_that_undo_gave_back_mends_the_blob(laptop: Person) -> None:
    """It is the person's own file by now, not linked to anything: found without being named."""
    with laptop.open() as store:
        store.undo(2)
        store.add(laptop.put("again/big-F16.gguf", BIG))
        given = laptop.home / "models/big-F16.gguf"
        assert not given.samefile(blob(store))
        store.verify()
        flip(blob(store), 8)
        [mended] = store.verify("big", repair=True).mended
        assert mended.why == ""
        assert [taken.source for taken in mended.taken] == [str(given)]
        assert (laptop.home / "again/big-F16.gguf").read_bytes() == BIG


def test_a_copy_that_lies_in_a_programs_folder_is_found_by_its_size(laptop: Person) -> None:
    unlinked = laptop.put(".lmstudio/models/acme/other/renamed.gguf", BIG)
    with laptop.open() as store:
        flip(blob(store), 8)
        [mended] = store.verify("big", repair=True).mended
        assert [taken.source for taken in mended.taken] == [str(unlinked)]
        assert unlinked.stat().st_nlink == 1


def test_what_cannot_be_asked_for_is_refused_before_anything_is_read(laptop: Person) -> None:
    with laptop.open() as store:
        for wrong in ("", "x", "0", "-3", "101%", "5 percent", "0GB"):
            with pytest.raises(Usage):
                store.verify(sample=wrong)
        with pytest.raises(NotFound):
            store.verify(repair=True, source=["/nowhere/at/all"])


def test_a_link_planted_under_a_blobs_name_is_replaced_and_not_followed(laptop: Person) -> None:
    victim = laptop.put("private/letter.txt", b"dear")
    laptop.put("backup/whole.bin", BIG)
    with laptop.open() as store:
        blob(store).unlink()
        blob(store).symlink_to(victim)
        report = store.verify("big", repair=True, source=[laptop.home / "backup"])
        assert report.mended[0].why == ""
        assert blob(store).read_bytes() == BIG
        assert not blob(store).is_symlink()
    assert victim.read_bytes() == b"dear"


def test_undo_brings_no_damaged_bytes_back(laptop: Person) -> None:
    """The links that the quarantine took down are not made again by taking that back."""
    with laptop.open() as store:
        flip(blob(store), 9)
        before = shown(store, "big")
        store.verify()
        store.undo()
        assert shown(store, "big") == {}
        assert not any(os.path.exists(path) for paths in before.values() for path in paths if path.endswith(".gguf"))
        laptop.put("backup/whole.bin", BIG)
        assert store.verify(repair=True, source=[laptop.home / "backup"]).bad == []
        store.sync(restore=True)
    all_right(laptop)


def test_a_good_file_that_is_added_mends_too(laptop: Person) -> None:
    """It takes the damaged blob's place, and what the person gave reads right after the next command."""
    given = laptop.home / "models/big-F16.gguf"
    with laptop.open() as store:
        flip(blob(store), 9)
        assert store.verify().bad
        store.add(laptop.put("new/big-F16.gguf", BIG))
        store.sync()
        assert given.read_bytes() == BIG
        assert given.samefile(blob(store))
    all_right(laptop)
