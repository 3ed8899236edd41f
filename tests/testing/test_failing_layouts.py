"""A layout that fails in one of its methods: the person is told, its folder stays as it is, and the others work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from helixstore import HelixStore
from support.disks import in_memory  # noqa: F401 - a test's folder in memory
from support.person import GGUF, Person
from support.raw import model_gguf


def folder(person: Person) -> dict[str, tuple[str, int]]:
    return {path: one for path, one in person.tree().items() if path.startswith("inhouse/")}


@pytest.mark.parametrize("method", ["roots", "accepts", "project", "discover", "drifted"])
def test_the_others_work_on_and_what_it_has_made_stays(person: Person, method: str) -> None:
    module = Path(HelixStore.new_layout("inhouse", environ=person.environ).path)
    person.put("inhouse/models/own.gguf", model_gguf(seed=5))
    HelixStore.init(providers=["inhouse", "lmstudio"], environ=person.environ)
    person.put(".lmstudio/models/acme/a-GGUF/a-F16.gguf", GGUF)
    with person.open() as store:
        assert store.sync().issues == ()
    person.put("inhouse/models/notes.txt", b"mine")         # so that there is something to look at
    before = folder(person)
    assert len(before) == 3

    module.write_text(module.read_text() + f"\n    def {method}(self, *_):\n        raise ValueError('broken')\n")
    person.put(".lmstudio/models/acme/b-GGUF/b-F16.gguf", model_gguf(seed=6))
    said = HelixStore.survey(environ=person.environ).issues
    assert [issue.kind for issue in said] == (["layout"] if method in ("roots", "discover") else [])
    with person.open() as store:
        report = store.sync()
        assert [issue for issue in report.issues if "broken" in issue.message and "inhouse" in str(issue)]
        assert {model.name for model in store.shared_models()} == {"own", "a-GGUF", "b-GGUF"}
        assert folder(person).keys() - before.keys() <= {"inhouse/models/b-GGUF-F16.gguf"}
        assert before.items() <= folder(person).items()


def test_doctor_names_a_layout_that_cannot_be_loaded(person: Person) -> None:
    HelixStore.init(providers=["lmstudio"], environ=person.environ)
    person.put(".config/helixstore/layouts/mine.py", b"class Mine(:\n")
    with person.open() as store:
        assert [check.message for check in store.doctor() if check.name == "layouts" and "mine.py" in check.message]
