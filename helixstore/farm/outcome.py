"""What came of applying a plan, and what the steps share while it runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from helixstore.errors import HelixError
from helixstore.farm.kept import PREFIX, kept_name, of_removed
from helixstore.farm.plan import Action, Deviation, Plan
from helixstore.farm.scan import digest_of
from helixstore.fs import kernel
from helixstore.fs.kernel import Fingerprint
from helixstore.fs.listing import listdir
from helixstore.values import Issue, Key

if TYPE_CHECKING:
    from helixstore.farm.intent import Intent
    from helixstore.farm.ledger import Ledgers
    from helixstore.store.hashing import Hashes
    from helixstore.store.saved import Freed, Saved
    from helixstore.store.store import Store

__all__ = ["AskNeeded", "Bases", "Handler", "InUse", "Memory", "Outcome", "Progress", "Services"]

#: `progress(steps done, steps in all)`
Progress = Callable[[int, int], None]

#: An absolute path and the providers that wanted it there -> `Layout.in_use` of them: None when it is in no cache.
InUse = Callable[[str, Iterable[str]], bool | None]

#: A root and the providers that read it -> `Layout.needed` of them.
AskNeeded = Callable[[str, Iterable[str]], Mapping[str, Collection[str]]]


class Handler(Protocol):
    """Carries out the engine's own records in a plan, after the adoptions and before the first link."""

    def apply(self, record: Mapping[str, Any], failed: frozenset[str]) -> Mapping[str, Any] | None:
        """Do it; must be idempotent, since recovery calls it again.

        Args:
            record: as it was put into the plan.
            failed: digests of blobs whose adoption failed in this operation.

        Returns:
            What `revert` needs, JSON-ready, or None when nothing was done.
        """
        ...

    def revert(self, record: Mapping[str, Any]) -> list[Issue]:
        """Take it back, given what `apply` returned."""
        ...


class Memory(Protocol):
    """What the farm needs of the index."""

    def digest_at(self, path: str, mark: Fingerprint, /) -> str | None:
        """The digest of the file, if it is unchanged since it was hashed."""
        ...

    def remember(self, items: Iterable[tuple[str, Fingerprint, Hashes]], began_ns: int | None = None) -> None:
        """Keep what a full reading told."""
        ...


@dataclass
class Outcome:
    """What became of a plan.

    Attributes:
        number: of the operation in the journal; None when nothing was done.
        plan: what was carried out.
        issues: what went wrong on the way; the plan's own issues are in the plan.
        done: steps done.
        made: entries made or replaced.
        removed: entries removed.
        skipped: steps whose precondition no longer held, as messages.
        kinds: kind of link or sidecar -> how many were made.
        freed: bytes that were given back.
        freed_later: bytes of replaced copies that wait for 24 hours.
        frees: both, by blob; for the store's record of what was saved.
        given_back: digest -> adopted paths that have bytes of their own again.
        taken_in: digests of blobs that were not there before.
        adopted: paths that are in the store now.
        letters: what became of each action, as the journal has it.
        failed: (root, provider, variant) -> why it is pending.
    """

    number: int | None = None
    plan: Plan = field(default_factory=Plan)
    issues: list[Issue] = field(default_factory=list)
    done: int = 0
    made: int = 0
    removed: int = 0
    skipped: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    freed: int = 0
    freed_later: int = 0
    frees: list[Freed] = field(default_factory=list)
    given_back: dict[str, int] = field(default_factory=dict)
    taken_in: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    letters: str = ""
    failed: dict[tuple[str, str, Key | None], str] = field(default_factory=dict)

    @property
    def standings(self) -> list[Deviation]:
        """The failures as states."""
        return [Deviation(root, provider, key, "pending", why) for (root, provider, key), why in self.failed.items()]

    def count_saved(self, saved: Saved, operation: str) -> None:
        """Write down for everybody what was freed and given back. It is a figure only: where it cannot be written, the
        operation is done all the same."""
        try:
            saved.put(operation, self.frees, self.given_back, self.taken_in)
        except HelixError as error:
            self.issues.append(Issue("failed", error.path or "", f"what was saved is not counted: {error.message}",
                                     error.remedy))


class Bases:
    """Texts that we wrote, kept as the common ancestors of merges: `<state>/bases/<digest>`.

    Args:
        folder: absolute; made when missing.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def get(self, digest: str) -> bytes | None:
        """The bytes, or None when they are not kept, or were lost in a crash."""
        try:
            with open(os.path.join(self.folder, digest), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        return data if digest.startswith(PREFIX) or digest_of(data) == digest else None

    def put(self, digest: str, data: bytes) -> None:
        """Keep the bytes. A crash may lose them; then the next merge has no ancestor."""
        path = os.path.join(self.folder, digest)
        if self.get(digest) is None:
            kernel.replace_file(path, data, 0o600, durable=False)

    def put_all(self, digests: Iterable[str], texts: Mapping[str, bytes]) -> None:
        """Keep those of `texts` (digest -> bytes)."""
        for digest in digests:
            self.put(digest, texts[digest])

    def let_go(self, action: Action, texts: Mapping[str, bytes]) -> None:
        """A sidecar is being removed: keep what somebody else has written into it, until it is made again."""
        body = action.body
        if body[0] == "text" and (kept := of_removed(action, texts.get(body[1]), self.get(body[2]))):
            path = os.path.join(self.folder, kept_name(action.root, action.path))
            with contextlib.suppress(ValueError):       # it is no text
                kernel.replace_file(path, kept.encode(), 0o600, durable=False)

    def made_again(self, action: Action) -> None:
        """A sidecar has been made, perhaps with what was kept of it."""
        body = action.body
        if body[0] == "text" and body[1] != body[2]:
            with contextlib.suppress(FileNotFoundError):
                kernel.unlink(os.path.join(self.folder, kept_name(action.root, action.path)))

    def keep_only(self, digests: set[str]) -> None:
        """Drop what no ledger names any more."""
        for name in listdir(self.folder):
            if name not in digests and not name.startswith(PREFIX):
                kernel.unlink(os.path.join(self.folder, name))


@dataclass
class Services:
    """What the steps work with.

    Attributes:
        store: the open store.
        memory: the index, or None.
        ledgers, intent, bases: the person's state.
        handlers: kind of extra record -> who carries it out.
        staging: a folder of the store's where files wait.
        parking: a folder on the store's file system where replaced copies wait.
        now: seconds since 1970.
        uid: ours; -1 where the system knows none.
        in_use, needed: see `Farm`.
    """

    store: Store
    memory: Memory | None
    ledgers: Ledgers
    intent: Intent
    bases: Bases
    handlers: Mapping[str, Handler]
    staging: str
    parking: str
    now: float
    uid: int
    in_use: InUse
    needed: AskNeeded
