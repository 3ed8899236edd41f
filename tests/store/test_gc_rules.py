"""Each rule by itself, at its very edge: what a nanosecond less, or one word in one note more, must change."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from helixstore.store.gc_rules import (
    Claims,
    First,
    Note,
    Second,
    Terms,
    condemned_since,
    first,
    open_until,
    second,
    settled_since,
    spent,
    trashed_since,
)

GRACE, UNDO, SETTLE = 1000, 5000, 100
TERMS = Terms(GRACE, UNDO, SETTLE)
MINE = TERMS._replace(own=lambda digest: digest == "x")
NOBODY, SOMEBODY = Claims(frozenset(), True), Claims(frozenset({"x"}), True)
UNREAD = Claims(frozenset(), False)
KEY = ("e1", "x")


class Item(NamedTuple):
    """A file in the trash."""

    digest: str = "x"
    epoch: str = "e1"
    corrupt: bool = False


ITEM, CORRUPT = Item(), Item(corrupt=True)


def condemned(at: int, *digests: str) -> Note:
    return Note(f"c{at}", at, condemned=frozenset(digests or ("x",)))


def absolved(at: int, *digests: str) -> Note:
    return Note(f"a{at}", at, absolved=frozenset(digests or ("x",)))


def trashed(at: int, *keys: tuple[str, str]) -> Note:
    return Note(f"t{at}", at, trashed=frozenset(keys or (KEY,)))


def settled(at: int, *keys: tuple[str, str]) -> Note:
    return Note(f"s{at}", at, settled=frozenset(keys or (KEY,)))


def test_since_when_is_the_first_note_after_the_last_that_speaks_against_it() -> None:
    assert condemned_since([condemned(5), condemned(3)]) == {"x": 3}
    assert condemned_since([condemned(3), condemned(5)]) == {"x": 3}
    assert condemned_since([condemned(0)]) == {"x": 0}
    assert condemned_since([condemned(3), absolved(4), condemned(7), condemned(6)]) == {"x": 6}
    assert condemned_since([condemned(3), trashed(4)]) == {}
    assert condemned_since([condemned(3), absolved(3)]) == {}, "of the same moment: it is not known which was first"
    assert condemned_since([condemned(6), absolved(8), absolved(2)]) == {}
    assert condemned_since([condemned(6), absolved(2), absolved(8)]) == {}
    assert condemned_since([condemned(3), absolved(4, "y")]) == {"x": 3}
    for told, since in ((trashed, trashed_since), (settled, settled_since)):
        assert since([told(5), told(3), told(4)]) == {KEY: 3}
        assert since([told(3), told(5)]) == {KEY: 3}


def test_a_blob_without_a_claim_is_noted_and_waits_for_the_whole_grace() -> None:
    assert first(["x"], [], [], NOBODY, 0, TERMS) == First(condemn=("x",))
    note = [condemned(7)]
    assert first(["x"], [], note, NOBODY, 7 + GRACE - 1, TERMS) == First(waiting=("x",))
    assert first(["x"], [], note, NOBODY, 7 + GRACE, TERMS) == First(move=("x",))
    assert first(["x"], [], note, NOBODY, 7, MINE) == First(move=("x",))
    assert first(["x"], [], [], NOBODY, 0, MINE) == First(move=("x",))
    assert first(["y"], [], [condemned(7, "y")], NOBODY, 8, MINE) == First(waiting=("y",))


@pytest.mark.parametrize("terms", [TERMS, MINE])
def test_what_is_claimed_or_cannot_be_read_is_not_touched(terms: Terms) -> None:
    note = [condemned(0)]
    assert first(["x"], [], note, UNREAD, 10**9, terms) == First()
    assert first(["x"], [], note, SOMEBODY, 10**9, terms) == First(absolve=("x",))
    assert first(["x"], [], [], SOMEBODY, 10**9, terms) == First()
    assert first([], [], note, NOBODY, 10**9, terms) == First(), "only what is here is condemned"


def test_what_is_claimed_comes_back_from_the_trash_unless_it_is_there_or_corrupt() -> None:
    for claims in (SOMEBODY, SOMEBODY._replace(complete=False)):
        assert first([], [ITEM], [], claims, 0, TERMS) == First(restore=("x",))
        assert first(["x"], [ITEM], [], claims, 0, TERMS) == First()
        assert first([], [CORRUPT], [], claims, 0, TERMS) == First()
        assert first([], [Item("y")], [], claims, 0, TERMS) == First()


def test_nothing_is_settled_before_the_settle_time() -> None:
    note = [trashed(50)]
    assert second([ITEM], note, NOBODY, 50 + SETTLE - 1, MINE) == Second()
    assert second([ITEM], note, NOBODY, 50 + SETTLE, TERMS) == Second(settled=(KEY,))
    assert second([ITEM], [], NOBODY, 10**9, MINE) == Second(), "nobody has noted that it lies there"
    assert second([ITEM], [trashed(50, ("e2", "x"))], NOBODY, 10**9, MINE) == Second(), "that was another time"


def test_nothing_is_unlinked_before_both_settle_times_and_the_undo_window() -> None:
    early = [trashed(0), settled(SETTLE)]
    assert second([ITEM], early, NOBODY, 2 * SETTLE - 1, MINE) == Second()
    assert second([ITEM], early, NOBODY, 2 * SETTLE, MINE) == Second(unlink=(ITEM,))
    assert second([ITEM], early, NOBODY, UNDO - 1, TERMS) == Second()
    assert second([ITEM], early, NOBODY, UNDO, TERMS) == Second(unlink=(ITEM,))
    late = [trashed(0), settled(UNDO)]
    assert second([ITEM], late, NOBODY, UNDO + SETTLE - 1, TERMS) == Second()
    assert second([ITEM], late, NOBODY, UNDO + SETTLE, TERMS) == Second(unlink=(ITEM,))
    unseen = [trashed(UNDO), settled(0)]                    # the note of who saw it first does not show here yet
    assert second([ITEM], unseen, NOBODY, UNDO + SETTLE - 1, MINE) == Second()
    assert second([ITEM], [settled(0)], NOBODY, 10**9, MINE) == Second()
    theirs = Item("y"), [trashed(0, ("e1", "y")), settled(SETTLE, ("e1", "y"))]
    assert second([theirs[0]], theirs[1], NOBODY, UNDO - 1, MINE) == Second()


def test_what_is_claimed_or_unread_comes_back_until_it_is_settled() -> None:
    done = [trashed(0), settled(SETTLE)]
    for notes in ([], [trashed(0)], done):
        assert second([ITEM], notes, SOMEBODY, 10**9, MINE) == Second(back=(ITEM,))
        assert second([CORRUPT], notes, UNREAD, 10**9, MINE) == Second()
    assert second([ITEM], [trashed(0)], UNREAD, 10**9, MINE) == Second(back=(ITEM,))
    assert second([ITEM], done, UNREAD, 10**9, MINE) == Second(), "nobody had claimed it: it only waits"
    assert second([CORRUPT], done, SOMEBODY, 10**9, MINE) == Second(unlink=(CORRUPT,)), "a good one has taken its place"


def test_the_next_reading_is_due_for_what_was_first_noted_and_is_not_settled() -> None:
    other = Item("y", "e2")
    assert open_until([], [trashed(7)], TERMS) is None
    assert open_until([ITEM], [trashed(7)], TERMS) == 7 + SETTLE
    assert open_until([ITEM], [], TERMS) == 0
    assert open_until([ITEM], [trashed(7), settled(9)], TERMS) is None
    assert open_until([ITEM, other], [trashed(7), settled(9), trashed(8, ("e2", "y"))], TERMS) == 8 + SETTLE
    assert open_until([ITEM, other], [trashed(9), trashed(8, ("e2", "y"))], TERMS) == 8 + SETTLE


def test_a_note_is_removed_only_when_nothing_rests_on_it() -> None:
    none: frozenset[str] = frozenset()
    assert spent([condemned(1)], ["x"], [], none) == [], "the grace is counted from it"
    assert spent([condemned(1)], ["x"], [], {"x"}) == ["c1"]
    assert spent([condemned(1)], [], [], none) == ["c1"]
    assert spent([trashed(1)], [], [ITEM], none) == spent([settled(1)], [], [ITEM], none) == []
    assert spent([trashed(1), settled(2)], [], [Item(epoch="e2")], none) == ["t1", "s2"]
    assert spent([settled(2), trashed(1)], [], [], none) == ["t1", "s2"], "the oldest first"
    for against in (absolved(2), trashed(2)):
        assert spent([condemned(1), against], ["x"], [], none) == []
        assert spent([against, condemned(1)], [], [], none) == ["c1"], "it still says that the older one counts no more"
        assert spent([against, condemned(3)], ["x"], [], none) == [against.name], "nothing older is left"
        assert spent([against, condemned(2)], [], [], none) == [against.name, "c2"]
    assert spent([condemned(4), absolved(3), condemned(1)], [], [], none) == ["c1", "c4"]
    assert spent([condemned(1), absolved(3), condemned(4)], [], [], none) == ["c1", "c4"]
