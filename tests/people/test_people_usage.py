"""`du --by user` in a group's store, asked by each of three real people: everybody gets the same figures."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from test_people_together import from_the_hub, open_to

from support.people import People, founded


@pytest.fixture
def shared(lab: People) -> People:
    founded(lab, lab.carol)
    site = lab.folder / "etc/helixstore/config.toml"
    site.write_text(f'{site.read_text()}public = ["acme/*"]\n')
    return lab


def rows(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in document["usage"]}


def test_everybody_sees_who_uses_saves_and_owns_what(shared: People) -> None:
    lab = shared
    weights = from_the_hub(lab.alice)
    bytes_ = weights.stat().st_size
    lab.alice.document("sync")
    open_to(lab.bob, "gpt4all")
    from_the_hub(lab.bob)
    lab.bob.document("sync")
    seen = [who.document("du", "--by", "user") for who in (lab.alice, lab.bob, lab.carol)]
    alice, bob = lab.alice.name, lab.bob.name
    for document in seen:
        found = rows(document)
        assert (found[alice]["uid"], found[alice]["models"], found[bob]["models"]) == (lab.alice.uid, 1, 1)
        assert found[alice]["bytes"] >= bytes_
        assert found[alice]["owned_bytes"] >= bytes_, "who brought it owns it"
        assert found[bob]["saved_bytes"] >= bytes_, "his copy gave way to a link"
        assert found[bob]["copies_avoided_bytes"] >= bytes_
        assert found[alice]["saved_bytes"] == 0
        total = document["total"]
        for name in ("share_bytes", "saved_bytes", "copies_avoided_bytes"):
            assert sum(row[name] for row in document["usage"]) == total[name], name
    printed = list(csv.DictReader(io.StringIO(lab.carol.helix("du", "--by", "user", "--csv"))))
    assert {row["label"] for row in printed if row["row"] == "row"} >= {alice, bob}
