"""The real code on real files: adders, collectors and removers of several hosts, of which another goes on at any of
their calls of the system. No lock works here."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from actors import Actor, current
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helixstore.errors import Busy, NotFound
from helixstore.fs import kernel, locks
from helixstore.store.gc import collect, finish_rounds
from helixstore.store.host import Host
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.refs import Ref
from helixstore.store.refs import current as live
from helixstore.store.store import Store
from helixstore.store.trash import restore
from helixstore.values import Format, Purpose, Role
from support.soak import many, note

UID = os.geteuid()
DATA = b"weights"
CALLS = ("open", "link", "rename", "replace", "unlink", "mkdir", "rmdir", "listdir", "scandir")


@contextmanager
def stepping() -> Iterator[None]:
    """Every call of the system waits until it is its thread's turn; locks cannot be had."""
    def waiting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            if (actor := current()) is not None:
                actor.pause(name)
            return call(*args, **named)
        return called

    def no_locks(path: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    patches = [mock.patch.object(os, name, waiting(name, getattr(os, name))) for name in CALLS]
    patches += [mock.patch.object(kernel, "rename_new", waiting("rename_new", kernel.rename_new)),
                mock.patch.object(locks, "lock_folder", no_locks)]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


class House:
    """One store, and what its hosts rely on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        Store.create(folder, Host("a", UID, "boot"))
        digest = self.digest = self.at("a").blobs.add_bytes(DATA).digest
        file = ManifestFile("m.gguf", len(DATA), digest, Role.WEIGHTS)
        self.manifest = self.at("a").manifests.write(Manifest(Format.GGUF, "Q4", Purpose.MODEL, (file,)))
        for name in "abc":
            self.at(name).register()
        self.claimed: dict[str, bool] = {}

    def at(self, host: str) -> Store:
        return Store.open(self.folder, Host(host, UID, "boot"))

    def add(self, host: str) -> None:
        """Blob, ref, look again, link."""
        store = self.at(host)
        with store.working():
            store.blobs.add_bytes(DATA)
            store.refs.publish("m", "gguf:Q4", self.manifest)
            while not store.blobs.ensure(self.digest):
                store.blobs.add_bytes(DATA)
        self.claimed[host] = True

    def reuse(self, host: str) -> None:
        """Only the store has the bytes."""
        store = self.at(host)
        with store.working():
            store.refs.publish("m", "gguf:Q4", self.manifest)
            self.claimed[host] = store.blobs.ensure(self.digest)

    def remove(self, host: str) -> None:
        """The keep first, then the ref goes."""
        store = self.at(host)
        mine = [ref.uuid for ref in store.refs.of(host, UID)[0]]
        with store.working():
            if self.claimed.get(host):
                store.keeps.put("op-1", [self.digest])
            store.refs.publish("m", "gguf:Q4", None, supersedes=mine)

    def undo(self, host: str) -> None:
        """And back."""
        store = self.at(host)
        with store.working():
            if store.keeps.digests("op-1"):
                store.refs.publish("m", "gguf:Q4", self.manifest)
                assert store.blobs.ensure(self.digest), f"{host} cannot undo"
                store.keeps.drop("op-1")

    def gc(self, host: str) -> None:
        collect(self.at(host), grace=0, undo_window=0)

    def now(self, host: str) -> None:
        try:
            collect(self.at(host), now=True)
        except Busy:
            collect(self.at(host), grace=0, undo_window=0)

    def restore(self, host: str) -> None:
        store = self.at(host)
        with suppress(NotFound):
            restore(store, [self.digest])

    def relied_on(self) -> list[str]:
        """The hosts that found the blob after their claim was durable, and have not withdrawn that since."""
        return [host for host, found in self.claimed.items() if found and (
            self.at(host).keeps.digests("op-1") or self.claims(host))]

    def claims(self, host: str) -> list[Ref]:
        return [ref for ref in live(self.at(host).refs.of(host, UID)[0]) if ref.manifest]

    def check(self) -> None:
        """What is relied on is there, with its bytes; what nobody claims goes; nothing is left behind."""
        finish_rounds(self.at("a"))
        if self.relied_on():
            assert Path(self.at("a").blobs.path(self.digest)).read_bytes() == DATA, self.claimed
        for _ in range(4):
            collect(self.at("a"), grace=0, undo_window=0)
        if self.relied_on():
            assert self.at("a").blobs.exists(self.digest), self.claimed
        elif not any(self.claims(host) for host in "abc"):
            assert list(self.folder.rglob(f"*{self.digest}")) == []
        assert os.listdir(self.folder / "staging") == []


WORK = ("add", "reuse", "remove", "undo", "gc", "now", "restore")


@settings(max_examples=many(60, 5000), deadline=None, suppress_health_check=list(HealthCheck))
@given(ripe=st.booleans(),
       works=st.lists(st.tuples(st.sampled_from(("gc", "now", *WORK)), st.sampled_from("abc")), min_size=2, max_size=4),
       turns=st.lists(st.tuples(st.integers(0, 3), st.sampled_from((1, 2, 3, 5, 8, 13, 21, 34, 55, 999))), max_size=12))
@example(ripe=True, works=[("now", "a"), ("add", "a"), ("add", "c"), ("undo", "a")],       # found, and mended
         turns=[(1, 5), (3, 5), (3, 2), (3, 2), (0, 2), (2, 8), (3, 5), (3, 5)])
def test_in_any_order_of_their_calls(ripe: bool, works: list[tuple[str, str]], turns: list[tuple[int, int]]) -> None:
    note("protocol: real calls of several at once", {"histories": 1})
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        house = House(folder / "store")
        if ripe:
            collect(house.at("a"), grace=0)
        with stepping():
            actors = [Actor(f"{what} on {host}", lambda what=what, host=host: getattr(house, what)(host))
                      for what, host in works]
            try:
                for which, steps in turns:
                    actors[which % len(actors)].step(steps)
                for actor in actors:
                    actor.finish()
            finally:
                for actor in actors:
                    actor.kill()
        house.check()
    finally:
        shutil.rmtree(folder)
