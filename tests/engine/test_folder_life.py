"""A model's life in the folder of each program that keeps plain files: added, updated, renamed, moved, deleted."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.results import SyncReport
from support.layouts import Shelf
from support.person import Person
from support.raw import model_gguf, text

OLD, NEW = model_gguf(seed=51), model_gguf(seed=52)


def model_folder(path: Path, seed: int) -> None:
    """A model folder in BF16, which TabbyAPI takes too."""
    shelf = Shelf(path.parent / ".shelf")
    for file in shelf.hf("gem", seed=seed).files:
        (path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (path / file.path).write_bytes(shelf.blobs[file.blake3].read_bytes())
    shutil.rmtree(shelf.folder)


@dataclass(frozen=True)
class Program:
    """One program: its folder below the home, how the engine learns of it, and names of one model there.

    `own` is the folder of helixstore's that it is started with. `places`: where it lies first, renamed, and moved;
    of a model folder the folder.
    """

    name: str
    folder: str
    places: tuple[str, str, str]
    variable: str = ""
    setting: bool = False
    own: bool = False
    hf: bool = False

    def __str__(self) -> str:
        return f"{self.name}{' own' if self.own else ''}"

    def first(self, home: Path) -> Path:
        return self.where(home, self.places[0])

    def where(self, home: Path, place: str) -> Path:
        return home / self.folder / place

    def prepare(self, person: Person) -> None:
        """Make the store, with a few programs on; the program's folder is where the test says."""
        if self.variable:
            person.environ[self.variable] = str(person.home / self.folder)
        HelixStore.init(providers=[*{self.name, self.witness, "llamacpp", "gpt4all"}], environ=person.environ)
        if self.setting:
            with person.open() as store:
                store.set_provider(self.name, root=person.home / self.folder)

    def put(self, path: Path, seed: int) -> None:
        """The program or the person puts a model there; another seed is other content."""
        if self.hf:
            shutil.rmtree(path, ignore_errors=True)
            model_folder(path, seed)
            weights = path / "model.safetensors"
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            weights = path.with_name(path.name + ".tmp")        # as a program replaces a file
            weights.write_bytes(model_gguf(seed=seed))
            weights = weights.replace(path)
        for file in path.iterdir() if self.hf else [weights]:
            file.chmod(0o640)
            os.utime(file, (1_700_000_000, 1_700_000_000))

    def weights(self, path: Path) -> Path:
        return path / "model.safetensors" if self.hf else path

    def delete(self, path: Path) -> None:
        if self.hf:
            shutil.rmtree(path)
        else:
            path.unlink()

    @property
    def witness(self) -> str:
        """Another program that takes the same model."""
        return "vllm" if self.hf else "jan"


LMSTUDIO = Program("lmstudio", ".lmstudio/models",
                   ("acme/gem/gem-F16.gguf", "acme/gem/better.gguf", "me/x/gem-F16.gguf"))
GPT4ALL = Program("gpt4all", ".local/share/nomic.ai/GPT4All", ("gem-F16.gguf", "Better One.gguf", "sub/gem-F16.gguf"))
PROGRAMS = [
    LMSTUDIO, GPT4ALL,
    Program("llamacpp", "gguf", ("gem-F16.gguf", "better.gguf", "Gem/gem-F16.gguf"), variable="LLAMA_ARG_MODELS_DIR"),
    Program("mistralrs", "gguf", ("gem-F16.gguf", "better.gguf", "Gem/gem-F16.gguf"), setting=True),
    Program("tabbyapi", "exl3", ("gem", "Better One", "deep/gem"), variable="TABBY_MODEL_MODEL_DIR", hf=True),
    Program("fastchat", "chat", ("gem", "Better One", "deep/gem"), setting=True, hf=True),
    Program("llamacpp", "", ("gem-F16.gguf", "better.gguf", "Gem/gem-F16.gguf"), own=True),
    Program("fastchat", "", ("gem", "Better One", "deep/gem"), own=True, hf=True),
]
BY_NAME = pytest.mark.parametrize("program", PROGRAMS, ids=str)


@pytest.fixture
def life(person: Person) -> Callable[[Program], Life]:
    return lambda program: Life(person, program)


