"""A folder that has changed its shape: nothing is taken in, made or removed there, it is said, and it passes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.providers.layout import Layout
from helixstore.session import Session
from helixstore.sync.change import change
from helixstore.sync.wanted import Change
from support.disks import in_memory  # noqa: F401 - a test's folder in memory
from support.models import tiny_hf
from support.person import GGUF, Person
from support.raw import model_gguf


def ollama(home: Path) -> None:
    (home / ".ollama/models/manifests/index.json").write_text("{}")


def hub(home: Path) -> None:
    (home / ".cache/huggingface/hub/version.txt").write_text("2\n")


def lmstudio(home: Path) -> None:
    for name in ("blobs", "manifests"):
        (home / ".lmstudio/models" / name).mkdir()


def jan(home: Path) -> None:
    data = home / ".local/share/Jan/data"
    shutil.move(data / "llamacpp", home / "aside")
    (data / "models/tinyllama").mkdir(parents=True)
    (data / "models/tinyllama/model.yml").write_text("name: tinyllama\n")


@pytest.mark.parametrize(("provider", "root", "spoil", "said"), [
    ("ollama", ".ollama/models", ollama, "files lie in manifests"),
    ("vllm", ".cache/huggingface/hub", hub, "later than version 1"),
    ("lmstudio", ".lmstudio/models", lmstudio, "as the folder of Ollama does"),
    ("jan", ".local/share/Jan/data", jan, "0.6.4 or older"),
])
def test_nothing_is_done_in_a_folder_that_has_drifted(
    person: Person, provider: str, root: str, spoil: Callable[[Path], None], said: str
) -> None:
    person.put("models/small-F16.gguf", GGUF)
    tiny_hf(person.home / "models/tiny")
    HelixStore.init(providers=[provider, "gpt4all"], scan=[person.home / "models"], environ=person.environ)
    with person.open() as store:
        assert store.sync().issues == ()
    spoil(person.home)
    before = {path: what for path, what in person.tree().items() if path.startswith(root)}
    assert before
    person.put("models/other-F16.gguf", model_gguf(seed=7))
    with person.open() as store:
        report = store.sync()
        assert [(issue.kind, said in issue.message) for issue in report.issues] == [("drifted", True)]
        assert f"providers off {provider}" in report.issues[0].remedy
        found = [check for check in store.doctor() if check.name == provider and check.state == "problem"]
        assert len(found) == 1
        assert said in found[0].message
        again = store.sync()
        assert again.nothing
        assert [issue.kind for issue in again.issues] == ["drifted"]
    assert {path: what for path, what in person.tree().items() if path.startswith(root)} == before
    assert any("other" in path for path in person.tree() if "GPT4All" in path), "the others go on"


def test_work_goes_on_when_the_folder_is_as_it_was(person: Person) -> None:
    person.put("models/small-F16.gguf", GGUF)
    HelixStore.init(providers=["lmstudio"], scan=[person.home / "models"], environ=person.environ)
    (person.home / ".lmstudio/models").mkdir(parents=True)
    lmstudio(person.home)
    with person.open() as store:
        assert [issue.kind for issue in store.sync().issues] == ["drifted"]
        for name in ("blobs", "manifests"):
            (person.home / ".lmstudio/models" / name).rmdir()
        report = store.sync()
    assert report.issues == ()
    assert any(path.endswith("small-F16.gguf") for path in person.tree() if path.startswith(".lmstudio"))


@pytest.mark.parametrize("method", ["drifted", "discover"])
def test_a_layout_that_fails_there_stops_nobody_else(
    person: Person, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.put("models/small-F16.gguf", GGUF)
    HelixStore.init(providers=["jan", "gpt4all"], scan=[person.home / "models"], environ=person.environ)
    session = Session(person.environ)

    def fails(*_: object) -> object:
        raise ValueError("of its own")

    layouts: dict[str, Layout] = session.layouts
    monkeypatch.setattr(type(layouts["jan"]), method, fails)
    report = change(session, Change())
    session.close()
    assert any("of its own" in issue.message for issue in report.issues)
    assert any("GPT4All" in path for path in person.tree())
