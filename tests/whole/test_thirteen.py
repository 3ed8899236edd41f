"""Sixty models in thirteen programs: one sync, and each program lists what it can run, in one copy; undo, and all is as
it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.places import Places
from helixstore.settings import set_value
from support import seen
from support.disks import fresh_folder
from support.household import Household, made
from support.person import Person

#: where each program looks in this home
ROOTS = {
    "ollama": ".ollama/models", "vllm": ".cache/huggingface/hub", "mlx": ".cache/huggingface/hub",
    "lmstudio": ".lmstudio/models", "jan": ".local/share/Jan/data", "gpt4all": ".local/share/nomic.ai/GPT4All",
    "localai": ".localai/models", "llamacpp": "llama-models", "textgen": "textgen/user_data", "koboldai": "kobold",
    "tabbyapi": "tabby", "fastchat": "fastchat", "mistralrs": "mistralrs",
}
#: those that are told their folder
TOLD = ("llamacpp", "koboldai", "tabbyapi", "fastchat", "mistralrs")
_GGUF = {"gguf", "shards", "iq", "new"}
#: kinds of models that each can run on Linux (providers' sources; GPT4All's list of architectures has no gemma3)
RUNS = {
    "ollama": {"gguf", "iq", "new", "tower"}, "lmstudio": _GGUF, "jan": _GGUF, "llamacpp": _GGUF, "koboldai": _GGUF,
    "gpt4all": {"gguf", "iq"}, "localai": _GGUF | {"hf", "gptq", "awq"}, "textgen": _GGUF | {"hf", "exl3"},
    "tabbyapi": {"hf", "exl3"}, "fastchat": {"hf"}, "mistralrs": {"gguf", "shards", "new"},
    "vllm": {"hf", "gptq", "awq"}, "mlx": {"hf", "gptq", "awq", "mlx"},
}


@pytest.fixture(scope="module", params=["hard links", "symlinks"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    folder = fresh_folder(Path("/dev/shm") if os.path.isdir("/dev/shm") else None)
    yield World(folder, symbolic=request.param == "symlinks")
    shutil.rmtree(folder)


class World:
    """The household before, and after a sync; `symbolic`: the person allows helixstore no other kind of link."""

    def __init__(self, folder: Path, symbolic: bool) -> None:
        home = folder / "home"
        home.mkdir()
        self.house: Household = made(home)
        self.person = Person(home)
        self.before = self.person.tree(own=False)
        self.views = self.look()
        self.spare = _spare(self.house)
        self.details = seen.ollama_details(home / ROOTS["ollama"])
        HelixStore.init(every=True, scan=[home / "Downloads"], environ=self.person.environ)
        for program in ROOTS if symbolic else ():
            set_value(Places.of(self.person.environ), f"providers.{program}.links", ["symlink"])
        for program in TOLD:
            set_value(Places.of(self.person.environ), f"providers.{program}.root", str(home / ROOTS[program]))
        self.folders = self.person.folders()
        with self.person.open() as store:
            self.preview = store.sync(dry_run=True)
            self.report = store.sync()

    def look(self) -> dict[str, seen.View]:
        return {program: view(self.house.home / ROOTS[program]) for program, view in seen.VIEWS.items()}


def _spare(house: Household) -> int:
    """Bytes of the second, third, ... copies of weights and projectors."""
    sizes: dict[str, list[int]] = {}
    for folder, _, names in os.walk(house.home):
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink() and (seen.digest(path) in house.copies or path.read_bytes()[:4] == b"GGUF"):
                sizes.setdefault(seen.digest(path), []).append(path.stat().st_size)
    return sum(sum(found[1:]) for found in sizes.values())


def test_the_household_is_a_realistic_one(world: World) -> None:
    assert world.house.models >= 60
    assert sum(count - 1 for count in world.house.copies.values()) >= 20, "a third of it is there several times"
    assert all(world.views.values()), "each of the thirteen has something of its own"


def test_only_what_is_broken_is_an_issue_and_what_stays_is_explained(world: World) -> None:
    assert [(issue.kind, Path(issue.path).name) for issue in world.report.issues] == [("incomplete", "half.gguf")]
    assert any("cut-up" in note for note in world.report.notes)


def test_the_dry_run_said_what_the_sync_then_did(world: World) -> None:
    assert world.preview.saved_bytes == world.report.saved_bytes > 0
    assert {one.path for one in world.preview.adopted} == {one.path for one in world.report.adopted}


@pytest.mark.parametrize("program", sorted(RUNS))
def test_each_program_lists_all_that_it_can_run_and_nothing_else(world: World, program: str) -> None:
    wanted = {weights for weights, kind in world.house.kinds.items() if kind in RUNS[program]}
    listed = set(seen.VIEWS[program](world.house.home / ROOTS[program]).values())
    assert wanted <= listed, [world.house.kinds[weights] for weights in wanted - listed]
    if program not in ("vllm", "mlx"):
        assert listed <= wanted | set(world.views[program].values())
    assert listed <= world.house.kinds.keys()


@pytest.mark.parametrize("program", sorted(RUNS))
def test_what_a_program_had_is_there_under_the_same_name(world: World, program: str) -> None:
    now = seen.VIEWS[program](world.house.home / ROOTS[program])
    assert world.views[program].items() <= now.items()


def test_templates_parameters_and_prompts_are_as_they_were(world: World) -> None:
    now = seen.ollama_details(world.house.home / ROOTS["ollama"])
    assert world.details.items() <= now.items()
    assert any("system" in layers for layers in world.details.values())


def test_every_content_of_weights_is_on_disk_once(world: World) -> None:
    inodes: dict[str, set[int]] = {}
    for folder, _, names in os.walk(world.house.home):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink() and (digest := seen.digest(path)) in world.house.copies:
                inodes.setdefault(digest, set()).add(path.stat().st_ino)
    assert {digest for digest, found in inodes.items() if len(found) > 1} == set()
    assert inodes.keys() == world.house.copies.keys()


def test_what_was_freed_is_what_lay_there_twice(world: World) -> None:
    assert world.report.saved_bytes == world.spare


def test_no_link_leads_nowhere(world: World) -> None:
    dangling = [path for path in world.house.home.rglob("*") if path.is_symlink() and not path.exists()]
    assert dangling == []


def test_again_there_is_nothing_to_do_and_the_store_is_whole(world: World) -> None:
    with world.person.open() as store:
        assert store.sync().nothing
        assert not store.verify().bad
        assert store.sync().nothing


def test_last_of_all_undo_gives_every_byte_and_mode_back(world: World) -> None:
    with world.person.open() as store:
        store.undo(1)
    assert world.person.tree(own=False) == world.before
    assert world.person.folders() == world.folders
    assert world.look() == world.views
