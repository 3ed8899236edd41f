"""Whatever two people, who are two users of the machine, do with one store: each of them has their files and their
models, nobody sees a link that leads nowhere, and a second sync has nothing to do."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.household import gguf
from support.people import People, User, founded, people
from support.soak import SOAK, many, note

_CONTENTS = [gguf(f"lab-{number}", ("Q4_K_M", "Q8_0")[number % 2], seed=80 + number) for number in range(3)]
_PLACES = (".lmstudio/models/a/one/x.gguf", ".lmstudio/models/b/two/y.gguf", ".local/share/nomic.ai/GPT4All/z.gguf")
_WHO = st.sampled_from(("ana", "ben"))
_CONTENT = st.integers(0, len(_CONTENTS) - 1)
_LONG_AGO = {"HELIXSTORE_GRACE": "0", "HELIXSTORE_UNDO_WINDOW": "0"}


class AnyLab(RuleBasedStateMachine):
    """`have`: person and place -> content; `claimed`: person and name -> content, which may be nowhere else. The store
    is a third person's, its steward's."""

    lab: ClassVar[People]

    def __init__(self) -> None:
        super().__init__()
        self.have: dict[tuple[str, str], int] = {}
        self.claimed: dict[tuple[str, str], int] = {}
        self.steps = 0
        founded(self.lab, self.lab.cleo)
        for name in ("ana", "ben"):
            for place in _PLACES:
                self.user(name).put(place, b"").unlink()

    def teardown(self) -> None:
        note("any life of two people", {"operations": self.steps})
        for user in self.lab.members.values():
            for path in user.home.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in (self.lab.store, self.lab.folder / "etc"):
            shutil.rmtree(folder)

    def user(self, name: str) -> User:
        return self.lab.members[name]

    def types(self, name: str, *words: str, later: bool = False) -> dict[str, Any]:
        """Run a command, which succeeds or has issues."""
        self.steps += 1
        user = self.user(name)
        user.environ |= _LONG_AGO if later else {}
        try:
            return user.document(*words, expect=(0, 3))
        finally:
            for word in _LONG_AGO if later else ():
                del user.environ[word]

    # ---- files -------------------------------------------------------------------------------------------------------

    @rule(who=_WHO, place=st.sampled_from(_PLACES), content=_CONTENT)
    def download(self, who: str, place: str, content: int) -> None:
        (self.user(who).home / place).unlink(missing_ok=True)
        self.user(who).put(place, _CONTENTS[content])
        self.have[who, place] = content

    @precondition(lambda self: self.have)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        who, place = data.draw(st.sampled_from(sorted(self.have)))
        (self.user(who).home / place).unlink()
        del self.have[who, place]

    # ---- helixstore --------------------------------------------------------------------------------------------------

    @rule(who=_WHO)
    def sync(self, who: str) -> None:
        self.types(who, "sync", "--yes")
        assert self.types(who, "sync", "--yes")["actions"] == []

    @rule(who=_WHO, content=_CONTENT)
    def add_and_throw_away(self, who: str, content: int) -> None:
        """Shared by name; only the store has it then."""
        file, name = self.user(who).put(f"elsewhere/{content}.gguf", _CONTENTS[content]), f"{who}-{content}"
        self.types(who, "add", str(file), "--name", name)
        if any(model["name"] == name for model in self.types(who, "list")["models"]):
            self.claimed[who, name] = content
        file.unlink()

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        who, name = data.draw(st.sampled_from(sorted(self.claimed)))
        self.types(who, "remove", name, "--yes")
        del self.claimed[who, name]

    @rule(who=_WHO)
    def undo(self, who: str) -> None:
        if any(one["undoable"] for one in self.types(who, "log")["operations"]):
            self.types(who, "undo", "--yes")
        left = {model["name"] for model in self.types(who, "list")["models"]}
        self.claimed = {key: content for key, content in self.claimed.items() if key[0] != who or key[1] in left}

    @rule(who=st.sampled_from(("ana", "ben", "cleo")), now=st.booleans())
    def much_later(self, who: str, now: bool) -> None:
        """One of them, or the steward, collects what nobody claims."""
        self.types(who, "gc", *(["--now", "--yes"] if now else []), later=True)

    @rule(who=st.sampled_from(("ana", "ben", "cleo")))
    def look_it_through(self, who: str) -> None:
        assert self.types(who, "verify")["issues"] == []

    @rule(who=_WHO)
    def start_anew(self, who: str) -> None:
        self.types(who, "reindex")

    @rule(who=_WHO, provider=st.sampled_from(("lmstudio", "gpt4all")))
    def leave_and_come_back(self, who: str, provider: str) -> None:
        self.types(who, "leave", "--provider", provider, "--yes")
        self.types(who, "providers", "on", provider)

    # ---- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def what_they_have_is_there_for_them(self) -> None:
        for (who, place), content in self.have.items():
            assert self.user(who).reads(self.user(who).home / place) == _CONTENTS[content], (who, place)

    @invariant()
    def what_they_claim_they_can_have(self) -> None:
        for (who, name), content in self.claimed.items():
            assert self.user(who).reads(self.user(who).helix("path", name).strip()) == _CONTENTS[content], (who, name)

    @invariant()
    def no_link_leads_nowhere(self) -> None:
        for user in self.lab.members.values():
            for folder, _, names in os.walk(user.home):
                assert all(os.path.exists(f"{folder}/{name}") for name in names), folder

    @invariant()
    def nobody_writes_what_is_anothers(self) -> None:
        for path in (self.lab.store / "blobs").glob("*/*"):
            assert not path.stat().st_mode & 0o222, path


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0 or not shutil.which("useradd"),
                    reason="needs root and useradd, to make people")
@pytest.mark.timeout(7200 if SOAK else 180)
class TestAnyLab(AnyLab.TestCase):      # type: ignore[name-defined,misc]
    """With accounts for as long as the tests take."""

    settings = settings(max_examples=many(2, 60), stateful_step_count=12 if SOAK else 8, deadline=None,
                        derandomize=not SOAK, suppress_health_check=list(HealthCheck))
    _accounts: ClassVar[ExitStack]

    @classmethod
    def setUpClass(cls) -> None:
        cls._accounts = ExitStack()
        AnyLab.lab = cls._accounts.enter_context(people({"ana": 0o022, "ben": 0o077, "cleo": 0o022}))

    @classmethod
    def tearDownClass(cls) -> None:
        cls._accounts.close()