class Life:
    """One person with one program, and what is true after each sync."""

    def __init__(self, person: Person, program: Program) -> None:
        self.person = person
        program.prepare(person)
        if program.own:
            with person.open() as store:
                [view] = [view for view in store.providers() if view.name == program.name]
            [where] = [Path(root["path"]) for root in view.roots if root["owned"]]
            program = Program(program.name, str(where.relative_to(person.home)), program.places, own=True,
                              hf=program.hf)
        self.program = program
        self.home = person.home

    def where(self, number: int) -> Path:
        return self.program.where(self.home, self.program.places[number])

    def put(self, number: int = 0, seed: int = 1) -> Path:
        path = self.where(number)
        self.program.put(path, seed)
        return path

    def sync(self) -> SyncReport:
        """A sync that finds no fault, and after which another one has nothing to do."""
        with self.person.open() as store:
            report = store.sync()
            assert report.issues == ()
            assert store.sync().nothing, [a["path"] for a in store.sync(dry_run=True).actions]
        return report

    def tree(self) -> dict[str, tuple[str, int]]:
        tree = self.person.tree(own=False)
        if self.program.own:
            prefix = self.program.folder + "/"
            tree |= {path: one for path, one in self.person.tree().items() if path.startswith(prefix)}
        return tree

    def models(self) -> list[str]:
        with self.person.open() as store:
            return sorted(model.name for model in store.shared_models())

    def states(self, model: str = "gem") -> dict[str, str]:
        with self.person.open() as store:
            [variant] = store.show(model).variants
            return {name: one.state for name, one in variant.providers.items()}

    def reads(self, provider: str, model: str = "gem") -> set[bytes]:
        """The weights that a provider reads."""
        with self.person.open() as store:
            paths = [Path(path) for path in store.show(model).variants[0].providers[provider].paths]
        return {path.read_bytes() for path in paths if path.suffix in (".gguf", ".safetensors")}


