"""`du` against a count by hand: whatever people on several hosts claim, every row is right and the rows add up."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from helixstore import HelixStore
from helixstore.commands.usage import WAYS
from helixstore.errors import Usage
from helixstore.results import UsageRow, UsageTable
from helixstore.store.host import Host
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.refs import Claim
from helixstore.store.saved import Freed
from helixstore.store.store import Store
from helixstore.values import Format, Purpose, Role
from support.person import GGUF, Person
from support.raw import model_gguf

PEOPLE = (("desk", 1001, "ana"), ("desk", 1002, "ben"), ("rack", 1001, "ana"), ("rack", 1003, "ben"))
NAMES = ("llama", "gemma", "Llama", "phi")
BLOBS = tuple(bytes([number]) * (100 + 7 * number) for number in range(6))


@dataclass
class Office:
    """A store in which several people on several hosts claim models; this person is somebody else."""

    folder: Path
    claims: list[tuple[tuple[str, int, str], str, frozenset[int]]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.store = Store.create(self.folder / "store", Host("boss", os.geteuid(), "b"))
        self.digests = [added.digest for added in self.store.blobs.add_many(list(BLOBS))]
        for host, uid, name in PEOPLE:
            self.as_(host, uid).saved.say(name, 10 * uid)
            record = self.folder / "store/hosts" / host / "host.json"
            record.unlink()
            record.write_text(json.dumps({"schema": 1, "name": host}))

    def as_(self, host: str, uid: int) -> Store:
        store = Store.open(self.folder / "store", Host(host, uid, "b"))
        store.register()
        return store

    def claim(self, who: tuple[str, int, str], name: str, variant: int, blobs: Iterable[int]) -> None:
        files = tuple(ManifestFile(f"{n}.bin", len(BLOBS[n]), self.digests[n], Role.WEIGHTS) for n in sorted(blobs))
        digest = self.store.manifests.write(Manifest(Format.GGUF, "Q8_0", Purpose.MODEL, files))
        self.as_(who[0], who[1]).refs.publish_many([Claim(name, f"gguf:Q{variant}", digest)])
        self.claims.append((who, name.casefold(), frozenset(blobs)))

    def forget(self) -> None:
        """As if nobody had ever claimed anything."""
        for ref in self.store.refs.scan()[0]:
            (self.folder / "store" / ref.path).unlink()
        self.claims = []

    def du(self, by: str) -> UsageTable:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        with HelixStore(self.folder / "store", environ={"HOME": str(home), "PATH": os.environ["PATH"]}) as store:
            return store.du(by)


def rows_of(found: UsageTable) -> dict[str, UsageRow]:
    return {row.label.casefold(): row for row in found.usage}


def size(blobs: Iterable[int]) -> int:
    return sum(len(BLOBS[number]) for number in set(blobs))


CLAIM = st.tuples(st.sampled_from(PEOPLE), st.sampled_from(NAMES), st.integers(1, 2),
                  st.frozensets(st.integers(0, len(BLOBS) - 1), min_size=1, max_size=3))


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office(tmp_path_factory.mktemp("office") / "a")


@settings(max_examples=200 if os.environ.get("SOAK") else 12, deadline=None,
          phases=[Phase.explicit, Phase.generate])
@given(claims=st.lists(CLAIM, min_size=1, max_size=10, unique_by=lambda one: (one[0], one[1].casefold(), one[2])))
def test_every_row_is_what_a_count_by_hand_gives(claims: list[Any], standing: Office) -> None:
    office = standing
    office.forget()
    for one in claims:
        office.claim(*one)
    people = {("desk", 1001): "ana", ("rack", 1001): "ana", ("desk", 1002): "ben@desk", ("rack", 1003): "ben@rack"}
    month = datetime.datetime.now(datetime.UTC).strftime("%Y-%m")
    label: dict[str, Callable[[Any], str]] = {
        "user": lambda one: people[one[0][:2]], "model": lambda one: one[1], "month": lambda one: month,
        "provider": lambda one: "(others)"}
    for by in WAYS:
        table = office.du(by)
        found, total = rows_of(table), table.total
        users: dict[int, set[str]] = {}
        for one in office.claims:
            for blob in one[2]:
                users.setdefault(blob, set()).add(label[by](one))
        for name in {label[by](one) for one in office.claims}:
            mine = [one for one in office.claims if label[by](one) == name]
            used = {blob for one in mine for blob in one[2]}
            row = found[name]
            assert row.bytes == size(used), (by, name)
            assert row.only_bytes == size(blob for blob in used if users[blob] == {name}), (by, name)
            assert row.models == len({one[1] for one in mine})
            assert row.freed_if_removed == (row.only_bytes if by == "user" else 0), "others claim it, so I free nothing"
            shares = sum(len(BLOBS[blob]) / len(users[blob]) for blob in used)
            assert abs(row.share_bytes - shares) < sum(len(users[blob]) for blob in used), "what is left is in one row"
        unclaimed = size(set(range(len(BLOBS))) - users.keys()) if by == "user" else 0
        assert total.bytes == size(users) + unclaimed
        assert sum(row.share_bytes for row in found.values()) == total.share_bytes == total.bytes
        assert sum(row.copies_avoided_bytes for row in found.values()) == total.copies_avoided_bytes == sum(
            10 * uid for _, uid, _ in PEOPLE)

def test_one_number_under_one_name_is_one_person_and_nobody_else(tmp_path: Path) -> None:
    office = Office(tmp_path / "a")
    for who in PEOPLE:
        office.claim(who, "llama", 1, [0])
    found = rows_of(office.du("user"))
    assert {"ana", "ben@desk", "ben@rack"} <= found.keys()
    assert found["ana"].hosts == (found["ana"].hosts[0],) or len(found["ana"].hosts) <= 2
    assert (found["ana"].uid, found["ben@desk"].uid, found["ben@rack"].uid) == (1001, 1002, 1003)


def test_a_number_with_two_names_is_two_people(tmp_path: Path) -> None:
    office = Office(tmp_path / "a")
    office.as_("rack", 1001).saved.say("anton", 0)
    for who in PEOPLE[0], PEOPLE[2]:
        office.claim(who, "llama", 1, [0])
    assert {"ana@desk", "anton@rack"} <= rows_of(office.du("user")).keys()


def test_a_host_that_is_forgotten_claims_nothing(tmp_path: Path) -> None:
    office = Office(tmp_path / "a")
    office.claim(PEOPLE[0], "llama", 1, [0])
    office.claim(PEOPLE[2], "llama", 1, [0, 1])
    office.store.hosts.forget("desk", 1001)
    row = rows_of(office.du("user"))["ana"]
    assert (row.models, row.bytes) == (1, size([0, 1]))
    office.store.hosts.forget("rack")
    assert rows_of(office.du("user"))["(nobody)"].bytes == size(range(len(BLOBS)))


def test_who_owns_the_files_is_told_and_what_nobody_claims(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files of another user")
    office = Office(tmp_path / "a")
    office.claim(PEOPLE[0], "llama", 1, [0, 1])
    os.chown(office.store.blobs.path(office.digests[1]), 1002, -1)
    os.chown(office.store.blobs.path(office.digests[2]), 4242, -1)
    table = office.du("user")
    found = rows_of(table)
    assert found["ana"].owned_bytes is None
    assert found["ben@desk"].owned_bytes == size([1])
    assert found["user 4242"].owned_bytes == size([2])
    assert found["(nobody)"].bytes == size([2, 3, 4, 5])
    assert table.total.owned_bytes == table.total.bytes == size(range(len(BLOBS)))


def test_a_model_counts_in_the_month_in_which_it_was_first_claimed(tmp_path: Path) -> None:
    office = Office(tmp_path / "a")
    office.claim(PEOPLE[0], "llama", 1, [0])
    [old] = office.store.refs.scan()[0]
    os.utime(office.folder / "store" / old.path, (1_700_000_000, 1_700_000_000))
    office.as_("desk", 1001).refs.publish_many(
        [Claim("llama", "gguf:Q1", old.manifest, pinned=True, supersedes=(old.uuid,))])
    [row] = [row for row in office.du("month").usage if row.models]
    assert row.label == "2023-11"


def test_saved_bytes_are_each_persons_and_wait_for_parked_copies(tmp_path: Path) -> None:
    office = Office(tmp_path / "a")
    office.claim(PEOPLE[0], "llama", 1, [0])
    ana = office.as_("desk", 1001).saved
    later = int(time.time()) + 3600
    ana.put("1-1", [Freed(office.digests[0], len(BLOBS[0]), 2, ("jan",)),
                    Freed(office.digests[1], len(BLOBS[1]), 1, (), later)], {})
    for by, label in (("user", "ana"), ("model", "llama"), ("provider", "(others)")):
        table = office.du(by)
        assert rows_of(table)[label].saved_bytes == table.total.saved_bytes == 2 * len(BLOBS[0]), by
    ana.put("2-1", [Freed(office.digests[5], len(BLOBS[5]), 1, ("jan",))], {})
    assert rows_of(office.du("model"))["(removed)"].saved_bytes == len(BLOBS[5])
    assert office.du("user").total.saved_bytes == 2 * len(BLOBS[0]) + len(BLOBS[5])


def test_what_a_claim_of_anothers_keeps_is_not_freed_by_me(home: Path) -> None:
    me = Person(home, {"HOME": str(home), "PATH": os.environ["PATH"]})
    me.put("models/alone-F16.gguf", GGUF)
    me.put("models/shared-F16.gguf", model_gguf(seed=2))
    HelixStore.init(every=True, scan=[home / "models"], environ=me.environ)
    with me.open() as store:
        store.sync()
        before = rows_of(store.du("model"))
        assert {name: row.freed_if_removed for name, row in before.items()} == {"alone": 0, "shared": 0}, "mine stay"
        for name in ("alone", "shared"):
            (home / f"models/{name}-F16.gguf").unlink()
        store.sync()
        freed = {name: row.freed_if_removed for name, row in rows_of(store.du("model")).items()}
        assert freed == {"alone": len(GGUF), "shared": len(model_gguf(seed=2))}
        ref = next(ref for ref in Store.open(store.folder, Host("x", 0, "b")).refs.scan()[0] if ref.name == "shared")
        other = Store.open(store.folder, Host("rack", 1001, "b"))
        other.register()
        other.refs.publish_many([Claim(ref.name, ref.variant, ref.manifest)])
        freed = {name: row.freed_if_removed for name, row in rows_of(store.du("model")).items()}
        assert freed == {"alone": len(GGUF), "shared": 0}
        with pytest.raises(Usage):
            store.du("colour")


def test_csv_is_for_spreadsheets(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    import helixstore.cli
    from helixstore.cli.describe import USAGE_COLUMNS

    office = Office(tmp_path / "a")
    office.claim(PEOPLE[0], '=cmd|"/c calc"!A1, and more\x1b[31m', 1, [0])
    monkeypatch.setattr("sys.argv", ["helixstore", "du", "--csv", "--store", str(tmp_path / "a/store")])
    with pytest.raises(SystemExit) as end:
        helixstore.cli.main()
    assert end.value.code == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert tuple(rows[0]) == USAGE_COLUMNS == (
        "by", "row", "label", "models", "bytes", "only_bytes", "share_bytes", "freed_if_removed", "saved_bytes",
        "copies_avoided_bytes", "owned_bytes", "uid", "hosts"), "columns are only added, at the end"
    [model] = [row for row in rows if row["models"] == "1" and row["row"] == "row"]
    assert model["label"] == "'=cmd|\"/c calc\"!A1, and more\\x1b[31m"
    assert int(model["bytes"]) == len(BLOBS[0])
    assert [row["row"] for row in rows].count("total") == 1


def test_status_counts_people_and_hosts(tmp_path: Path) -> None:
    office = Office(tmp_path / "a")
    home = tmp_path / "boss"
    home.mkdir()
    with HelixStore(tmp_path / "a/store", environ={"HOME": str(home), "PATH": os.environ["PATH"]}) as store:
        figures = store.status().store
        assert (figures.people, figures.hosts) == (4, 4), "ana, two who are called ben, and who runs this on two hosts"
        office.store.hosts.forget("rack")
        figures = store.status().store
        assert (figures.people, figures.hosts) == (3, 3)
