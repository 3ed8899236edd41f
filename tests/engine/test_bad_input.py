"""Hostile and broken files among good ones: each gives its line in the report, and nothing else is different."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.errors import HelixError
from support import corpus
from support.person import GGUF, Person
from support.raw import model_gguf


@pytest.fixture
def troubled(person: Person) -> tuple[Person, list[corpus.Case]]:
    """A loose folder with one good model and more than forty troubles."""
    person.put("models/good-F16.gguf", GGUF)
    cases = corpus.build(person.home / "models" / "corpus")
    HelixStore.init(every=True, scan=[person.home / "models"], environ=person.environ)
    return person, cases


def listing(folder: Path) -> dict[bytes, tuple[int, int, int]]:
    """Every name below a folder with type and mode, size, and inode: what must not change."""
    found = {}
    for at, folders, names in os.walk(os.fsencode(folder)):
        for name in (*folders, *names):
            path = os.path.join(at, name)
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size, status.st_ino)
    return found


def test_each_trouble_gives_its_line_and_the_rest_of_the_work_goes_on(
    troubled: tuple[Person, list[corpus.Case]],
) -> None:
    person, cases = troubled
    assert len(cases) >= 40
    bad = {case.path: case.kind for case in cases if case.kind not in (corpus.MODEL, corpus.NOTHING, corpus.PICKLE)}
    before = {case.path: listing(case.path) for case in cases if case.path in bad or case.kind == corpus.PICKLE}
    with person.open() as store:
        report = store.sync()
        told = {case: [i for i in report.issues if Path(i.path).is_relative_to(case)] for case in bad}
        assert {str(case): kind for case, kind in bad.items() if [i.kind for i in told[case]] != [kind]} == {}
        for case in cases:
            if case.kind == corpus.PICKLE:
                assert any(note.startswith(str(case.path)) for note in report.notes), case.name
        assert store.show("good").variants[0].providers["llamacpp"].state == "linked"
        assert store.sync().issues == report.issues, "said again as long as it is so"
    assert {path: listing(path) for path in before} == before


def test_a_name_from_outside_never_reaches_a_terminal_raw(troubled: tuple[Person, list[corpus.Case]]) -> None:
    import subprocess
    import sys

    person, _ = troubled
    ran = subprocess.run([sys.executable, "-m", "helixstore", "sync"], env=person.environ, capture_output=True,
                         check=False)
    assert ran.returncode == 3
    for text in (ran.stdout, ran.stderr):
        assert b"Traceback" not in text
        assert not {c for c in text if c < 32 and c != 10}, "control characters"
        text.decode("utf-8")


@pytest.mark.parametrize("share", [False, True])
def test_asking_for_a_broken_file_by_name_says_what_is_wrong(person: Person, share: bool) -> None:
    person.put("m/cut-F16.gguf", GGUF[:-100])
    HelixStore.init(providers=["llamacpp"], environ=person.environ)
    with person.open() as store:
        with pytest.raises(HelixError, match="cut-F16"):
            (store.share if share else store.add)(person.home / "m/cut-F16.gguf")
        assert store.shared_models() == []


def test_a_file_that_is_being_written_is_left_until_it_is_finished(person: Person) -> None:
    file = person.put("models/slow-F16.gguf", GGUF)
    HelixStore.init(providers=["llamacpp"], scan=[person.home / "models"], environ=person.environ)
    with person.open() as store:
        with file.open("r+b"):
            report = store.sync()
            assert report.adopted == ()
            assert any("slow-F16" in note for note in report.notes)
        assert len(store.sync().adopted) == 1


def test_files_that_vanish_while_they_are_looked_at_harm_nothing(person: Person) -> None:
    for number in range(30):
        person.put(f"models/m{number}-F16.gguf", model_gguf(seed=number))
    HelixStore.init(providers=["llamacpp", "jan"], scan=[person.home / "models"], environ=person.environ)
    go = threading.Event()

    def vanish() -> None:
        go.wait()
        for number in range(0, 30, 2):
            (person.home / f"models/m{number}-F16.gguf").unlink()

    thread = threading.Thread(target=vanish)
    thread.start()
    with HelixStore(environ=person.environ, progress=lambda *_: go.set()) as store:
        store.sync()
        go.set()
        thread.join()
        store.sync()
        for number in range(1, 30, 2):
            [path] = store.show(f"m{number}").variants[0].providers["llamacpp"].paths
            assert Path(path).read_bytes() == model_gguf(seed=number)


def test_a_manifest_that_names_a_missing_blob_is_reported_and_linked_nowhere(synced: Person) -> None:
    with synced.open() as store:
        digest = store.show("other").variants[0].files[0].blake3
        (store.folder / "blobs" / digest[:2] / digest).unlink()
        report = store.verify()
        assert any(issue.kind == "missing" and digest in issue.path for issue in report.issues)
        assert any(check.state == "problem" and digest in check.message for check in store.doctor())
        store.set_provider("llamacpp", root=synced.home / "another-place")
        report = store.sync()
        assert store.show("Small-GGUF").variants[0].providers["llamacpp"].state == "linked"
        assert store.show("other").variants[0].providers["llamacpp"].state == "incomplete"
        assert not os.path.lexists(synced.home / "another-place" / "other-F16.gguf")


@pytest.mark.parametrize("looked", [True, False], ids=["after another sync", "right after it was taken in"])
def test_a_blob_that_somebody_wrote_into_is_found_by_the_next_sync_and_served_no_more(
        synced: Person, looked: bool) -> None:
    with synced.open() as store:
        if looked:
            store.sync()
        [path] = store.show("other").variants[0].providers["llamacpp"].paths
        theirs = synced.home / "models/other-F16.gguf"
        theirs.chmod(0o644)
        with theirs.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\xfe")
        written = theirs.read_bytes()
        report = store.sync()
        assert [issue.kind for issue in report.issues] == ["quarantined"]
        assert not os.path.lexists(path)
        assert theirs.read_bytes() == written, "their file is theirs"
        again = store.sync()
        assert again.nothing
        assert [issue.kind for issue in again.issues] == ["quarantined"]


def test_a_blob_of_which_only_the_time_was_touched_is_read_again_and_served(synced: Person) -> None:
    with synced.open() as store:
        store.sync()
        [path] = store.show("other").variants[0].providers["llamacpp"].paths
        os.utime(path, (1_800_000_000, 1_800_000_000))
        assert store.sync().issues == ()
        assert os.path.exists(path)
        assert store.sync().nothing


def test_what_is_wrong_with_a_file_is_not_forgotten_by_a_change_that_looks_at_none(synced: Person) -> None:
    synced.put("models/half-F16.gguf", model_gguf(seed=41)[:-100])
    with synced.open() as store:
        assert [issue.kind for issue in store.sync().issues] == ["incomplete"]
        store.hide("other", "ollama")
        assert [issue.kind for issue in store.status().issues] == ["incomplete"]
        (synced.home / "models/half-F16.gguf").unlink()
        store.sync()
        assert not store.status().issues
