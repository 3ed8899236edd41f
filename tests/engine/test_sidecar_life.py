"""A model's life in the programs that keep settings beside it: added, updated, renamed, edited, deleted, by their own
means; and what becomes of the settings that helixstore made when the program and the person have written into them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from helixstore import HelixStore
from helixstore.results import SyncReport
from support.person import Person
from support.raw import model_gguf, text


class Program:
    """One program over its folder below the home."""

    name: str
    folder: str
    setting = False                     # the person names the folder

    def root(self, home: Path) -> Path:
        return home / self.folder

    def weights(self, home: Path, id: str) -> Path:
        """Where the program puts a model's file."""
        raise NotImplementedError

    def sidecar(self, home: Path, id: str) -> Path:
        raise NotImplementedError

    def told(self, home: Path, id: str, weights: Path) -> str:
        """What the program writes beside it."""
        raise NotImplementedError

    def put(self, home: Path, id: str, seed: int) -> Path:
        """The program has got a model."""
        path = self.weights(home, id)
        self.write(path, model_gguf(seed=seed))
        self.write(self.sidecar(home, id), self.told(home, id, path).encode())
        return path

    @staticmethod
    def write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".tmp")
        new.write_bytes(data)
        new.replace(path)
        path.chmod(0o640)
        os.utime(path, (1_700_000_000, 1_700_000_000))

    def edit(self, home: Path, id: str) -> None:
        """The person sets an option, and the program writes its file anew, with marks of its own."""
        path = self.sidecar(home, id)
        settings = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**settings, "context_size": 4096, "embedding_check_v": 2}))

    def edited(self, home: Path, id: str) -> bool:
        return "4096" in self.sidecar(home, id).read_text()

    def rename(self, home: Path, old: str, new: str) -> None:
        raise NotImplementedError

    def delete(self, home: Path, id: str) -> None:
        self.weights(home, id).unlink()
        self.sidecar(home, id).unlink()

    def ids(self, home: Path) -> dict[str, Path]:
        """What the program lists -> the model's file."""
        raise NotImplementedError


class Jan(Program):
    name, folder = "jan", ".local/share/Jan/data"

    def weights(self, home: Path, id: str) -> Path:
        return self.root(home) / "llamacpp/models" / id / "model.gguf"

    def sidecar(self, home: Path, id: str) -> Path:
        return self.root(home) / "llamacpp/models" / id / "model.yml"

    def told(self, home: Path, id: str, weights: Path) -> str:
        return f"model_path: {weights.relative_to(self.root(home))}\nname: {id}\nsize_bytes: 4\nembedding: false\n"

    def rename(self, home: Path, old: str, new: str) -> None:
        models = self.root(home) / "llamacpp/models"
        (models / new).parent.mkdir(parents=True, exist_ok=True)
        (models / old).rename(models / new)
        settings = yaml.safe_load((models / new / "model.yml").read_text())
        settings["model_path"] = settings["model_path"].replace(f"llamacpp/models/{old}", f"llamacpp/models/{new}")
        (models / new / "model.yml").write_text(yaml.safe_dump(settings))

    def delete(self, home: Path, id: str) -> None:
        shutil.rmtree(self.sidecar(home, id).parent.resolve())

    def ids(self, home: Path) -> dict[str, Path]:
        models = self.root(home) / "llamacpp/models"
        return {path.parent.relative_to(models).as_posix():
                self.root(home) / yaml.safe_load(path.read_text())["model_path"] for path in models.rglob("model.yml")}


