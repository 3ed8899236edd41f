"""A full disk, and a model that was removed: `gc --now` gives the space back, and says what that costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from helixstore.errors import Busy, Failed
from helixstore.store.host import Host
from helixstore.store.store import Store
from support.person import Person, without
from support.raw import model_gguf

DAY = 86_400
DATA = model_gguf(seed=11)


@pytest.fixture
def removed(synced: Person) -> tuple[Person, Path]:
    """A model that only the store has was removed; and its blob."""
    with synced.open() as store:
        store.add(synced.put("elsewhere/lone-F16.gguf", DATA))
        digest = store.show("lone").variants[0].files[0].blake3
        without(synced, "elsewhere")
        store.remove("lone")
        store.pin("other")
        return synced, store.folder / "blobs" / digest[:2] / digest


def test_gc_says_what_undo_keeps_and_until_when(removed: tuple[Person, Path]) -> None:
    person, blob = removed
    with person.open() as store:
        report = store.gc()
        number = max(one.number for one in store._session.farm.operations() if one.command == "remove")
    assert report.undo is not None
    assert (report.undo.digests, report.undo.bytes, report.undo.let_go) == ((blob.name,), len(DATA), False)
    assert abs(report.undo.until - time.time() - 7 * DAY) < 60
    assert report.undo.operations[-1] == number, "the pin afterwards can still be undone"
    assert blob.exists()


def test_now_lets_go_of_it_and_undo_says_so(removed: tuple[Person, Path]) -> None:
    person, blob = removed
    with person.open() as store:
        shown = store.gc(now=True, dry_run=True)
        assert shown.undo is not None
        assert shown.undo.let_go
        assert blob.exists()
        assert store.undo(2, dry_run=True).actions, "a dry run has let go of it"
        report = store.gc(now=True)
        assert (report.unlinked, report.freed_bytes) == ((blob.name,), len(DATA))
        assert not blob.exists()
        assert report.undo == shown.undo
        assert store.gc(now=True).undo is None
        store.undo(1)
        with pytest.raises(Failed, match="nothing can be undone any more: gc --now has let go"):
            store.undo(1)
        assert store.show("other").variants[0].providers["llamacpp"].state == "linked"


def test_what_anybody_else_needs_too_is_left_to_undo(removed: tuple[Person, Path]) -> None:
    person, blob = removed
    with person.open() as store:
        folder, host = store.folder, Host("another", os.geteuid(), "boot")
        Store.open(folder, host).keeps.put("op-1", [blob.name])
        assert store.gc(now=True).undo is None
        assert blob.exists()
        store.undo(2)
        assert store.show("lone").name == "lone"


@pytest.mark.parametrize("why", ["at work", "unreadable"])
def test_undo_loses_nothing_where_nothing_could_be_deleted(removed: tuple[Person, Path], why: str) -> None:
    person, blob = removed
    with person.open() as store:
        if why == "at work":
            with Store.open(store.folder, Host("another", os.geteuid(), "boot")).working(), pytest.raises(Busy):
                store.gc(now=True)
        else:
            sick = store.folder / "hosts/another" / str(os.geteuid()) / "keeps/x.json"
            sick.parent.mkdir(parents=True)
            sick.write_text("{")
            assert store.gc(now=True).undo is None
            sick.unlink()
        store.undo(2)
        assert store.show("lone").name == "lone"
    assert blob.exists()


def test_a_crash_between_the_plan_and_its_keep_keeps_nothing_for_ever(removed: tuple[Person, Path]) -> None:
    person, blob = removed
    with person.open() as store:
        farm = store._session.farm
        farm.journal.forget_plans(0.0, farm.journal.numbers()[-1])
        assert store.gc(now=True).unlinked == (blob.name,)


def test_after_the_undo_window_gc_alone_lets_go_of_it(removed: tuple[Person, Path]) -> None:
    person, blob = removed
    person.environ["HELIXSTORE_UNDO_WINDOW"] = "0"
    with person.open() as store:
        report = store.gc()
    assert (report.condemned, report.undo) == ((blob.name,), None)
