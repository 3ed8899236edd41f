"""A wanted root that grew by some entries is the one that joining all of them gives, or it is not grown."""

from __future__ import annotations

import pytest

from helixstore.farm.desired import grown, join
from helixstore.providers.layout import Entry, Weight
from helixstore.values import Key

A, BLOB = Key("a", "gguf:Q4_K_M"), "a" * 64


@pytest.mark.parametrize(("witness", "order"), [(True, 0), (False, 0), (False, 3), (True, 3)])
def test_an_entry_that_is_other_than_it_was_for_one_of_two(witness: bool, order: int) -> None:
    was = Entry("m/a.gguf", Weight(BLOB, 4), A, witness=True, order=1)
    now = Entry("m/a.gguf", Weight(BLOB, 4), A, witness=witness, order=order)
    before, _ = join("/root", [("p", [was]), ("q", [was])])
    more, _ = join("/root", [("p", [now])])
    whole, _ = join("/root", [("p", [now]), ("q", [was])])
    found = grown(before, more)
    assert found is None or found.entries == whole.entries


def test_one_that_another_provider_wants_too_grows() -> None:
    entry = Entry("m/a.gguf", Weight(BLOB, 4), A, witness=True)
    before, _ = join("/root", [("p", [entry])])
    more, _ = join("/root", [("q", [entry])])
    found = grown(before, more)
    assert found is not None
    assert found.entries == join("/root", [("p", [entry]), ("q", [entry])])[0].entries
