"""What happens between the plan and the first step: the person at the prompt, a second process, a copy that changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.errors import PlanOutdated
from helixstore.fs.kernel import fingerprint
from helixstore.results import SyncReport
from support.disks import SOMEBODY, as_root
from support.person import GGUF, Person
from support.raw import model_gguf


def names(store: HelixStore) -> list[str]:
    return sorted(model.name for model in store.shared_models())


@pytest.mark.parametrize("look", ["dry run", "no"])
def test_what_was_only_looked_at_is_taken_in_by_the_next_sync(synced: Person, look: str) -> None:
    synced.put("models/new-F16.gguf", model_gguf(seed=3))
    with synced.open() as store:
        if look == "dry run":
            store.sync(dry_run=True)
        else:
            store.sync(ask=lambda report: False)
        assert "new" not in names(store)
        store.sync()
        assert "new" in names(store)


def test_a_copy_that_changes_meanwhile_does_not_keep_the_other_from_being_shared(laptop: Person) -> None:
    copy = laptop.home / "models/copy-of-small.gguf"
    changed = model_gguf(seed=4)

    def while_asked(report: SyncReport) -> bool:
        copy.write_bytes(changed)
        return True

    with laptop.open() as store:
        assert [Path(issue.path) for issue in store.sync(ask=while_asked).issues] == [copy]
        assert "Small-GGUF" in names(store)
        store.sync()
        assert {"Small-GGUF", "copy-of-small"} <= set(names(store))
    assert copy.read_bytes() == changed


def test_two_processes_that_want_one_name_both_keep_their_model(synced: Person) -> None:
    """The first copies a file into the store, and the person deletes it; nothing else has its bytes."""
    first = synced.put("downloads/one.gguf", model_gguf(seed=5))
    synced.put("models/same-F16.gguf", model_gguf(seed=6))

    def while_asked(report: SyncReport) -> bool:
        if first.exists():
            with synced.open() as other:
                other.add(first, name="same")
            first.unlink()
        return True

    with synced.open() as store:
        assert store.sync(ask=while_asked).issues == ()
        assert names(store) == ["Small-GGUF", "other", "same", "same~2", "tiny-llama"]
        assert store.path("same").read_bytes() == model_gguf(seed=5)
        assert store.path("same~2").read_bytes() == model_gguf(seed=6)
        assert store.sync().nothing


def test_what_another_process_hides_meanwhile_stays_hidden(synced: Person) -> None:
    synced.put("models/new-F16.gguf", model_gguf(seed=3))

    asked: list[SyncReport] = []

    def while_asked(report: SyncReport) -> bool:
        asked.append(report)
        if len(asked) == 1:
            with synced.open() as other:
                other.hide("other", "gpt4all")
                other.remove("Small-GGUF")
        return True

    with synced.open() as store:
        store.sync(ask=while_asked)
        assert len(asked) == 2, "it is another plan"
        assert names(store) == ["new", "other", "tiny-llama"]
        assert store.show("other").variants[0].providers["gpt4all"].state == "hidden"
        assert store.sync().nothing
        assert (synced.home / "models/copy-of-small.gguf").read_bytes() == GGUF
        store.share(str(synced.home / "models/copy-of-small.gguf"), name="Small-GGUF")
        assert store.show("Small-GGUF").variants[0].providers["gpt4all"].state == "linked", "nobody has hidden it"


def test_undo_takes_back_only_what_the_person_was_asked_about(synced: Person) -> None:
    synced.put("models/new-F16.gguf", model_gguf(seed=3))

    def while_asked(report: SyncReport) -> bool:
        with synced.open() as other:
            other.sync()
        return True

    with synced.open() as store:
        with pytest.raises(PlanOutdated):
            store.undo(ask=while_asked)
        assert names(store) == ["Small-GGUF", "new", "other", "tiny-llama"]


def test_a_second_copy_with_two_names_is_replaced_under_both(laptop: Person) -> None:
    copy, third = laptop.home / "models/copy-of-small.gguf", laptop.home / "models/third.gguf"
    os.link(copy, third)
    with laptop.open() as store:
        report = store.sync()
    assert report.issues == ()
    assert copy.stat().st_ino == third.stat().st_ino == store.path("Small").stat().st_ino
    assert report.saved_bytes == len(GGUF)


@as_root
def test_another_users_second_copy_stays_theirs(laptop: Person) -> None:
    copy = laptop.home / "models/copy-of-small.gguf"
    os.chown(copy, SOMEBODY, SOMEBODY)
    before = fingerprint(copy)
    with laptop.open() as store:
        report = store.sync()
        assert store.sync().nothing
    assert report.issues == ()
    assert [note.partition(":")[0] for note in report.notes] == [str(copy)]
    assert fingerprint(copy) == before
