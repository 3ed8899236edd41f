"""Later revisions on the hub, and the way back: only what changed is fetched, and old versions are there as said."""

from __future__ import annotations

from pathlib import Path

import pytest
from registries import ollama_model, weights_shown
from repository import MIB, repository, weights

from helixstore.errors import Failed, NotFound
from helixstore.store.hashing import hash_bytes
from support import household
from support.hub import Repository, hub
from support.ollama import OllamaFolder
from support.person import Person, spoil
from support.registry import StandIn, serve
from support.typist import typed

LATER = "2aaa1ff61fdd41a1ea0ea81799d23522f379b2ff"
MODEL, FILE = "small-GGUF", "small-F16.gguf"


def bytes_of(person: Person, model: str) -> dict[str, set[bytes]]:
    """Variant -> what programs read of it."""
    with person.open() as store:
        return {variant.id: {Path(path).read_bytes() for one in variant.providers.values() if one.state == "linked"
                             for path in one.paths if path.endswith(".gguf")}
                for variant in store.show(model).variants}


@pytest.fixture
def old(online: Person, served: Repository) -> bytes:
    """Downloaded, then one file of the repository has changed, and its words."""
    with online.open() as store:
        store.download(f"hf:{served.name}", quantization="all")
    before = served.files[FILE].read_bytes()
    served.commit = LATER
    served.files[FILE].write_bytes(weights(3, 20))
    served.files["README.md"].write_text("# better\n")
    served.sent.clear()
    return before


def forgotten(online: Person) -> None:
    """The update is so long ago that it cannot be undone any more."""
    online.environ |= {"HELIXSTORE_GRACE": "0", "HELIXSTORE_UNDO_WINDOW": "0"}
    with online.open() as store:
        store.update()
        store.pin(MODEL)
        store.unpin(MODEL)


def test_an_update_fetches_the_file_that_changed_and_all_programs_show_it(
    online: Person, served: Repository, old: bytes,
) -> None:
    with online.open() as store:
        checked = store.update(check=True)
        assert [(one.variant, one.state, one.changed) for one in checked.updates] == [
            ("gguf:F16", "new", (FILE,)), ("gguf:Q8_0", "current", ())]
        assert served.sent == {}
        done = store.update()
    assert [(one.variant, one.state) for one in done.updates] == [("gguf:F16", "updated"), ("gguf:Q8_0", "current")]
    assert "has new content, from acme/small-GGUF at 2aaa1ff6;" in done.syncs[0].notes[0]
    assert set(served.sent) == {FILE}
    assert bytes_of(online, MODEL)["gguf:F16"] == {served.files[FILE].read_bytes()}
    with online.open() as store:
        assert store.sync().nothing
        assert {one.state for one in store.update(check=True).updates} == {"current"}


@pytest.mark.parametrize("kind", ["gguf", "hf"])
def test_later_commits_that_change_words_only_are_nothing_new(
    person: Person, tmp_path: Path, kind: str,
) -> None:
    """README and licence of a model of safetensors are in the store, and still make no later version of it."""
    files = household.hf("a", 1) if kind == "hf" else {FILE: weights(1, 1)}
    served = repository(tmp_path, "acme/a", files | {"README.md": b"# a", "LICENSE": b"Do as you like."})
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.download("hf:acme/a")
        served.commit = LATER
        served.files["README.md"].write_bytes(b"# better")
        del served.files["LICENSE"]
        (tmp_path / "NOTICE").write_bytes(b"Notice.")
        served.files["NOTICE"] = tmp_path / "NOTICE"
        served.sent.clear()
        said = typed("update", "--check", environ=person.environ, check=True).stdout
        assert "the latest: later commits change no file of the model" in said
        with person.open() as store:
            assert [(one.state, one.latest) for one in store.update().updates] == [("current", LATER)]
    assert served.sent == {}


def test_of_a_version_that_is_named_it_says_how_it_stays_and_a_pin_keeps_it(online: Person, served: Repository) -> None:
    with online.open() as store:
        assert "helixstore pin" not in store.download(f"hf:{served.name}", quantization="Q8_0").why
        told = store.download(f"hf:{served.name}@{served.commit}", quantization="F16").why
        assert told.endswith(f"to stay at {served.commit}: helixstore pin {MODEL}")
        store.pin(f"{MODEL}:F16")
        served.commit = LATER
        served.files[FILE].write_bytes(weights(3, 20))
        assert "pinned" in {one.state for one in store.update().updates}
        assert store.show(f"{MODEL}:F16").variants[0].pinned


def test_going_back_and_forth_downloads_nothing(online: Person, served: Repository, old: bytes) -> None:
    with online.open() as store:
        store.update()
        served.sent.clear()
        store.rollback(f"{MODEL}:F16")
        assert store.sync().nothing
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}
    with online.open() as store:
        versions = [(one.revision[:4], one.current, one.here) for one in store.history(f"{MODEL}:F16")]
        assert versions == [("1edf", True, True), ("2aaa", False, True), ("1edf", False, True)]
        store.rollback(f"{MODEL}:F16", LATER[:6])
    assert bytes_of(online, MODEL)["gguf:F16"] == {served.files[FILE].read_bytes()}
    with online.open() as store:
        store.undo()
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}
    assert served.sent == {}


