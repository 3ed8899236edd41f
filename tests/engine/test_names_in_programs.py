"""Names come and go inside a program by its own means: each sync ends with everything seen where it should be."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from helixstore import HelixStore
from support.household import gguf
from support.person import Person
from support.raw import model_gguf

OLD, NEW = model_gguf(seed=31), model_gguf(seed=32)
PLACE = ".lmstudio/models/acme/gem/gem-F16.gguf"


def states(person: Person, model: str) -> dict[str, str]:
    with person.open() as store:
        return {name: one.state for name, one in store.show(model).variants[0].providers.items()}


def at_rest(person: Person) -> None:
    with person.open() as store:
        assert store.sync().nothing


def served(person: Person, model: str, provider: str = "llamacpp") -> bytes:
    with person.open() as store:
        [path] = store.show(model).variants[0].providers[provider].paths
        return Path(path).read_bytes()


def names(person: Person) -> set[str]:
    with person.open() as store:
        return {model.name for model in store.shared_models()}


def have(person: Person, *places: tuple[str, bytes]) -> None:
    for place, data in places:
        person.put(place, data)
    if not HelixStore.exists(environ=person.environ):
        HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        store.sync()


def test_renaming_in_a_program_keeps_the_model_there_and_elsewhere(person: Person) -> None:
    have(person, (PLACE, OLD))
    renamed = person.home / ".lmstudio/models/acme/gem-new/better-F16.gguf"
    renamed.parent.mkdir(parents=True)
    (person.home / PLACE).rename(renamed)
    with person.open() as store:
        store.sync()
    assert states(person, "gem")["lmstudio"] == "linked"
    assert served(person, "gem") == OLD
    assert renamed.read_bytes() == OLD
    assert not (person.home / PLACE).exists()
    at_rest(person)
    assert names(person) == {"gem"}


def test_deleting_and_fetching_again_in_a_program_brings_it_back_there(person: Person) -> None:
    have(person, (PLACE, OLD))
    (person.home / PLACE).unlink()
    with person.open() as store:
        store.sync()
    assert states(person, "gem")["lmstudio"] == "hidden"
    have(person, (PLACE, OLD))
    assert states(person, "gem")["lmstudio"] == "linked"
    assert os.stat(person.home / PLACE).st_nlink > 1, "one copy"
    at_rest(person)


def test_an_update_in_a_program_is_an_update_everywhere(person: Person) -> None:
    have(person, (PLACE, OLD))
    (person.home / PLACE).unlink()
    have(person, (PLACE, NEW))
    assert served(person, "gem") == NEW
    assert (person.home / PLACE).read_bytes() == NEW
    assert names(person) == {"gem"}
    at_rest(person)


def test_an_update_in_one_program_leaves_what_another_has(person: Person) -> None:
    gpt4all = ".local/share/nomic.ai/GPT4All/gem-F16.gguf"
    have(person, (PLACE, OLD), (gpt4all, OLD))
    (person.home / PLACE).unlink()
    have(person, (PLACE, NEW))
    assert (person.home / PLACE).read_bytes() == NEW
    assert (person.home / gpt4all).read_bytes() == OLD
    with person.open() as store:
        [model] = store.shared_models()
        assert len(model.variants) == 2, "the new one splits off"
        content = {Path(path).read_bytes() for variant in model.variants
                   for path in variant.providers["llamacpp"].paths}
        assert content == {OLD, NEW}
    at_rest(person)


def test_two_files_that_swap_their_contents_swap_their_models(person: Person) -> None:
    other = ".lmstudio/models/acme/ruby/ruby-F16.gguf"
    have(person, (PLACE, OLD), (other, NEW))
    for place in (PLACE, other):
        (person.home / place).unlink()
    have(person, (PLACE, NEW), (other, OLD))
    assert (person.home / PLACE).read_bytes() == NEW
    assert (person.home / other).read_bytes() == OLD
    with person.open() as store:
        assert not store.sync().issues
        assert {v.providers["lmstudio"].state for m in store.shared_models() for v in m.variants} == {"linked"}
    at_rest(person)


def test_all_of_it_is_undone(person: Person) -> None:
    have(person, (PLACE, OLD))
    renamed = person.home / ".lmstudio/models/acme/gem-new/gem-F16.gguf"
    renamed.parent.mkdir(parents=True)
    (person.home / PLACE).rename(renamed)
    before = person.tree(own=False)
    with person.open() as store:
        store.sync()
        store.undo(1)
    at_first = {str(renamed.relative_to(person.home)): (hashlib.sha256(OLD).hexdigest(), 0o644)}
    assert person.tree(own=False) == before | at_first


def test_what_is_replaced_is_said(person: Person) -> None:
    have(person, (PLACE, OLD))
    (person.home / PLACE).unlink()
    person.put(PLACE, NEW)
    with person.open() as store:
        assert any("gem (gguf:F16) has new content" in note for note in store.sync().notes)
    (person.home / PLACE).unlink()
    person.put(PLACE, gguf("gem", "Q8_0", seed=33))
    with person.open() as store:
        assert any("leaves the programs now" in note for note in store.sync().notes)
