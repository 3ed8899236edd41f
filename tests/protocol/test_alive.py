"""What anybody claims is read at bounded cost, and what is remembered of it is never wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.store.alive import Alive
from helixstore.store.host import Host
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.refs import Ref
from helixstore.store.store import Store
from helixstore.values import Format, Purpose, Role
from support.soak import many, note

UID = os.geteuid()


class Remembered(dict[str, bytes]):
    def state(self, name: str) -> bytes | None:
        return self.get(name)

    def put_state(self, name: str, data: bytes | None) -> None:
        assert data is not None
        self[name] = data


class Later(Store):
    """Its clock is ahead, so that what was written just now is old enough to be remembered."""

    def now_ns(self) -> int:
        return super().now_ns() + 3600 * 10**9


def later(folder: Path, name: str = "a") -> Store:
    return Later.open(folder, Host(name, UID, "boot"))


def claim(store: Store, number: int, *supersedes: str, everyone: bool = False) -> Ref:
    file = ManifestFile("m.gguf", 1, f"{number:064x}", Role.WEIGHTS)
    written = store.manifests.write(Manifest(Format.GGUF, "Q4", Purpose.MODEL, (file,)))
    return store.refs.publish(f"m{number}", "gguf:Q4", written, supersedes=supersedes, everyone=everyone)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    from helixstore.store.refs import Refs

    seen: list[tuple[str, int]] = []
    real = Refs.of

    def of(self: Refs, host: str, uid: int, *more: object) -> object:
        seen.append((host, uid))
        return real(self, host, uid, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Refs, "of", of)
    return seen


def test_only_who_has_claimed_something_since_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Store.create(tmp_path / "store", Host("a", UID, "boot")).path
    for number, host in enumerate("abc"):
        claim(later(folder, host), number)
    memory, seen = Remembered(), reads(monkeypatch)
    assert Alive(later(folder), memory).read() == ({f"{number:064x}" for number in range(3)}, [])
    assert sorted(seen) == [("a", UID), ("b", UID), ("c", UID)]
    seen.clear()
    assert len(Alive(later(folder), memory).read()[0]) == 3
    assert seen == []
    claim(later(folder, "b"), 7)
    seen.clear()
    assert f"{7:064x}" in Alive(later(folder), memory).read()[0]
    assert seen == [("b", UID)]


def test_a_folder_that_has_just_changed_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Store.create(tmp_path / "store", Host("a", UID, "boot")).path
    claim(later(folder), 1)
    memory = Remembered()
    Alive(Store.open(folder, Host("a", UID, "boot")), memory).read()
    assert memory == {}


@pytest.mark.parametrize("spoilt", ["cut", "flipped", "empty", "of another folder"])
def test_a_spoilt_memory_is_not_believed(tmp_path: Path, spoilt: str) -> None:
    folder = Store.create(tmp_path / "store", Host("a", UID, "boot")).path
    claim(later(folder, "a"), 1)
    claim(later(folder, "b"), 2)
    memory = Remembered()
    right, _ = Alive(later(folder), memory).read()
    [first, second] = sorted(memory)
    data = memory[first]
    memory[first] = {"cut": data[:-1], "flipped": data[:70] + bytes([data[70] ^ 1]) + data[71:], "empty": b"",
                     "of another folder": memory[second]}[spoilt]
    assert Alive(later(folder), memory).read() == (right, [])


@settings(max_examples=many(15, 200), deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(("claim", "supersede", "withdraw", "everyone"))),
                max_size=12))
def test_with_and_without_memory_the_same_is_alive(tmp_path_factory: pytest.TempPathFactory,
                                                   steps: list[tuple[str, str]]) -> None:
    note("protocol: what is remembered of claims", {"histories": 1})
    folder = Store.create(tmp_path_factory.mktemp("s") / "store", Host("a", UID, "boot")).path
    memory = Remembered()
    claims: dict[str, list[Ref]] = {"a": [], "b": []}
    for number, (host, what) in enumerate(steps):
        store, mine = later(folder, host), claims[host]
        if what == "claim" or not mine:
            mine.append(claim(store, number))
        elif what == "supersede":
            mine[-1] = claim(store, number, mine[-1].uuid)
        elif what == "withdraw":
            gone = mine.pop()
            store.refs.publish(gone.name, "gguf:Q4", None, supersedes=[gone.uuid])
        elif what == "everyone":
            others = [ref.id for refs in claims.values() for ref in refs]
            store.refs.publish("m", "gguf:Q4", None, supersedes=others, everyone=True)
        assert Alive(later(folder), memory).read() == Alive(later(folder)).read()