class LocalAI(Program):
    name, folder = "localai", ".localai/models"

    def weights(self, home: Path, id: str) -> Path:
        return self.root(home) / f"{id}.gguf"

    def sidecar(self, home: Path, id: str) -> Path:
        return self.root(home) / f"{id}.yaml"

    def told(self, home: Path, id: str, weights: Path) -> str:
        return f"name: {id}\nbackend: llama-cpp\nparameters:\n  model: {weights.name}\n"

    def rename(self, home: Path, old: str, new: str) -> None:
        text = self.sidecar(home, old).read_text()
        settings = {**yaml.safe_load(text), "name": new}
        self.sidecar(home, new).write_text(yaml.safe_dump(settings))
        self.sidecar(home, old).unlink()

    def ids(self, home: Path) -> dict[str, Path]:
        settings = [yaml.safe_load(path.read_text()) for path in self.root(home).glob("*.yaml")]
        return {one["name"]: self.root(home) / one["parameters"]["model"] for one in settings}


class KoboldCpp(Program):
    name, folder, setting = "koboldai", "kobold", True

    def weights(self, home: Path, id: str) -> Path:
        return home / "ggufs" / f"{id}.gguf"

    def sidecar(self, home: Path, id: str) -> Path:
        return self.root(home) / f"{id}.kcpps"

    def told(self, home: Path, id: str, weights: Path) -> str:
        return json.dumps({"model": [], "model_param": str(weights), "contextsize": 8192, "mmproj": None})

    def edit(self, home: Path, id: str) -> None:
        path = self.sidecar(home, id)
        path.write_text(json.dumps({**json.loads(path.read_text()), "contextsize": 4096}))

    def rename(self, home: Path, old: str, new: str) -> None:
        self.sidecar(home, old).rename(self.sidecar(home, new))

    def delete(self, home: Path, id: str) -> None:
        self.sidecar(home, id).unlink()

    def ids(self, home: Path) -> dict[str, Path]:
        return {path.stem: Path(json.loads(path.read_text())["model_param"])
                for path in self.root(home).glob("*.kcpps")}


JAN, LOCALAI, KOBOLD = Jan(), LocalAI(), KoboldCpp()
EACH = pytest.mark.parametrize("program", [JAN, LOCALAI, KOBOLD], ids=lambda program: program.name)


class Life:
    """One person with one program and two others."""

    def __init__(self, person: Person, program: Program) -> None:
        self.person, self.program, self.home = person, program, person.home
        program.root(self.home).mkdir(parents=True)
        HelixStore.init(providers=[program.name, "gpt4all", "lmstudio"], environ=person.environ)
        if program.setting:
            with person.open() as store:
                store.set_provider(program.name, root=program.root(self.home))

    def sync(self) -> SyncReport:
        """A sync that finds no fault, and after which another one has nothing to do."""
        with self.person.open() as store:
            report = store.sync()
            assert report.issues == ()
            assert store.sync().nothing, [(a["op"], a["path"]) for a in store.sync(dry_run=True).actions]
        return report

    def tree(self) -> dict[str, tuple[str, int]]:
        return self.person.tree(own=False)

    def names(self) -> list[str]:
        with self.person.open() as store:
            return sorted(model.name for model in store.shared_models())

    def states(self, model: str = "gem") -> dict[str, str]:
        with self.person.open() as store:
            [variant] = store.show(model).variants
            names = {self.program.name, "gpt4all", "lmstudio"}
            return {name: one.state for name, one in variant.providers.items() if name in names}

    def reads(self, provider: str, model: str = "gem") -> set[bytes]:
        with self.person.open() as store:
            paths = [Path(path) for path in store.show(model).variants[0].providers[provider].paths]
        return {path.read_bytes() for path in paths if path.suffix == ".gguf"}

    def ids(self) -> dict[str, Path]:
        """What the program lists; nothing in the list points at nothing."""
        found = self.program.ids(self.home)
        assert all(path.is_file() for path in found.values()), found
        return found

    def do(self, what: Callable[[HelixStore], Any]) -> Any:
        with self.person.open() as store:
            return what(store)

    def ours(self, seed: int = 3) -> str:
        """A model of the person's elsewhere, which helixstore has put into the program; the id that it has there."""
        self.person.put("loose/gem-F16.gguf", model_gguf(seed=seed))
        self.do(lambda store: store.share(self.home / "loose/gem-F16.gguf"))
        [id] = self.ids()
        return id


