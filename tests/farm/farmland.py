"""A farm on real folders, for the tests: a store, a clock that is set by hand, and entries in a few words."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from helixstore.farm.desired import WantedRoot, join
from helixstore.farm.farm import Farm
from helixstore.farm.outcome import Outcome
from helixstore.providers.layout import Copy, Entry, Inner, Merge, Text, Weight
from helixstore.store.host import Host
from helixstore.store.store import Store
from helixstore.values import Key, LinkKind


@dataclass
class Settings:
    undo_window: int = 7 * 86400


@dataclass
class Land:
    """A store and one farm over it, below one folder."""

    folder: Path
    now: float = 1_800_000_000.0
    store: Store = None     # type: ignore[assignment]
    issues: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = self.store or Store.create(self.folder / "store", Host("h0", os.getuid(), "b0", False))
        self.farm = self.another()
        self.root = str(self.folder / "root")

    def another(self) -> Farm:
        """A farm of the same person in another process, as it were."""
        return Farm(self.store, None, self.folder / "state", Settings(), clock=lambda: self.now, patience=0.2)

    def blob(self, data: bytes) -> tuple[str, int]:
        return self.store.blobs.add_bytes(data).digest, len(data)

    def weight(self, path: str, data: bytes, key: Key, *, kinds: tuple[LinkKind, ...] | None = None,
               witness: bool = True) -> Entry:
        digest, size = self.blob(data)
        body = Weight(digest, size) if kinds is None else Weight(digest, size, kinds)
        return Entry(path, body, key, witness)

    def copy(self, path: str, data: bytes, key: Key) -> Entry:
        digest, size = self.blob(data)
        return Entry(path, Copy(digest, size), key)

    def wanted(self, *entries: Entry, root: str | None = None, provider: str = "p") -> WantedRoot:
        joined, issues = join(root or self.root, [(provider, entries)])
        self.issues += [issue.message for issue in issues]
        return joined

    def sync(self, *entries: Entry, **options: object) -> Outcome:
        """Plan and apply for the one root."""
        plan = self.farm.plan([self.wanted(*entries)], **options)   # type: ignore[arg-type]
        return self.farm.apply(plan)

    def tree(self, root: str | None = None) -> dict[str, bytes | str]:
        """Every file below the root with its bytes, every link with its text."""
        return tree(root or self.root)


def tree(root: str) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            found[relative] = os.readlink(path) if os.path.islink(path) else Path(path).read_bytes()
    return found


def text(path: str, data: bytes, key: Key | None, merge: Merge | None = None, order: int = 1) -> Entry:
    return Entry(path, Text(data, merge), key, order=order)


def inner(path: str, target: str, key: Key) -> Entry:
    return Entry(path, Inner(target), key, order=1)


def add_lines(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """A merge for the tests: lines of both sides; None when the person's bytes are not text lines."""
    if theirs is None:
        return ours
    if b"\0" in theirs:
        return None
    old = set((base or b"").splitlines())
    own = [line for line in theirs.splitlines() if line not in old]
    return b"\n".join([*ours.splitlines(), *(line for line in own if line not in ours.splitlines())]) + b"\n"
