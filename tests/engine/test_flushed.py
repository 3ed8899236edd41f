"""What a command has published is on the disk when it returns: each file's bytes before its name, each name before the
end. Watched at the calls of the system, of real commands on real files; no power need be lost for that."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from helixstore.fs import kernel
from helixstore.store.store import Store
from support.person import Person
from support.raw import model_gguf

#: what a person or another host relies on; of the rest (leftovers, `meta`, who holds a lock) nothing need survive
_RELIED_ON = re.compile(r"/store/(blobs|refs|manifests|volumes|condemned|trash|forgotten)/|/keeps/|/ops/\d|/ops$"
                        r"|\.gguf$|/\.ollama/models/|ledger")
_NOT = re.compile(r"\.tmp$|/\.helixstore-|/staging/|/parked/|/db/")
_Inode = tuple[int, int]


class Flushes:
    """What was flushed, and what was named without it.

    Attributes:
        early: names given to files whose bytes had not been flushed.
        open: names that no flush of their folder has followed yet.
        count: flushes of folders.
    """

    def __init__(self) -> None:
        self.early: list[str] = []
        self.open: dict[tuple[_Inode, str], str] = {}
        self.clean: set[_Inode] = set()
        self.drafts: dict[str, set[_Inode]] = {}
        self.count = 0

    @property
    def unwritten(self) -> list[str]:
        """Files of an operation, which is named as a whole, that nothing has flushed."""
        return [path for path, inodes in self.drafts.items() if not inodes & self.clean]

    def flushed(self, status: os.stat_result) -> None:
        inode = (status.st_dev, status.st_ino)
        self.clean.add(inode)
        if stat.S_ISDIR(status.st_mode):
            self.count += 1
            self.open = {name: path for name, path in self.open.items() if name[0] != inode}

    def all_flushed(self, device: int) -> None:
        self.clean |= {(device, -1)}
        self.open = {name: path for name, path in self.open.items() if name[0][0] != device}

    def written(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.clean -= {(status.st_dev, status.st_ino), (status.st_dev, -1)}

    def named(self, path: Any, bytes_matter: bool = True) -> None:
        path = os.path.abspath(os.fspath(path))
        if not _RELIED_ON.search(path) or _NOT.search(path):
            return
        folder, status = os.stat(os.path.dirname(path)), os.lstat(path)
        self.open[(folder.st_dev, folder.st_ino), os.path.basename(path)] = path
        new = status.st_mtime_ns > self.began and stat.S_ISREG(status.st_mode)
        inodes = {(status.st_dev, status.st_ino), (status.st_dev, -1)}
        if bytes_matter and new and not inodes & self.clean:
            self.drafts.setdefault(path, inodes) if ".new/" in path else self.early.append(path)

    @contextmanager
    def watching(self, marker: Path) -> Iterator[Flushes]:
        """While it is held; `marker`: a file to be made, after whose time everything is new."""
        marker.write_bytes(b"")
        self.began = marker.stat().st_mtime_ns

        def after(module: Any, name: str, then: Callable[..., object]) -> Any:
            real = getattr(module, name)

            def call(*given: Any, **more: Any) -> Any:
                found = real(*given, **more)
                then(*given, **more)
                return found
            return mock.patch.object(module, name, call)

        patches = [
            after(os, "fsync", lambda descriptor: self.flushed(os.fstat(descriptor))),
            after(kernel, "_sync_file_system", lambda path: self.all_flushed(os.lstat(path).st_dev)),
            after(os, "write", lambda descriptor, data: self.written(descriptor)),
            after(os, "link", lambda source, target, **more: self.named(target)),
            after(os, "symlink", lambda source, target, **more: self.named(target, bytes_matter=False)),
            after(os, "replace", lambda source, target, **more: self.named(target)),
            after(os, "rename", lambda source, target, **more: self.named(target)),
            after(kernel, "rename_exclusively", lambda source, target: self.named(target)),
        ]
        for patch in patches:
            patch.start()
        try:
            yield self
        finally:
            for patch in patches:
                patch.stop()


@pytest.fixture
def flushes(synced: Person, tmp_path: Path) -> Callable[[Callable[[Any], object]], Flushes]:
    """What a command flushed."""
    def run(work: Callable[[Any], object]) -> Flushes:
        with synced.open() as store, Flushes().watching(tmp_path / "now") as seen:
            work(store)
        return seen
    return run


@pytest.mark.parametrize("verb", ["add", "share", "remove", "undo", "pin", "gc"])
def test_a_command_has_flushed_what_it_published(flushes: Callable[..., Flushes], synced: Person, verb: str) -> None:
    new = synced.put("elsewhere/new-F16.gguf", model_gguf(seed=5))
    work: dict[str, Callable[[Any], object]] = {
        "add": lambda store: store.add(new, name="new"), "share": lambda store: store.share(str(new)),
        "remove": lambda store: store.remove("other"), "undo": lambda store: store.undo(1),
        "pin": lambda store: store.pin("other"), "gc": lambda store: store.gc()}
    if verb == "gc":
        synced.environ |= {"HELIXSTORE_GRACE": "0"}
        with synced.open() as store:
            store._session.store.blobs.add_bytes(b"nobody's")
            store.gc()
    seen = flushes(work[verb])
    assert seen.unwritten == []
    assert seen.early == [], "has its name before its bytes are on the disk"
    assert sorted(seen.open.values()) == [], "not on the disk when the command is done"
    assert seen.count >= (5 if verb in ("add", "share") else 3), "folders: the operation's, its keep's, its ref's"


def test_each_publish_of_the_store_flushes_its_folder(tmp_path: Path) -> None:
    from helixstore.store.host import Host

    store = Store.create(tmp_path / "store", Host("a", os.geteuid(), "boot"))
    (tmp_path / "mine.gguf").write_bytes(b"weights")
    (tmp_path / "other.gguf").write_bytes(b"other weights")
    digest = store.blobs.add_bytes(b"kept").digest
    for work in (lambda: store.blobs.add_bytes(b"bytes"), lambda: store.blobs.add(tmp_path / "mine.gguf", link=True),
                 lambda: store.blobs.add(tmp_path / "other.gguf", link=False),
                 lambda: store.blobs.add_many([b"one", b"two"]), lambda: store.keeps.put("op-1", [digest]),
                 lambda: store.refs.publish("m", "gguf:Q4", None, supersedes=["0" * 32])):
        with store.working(), Flushes().watching(tmp_path / "now") as seen:
            work()
            assert seen.early == []
            assert list(seen.open.values()) == []
            assert seen.count >= 1, "nothing was flushed"
