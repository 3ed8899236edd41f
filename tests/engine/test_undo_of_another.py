"""An open session takes back what another process did meanwhile: names too, which its index has not seen yet."""

from __future__ import annotations

from collections import Counter

import pytest

from helixstore.farm.apply import Executor
from helixstore.places import Places
from helixstore.store.refs import current
from helixstore.store.store import Store
from support.person import Person
from support.raw import model_gguf


def test_the_name_that_another_process_gave_is_taken_back(synced: Person) -> None:
    with synced.open() as first:
        assert "new" not in [model.name for model in first.shared_models()]
        path = synced.put("models/new-F16.gguf", model_gguf(seed=3))
        with synced.open() as second:
            second.sync()
            assert "new" in [model.name for model in second.shared_models()]
        report = first.undo()
        assert report.issues == ()
        assert "new" not in [model.name for model in first.shared_models()]
    with synced.open() as later:
        assert "new" not in [model.name for model in later.shared_models()]
    assert path.read_bytes() == model_gguf(seed=3)


def test_the_version_that_another_process_brought_is_taken_back(synced: Person) -> None:
    path = synced.home / "models/other-F16.gguf"
    with synced.open() as first:
        assert first.path("other").read_bytes() == model_gguf(seed=2)
        path.unlink()
        path.write_bytes(model_gguf(seed=9))
        with synced.open() as second:
            second.sync()
        report = first.undo()
        assert report.issues == ()
        assert first.path("other").read_bytes() == model_gguf(seed=2)


@pytest.mark.parametrize("then", ["sync", "undo"])
def test_an_operation_that_was_cut_short_after_its_names_is_finished_in_the_same_session(
    synced: Person, monkeypatch: pytest.MonkeyPatch, then: str,
) -> None:
    """Each name is claimed once, by a claim that supersedes what the cut one had published."""
    path = synced.home / "models/other-F16.gguf"
    path.unlink()
    path.write_bytes(model_gguf(seed=9))
    real = Executor.look_again
    with synced.open() as store:
        def cut(executor: Executor) -> None:
            monkeypatch.setattr(Executor, "look_again", real)
            raise KeyboardInterrupt
        monkeypatch.setattr(Executor, "look_again", cut)
        with pytest.raises(KeyboardInterrupt):
            store.sync()
        store.sync()
        wanted = 9
        if then == "undo":
            store.undo()
            wanted = 2
        assert store.path("other").read_bytes() == model_gguf(seed=wanted)
        opened = Store.open(store.folder, Places.of(synced.environ).host())
        by_name = Counter((ref.name, ref.variant) for ref in current(opened.refs.scan()[0]))
        assert set(by_name.values()) == {1}, by_name
        assert store.sync().issues == ()