def test_going_back_twice_leads_two_versions_back(online: Person, served: Repository, old: bytes) -> None:
    variant, third = f"{MODEL}:F16", "3bbb1ff61fdd41a1ea0ea81799d23522f379b2ff"
    with online.open() as store:
        store.update()
        served.commit = third
        served.files[FILE].write_bytes(weights(4, 20))
        store.update()
        assert [one.revision[:4] for one in store.history(variant)] == ["3bbb", "2aaa", "1edf"]
        assert " would be at 2aaa1ff6 again; " in store.rollback(variant, dry_run=True).notes[0]
        for commit in ("2aaa1ff6", "1edfc51f"):
            assert store.rollback(variant).notes[0] == (
                f"{MODEL} (gguf:F16) is at {commit} again; for update to leave it there: helixstore pin {MODEL}")
        with pytest.raises(NotFound, match="no version before"):
            store.rollback(variant)
        with pytest.raises(NotFound, match="is at 1edf already"):
            store.rollback(variant, "1edf")
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}


def test_an_old_version_comes_back_from_the_trash(online: Person, served: Repository, old: bytes) -> None:
    forgotten(online)
    served.sent.clear()
    online.environ |= {"HELIXSTORE_UNDO_WINDOW": "1d"}
    for _ in range(2):
        with online.open() as store:
            store.gc()
    with online.open() as store:
        assert [one.here for one in store.history(f"{MODEL}:F16")] == [True, False]
        store.rollback(f"{MODEL}:F16")
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}
    assert served.sent == {}


def test_what_is_gone_for_good_says_how_to_get_it(online: Person, served: Repository, old: bytes) -> None:
    forgotten(online)
    for _ in range(3):
        with online.open() as store:
            store.gc()
    with online.open() as store, pytest.raises(Failed, match="not in the store any more") as error:
        store.rollback(f"{MODEL}:F16")
    assert error.value.remedy.endswith("models download hf:acme/small-GGUF@1edfc51ff61fdd41a1ea0ea81799d23522f379b2")
    assert bytes_of(online, MODEL)["gguf:F16"] == {served.files[FILE].read_bytes()}


def test_a_pin_keeps_the_version(online: Person, served: Repository, old: bytes) -> None:
    with online.open() as store:
        store.pin(f"{MODEL}:F16")
        report = store.update()
    assert {one.variant: one.state for one in report.updates} == {"gguf:F16": "pinned", "gguf:Q8_0": "current"}
    assert served.sent == {}
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}


def test_a_file_that_the_later_revision_lacks_stays(online: Person, served: Repository, old: bytes) -> None:
    del served.files[FILE]
    with online.open() as store:
        report = store.update()
    assert {one.variant: one.state for one in report.updates} == {"gguf:F16": "gone", "gguf:Q8_0": "current"}
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}


def test_an_issue_names_the_model_that_could_not_be_asked_for(online: Person, served: Repository, old: bytes) -> None:
    served.private = True
    with online.open() as store:
        told = [one.message for one in store.update(check=True).issues]
    assert [one.partition(": ")[0] for one in told] == [f"{MODEL} (gguf:F16)", f"{MODEL} (gguf:Q8_0)"]


def test_there_is_nothing_before_the_first_version(online: Person, served: Repository) -> None:
    with online.open() as store:
        store.download(f"hf:{served.name}", quantization="all")
        with pytest.raises(NotFound, match="no version before"):
            store.rollback(MODEL)


def test_another_quantisation_under_the_name_of_the_file_takes_its_place(online: Person, served: Repository) -> None:
    with online.open() as store:
        store.download(f"hf:{served.name}:{FILE}")
    served.commit = LATER
    served.files[FILE].write_bytes(weights(3, 9, quantized=True))
    with online.open() as store:
        assert [one.state for one in store.update().updates] == ["updated"]
        assert [variant.id for variant in store.show(MODEL).variants] == ["gguf:Q8_0"]
        assert store.sync().nothing
    assert bytes_of(online, MODEL) == {"gguf:Q8_0": {served.files[FILE].read_bytes()}}