@BY_NAME
def test_added_there_it_is_everywhere_and_keeps_its_place(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    path = one.put()
    before, data = one.tree(), program.weights(path).read_bytes()
    report = one.sync()
    assert one.models() == ["gem"]
    assert {one.states()[name] for name in (program.name, program.witness)} == {"linked"}
    assert one.reads(program.witness) == one.reads(program.name) == {data}
    assert report.saved_bytes == 0
    there = {name for name in one.tree() if name.startswith(one.program.folder + "/")}
    assert there == {name for name in before if name.startswith(one.program.folder + "/")}, "nothing beside it"
    with one.person.open() as store:
        store.undo()
    assert one.tree() == before


@BY_NAME
def test_updated_there_it_is_new_everywhere(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    one.put()
    one.sync()
    old = one.reads(program.witness)
    path = one.put(seed=2)
    before, data = one.tree(), program.weights(path).read_bytes()
    one.sync()
    assert one.models() == ["gem"]
    assert one.reads(program.witness) == one.reads(program.name) == {data} != old
    with one.person.open() as store:
        store.undo()
    assert one.tree() == before
    assert one.reads(program.witness) == old


@pytest.mark.parametrize("number", [1, 2], ids=["renamed", "moved"])
@BY_NAME
def test_renamed_there_it_stays_under_its_new_name(
    program: Program, number: int, life: Callable[[Program], Life]
) -> None:
    one = life(program)
    path = one.put()
    one.sync()
    target = one.where(number)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    before, data = one.tree(), program.weights(target).read_bytes()
    one.sync()
    assert not path.exists()
    assert one.states()[program.name] == "linked"
    assert one.reads(program.witness) == one.reads(program.name) == {data}
    with one.person.open() as store:
        store.undo()
    renamed = str(program.weights(target).relative_to(one.home))
    assert one.tree() == before | {renamed: (before[renamed][0], 0o640)}, "it is the person's, as it was at first"
    undone = one.tree()
    with one.person.open() as store:
        assert store.sync().issues == ()
    assert one.tree() == undone, "nothing is made beside it"
    assert (one.states()[program.name], one.reads(program.witness)) == ("hidden", {data})


@BY_NAME
def test_deleted_there_it_is_hidden_there_only(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    path = one.put()
    one.sync()
    data = one.reads(program.witness)
    program.delete(path)
    one.sync()
    states = one.states()
    assert states[program.name] == "hidden"
    assert states[program.witness] == "linked"
    assert one.reads(program.witness) == data
    assert not path.exists()
    one.put()
    one.sync()
    assert one.states()[program.name] == "linked", "the person brought it back"
    assert one.models() == ["gem"]


@BY_NAME
def test_what_we_put_there_may_be_renamed_and_deleted_too(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    loose = one.home / "loose" / ("gem" if program.hf else "gem-F16.gguf")
    program.put(loose, 3)
    with one.person.open() as store:
        store.share(loose)
        [path, *_] = store.show("gem").variants[0].providers[program.name].paths
    ours = Path(path).parent if program.hf else Path(path)
    target = ours.with_name("Renamed" if program.hf else "renamed.gguf")
    ours.rename(target)
    one.sync()
    assert one.states()[program.name] == "linked"
    assert program.weights(target).exists()
    assert not program.weights(ours).exists()
    program.delete(target)
    one.sync()
    assert one.states()[program.name] == "hidden"
    assert one.states()[program.witness] == "linked"
    assert program.weights(loose).exists()


@BY_NAME
def test_one_content_under_two_names_stays_under_both(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    first, second = one.put(), one.put(2)
    before = one.tree()
    report = one.sync()
    assert report.saved_bytes == program.weights(first).stat().st_size
    assert program.weights(first).samefile(program.weights(second))
    program.delete(first)
    one.sync()
    assert not first.exists(), "one of its names was deleted, not the model"
    assert one.states()[program.name] == "linked"
    with one.person.open() as store:
        store.undo(2)
    after = one.tree()
    gone = {name for name in before if (one.home / name).is_relative_to(first)}
    assert {name: one for name, one in before.items() if name not in gone} == after


def sharded(folder: Path, stem: str, count: int = 3, seed: int = 60) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = folder / f"{stem}-{number + 1:05d}-of-{count:05d}.gguf"
        file.write_bytes(model_gguf(seed=seed + number, shard=(number, count)))


def projector(path: Path) -> None:
    path.write_bytes(model_gguf(text("general.type", "mmproj"), architecture="clip", seed=70))


def test_shards_and_a_projector_are_one_model_and_keep_their_names(life: Callable[[Program], Life]) -> None:
    one = life(LMSTUDIO)
    folder = one.home / LMSTUDIO.folder / "acme/Eye-GGUF"
    sharded(folder, "eye-F16")
    projector(folder / "mmproj-mine.gguf")
    before = one.tree()
    one.sync()
    [name] = one.models()
    assert sorted(path.name for path in folder.iterdir()) == [
        "eye-F16-00001-of-00003.gguf", "eye-F16-00002-of-00003.gguf", "eye-F16-00003-of-00003.gguf",
        "mmproj-mine.gguf"]
    assert len(one.reads("llamacpp", name)) == 4
    assert one.states(name)["gpt4all"] == "convertible"
    folder.rename(folder.with_name("Eye 2"))
    one.sync()
    assert one.states(name)["lmstudio"] == "linked"
    assert not folder.exists()
    with one.person.open() as store:
        store.leave()
    folder.with_name("Eye 2").rename(folder)
    assert {path: one for path, one in one.tree().items() if path in before} == before


def test_llamacpp_s_old_cache_is_taken_in_and_left_as_it_is(life: Callable[[Program], Life]) -> None:
    one = life(GPT4ALL)
    cache = one.home / ".cache/llama.cpp"
    one.person.put(".cache/llama.cpp/acme_Gem-GGUF_gem-F16.gguf", OLD)
    one.person.put(".cache/llama.cpp/acme_Gem-GGUF_gem-F16.gguf.etag", b"abc")
    one.person.put(".cache/llama.cpp/manifest=acme=Gem-GGUF=latest.json",
                   b'{"ggufFile": {"rfilename": "gem-F16.gguf"}}')
    one.person.put(".cache/llama.cpp/other.gguf.downloadInProgress", NEW[:100])
    before, names = one.tree(), sorted(os.listdir(cache))
    one.sync()
    assert one.models() == ["Gem-GGUF"]
    assert sorted(os.listdir(cache)) == names
    with one.person.open() as store:
        [source] = store.show("Gem-GGUF").variants[0].sources
        assert (source["kind"], source["repository"]) == ("program", "acme/Gem-GGUF"), "its revision is not known"
    (cache / "acme_Gem-GGUF_gem-F16.gguf").unlink()
    one.sync()
    assert one.states("Gem-GGUF")["llamacpp"] == "linked", "the router never looked there"
    with one.person.open() as store:
        store.undo()
    assert {**one.tree(), **{k: v for k, v in before.items() if k.endswith("gem-F16.gguf")}} == before


def test_after_lm_studio_was_told_another_folder_the_old_one_is_only_read(life: Callable[[Program], Life]) -> None:
    one = life(LMSTUDIO)
    path = one.put()
    one.sync()
    one.person.put(".lmstudio/settings.json", f'{{"downloadsFolder": "{one.home}/big"}}'.encode())
    one.sync()
    with one.person.open() as store:
        [seen, *_] = store.show("gem").variants[0].providers["lmstudio"].paths
    assert Path(seen).is_relative_to(one.home / "big")
    assert Path(seen).samefile(path)
    path.unlink()
    one.sync()
    assert one.states()["lmstudio"] == "linked", "LM Studio does not read the old folder"


def test_too_high_and_too_deep_for_lm_studio_are_shared_and_linked_where_it_looks(
    life: Callable[[Program], Life]
) -> None:
    one = life(LMSTUDIO)
    models = one.home / LMSTUDIO.folder
    one.person.put(f"{LMSTUDIO.folder}/high-F16.gguf", OLD)
    one.person.put(f"{LMSTUDIO.folder}/a/b/c/deep-F16.gguf", NEW)
    before = one.tree()
    one.sync()
    assert one.models() == ["deep", "high"]
    for name in one.models():
        with one.person.open() as store:
            [path] = store.show(name).variants[0].providers["lmstudio"].paths
        assert len(Path(path).relative_to(models).parts) == 3
    with one.person.open() as store:
        store.undo()
    assert one.tree() == before


def test_the_hubs_names_win_when_it_has_the_same_content_later(person: Person) -> None:
    person.put(f"{LMSTUDIO.folder}/me/mine/whatever-F16.gguf", OLD)
    HelixStore.init(providers=["lmstudio", "llamacpp", "mistralrs"], environ=person.environ)
    with person.open() as store:
        store.sync()
    commit, digest = "ab" * 20, hashlib.sha256(OLD).hexdigest()
    repository = ".cache/huggingface/hub/models--acme--gem-GGUF"
    person.put(f"{repository}/blobs/{digest}", OLD)
    person.put(f"{repository}/refs/main", commit.encode())
    link = person.home / repository / "snapshots" / commit / "gem-F16.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../../blobs/{digest}")
    before = person.tree(own=False)
    with person.open() as store:
        report = store.sync()
        assert report.issues == ()
        assert store.sync().nothing
        [model] = store.shared_models()
        [variant] = model.variants
        assert model.name == "mine"
        assert [file.path for file in variant.files] == ["gem-F16.gguf"], "as the commit has it"
        assert str(link) in variant.providers["mistralrs"].paths, "the hub's own entry counts"
        assert (person.home / LMSTUDIO.folder / "me/mine/whatever-F16.gguf").samefile(link)
        store.undo()
        assert person.tree(own=False) == before
        assert [file.path for file in store.show("mine").variants[0].files] == ["whatever-F16.gguf"]


def test_a_folder_that_a_program_is_started_with_is_there_before_the_first_model(person: Person) -> None:
    HelixStore.init(providers=["llamacpp", "tabbyapi"], environ=person.environ)
    with person.open() as store:
        store.sync()
        owned = {view.name: Path(root["path"]) for view in store.providers() for root in view.roots if root["owned"]}
        assert {name for name, path in owned.items() if path.is_dir()} == {"llamacpp", "tabbyapi"}
        assert store.sync().nothing
        store.set_provider("tabbyapi", on=False)
        store.sync()
        assert {name for name, path in owned.items() if path.is_dir()} == {"llamacpp"}
        assert store.sync().nothing


# ---- folders of no program ------------------------------------------------------------------------------------------


@pytest.fixture
def plain(person: Person) -> Person:
    """A folder with a bit of everything, named for the scan."""
    sharded(person.home / "models/big", "big-F16")
    sharded(person.home / "models/eye", "eye-F16", count=1, seed=80)
    (person.home / "models/eye/eye-F16-00001-of-00001.gguf").rename(person.home / "models/eye/eye-F16.gguf")
    projector(person.home / "models/eye/mmproj-F16.gguf")
    model_folder(person.home / "models/nested/tiny", seed=7)
    person.put("models/one-F16.gguf", OLD)
    person.put("models/same-F16.gguf", OLD)
    os.link(person.home / "models/one-F16.gguf", person.home / "models/twin-F16.gguf")
    person.put("elsewhere/far-F16.gguf", NEW)
    (person.home / "models/far.gguf").symlink_to("../elsewhere/far-F16.gguf")
    (person.home / "models/gone.gguf").symlink_to("nowhere")
    (person.home / "models/loop").symlink_to(person.home / "models")
    HelixStore.init(every=True, scan=[person.home / "models"], environ=person.environ)
    return person


def test_a_plain_folder_is_shared_as_it_is(plain: Person) -> None:
    before = plain.tree(own=False)
    with plain.open() as store:
        report = store.sync()
        assert [Path(issue.path).name for issue in report.issues] == ["gone.gguf"]
        assert sorted(model.name for model in store.shared_models()) == ["big", "eye", "far", "one", "tiny"]
        assert report.saved_bytes == len(OLD)
        assert len(store.show("big").variants[0].files) == 3
        assert len(store.show("eye").variants[0].files) == 2
        [one] = store.show("one").variants
        assert {source["name"] for source in one.sources} >= {"one-F16.gguf", "same-F16.gguf"}
        assert store.sync().nothing
    names = [plain.home / f"models/{name}-F16.gguf" for name in ("one", "same", "twin")]
    assert len({path.stat().st_ino for path in names}) == 1
    assert os.readlink(plain.home / "models/far.gguf") == "../elsewhere/far-F16.gguf", "a link stays a link"
    with plain.open() as store:
        store.undo()
    assert plain.tree(own=False) == before
    one, same, twin = (path.stat() for path in names)
    assert one.st_ino == twin.st_ino != same.st_ino
    assert (one.st_nlink, same.st_nlink) == (2, 1), "as many copies as before"


def test_leave_makes_a_file_of_its_own_of_what_was_renamed_or_linked(person: Person) -> None:
    first = person.put("models/one-F16.gguf", OLD, 0o640)
    HelixStore.init(providers=["llamacpp"], scan=[person.home / "models"], environ=person.environ)
    with person.open() as store:
        store.sync()
        first.rename(person.home / "models/two-F16.gguf")
        os.link(person.home / "models/two-F16.gguf", person.home / "models/three-F16.gguf")
        assert store.sync().issues == ()
        assert store.sync().nothing
        assert [model.name for model in store.shared_models()] == ["one"]
        store.leave()
    for name in ("two", "three"):
        status = (person.home / f"models/{name}-F16.gguf").stat()
        assert (status.st_mode & 0o777, status.st_nlink) == (0o640, 1)


def test_names_that_differ_in_case_only_are_two_models(person: Person) -> None:
    person.put("models/Gem-F16.gguf", OLD)
    person.put("models/gem-F16.gguf", NEW)
    HelixStore.init(every=True, scan=[person.home / "models"], environ=person.environ)
    with person.open() as store:
        assert store.sync().issues == ()
        assert sorted(model.name for model in store.shared_models()) == ["Gem", "gem~2"]
        for provider in ("lmstudio", "llamacpp", "gpt4all"):
            paths = [path for model in store.shared_models() for path in model.variants[0].providers[provider].paths]
            assert len({path.casefold() for path in paths}) == 2
        assert store.sync().nothing