@pytest.fixture
def life(person: Person) -> Callable[[Program], Life]:
    return lambda program: Life(person, program)


@EACH
def test_added_there_it_is_everywhere_and_nothing_of_it_is_touched(
    program: Program, life: Callable[[Program], Life]
) -> None:
    one = life(program)
    path = program.put(one.home, "gem", 1)
    before, mode = one.tree(), path.stat().st_mode
    one.sync()
    assert one.names() == ["gem"]
    assert set(one.states().values()) == {"linked"}
    assert one.reads("gpt4all") == one.reads("lmstudio") == {path.read_bytes()}
    assert list(one.ids()) == ["gem"], "once, under the name that it has there"
    assert {name: digest for name, (digest, _) in before.items()}.items() <= {
        name: digest for name, (digest, _) in one.tree().items()}.items()
    one.do(lambda store: store.undo())
    assert one.tree() == before
    assert path.stat().st_mode == mode


@EACH
def test_updated_there_it_is_new_everywhere(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    program.put(one.home, "gem", 1)
    one.sync()
    path = program.put(one.home, "gem", 2)
    before = one.tree()
    one.sync()
    assert one.names() == ["gem"]
    assert one.reads("gpt4all") == one.reads("lmstudio") == {model_gguf(seed=2)} == {path.read_bytes()}
    assert list(one.ids()) == ["gem"]
    one.do(lambda store: store.undo())
    assert one.tree() == before
    assert one.reads("gpt4all") == {model_gguf(seed=1)}


@EACH
def test_renamed_there_it_is_listed_once_under_its_new_name(
    program: Program, life: Callable[[Program], Life]
) -> None:
    one = life(program)
    program.put(one.home, "gem", 1)
    one.sync()
    program.rename(one.home, "gem", "better")
    one.sync()
    assert list(one.ids()) == ["better"]
    assert set(one.states().values()) == {"linked"}
    program.rename(one.home, "better", "gem")
    one.sync()
    assert list(one.ids()) == ["gem"]


@EACH
def test_edited_there_it_stays_as_it_was_edited(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    program.put(one.home, "gem", 1)
    one.sync()
    program.edit(one.home, "gem")
    text = program.sidecar(one.home, "gem").read_bytes()
    one.sync()
    assert program.sidecar(one.home, "gem").read_bytes() == text
    assert set(one.states().values()) == {"linked"}
    one.do(lambda store: store.remove("gem"))
    assert program.sidecar(one.home, "gem").read_bytes() == text, "both files are the person's own"
    assert list(one.ids()) == ["gem"]


@EACH
def test_deleted_there_it_is_hidden_there_only_and_comes_back_with_its_settings(
    program: Program, life: Callable[[Program], Life]
) -> None:
    one = life(program)
    program.put(one.home, "gem", 1)
    program.edit(one.home, "gem")
    one.sync()
    program.delete(one.home, "gem")
    one.sync()
    assert one.ids() == {}
    assert one.states() == {program.name: "hidden", "gpt4all": "linked", "lmstudio": "linked"}
    one.do(lambda store: store.unhide("gem", program.name))
    assert list(one.ids()) == ["gem"]
    assert program.edited(one.home, "gem")
    one.sync()


@EACH
def test_ours_rewritten_by_the_program_stays_linked_and_goes_as_a_whole(
    program: Program, life: Callable[[Program], Life]
) -> None:
    one = life(program)
    id = one.ours()
    for synced in (False, True):
        program.edit(one.home, id)
        text = program.sidecar(one.home, id).read_bytes()
        if synced:
            assert one.sync().nothing
        assert program.sidecar(one.home, id).read_bytes() == text
        assert one.states()[program.name] == "linked"
        before = one.tree()
        one.do(lambda store: store.hide("gem", program.name))
        assert program.ids(one.home) == {}, "no settings are left that point at nothing"
        one.sync()
        assert not [path for path in program.root(one.home).rglob("*") if path.is_file()]
        one.do(lambda store: store.undo())
        assert one.tree() == before
        assert program.sidecar(one.home, id).read_bytes() == text
        one.sync()


@EACH
def test_ours_comes_back_with_what_was_set_there(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    id = one.ours()
    program.edit(one.home, id)
    text = program.sidecar(one.home, id).read_bytes()
    for synced in (False, True):
        if synced:
            one.sync()
        one.do(lambda store: store.hide("gem", program.name))
        assert program.ids(one.home) == {}
        one.do(lambda store: store.unhide("gem", program.name))
        assert program.sidecar(one.home, id).read_bytes() == text
        one.sync()
    one.do(lambda store: store.remove("gem"))
    assert program.ids(one.home) == {}
    one.person.put("loose/gem-F16.gguf", model_gguf(seed=4))
    one.do(lambda store: store.share(one.home / "loose/gem-F16.gguf", name="other"))
    assert not any(program.edited(one.home, id) for id in one.ids()), "what was set for one model is no other's"


@EACH
def test_ours_that_points_at_a_file_of_the_persons_is_theirs(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    id = one.ours()
    mine = program.root(one.home) / "mine/own.gguf"
    program.write(mine, model_gguf(seed=9))
    sidecar = program.sidecar(one.home, id)
    ours = one.ids()[id]
    theirs = sidecar.read_text().replace(str(ours), str(mine)).replace(
        str(ours.relative_to(program.root(one.home))), "mine/own.gguf")
    sidecar.write_text(theirs)
    assert one.ids()[id] == mine
    for _ in range(2):
        one.do(lambda store: store.sync())
        assert sidecar.read_text() == theirs
    one.do(lambda store: store.hide("gem", program.name))
    assert sidecar.read_text() == theirs
    assert one.ids()[id] == mine


@EACH
def test_ours_deleted_there_leaves_the_store_whole(program: Program, life: Callable[[Program], Life]) -> None:
    one = life(program)
    id = one.ours()
    if program is JAN:
        program.delete(one.home, id)
    else:
        if program is LOCALAI:
            one.ids()[id].unlink()
        program.sidecar(one.home, id).unlink()
    one.sync()
    assert one.ids() == {}
    assert one.states()[program.name] == "hidden"
    assert one.reads("gpt4all") == {model_gguf(seed=3)}
    assert not one.do(lambda store: store.verify()).issues
    one.do(lambda store: store.unhide("gem", program.name))
    assert list(one.ids()) == [id]


@EACH
def test_ours_renamed_there_is_listed_once_under_its_new_name(
    program: Program, life: Callable[[Program], Life]
) -> None:
    one = life(program)
    id = one.ours()
    program.rename(one.home, id, "better")
    one.sync()
    assert list(one.ids()) == ["better"]
    assert one.states()[program.name] == "linked"


@EACH
def test_one_file_under_two_names_is_one_model_until_both_are_gone(
    program: Program, life: Callable[[Program], Life]
) -> None:
    one = life(program)
    path = program.put(one.home, "gem", 1)
    program.write(program.sidecar(one.home, "second"), program.told(one.home, "second", path).encode())
    one.sync()
    assert one.names() == ["gem"]
    assert sorted(one.ids()) == ["gem", "second"]
    program.sidecar(one.home, "second").unlink()
    one.sync()
    assert sorted(one.ids()) == ["gem"]
    assert one.states()[program.name] == "linked"
    program.delete(one.home, "gem")
    one.sync()
    assert one.ids() == {}
    assert one.states()[program.name] == "hidden"


@pytest.mark.parametrize("program", [LOCALAI, KOBOLD], ids=lambda program: program.name)
def test_the_persons_settings_for_a_file_of_ours_stand_beside_ours(
    program: Program, life: Callable[[Program], Life]
) -> None:
    """A person loads what helixstore put there, tries other options, and saves them under a name of their own."""
    one = life(program)
    id = one.ours()
    text = program.sidecar(one.home, id).read_text()
    program.write(program.sidecar(one.home, "mine"), text.replace(f'name: "{id}"', "name: mine").encode())
    program.edit(one.home, "mine")
    one.sync()
    assert sorted(one.ids()) == sorted([id, "mine"])
    assert one.names() == ["gem"]
    program.sidecar(one.home, id).unlink()
    one.sync()
    assert list(one.ids()) == ["mine"], "what was deleted stays deleted"
    assert program.edited(one.home, "mine")
    program.sidecar(one.home, "mine").unlink()
    one.sync()
    assert one.ids() == {}
    assert one.states()[program.name] == "hidden"


class TextGen(Program):
    """Its settings are one file for all models; the interface writes it anew as a whole, without comments."""

    name, folder = "textgen", "textgen/user_data"

    def weights(self, home: Path, id: str) -> Path:
        return self.root(home) / "models" / f"{id}.gguf"

    def sidecar(self, home: Path, id: str = "") -> Path:
        return self.root(home) / "models/config-user.yaml"

    def settings(self, home: Path) -> dict[str, Any]:
        return yaml.safe_load(self.sidecar(home).read_text()) or {} if self.sidecar(home).exists() else {}

    def save(self, home: Path, id: str, **values: Any) -> None:
        """The interface saves what the person has set for a model."""
        settings = self.settings(home)
        settings.setdefault(f"{id}.gguf$", {}).update(values)
        self.write(self.sidecar(home), yaml.dump(settings, sort_keys=False).encode())

    def rename(self, home: Path, old: str, new: str) -> None:
        self.weights(home, new).parent.mkdir(parents=True, exist_ok=True)
        self.weights(home, old).rename(self.weights(home, new))

    def ids(self, home: Path) -> dict[str, Path]:
        models = self.root(home) / "models"
        return {path.relative_to(models).as_posix().removesuffix(".gguf"): path for path in models.rglob("*.gguf")}


TEXTGEN = TextGen()


def eye(seed: int = 70) -> bytes:
    return model_gguf(text("general.type", "mmproj"), architecture="clip", seed=seed)


def test_textgens_own_with_their_projector_and_settings_keep_their_places(life: Callable[[Program], Life]) -> None:
    one = life(TEXTGEN)
    TEXTGEN.write(TEXTGEN.weights(one.home, "sub/gem-F16"), model_gguf(seed=1))
    TEXTGEN.write(TEXTGEN.root(one.home) / "mmproj/mine.gguf", eye())
    TEXTGEN.save(one.home, "gem-F16", loader="llama.cpp", mmproj="mine.gguf", ctx_size=4096)
    before = one.tree()
    one.sync()
    assert one.reads("lmstudio") == {model_gguf(seed=1), eye()}
    assert {name: digest for name, (digest, _) in before.items()}.items() <= {
        name: digest for name, (digest, _) in one.tree().items()}.items()
    assert list(one.ids()) == ["sub/gem-F16"]
    TEXTGEN.rename(one.home, "sub/gem-F16", "gem-F16")
    one.sync()
    assert list(one.ids()) == ["gem-F16"]
    assert set(one.states().values()) == {"linked"}
    one.do(lambda store: store.undo())
    TEXTGEN.rename(one.home, "gem-F16", "sub/gem-F16")
    one.do(lambda store: store.undo())
    assert one.tree() == before


def test_a_projector_that_the_person_chooses_later_makes_it_a_model_that_sees(life: Callable[[Program], Life]) -> None:
    one = life(TEXTGEN)
    TEXTGEN.write(TEXTGEN.weights(one.home, "gem-F16"), model_gguf(seed=1))
    TEXTGEN.write(TEXTGEN.root(one.home) / "mmproj/mine.gguf", eye())
    one.sync()
    assert one.reads("lmstudio") == {model_gguf(seed=1)}
    TEXTGEN.save(one.home, "gem-F16", mmproj="mine.gguf")
    one.sync()
    assert one.names() == ["gem"]
    assert one.reads("lmstudio") == {model_gguf(seed=1), eye()}
    assert list(one.ids()) == ["gem-F16"]


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_what_the_interface_saves_beside_our_settings_stays_when_ours_go(
    life: Callable[[Program], Life], first: str
) -> None:
    one = life(TEXTGEN)
    if first == "theirs":
        TEXTGEN.save(one.home, "other", loader="Transformers")
    one.person.put("loose/gem-F16.gguf", model_gguf(seed=1))
    one.person.put("loose/mmproj-gem-F16.gguf", eye())
    one.do(lambda store: store.share(one.home / "loose/gem-F16.gguf"))
    [projector] = (TEXTGEN.root(one.home) / "mmproj").iterdir()
    assert TEXTGEN.settings(one.home)["gem-F16.gguf$"] == {"mmproj": projector.name}
    for round in range(2):
        TEXTGEN.save(one.home, "other", ctx_size=4096 + round)
        TEXTGEN.save(one.home, "gem-F16", **({"ctx_size": 8192} if round else {}))
        text = TEXTGEN.sidecar(one.home).read_bytes()
        if round:
            one.sync()
        assert TEXTGEN.sidecar(one.home).read_bytes() == text
        assert one.states()["textgen"] == "linked"
        before = one.tree()
        one.do(lambda store: store.hide("gem", "textgen"))
        assert not projector.exists()
        kept = {"loader": "Transformers"} if first == "theirs" else {}
        left = {"other.gguf$": {**kept, "ctx_size": 4096 + round}}
        assert TEXTGEN.settings(one.home) == left | ({"gem-F16.gguf$": {"ctx_size": 8192}} if round else {})
        one.sync()
        one.do(lambda store: store.undo())
        assert one.tree() == before
        assert TEXTGEN.sidecar(one.home).read_bytes() == text
        one.sync()
    one.do(lambda store: store.hide("gem", "textgen"))
    one.do(lambda store: store.unhide("gem", "textgen"))
    assert TEXTGEN.settings(one.home)["gem-F16.gguf$"] == {"ctx_size": 8192, "mmproj": projector.name}


def test_what_jan_imported_from_another_programs_folder_is_jans_too(life: Callable[[Program], Life]) -> None:
    """The file is LM Studio's, Jan only names it: nothing new is put into Jan."""
    one = life(JAN)
    path = one.person.put(".lmstudio/models/acme/Gem-GGUF/gem-F16.gguf", model_gguf(seed=1))
    for moment in ("before", "after"):
        if moment == "after":
            one.sync()
        JAN.write(JAN.sidecar(one.home, f"imported-{moment}"), f"model_path: {path}\n".encode())
    one.sync()
    assert sorted(one.ids()) == ["imported-after", "imported-before"]
    assert one.states("Gem-GGUF")["jan"] == "linked"
    assert one.do(lambda store: store.show("Gem-GGUF")).name == "Gem-GGUF"


def test_a_sidecar_whose_file_is_gone_is_said_with_the_remedy(life: Callable[[Program], Life]) -> None:
    one = life(JAN)
    JAN.put(one.home, "gem", 1).unlink()
    with one.person.open() as store:
        for _ in range(2):
            [issue] = store.sync().issues
            assert (issue.kind, issue.path) == ("incomplete", str(JAN.sidecar(one.home, "gem")))
            assert "Jan" in issue.remedy
    JAN.put(one.home, "gem", 1)
    one.sync()
    assert one.states()["gpt4all"] == "linked"
