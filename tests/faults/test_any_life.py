"""Whatever a person does with files and with helixstore, on two disks, in any order, with any time in between: each of
their files reads as they left it, each model that they claim can be had, and a second sync has nothing to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helixstore import HelixStore
from helixstore.errors import Failed, HelixError
from support.household import gguf
from support.person import Person
from support.soak import SOAK, many, note

_CONTENTS = [gguf(f"any-{number}", ("Q4_K_M", "Q8_0")[number % 2], seed=60 + number) for number in range(4)]
_PLACES = (".lmstudio/models/a/one/x.gguf", ".lmstudio/models/b/two/y.gguf", ".local/share/nomic.ai/GPT4All/z.gguf",
           "Downloads/x.gguf", "@x.gguf", "@y.gguf")
_PROVIDERS = ("lmstudio", "gpt4all", "llamacpp", "ollama")
_LONG_AGO = {"HELIXSTORE_GRACE": "0", "HELIXSTORE_UNDO_WINDOW": "0"}
_EXAMPLES = many(4, 80)


class AnyLife(RuleBasedStateMachine):
    """`have`: place -> content. `claimed`: names that were given to contents which may be nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.folder, self.far = Path(tempfile.mkdtemp(dir=memory)), Path(tempfile.mkdtemp())
        home = self.folder / "home"
        (home / "Downloads").mkdir(parents=True)
        self.person = Person(home)
        HelixStore.init(providers=_PROVIDERS, scan=[home / "Downloads", self.far], environ=self.person.environ)
        self.have: dict[str, int] = {}
        self.claimed: dict[str, int] = {}
        self.steps = 0
        self.detached = self.unplugged = False

    def teardown(self) -> None:
        note("any life", {"operations": self.steps})
        if self.unplugged:
            self.plug()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.far)

    def at(self, place: str) -> Path:
        return self.far / place[1:] if place.startswith("@") else self.person.home / place

    def store(self, later: bool = False) -> HelixStore:
        self.steps += 1
        return HelixStore(environ=self.person.environ | (_LONG_AGO if later else {}))

    # ---- the person ------------------------------------------------------------------------------------------------

    @rule(place=st.sampled_from(_PLACES), content=st.integers(0, 3))
    def download(self, place: str, content: int) -> None:
        """To a new file, which takes the place of what was there."""
        if place.startswith("@") and self.unplugged:
            return
        file = self.at(place)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(_CONTENTS[content])
        os.utime(file, (1_700_000_000, 1_700_000_000))
        self.have[place] = content

    @precondition(lambda self: self.here())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.here())))
        self.at(place).unlink()
        del self.have[place]

    def here(self) -> dict[str, int]:
        """What lies on a disk that is plugged in."""
        return {place: content for place, content in self.have.items() if not (self.unplugged and place[0] == "@")}

    @precondition(lambda self: not self.unplugged)
    @rule(mount_point=st.booleans())
    def unplug(self, mount_point: bool) -> None:
        """The other disk; an empty folder may be left where it was mounted."""
        self.far.rename(f"{self.far}.unplugged")
        if mount_point:
            self.far.mkdir()
        self.unplugged = True

    @precondition(lambda self: self.unplugged)
    @rule()
    def plug(self) -> None:
        if self.far.exists():
            self.far.rmdir()
        Path(f"{self.far}.unplugged").rename(self.far)
        self.unplugged = False

    # ---- helixstore ------------------------------------------------------------------------------------------------

    @rule()
    def sync(self) -> None:
        with self.store() as store:
            store.sync()
            again = store.sync()
            assert again.nothing, again

    @rule(content=st.integers(0, 3))
    def add_and_throw_away(self, content: int) -> None:
        """Only the store has it then, under a name of its own."""
        file = self.person.put(f"elsewhere/{content}.gguf", _CONTENTS[content])
        name = f"mine-{content}"
        with self.store() as store:
            store.add(file, name=name)
            if any(model.name == name for model in store.shared_models()):      # known under another name otherwise
                self.claimed[name] = content
        file.unlink()

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.claimed)))
        with self.store() as store:
            store.remove(name)
        del self.claimed[name]

    @rule(provider=st.sampled_from(_PROVIDERS), hide=st.booleans(), data=st.data())
    def hide_or_unhide(self, provider: str, hide: bool, data: st.DataObject) -> None:
        with self.store() as store:
            names = sorted(model.name for model in store.shared_models())
            if names:
                (store.hide if hide else store.unhide)(data.draw(st.sampled_from(names)), provider)

    @rule(several=st.integers(1, 3))
    def undo(self, several: int) -> None:
        """A name may go with the operation that made it, or come back."""
        with self.store() as store:
            if any(one["undoable"] for one in store.log()):
                store.undo(several)
            left = {model.name for model in store.shared_models()}
        self.claimed = {name: content for name, content in self.claimed.items() if name in left}

    @precondition(lambda self: not self.unplugged)
    @rule(provider=st.sampled_from((None, *_PROVIDERS)))
    def leave_and_come_back(self, provider: str | None) -> None:
        with self.store() as store:
            store.leave(provider)
            for place in self.have if provider is None else ():
                assert not self.at(place).is_symlink()
                assert self.at(place).stat().st_nlink == 1
            for name in _PROVIDERS:
                store.set_provider(name, on=True)

    @rule(provider=st.sampled_from(_PROVIDERS), on=st.booleans())
    def switch(self, provider: str, on: bool) -> None:
        with self.store() as store:
            store.set_provider(provider, on=on)

    @rule(rounds=st.integers(1, 3), now=st.booleans())
    def much_later(self, rounds: int, now: bool) -> None:
        """Nothing can be undone any more, and what nobody claims goes."""
        with self.store(later=True) as store:
            for _ in range(rounds):
                store.gc(now=now)

    @rule()
    def start_anew(self) -> None:
        with self.store() as store:
            store.reindex()

    @precondition(lambda self: not self.unplugged)
    @rule(always=st.booleans())
    def attach(self, always: bool) -> None:
        with self.store() as store:
            store.volumes.add(self.far, name="far", always=always)
        self.detached = False

    @precondition(lambda self: self.is_volume() and not self.detached)
    @rule()
    def detach(self) -> None:
        with self.store() as store:
            store.volumes.detach("far")
        self.detached = True

    def is_volume(self) -> bool:
        return any((folder / "helixstore").exists() for folder in (self.far, Path(f"{self.far}.unplugged")))

    @precondition(lambda self: self.is_volume() and not self.detached and not self.unplugged)
    @rule(data=st.data(), there=st.booleans())
    def move(self, data: st.DataObject, there: bool) -> None:
        with self.store() as store:
            names = sorted(model.name for model in store.shared_models())
            if names:
                with contextlib.suppress(Failed):       # a link to that disk is not allowed in some program's folder
                    store.volumes.move(data.draw(st.sampled_from(names)), "far" if there else "main")

    # ---- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def what_the_person_has_is_there(self) -> None:
        for place, content in self.here().items():
            if self.unplugged and self.leads_there(self.at(place)):
                continue
            assert self.at(place).read_bytes() == _CONTENTS[content], place

    @invariant()
    def what_is_claimed_can_be_had(self) -> None:
        if self.claimed:
            with self.store() as store:
                for name, content in self.claimed.items():
                    try:
                        data = store.path(name).read_bytes()
                    except HelixError as error:
                        if self.detached or self.unplugged:
                            continue
                        if error.remedy != "helixstore sync":
                            raise
                        store.sync()                    # everything was left, and no sync since, or it was undone
                        data = store.path(name).read_bytes()
                    assert data == _CONTENTS[content], name

    @invariant()
    def no_link_leads_nowhere(self) -> None:
        for folder, _, names in os.walk(self.person.home):
            for name in names:
                path = Path(folder, name)
                assert path.exists() or (self.unplugged and self.leads_there(path)), path

    def leads_there(self, path: Path) -> bool:
        """Whether it is a link to the disk that is not there."""
        return path.is_symlink() and str(self.far) in os.path.realpath(path)


TestAnyLife = pytest.mark.timeout(7200 if SOAK else 180)(AnyLife.TestCase)
TestAnyLife.settings = settings(max_examples=_EXAMPLES, stateful_step_count=14, deadline=None, derandomize=not SOAK,
                                suppress_health_check=list(HealthCheck))
