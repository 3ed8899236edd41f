"""Every hostile file gives exactly the line it should, and costs neither memory nor time."""

from __future__ import annotations

import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helixstore.errors import HelixError, Incomplete, NotFound, Unreadable
from helixstore.formats import Inspection, inspect, survey
from helixstore.formats.gguf import read_gguf
from helixstore.formats.opened import Opened
from helixstore.formats.safetensors import read_safetensors
from helixstore.values import Format, Issue
from support import corpus, raw


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[corpus.Case]:
    return corpus.build(tmp_path_factory.mktemp("corpus"))


def look(folder: Path) -> tuple[list[Inspection], list[Issue]]:
    issues: list[Issue] = []
    return survey(folder, issue=issues.append), issues


def snapshot(folder: Path) -> dict[bytes, tuple[int, ...]]:
    """Everything below, without access times."""
    seen = {}
    for top, folders, files in os.walk(os.fsencode(folder)):
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(top, name))
            seen[os.path.join(top, name)] = (
                status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink)
    return seen


def test_there_are_many(cases: list[corpus.Case]) -> None:
    assert len(cases) >= 100
    assert len({case.name for case in cases}) == len(cases)


def test_each_case_alone_gives_its_line(cases: list[corpus.Case]) -> None:
    wrong = []
    for case in cases:
        before = snapshot(case.path)
        found, issues = look(case.path)
        if case.kind == corpus.NOTHING:
            good = not found and not issues
        elif case.kind == corpus.MODEL:
            good = len(found) == 1 and not issues and not found[0].unsafe
        elif case.kind == corpus.PICKLE:
            good = len(found) == 1 and not issues and bool(found[0].unsafe) and found[0].format is Format.PYTORCH
        else:
            good = not found and [issue.kind for issue in issues] == [case.kind]
        if not good or snapshot(case.path) != before:
            wrong.append((case.name, case.kind, [one.name for one in found], issues))
    assert not wrong, "\n".join(map(str, wrong))


def test_together_each_gives_its_line_too(cases: list[corpus.Case]) -> None:
    """One broken model changes nothing for the others."""
    found, issues = look(cases[0].path.parent)
    for case in cases:
        below = os.fspath(case.path) + os.sep
        mine = [i for i in issues if (i.path + os.sep).startswith(below)]
        models = [one for one in found if (os.fspath(one.location) + os.sep).startswith(below)]
        assert len(mine) + len(models) == (case.kind != corpus.NOTHING), (case, mine, models)


def test_messages_are_fit_for_a_terminal(cases: list[corpus.Case]) -> None:
    _, issues = look(cases[0].path.parent)
    for issue in issues:
        assert issue.message.isprintable(), issue
        assert issue.message
        assert not issue.message.endswith(".")


def test_inspect_raises_nothing_but_our_errors(cases: list[corpus.Case]) -> None:
    messages = []
    for case in cases:
        for path in [case.path, *(case.path / name for name in os.listdir(case.path))]:
            try:
                inspect(path)
            except HelixError as error:
                messages.append(error.message)
    assert len(messages) > len(cases)
    assert all(messages)


def test_memory_and_time_are_bounded(cases: list[corpus.Case]) -> None:
    tracemalloc.start()
    try:
        for case in cases:
            tracemalloc.reset_peak()
            base, _ = tracemalloc.get_traced_memory()
            started = time.perf_counter()
            look(case.path)
            assert tracemalloc.get_traced_memory()[1] - base < 8 << 20, case.name
            assert time.perf_counter() - started < 2, case.name
    finally:
        tracemalloc.stop()


class Meddler:
    """Changes a folder at the moment it has been listed."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def folder(self, path: str, mtime_ns: int) -> None:
        if self._act:
            act, self._act = self._act, None
            act()

    def file(self, path: str, status: os.stat_result) -> None:
        pass


def test_files_that_vanish_or_change_kind_between_listing_and_reading(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.gguf").write_bytes(raw.model_gguf())

    def meddle() -> None:
        (tmp_path / "a.gguf").unlink()
        (tmp_path / "b.gguf").unlink()
        os.mkfifo(tmp_path / "b.gguf")

    issues: list[Issue] = []
    found = survey(tmp_path, issue=issues.append, tree=Meddler(meddle))
    assert [one.name for one in found] == ["c"]
    assert [(issue.kind, os.path.basename(issue.path)) for issue in issues] == [
        ("unreadable", "a.gguf"), ("unreadable", "b.gguf")]


@pytest.mark.parametrize(("data", "read"), [(raw.model_gguf(), read_gguf), (corpus.TENSORS, read_safetensors)])
def test_files_that_grow_or_shrink_while_read(tmp_path: Path, data: bytes, read: Callable[[Opened], object]) -> None:
    path = tmp_path / "model"
    path.write_bytes(data)
    with Opened(path) as file:
        with open(path, "ab") as writer:
            writer.write(b"more")
        with pytest.raises(Incomplete, match="while it was read"):
            read(file)
    path.write_bytes(data)
    with Opened(path) as file:
        os.truncate(path, 30)
        with pytest.raises(Incomplete):
            read(file)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are the user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_no_permission(public: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user for a moment")
    outside = public
    shut = outside / "shut"
    shut.mkdir()
    (shut / "m.gguf").write_bytes(raw.model_gguf())
    (outside / "m.gguf").write_bytes(raw.model_gguf())
    (outside / "other.gguf").write_bytes(raw.model_gguf(seed=1))
    shut.chmod(0)
    (outside / "m.gguf").chmod(0)
    os.seteuid(65534)
    try:
        found, issues = look(outside)
        with pytest.raises(Unreadable, match="may not be read"):
            inspect(outside / "m.gguf")
    finally:
        os.seteuid(0)
        shut.chmod(0o755)
    assert [one.name for one in found] == ["other"]
    assert sorted(os.path.basename(issue.path) for issue in issues) == ["m.gguf", "shut"]


def test_what_is_not_there(tmp_path: Path) -> None:
    assert look(tmp_path / "nothing") == ([], [])
    with pytest.raises(NotFound):
        inspect(tmp_path / "nothing")
    with pytest.raises(HelixError):
        inspect("a\0b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unreadable, match="holds no model"):
        inspect(tmp_path / "empty")
