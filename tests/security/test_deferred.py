"""Another member links and unlinks their own blobs all day: that costs nobody a reading in `sync`, and hides nothing
for long. Each reading is counted by what it tells of its progress."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helixstore import HelixStore
from helixstore.sync import deferred
from helixstore.sync.patrol import Patrol
from support.attack import acting, as_user, digest_of
from support.raw import model_gguf

if TYPE_CHECKING:
    from conftest import Gang

MODEL, SECOND = model_gguf(seed=61), model_gguf(seed=62)


def blob_of(gang: Gang, data: bytes = MODEL) -> Path:
    return gang.store / "blobs" / digest_of(data)[:2] / digest_of(data)


@pytest.fixture
def theirs(gang: Gang) -> Path:
    """mallory has shared a model, and the victim's programs have it by a link."""
    share(gang, "llama", MODEL)
    assert gang.does(gang.victim, synced)[0] == {str(blob_of(gang))}, "read before its first use"
    assert served(gang) == {MODEL}
    assert gang.does(gang.victim, synced) == (set(), [])
    return blob_of(gang)


def share(gang: Gang, name: str, data: bytes) -> None:
    file = gang.mallory.put(f"{name}.gguf", data)
    gang.does(gang.mallory, lambda store: store.share(str(file)))


def synced(store: HelixStore, restore: bool = False) -> tuple[set[str], list[str]]:
    """What a sync read, and the kinds of its issues."""
    read: set[str] = set()
    store._progress = lambda what, path, done, total: read.add(path) if what == "hash" else None
    report = store.sync(restore=restore)
    return read, sorted({issue.kind for issue in report.issues})


def patrolled(store: HelixStore) -> list[str]:
    """What the background reading reads, in order; nothing is due but what waits for it."""
    patrol = Patrol(store._session, bytes_per_second=1e12, busy=lambda: False)
    report = patrol.some(30)
    return [*report.checked, *report.bad]


def served(gang: Gang) -> set[bytes]:
    """What lies behind the victim's names."""
    places = [gang.victim.home / ".ollama/models/blobs", gang.victim.home / ".lmstudio/models"]
    return {gang.victim.reads(path) or b"" for place in places for path in place.rglob("*")
            if path.is_file() and path.stat().st_size > 1000}


def link(gang: Gang, blob: Path, name: str = "one more") -> None:
    as_user(gang.mallory, lambda: os.link(blob, gang.mallory.home / name))


def unlink(gang: Gang, name: str = "one more") -> None:
    as_user(gang.mallory, lambda: (gang.mallory.home / name).unlink())


def rewrite(blob: Path) -> None:
    """Other bytes; size and time are as they were."""
    status = blob.stat()
    blob.chmod(0o644)
    blob.write_bytes(bytes(reversed(blob.read_bytes())))
    blob.chmod(0o444)
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))


def everything_was_read(gang: Gang) -> None:
    """A background reading finds nothing due for a month."""
    gang.does(gang.victim, lambda store: store.verify())
    assert gang.does(gang.victim, patrolled) == []


def test_their_owners_links_cost_no_reading_in_sync(gang: Gang, theirs: Path) -> None:
    for _ in range(2):
        link(gang, theirs)
        assert gang.does(gang.victim, synced) == (set(), [])
        assert gang.does(gang.victim, synced) == (set(), [])
        unlink(gang)
        assert gang.does(gang.victim, synced) == (set(), [])
    assert served(gang) == {MODEL}


def test_what_was_linked_is_read_first_in_the_background_and_then_counts_as_read(gang: Gang, theirs: Path) -> None:
    everything_was_read(gang)
    link(gang, theirs)
    gang.does(gang.victim, synced)
    assert gang.does(gang.victim, patrolled) == [digest_of(MODEL)]
    assert gang.does(gang.victim, patrolled) == []
    assert gang.does(gang.victim, synced) == (set(), [])
    unlink(gang)
    gang.does(gang.victim, synced)
    share(gang, "other", SECOND)                # never read, and yet it comes second
    first = gang.does(gang.victim, lambda store: store.verify(sample="1"))
    assert first.checked == 1
    assert gang.does(gang.victim, lambda store: deferred.waiting(store._session)) == []


def test_a_link_made_to_hide_a_rewriting_hides_it_until_the_background_reading(gang: Gang, theirs: Path) -> None:
    """Until then the victim's programs have the other bytes: that is said in docs/security.md."""
    everything_was_read(gang)
    as_user(gang.mallory, lambda: (os.link(theirs, gang.mallory.home / "one more"), rewrite(theirs)))
    assert gang.does(gang.victim, synced) == (set(), [])
    assert gang.does(gang.victim, patrolled) == [digest_of(MODEL)]
    assert served(gang) == set(), "withdrawn"
    assert "quarantined" in gang.does(gang.victim, synced)[1]


