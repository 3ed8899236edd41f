"""Two people, one store: what each claims, shows and gives up is their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.errors import NotFound
from helixstore.store.refs import claimant_of, current
from helixstore.store.store import Store
from support.person import Person
from support.raw import model_gguf

ONE, TWO, THREE = (model_gguf(seed=seed) for seed in (11, 12, 13))
PLACE = ".lmstudio/models/org/gemma/gemma-Q4_K_M.gguf"


@pytest.fixture
def people(tmp_path: Path) -> tuple[Person, Person]:
    """Ana and Ben: each with their own home and host id, and LM Studio and GPT4All."""
    both = []
    for name in ("ana", "ben"):
        home = tmp_path / name
        home.mkdir()
        person = Person(home, {"HOME": str(home), "PATH": "/usr/bin:/bin"})
        HelixStore.init(tmp_path / "store", providers=["lmstudio", "gpt4all"], environ=person.environ)
        both.append(person)
    return both[0], both[1]


def sync(person: Person) -> None:
    with person.open() as store:
        store.sync()
        assert store.sync().actions == (), "the second sync does nothing"


def shown(person: Person) -> set[bytes]:
    """What this person's GPT4All folder holds."""
    folder = person.home / ".local/share/nomic.ai/GPT4All"
    return {path.read_bytes() for path in folder.glob("*.gguf")}


def names(person: Person) -> list[str]:
    with person.open() as store:
        return [model.name for model in store.shared_models()]


def claims(person: Person) -> list[tuple[str, bool]]:
    """This person's claims: the name, and whether it only follows."""
    with person.open() as opened:
        store: Store = opened._session.store
        return sorted((ref.name, ref.follows is not None) for ref in current(store.refs.scan()[0])
                      if ref.claimant == claimant_of(store.host) and ref.manifest is not None)


def collect(person: Person) -> None:
    with person.open() as store:
        for operation in store.log(100):
            assert operation
        store.set_config("undo_window", 0)
        store.set_config("grace", 0)
    with person.open() as store:
        for _ in range(4):
            store.gc()


def test_what_my_programs_show_is_claimed_and_stays_when_the_other_removes_it(people: tuple[Person, Person]) -> None:
    ana, ben = people
    mine = ana.put(PLACE, ONE)
    sync(ana)
    sync(ben)
    assert shown(ben) == {ONE}
    assert claims(ana) == [("gemma", False)]
    assert claims(ben) == [("gemma", True)]
    with ana.open() as store:
        store.remove("gemma")
    mine.unlink()
    sync(ana)
    assert names(ana) == []
    assert shown(ana) == set()
    collect(ana)
    sync(ben)
    assert shown(ben) == {ONE}
    assert names(ben) == ["gemma"]


def test_what_i_removed_stays_away_until_i_share_it_again(people: tuple[Person, Person]) -> None:
    ana, ben = people
    ana.put(PLACE, ONE)
    sync(ana)
    sync(ben)
    with ben.open() as store:
        store.remove("gemma")
    assert shown(ben) == set()
    sync(ben)
    assert (shown(ben), names(ben), names(ana)) == (set(), [], ["gemma"])
    with ben.open() as store, pytest.raises(NotFound):
        store.show("gemma")
    with ben.open() as store:
        store.share("gemma")
    assert shown(ben) == {ONE}
    assert claims(ben) == [("gemma", True)]
    sync(ben)


def test_an_update_reaches_who_follows_and_nobody_else_can_switch_it(people: tuple[Person, Person]) -> None:
    ana, ben = people
    ana.put(PLACE, ONE)
    sync(ana)
    sync(ben)
    ben.put(PLACE.replace("org", "ben"), THREE)
    sync(ben)
    sync(ana)
    assert shown(ana) == shown(ben) == {ONE, THREE}
    assert names(ana) == names(ben) == ["gemma", "gemma~2"]
    (ana.home / PLACE).unlink()
    ana.put(PLACE, TWO)
    sync(ana)
    assert shown(ana) == {TWO, THREE}
    sync(ben)
    assert shown(ben) == {TWO, THREE}
    assert claims(ben) == [("gemma", True), ("gemma~2", False)]


def test_the_same_name_of_a_program_with_other_content_is_no_update_of_anothers(people: tuple[Person, Person]) -> None:
    ana, ben = people
    ana.put(PLACE, ONE)
    ben.put(PLACE, TWO)
    sync(ana)
    sync(ben)
    sync(ana)
    assert (ana.home / PLACE).read_bytes() == ONE
    assert (ben.home / PLACE).read_bytes() == TWO
    assert shown(ana) == shown(ben) == {ONE, TWO}
    assert ("gemma", False) in claims(ana)


def test_the_same_content_of_two_people_is_one_model_and_each_holds_it(people: tuple[Person, Person]) -> None:
    ana, ben = people
    ana.put(PLACE, ONE)
    sync(ana)
    ben.put("other/gemma-Q4_K_M.gguf", ONE)
    with ben.open() as store:
        store.set_config("scan", [str(ben.home / "other")])
    sync(ben)
    assert names(ben) == names(ana) == ["gemma"]
    assert claims(ben) == [("gemma", False)]
    with ana.open() as store:
        store.remove("gemma")
    collect(ana)
    assert (ana.home / PLACE).read_bytes() == ONE, "a path that the person gave stays"
    sync(ben)
    assert shown(ben) == {ONE}


def test_undo_takes_back_my_claim_only(people: tuple[Person, Person]) -> None:
    ana, ben = people
    ana.put(PLACE, ONE)
    sync(ana)
    sync(ben)
    with ben.open() as store:
        store.undo()
    assert shown(ben) == set()
    assert claims(ben) == []
    assert claims(ana) == [("gemma", False)]
    sync(ana)
    assert shown(ana) == {ONE}


def test_the_owner_of_the_store_removes_for_everyone(people: tuple[Person, Person]) -> None:
    ana, ben = people
    ana.put(PLACE, ONE)
    sync(ana)
    sync(ben)
    with ben.open() as store:
        report = store.remove("gemma", everyone=True)
    assert any("leaves their programs" in note for note in report.notes)
    assert claims(ana) == claims(ben) == []
    sync(ben)
    assert shown(ben) == set()
    assert (ana.home / PLACE).read_bytes() == ONE, "a path that the person gave stays"