def test_rollback_leads_back_over_another_quantisation_and_update_forth(online: Person, served: Repository) -> None:
    old, first = served.files[FILE].read_bytes(), served.commit
    with online.open() as store:
        store.download(f"hf:{served.name}:{FILE}")
        served.commit = LATER
        served.files[FILE].write_bytes(weights(3, 9, quantized=True))
        store.update()
        new = served.files[FILE].read_bytes()
        served.sent.clear()
        assert [(one.variant, one.revision, one.current, one.here) for one in store.history(MODEL)] == [
            ("gguf:Q8_0", LATER, True, True), ("gguf:F16", first, False, True)]
        assert f"{MODEL} (gguf:F16) is at {first[:8]} again" in store.rollback(MODEL).notes[0]
        assert store.sync().nothing
    assert bytes_of(online, MODEL) == {"gguf:F16": {old}}
    with online.open() as store:
        with pytest.raises(NotFound, match="no version before"):
            store.rollback(MODEL)
        store.undo()
    assert bytes_of(online, MODEL) == {"gguf:Q8_0": {new}}
    with online.open() as store:
        store.rollback(MODEL, first[:6])
        assert [one.state for one in store.update(check=True).updates] == ["new"]
        assert served.sent == {}
        store.update()
    assert bytes_of(online, MODEL) == {"gguf:Q8_0": {new}}


def test_rollback_brings_nothing_back_that_the_person_removed(online: Person, served: Repository) -> None:
    with online.open() as store:
        store.download(f"hf:{served.name}", quantization="all")
        store.remove(f"{MODEL}:F16")
        with pytest.raises(NotFound, match="no version before"):
            store.rollback(MODEL)
        assert [one.variant for one in store.history(MODEL)] == ["gguf:Q8_0"]


def test_rollback_over_another_quantisation_leaves_what_the_person_has_from_elsewhere(
    online: Person, served: Repository,
) -> None:
    """The very file to which the name leads now."""
    with online.open() as store:
        store.download(f"hf:{served.name}:{FILE}")
        served.commit = LATER
        served.files[FILE].write_bytes(weights(3, 9, quantized=True))
        store.update()
        online.put("models/mine.gguf", served.files[FILE].read_bytes())
        store.share(online.home / "models/mine.gguf")
        store.rollback(f"{MODEL}:Q8_0")
        assert store.sync().nothing
        found = {variant.id for model in store.shared_models() for variant in model.variants}
    assert found == {"gguf:F16", "gguf:Q8_0"}
    assert (online.home / "models/mine.gguf").read_bytes() == served.files[FILE].read_bytes()


def test_rollback_of_a_tag_that_led_to_another_quantisation(person: Person) -> None:
    old, new = weights(1, 5), weights(2, 5, quantized=True)
    folder = OllamaFolder(person.home / ".ollama/models")

    def shown() -> str:
        return str(folder.shown("127.0.0.1/library/pebble:latest")["model"])

    with serve(StandIn()) as registry, person.open() as store:
        ollama_model(registry, "latest", old)
        store.download(f"ollama:{registry.host}/library/pebble")
        before = shown()
        ollama_model(registry, "latest", new)
        store.update()
        assert shown() != before
        store.rollback("pebble")
        assert store.sync().nothing
        assert shown() == before
    assert weights_shown(person, "pebble") == {"gguf:F16": {old}}


def test_damaged_bytes_of_the_version_before_come_back_from_its_own_revision(
    online: Person, served: Repository, old: bytes,
) -> None:
    """It is kept for a rollback; the hub has both revisions."""
    later, new = served.commit, served.files[FILE].read_bytes()
    with online.open() as store:
        store.update()
        store.verify()
        blob = store.folder / "blobs" / hash_bytes(old).blake3[:2] / hash_bytes(old).blake3
        spoil(blob, 17 * MIB)
        served.commit = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"
        served.files[FILE].write_bytes(old)
        served.sent.clear()
        assert [one.why for one in store.verify(repair=True).mended] == [""]
        assert blob.read_bytes() == old
        assert 0 < served.sent[FILE] < len(old) // 2
        served.commit = later
        served.files[FILE].write_bytes(new)
        store.rollback(f"{MODEL}:F16")
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}


def test_generations_lead_back_and_forth_over_downloads_without_any(
    online: Person, served: Repository, old: bytes,
) -> None:
    new = served.files[FILE].read_bytes()
    with online.open() as store:
        store.update()
        first, last = store.generations()[-1].n, store.generations()[0].n
        served.sent.clear()
        for number, wanted in ((first, {old}), (last, {new}), (0, None), (last, {new}), (first, {old})):
            store.go_back(number)
            assert (bytes_of(online, MODEL)["gguf:F16"] if store.shared_models() else None) == wanted, number
            assert store.go_back(number).nothing
            assert store.sync().nothing
    assert served.sent == {}


def test_a_generation_whose_files_are_gone_is_not_half_gone_to(online: Person, served: Repository, old: bytes) -> None:
    with online.open() as store:
        store.update()
        last = store.generations()[0].n
        store.go_back(last - 1)
    blob = online.home / ".local/share/helixstore/store/blobs"
    for path in blob.glob("*/*"):
        if path.read_bytes() == served.files[FILE].read_bytes():
            path.unlink()
    with online.open() as store:
        with pytest.raises(Failed, match="not in the store any more") as error:
            store.go_back(last)
        assert error.value.remedy.startswith(f"helixstore models download hf:{served.name}@{LATER}")
    assert bytes_of(online, MODEL)["gguf:F16"] == {old}