def test_a_sample_reads_it_first_too(gang: Gang, theirs: Path) -> None:
    everything_was_read(gang)
    as_user(gang.mallory, lambda: (os.link(theirs, gang.mallory.home / "one more"), rewrite(theirs)))
    gang.does(gang.victim, synced)
    share(gang, "other", SECOND)
    report = gang.does(gang.victim, lambda store: store.verify(sample="1"))
    assert [bad.digest for bad in report.bad] == [digest_of(MODEL)]
    assert served(gang) <= {SECOND}


@pytest.mark.parametrize("before", [
    lambda gang, blob: None,
    lambda gang, blob: (link(gang, blob), gang.does(gang.victim, synced)),
], ids=["as it was read", "while it waits"])
def test_a_rewriting_with_as_many_names_as_before_is_found_by_the_next_sync(
    gang: Gang, theirs: Path, before: Callable[[Gang, Path], Any],
) -> None:
    before(gang, theirs)
    as_user(gang.mallory, lambda: rewrite(theirs))
    read, issues = gang.does(gang.victim, synced)
    assert read == {str(theirs)}
    assert "quarantined" in issues
    assert served(gang) == set()


def test_a_rewriting_while_it_is_read_is_found_by_the_next_sync(gang: Gang) -> None:
    """Bytes that were read already are exchanged before the reading ends: what counts is how the file was before."""
    share(gang, "llama", MODEL)
    blob = blob_of(gang)

    def meanwhile(store: HelixStore) -> None:
        def exchange(what: str, path: str, done: int, total: int) -> None:
            if what == "hash" and path == str(blob) and done == total and not again:
                again.append(path)
                with acting(gang.mallory):
                    rewrite(blob)
        again: list[str] = []
        store._progress = exchange
        store.sync()
        assert again

    gang.does(gang.victim, meanwhile)
    assert "quarantined" in gang.does(gang.victim, synced)[1]
    assert served(gang) == set()


def test_it_is_read_before_it_is_linked_anew(gang: Gang, theirs: Path) -> None:
    as_user(gang.mallory, lambda: (os.link(theirs, gang.mallory.home / "one more"), rewrite(theirs)))
    gang.does(gang.victim, synced)
    for path in (gang.victim.home / ".lmstudio/models").rglob("*.gguf"):
        path.unlink()
    assert str(theirs) in gang.does(gang.victim, lambda store: synced(store, restore=True))[0]
    assert served(gang) == set()


def test_after_a_week_a_sync_reads_it_although_nothing_has_changed(gang: Gang, theirs: Path) -> None:
    """The longest waiting first, a certain amount in each sync; the week is shortened by setting the list back."""
    share(gang, "other", SECOND)
    gang.does(gang.victim, synced)
    for number, data in enumerate((MODEL, SECOND)):
        link(gang, blob_of(gang, data), f"more {number}")
        gang.does(gang.victim, synced)
    as_user(gang.mallory, lambda: rewrite_linked(blob_of(gang, SECOND), gang.mallory.home / "yet more"))
    assert gang.does(gang.victim, synced) == (set(), [])
    assert gang.does(gang.victim, synced) == (set(), [])

    def a_week_passes(store: HelixStore) -> list[set[str]]:
        index = store._session.index
        rows = json.loads(index.state(deferred._NAME) or b"")
        assert rows.keys() == {digest_of(MODEL), digest_of(SECOND)}
        index.put_state(deferred._NAME, json.dumps(
            {digest: [since - deferred.LATEST, *rest] for digest, (since, *rest) in rows.items()}).encode())
        kept = index.state("snapshot") or b""
        head, _, body = kept.partition(b"\n")
        facts = json.loads(head)
        index.put_state("snapshot", json.dumps(facts | {"until": facts["until"] - deferred.LATEST}).encode() + b"\n"
                        + body)
        deferred.AMOUNT = 1
        return [synced(store)[0] for _ in range(3)]

    first, second, third = gang.does(gang.victim, a_week_passes)
    assert first == {str(blob_of(gang, MODEL))}
    assert str(blob_of(gang, SECOND)) in second
    assert third == set()
    assert served(gang) == {MODEL}


def rewrite_linked(blob: Path, name: Path) -> None:
    os.link(blob, name)
    rewrite(blob)
