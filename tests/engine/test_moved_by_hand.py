"""What the person renames or moves by hand is followed: no record stays behind, each file keeps its mode."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from helixstore import HelixStore
from support.layouts import Shelf
from support.person import Person
from support.raw import model_gguf

GEM, RUBY = model_gguf(seed=81), model_gguf(seed=82)
MODELS = ".lmstudio/models"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def synced(person: Person, *files: tuple[str, bytes, int], providers: tuple[str, ...] = ("lmstudio", "jan")) -> None:
    for place, data, wanted in files:
        person.put(place, data, wanted)
    HelixStore.init(providers=list(providers), environ=person.environ)
    sync(person)


def sync(person: Person) -> None:
    with person.open() as store:
        assert store.sync().issues == ()
        assert store.sync().nothing, [a["path"] for a in store.sync(dry_run=True).actions]


def leave(person: Person) -> None:
    with person.open() as store:
        assert store.leave().issues == ()


def undo(person: Person) -> None:
    with person.open() as store:
        store.undo()


def test_a_folder_renamed_in_a_program_is_not_away_when_the_person_leaves(person: Person) -> None:
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o640))
    (person.home / MODELS / "acme").rename(person.home / MODELS / "acme2")
    sync(person)
    leave(person)
    renamed = person.home / MODELS / "acme2/gem/gem-F16.gguf"
    assert (mode(renamed), renamed.stat().st_nlink, renamed.read_bytes()) == (0o640, 1, GEM)


def test_a_folder_deleted_in_a_program_is_not_away_either(person: Person) -> None:
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o640))
    (person.home / MODELS / "acme/gem/gem-F16.gguf").unlink()
    (person.home / MODELS / "acme/gem").rmdir()
    (person.home / MODELS / "acme").rmdir()
    sync(person)
    leave(person)


@pytest.mark.parametrize("back", [undo, leave], ids=["undo", "leave"])
def test_names_of_one_content_that_are_moved_together_keep_their_own_modes(person: Person, back: object) -> None:
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o640), (f"{MODELS}/me/x/other-F16.gguf", GEM, 0o600))
    for before, after in (("acme", "zeta"), ("me", "alpha")):
        (person.home / MODELS / before).rename(person.home / MODELS / after)
    sync(person)
    assert callable(back)
    back(person)
    first, second = (person.home / MODELS / name for name in ("zeta/gem/gem-F16.gguf", "alpha/x/other-F16.gguf"))
    assert (mode(first), mode(second)) == (0o640, 0o600)
    assert first.stat().st_ino != second.stat().st_ino, "they were two files"


def test_a_name_that_is_moved_keeps_its_mode_while_another_stays(person: Person) -> None:
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o640), (f"{MODELS}/me/x/other-F16.gguf", GEM, 0o600))
    (person.home / MODELS / "me").rename(person.home / MODELS / "you")
    sync(person)
    leave(person)
    assert mode(person.home / MODELS / "acme/gem/gem-F16.gguf") == 0o640
    assert mode(person.home / MODELS / "you/x/other-F16.gguf") == 0o600


def test_undo_after_a_rename_never_leaves_a_file_read_only(person: Person) -> None:
    folder = person.home / MODELS / "acme/gem"
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o644))
    os.utime(folder / "gem-F16.gguf", (1_700_000_000, 1_700_000_000))
    favourite = folder / "my favourite.gguf"
    (folder / "gem-F16.gguf").rename(favourite)
    sync(person)
    undo(person)
    assert (mode(favourite), favourite.stat().st_nlink, favourite.read_bytes()) == (0o644, 1, GEM)
    undo(person)
    assert (mode(favourite), favourite.stat().st_nlink, favourite.read_bytes()) == (0o644, 1, GEM)
    assert [path.name for path in folder.iterdir()] == ["my favourite.gguf"]
    with person.open() as store:
        assert store.shared_models() == []
        assert store.sync().nothing, "what was taken back is left alone"


def test_a_link_that_the_person_makes_to_a_shared_file_is_undone_with_its_mode(person: Person) -> None:
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o640))
    twin = person.home / MODELS / "acme/gem/twin-F16.gguf"
    os.link(person.home / MODELS / "acme/gem/gem-F16.gguf", twin)
    sync(person)
    undo(person)
    assert (mode(twin), twin.stat().st_nlink) == (0o640, 1)
    assert mode(person.home / MODELS / "acme/gem/gem-F16.gguf") == 0o444, "still shared"
    undo(person)
    assert mode(person.home / MODELS / "acme/gem/gem-F16.gguf") == 0o640


def test_our_links_in_a_folder_that_was_moved_as_a_whole_stay_ours(person: Person) -> None:
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o640), ("loose/ruby-F16.gguf", RUBY, 0o640))
    with person.open() as store:
        store.share(person.home / "loose/ruby-F16.gguf")
        [path] = store.show("ruby").variants[0].providers["lmstudio"].paths
    made = Path(path).relative_to(person.home / MODELS)
    (person.home / MODELS).rename(person.home / "big")
    person.put(".lmstudio/settings.json", f'{{"downloadsFolder": "{person.home}/big"}}'.encode())
    with person.open() as store:
        shown = store.sync(dry_run=True)
        assert str(person.home / "big" / made) not in {one.path for one in shown.adopted}
        assert [one.path for one in store.sync().adopted] == [one.path for one in shown.adopted]
        assert store.sync().nothing
        [path] = store.show("ruby").variants[0].providers["lmstudio"].paths
        assert Path(path) == person.home / "big" / made
        store.remove("ruby")
    assert not (person.home / "big" / made).exists(), "it was ours"
    assert (person.home / "loose/ruby-F16.gguf").exists()
    leave(person)
    assert mode(person.home / "big/acme/gem/gem-F16.gguf") == 0o640


def test_model_folders_of_ours_that_were_moved_stay_ours(person: Person) -> None:
    person.environ["TABBY_MODEL_MODEL_DIR"] = str(person.home / "exl3")
    shelf = Shelf(person.home / "shelf")
    for file in shelf.hf("tiny", seed=83).files:
        person.put(f"loose/tiny/{file.path}", shelf.blobs[file.blake3].read_bytes())
    HelixStore.init(providers=["tabbyapi", "fastchat"], environ=person.environ)
    with person.open() as store:
        store.share(person.home / "loose/tiny")
        assert store.show("tiny").variants[0].providers["tabbyapi"].state == "linked"
    names = sorted(os.listdir(person.home / "exl3/tiny"))
    (person.home / "exl3").rename(person.home / "new")
    person.environ["TABBY_MODEL_MODEL_DIR"] = str(person.home / "new")
    sync(person)
    assert sorted(os.listdir(person.home / "new/tiny")) == names
    with person.open() as store:
        store.remove("tiny")
    assert os.listdir(person.home / "new") == []
    assert sorted(os.listdir(person.home / "loose/tiny")) != []
    leave(person)


def test_our_links_in_a_folder_whose_content_was_moved_into_another_stay_ours_and_undo_takes_them(
    person: Person,
) -> None:
    synced(person, ("loose/ruby-F16.gguf", RUBY, 0o640))
    with person.open() as store:
        store.share(person.home / "loose/ruby-F16.gguf")
        [path] = store.show("ruby").variants[0].providers["lmstudio"].paths
    made = Path(path).relative_to(person.home / MODELS)
    (person.home / "big/theirs").mkdir(parents=True)
    (person.home / MODELS / made.parts[0]).rename(person.home / "big" / made.parts[0])
    person.put(".lmstudio/settings.json", f'{{"downloadsFolder": "{person.home}/big"}}'.encode())
    sync(person)
    assert mode(person.home / "big" / made) == 0o444
    undo(person)
    with person.open() as store:
        assert store.shared_models() == []
        store.sync()
    assert not (person.home / "big" / made).exists()
    assert mode(person.home / "loose/ruby-F16.gguf") == 0o640
    leave(person)


def test_a_renamed_file_that_is_renamed_back_is_known_again(person: Person) -> None:
    first = f"{MODELS}/acme/gem/gem-F16.gguf"
    synced(person, (first, GEM, 0o640))
    for before, after in (("acme", "acme2"), ("acme2", "acme")):
        (person.home / MODELS / before).rename(person.home / MODELS / after)
        sync(person)
    for _ in range(3):
        undo(person)
        assert mode(person.home / first) == 0o640
        assert (person.home / first).stat().st_nlink == 1


def test_a_file_that_is_deleted_and_fetched_again_under_another_name_is_as_it_was_fetched(person: Person) -> None:
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o600))
    (person.home / MODELS / "acme/gem/gem-F16.gguf").unlink()
    again = person.put(f"{MODELS}/you/gem/gem-F16.gguf", GEM, 0o664)
    sync(person)
    leave(person)
    assert mode(again) == 0o664


def test_a_copy_of_a_shared_file_that_took_its_place_elsewhere_is_not_read_only_at_last(person: Person) -> None:
    first = person.home / MODELS / "acme/gem/gem-F16.gguf"
    synced(person, (f"{MODELS}/acme/gem/gem-F16.gguf", GEM, 0o640))
    moved = person.home / MODELS / "you/gem/gem-F16.gguf"
    moved.parent.mkdir(parents=True)
    shutil.copy2(first, moved)              # as `mv` does to another disk
    shutil.rmtree(first.parent)
    sync(person)
    leave(person)
    assert mode(moved) == 0o640


def test_after_undo_a_renamed_file_keeps_its_new_name_and_nothing_is_made_beside_it(person: Person) -> None:
    models = person.home / ".lmstudio/models/acme"
    person.put(".lmstudio/models/acme/Small-GGUF/Small-F16.gguf", GEM)
    HelixStore.init(every=True, environ=person.environ)

    def there() -> list[str]:
        return [str(path.relative_to(models.parent)) for path in models.parent.rglob("*.gguf")]

    with person.open() as store:
        store.sync()
        (models / "Small-GGUF").rename(models / "Other-GGUF")
        store.sync()
        store.undo()
        for _ in range(2):
            assert there() == ["acme/Other-GGUF/Small-F16.gguf"]
            assert (models / "Other-GGUF/Small-F16.gguf").stat().st_nlink == 1
            store.sync()
        assert store.sync().nothing
        states = store.shared_models()[0].variants[0].providers
        assert (states["lmstudio"].state, states["llamacpp"].state) == ("hidden", "linked")
        store.sync(restore=True)
        assert there() == ["acme/Other-GGUF/Small-F16.gguf"]
        assert (models / "Other-GGUF/Small-F16.gguf").stat().st_nlink > 1
        assert store.shared_models()[0].variants[0].providers["lmstudio"].state == "linked"
        assert store.sync().nothing
