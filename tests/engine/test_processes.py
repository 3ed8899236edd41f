"""The real command line, killed in the middle, and several of them at once: what was there is there, and all ends as
one undisturbed run leaves it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support import mortal
from support.person import Person
from support.raw import model_gguf

_MOMENTS = 6


def command(person: Person, *arguments: str, fatal: int = 0) -> subprocess.Popen[str]:
    """`helixstore ARGUMENTS` in the person's home, killed before its `fatal`-th change."""
    return subprocess.Popen([sys.executable, mortal.__file__, str(fatal), *arguments], env=person.environ,
                            cwd=person.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def run(person: Person, *arguments: str) -> str:
    """The same, lived to a good end; what it said on standard error."""
    process = command(person, *arguments)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, f"{arguments}: {out}{error}"
    return error


def files_of(person: Person) -> Mapping[Path, bytes]:
    """The person's own files, before the first sync."""
    return {path: path.read_bytes() for path in person.home.rglob("*")
            if path.is_file() and "helixstore" not in str(path.relative_to(person.home))}


def contents(person: Person) -> Mapping[str, str]:
    """Every file of the programs' and the person's, and every blob -> its digest, or where the link leads; whether it
    is a name of a blob, and its mode."""
    store = person.home / ".local/share/helixstore/store"
    blobs = {blob.stat().st_ino for blob in (store / "blobs").glob("*/*")}
    found = {}
    for folder, _, names in os.walk(person.home):
        for name in names:
            path = Path(folder, name)
            if "helixstore" in folder and not path.is_relative_to(store / "farms") and not path.is_relative_to(
                    store / "blobs"):
                continue
            status = path.lstat()
            what = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(person.home))] = f"{what} {status.st_ino in blobs} {status.st_mode:o}"
    return found


def nothing_is_wrong(person: Person) -> None:
    """No issue anywhere, nothing left to do, nothing half made left behind."""
    with person.open() as store:
        report = store.sync()
        assert report.nothing, report.actions
        assert not report.issues
        checked = store.verify()
        assert not checked.bad
        assert not checked.issues
        assert [check for check in store.doctor() if check.state != "ok"] == []
    for path in person.home.rglob("*"):
        assert path.exists(), f"{path} leads nowhere"
        assert not path.name.startswith(".helixstore-"), path
    assert not any((person.home / ".local/share/helixstore/store/staging").glob("*/*")), "a dead process left it"


def test_killed_at_any_moment_the_next_sync_ends_as_if_nothing_had_been(laptop: Person, tmp_path: Path) -> None:
    had = files_of(laptop)
    fresh = tmp_path / "fresh"
    shutil.copytree(laptop.home, fresh, symlinks=True)
    calls = re.search(r"calls: (\d+)", run(laptop, "sync", "--yes"))
    assert calls is not None
    nothing_is_wrong(laptop)
    wished = contents(laptop)
    for moment in range(1, _MOMENTS + 1):
        shutil.rmtree(laptop.home)
        shutil.copytree(fresh, laptop.home, symlinks=True)
        process = command(laptop, "sync", "--yes", fatal=int(calls[1]) * moment // (_MOMENTS + 1))
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        for path, data in had.items():
            assert path.read_bytes() == data, f"{path} after {moment}"
        run(laptop, "sync", "--yes")
        nothing_is_wrong(laptop)
        assert contents(laptop) == wished, moment


def test_several_at_once_end_as_one_after_the_other(laptop: Person, tmp_path: Path) -> None:
    commands = [("sync", "--yes"), ("sync", "--yes"), ("hide", "other", "--provider", "gpt4all"),
                ("unhide", "tiny-llama", "--provider", "textgen"), ("gc",)]
    fresh = tmp_path / "fresh"
    shutil.copytree(laptop.home, fresh, symlinks=True)

    def prepare() -> Mapping[Path, bytes]:
        """A model more, one more copy of an old one, and one that is hidden; the person's own files."""
        shutil.rmtree(laptop.home)
        shutil.copytree(fresh, laptop.home, symlinks=True)
        laptop.put("models/new-F16.gguf", model_gguf(seed=3))
        laptop.put("models/again/other-F16.gguf", model_gguf(seed=2))
        had = files_of(laptop)
        (laptop.home / "models/new-F16.gguf").rename(tmp_path / "new")
        (laptop.home / "models/again").rename(tmp_path / "again")
        with laptop.open() as store:
            store.sync()
            store.hide("tiny-llama", "textgen")
        (tmp_path / "new").rename(laptop.home / "models/new-F16.gguf")
        (tmp_path / "again").rename(laptop.home / "models/again")
        return had

    prepare()
    for one in commands:
        run(laptop, *one)
    nothing_is_wrong(laptop)
    wished = contents(laptop)
    had = prepare()
    running = [command(laptop, *one) for one in commands]
    for one, process in zip(commands, running, strict=True):
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, f"{one}: {out}{error}"
    for path, data in had.items():
        assert path.read_bytes() == data, path
    run(laptop, "sync", "--yes")
    nothing_is_wrong(laptop)
    assert contents(laptop) == wished
    with laptop.open() as store:
        assert store.show("other").variants[0].providers["gpt4all"].state == "hidden"
        assert store.show("tiny-llama").variants[0].providers["textgen"].state == "linked"
