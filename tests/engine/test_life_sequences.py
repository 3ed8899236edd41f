"""Whatever a person does inside three programs, in any order: each sync leaves what they have, loses no bytes, shows
every model to a program that nobody touches, and has nothing to do when asked again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helixstore import HelixStore
from support import seen
from support.disks import fresh_folder
from support.household import Household, gguf
from support.person import Person

CONTENTS = [gguf(f"life-{number}", ("Q4_K_M", "Q8_0")[number % 2], seed=80 + number) for number in range(4)]
PLACES = [".lmstudio/models/a/one/x.gguf", ".lmstudio/models/a/two/y.gguf", ".lmstudio/models/b/one/x.gguf",
          ".local/share/nomic.ai/GPT4All/x.gguf", ".local/share/nomic.ai/GPT4All/z.gguf", "Downloads/x.gguf"]
TAGS = [("gem", "latest"), ("gem", "1b"), ("ruby", "latest")]


class Life(RuleBasedStateMachine):
    """`have`: place -> content, as the person knows it; for Ollama the place is the tag."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = fresh_folder(Path("/dev/shm") if os.path.isdir("/dev/shm") else None)
        home = self.folder / "home"
        home.mkdir()
        (home / "Downloads").mkdir()
        self.person = Person(home)
        self.house = Household(home)
        HelixStore.init(providers=["lmstudio", "gpt4all", "ollama", "llamacpp"], scan=[home / "Downloads"],
                        environ=self.person.environ)
        self.have: dict[str, int] = {}
        self.once: set[int] = set()
        self.synced = True

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # ---- what the person does ----------------------------------------------------------------------------------------

    @rule(place=st.sampled_from(PLACES), content=st.integers(0, len(CONTENTS) - 1))
    def download(self, place: str, content: int) -> None:
        """To a new file that takes the place of what was there, as all of these programs do it."""
        target = self.person.home / place
        target.unlink(missing_ok=True)
        self.person.put(place, CONTENTS[content])
        self._has(place, content)

    @precondition(lambda self: any(not place.startswith("tag ") for place in self.have))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(place for place in self.have if not place.startswith("tag "))))
        (self.person.home / place).unlink()
        self._has(place, None)

    @precondition(lambda self: any(not place.startswith("tag ") for place in self.have))
    @rule(data=st.data(), to=st.sampled_from(PLACES))
    def move(self, data: st.DataObject, to: str) -> None:
        place = data.draw(st.sampled_from(sorted(place for place in self.have if not place.startswith("tag "))))
        if place != to:
            (self.person.home / to).parent.mkdir(parents=True, exist_ok=True)
            (self.person.home / place).replace(self.person.home / to)
            self._has(to, self.have[place])
            self._has(place, None)

    @rule(tag=st.sampled_from(TAGS), content=st.integers(0, len(CONTENTS) - 1), system=st.sampled_from(["", "Hush."]))
    def pull(self, tag: tuple[str, str], content: int, system: str) -> None:
        """Ollama pulls or creates: blobs that are there stay, the manifest is written anew."""
        root = self.person.home / ".ollama/models"
        blob = root / "blobs" / f"sha256-{seen.sha256(CONTENTS[content])}"
        kept = blob.rename(blob.with_name("kept")) if blob.exists() else None
        self.house.ollama(*tag, CONTENTS[content], **({"system": system} if system else {}))
        if kept is not None:
            kept.replace(blob)
        self._prune()
        self._has(f"tag {'/'.join(tag)}", content)

    @precondition(lambda self: any(place.startswith("tag ") for place in self.have))
    @rule(data=st.data())
    def remove_tag(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(place for place in self.have if place.startswith("tag "))))
        self._manifest(place).unlink()
        self._prune()
        self._has(place, None)

    def _manifest(self, place: str) -> Path:
        name, tag = place.removeprefix("tag ").split("/")
        return next((self.person.home / ".ollama/models/manifests").glob(f"*/library/{name}/{tag}"))

    def _prune(self) -> None:
        """As `ollama rm` and a start of the server do."""
        root = self.person.home / ".ollama/models"
        named = {digest for path in (root / "manifests").glob("*/*/*/*") for digest in seen.ollama_digests(path)}
        for blob in (root / "blobs").iterdir():
            if blob.name not in named:
                blob.unlink()

    def _has(self, place: str, content: int | None) -> None:
        if content is None:
            self.have.pop(place, None)
        else:
            self.have[place] = content
            self.once.add(content)
        self.synced = False

    # ---- what helixstore does ----------------------------------------------------------------------------------------

    @rule()
    def sync(self) -> None:
        with self.person.open() as store:
            assert not store.sync().issues
            assert store.sync().nothing, "a second one has nothing to do"
        self.synced = True

    @invariant()
    def what_the_person_has_is_there(self) -> None:
        for place, content in self.have.items():
            if not place.startswith("tag "):
                assert (self.person.home / place).read_bytes() == CONTENTS[content]
        listed = seen.VIEWS["ollama"](self.person.home / ".ollama/models")
        for place, content in self.have.items():
            if place.startswith("tag "):
                name = place.replace("tag ", "/library/")
                [weights] = [one for listing, one in listed.items() if listing.endswith(name)]
                assert weights == (seen.sha256(CONTENTS[content]),)

    @invariant()
    def after_a_sync_everything_is_shared(self) -> None:
        if self.synced and self.have:
            with self.person.open() as store:
                [root] = [one.root for one in store.status().providers if one.name == "llamacpp"]
            shown = {weights[0] for weights in seen.VIEWS["llamacpp"](Path(root)).values()}
            assert shown >= {seen.sha256(CONTENTS[content]) for content in self.have.values()}


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=14, deadline=None, derandomize=True,
                             suppress_health_check=list(HealthCheck))
