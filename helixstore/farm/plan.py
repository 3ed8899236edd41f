"""The plan: what would bring the farm to the desired state, as plain values that can be kept in a file.

Each action names what it expects to find (its precondition, looked at again in the last moment) and what the ledger
said before (from which its inverse follows). Actions are written in the order in which they are done.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from helixstore.errors import PlanOutdated, UnsafeName
from helixstore.farm.desired import Claim
from helixstore.farm.ledger import Record, claims_line, unpack
from helixstore.fs.kernel import Fingerprint
from helixstore.store.records import check_digest
from helixstore.values import Issue, Key

__all__ = [
    "ADOPTED", "LAY_THERE", "SCHEMA", "STARTED_WITH", "Action", "Adoption", "Deviation", "Look", "Original", "Plan",
    "Stats", "digests_needed",
]

SCHEMA = 1
#: the note of a `record` that follows an adoption of the same path in this plan
ADOPTED = "adopted"
#: The note of a record of what somebody else put there, and that is right as it is.
LAY_THERE = "lay there already"
#: the note of a folder of ours that a program is started with: it stays for as long as the program is on
STARTED_WITH = "a program is started with it"

_dump = json.JSONEncoder(separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring_ascii
_BOOKKEEPING = frozenset({"record", "refresh", "forget"})
_LINKS = frozenset({"hard", "symlink", "reflink", "copy"})


class Look(NamedTuple):
    """What lies at a path. `kind`: "file", "link", "folder" or "other"; size in bytes; `target` of a link."""

    kind: str
    inode: int
    bytes: int
    mtime_ns: int
    target: str = ""


class Original(NamedTuple):
    """What a file was like before it was adopted: to be given back by `undo` and `leave`.

    `xattrs` holds POSIX ACLs too, values in base64.
    """

    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    xattrs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, row: Sequence[Any]) -> Original:
        """From JSON."""
        return cls(row[0], row[1], row[2], row[3], row[4], tuple((name, value) for name, value in row[5]))


@dataclass(frozen=True, slots=True)
class Adoption:
    """A file that is to be taken into the store where it lies.

    Attributes:
        path: absolute.
        digest: BLAKE3 of its bytes.
        expect: its fingerprint when it was hashed; anything else now and it is left alone.
        replace: it is an independent copy of a blob that is or will be in the store, and is swapped for a link.
        key: the variant it belongs to.
        root: the root it lies in, or None for a file outside all roots.
        hashed_now: it was read in full in this run; otherwise it is hashed again before it is replaced.
        providers: whose root it lies in.
        sha256: if it is known, from the same reading.
        gitsha1: likewise.
        copy: copy its bytes into the store where no link can be made.
        keep: the volume whose copy it gives way to, although its own disk may have one; "" for the nearest.
    """

    path: str
    digest: str
    expect: Fingerprint
    replace: bool
    key: Key
    root: str | None = None
    hashed_now: bool = False
    providers: tuple[str, ...] = ()
    sha256: str | None = None
    gitsha1: str | None = None
    copy: bool = False
    keep: str = ""


class Action(NamedTuple):
    """One step.

    `op` is one of
        hide, unhide        write or lift the person's intent; `path` is the witness, relative
        decline             leave this path alone from now on (absolute)
        intake, swap        adopt: into the store, or in exchange for a link (`body` = ("adopt", index))
        folder, unfolder    make, or remove an empty one that we made
        make, replace       an entry: absent before, or ours before
        record              what lies there is right: into the ledger
        refresh, forget     the ledger alone
        remove, restore     ours to remove; or the person's file to be as it was before we merged into it
        own                 a link becomes an ordinary file of its own

    Attributes:
        op: as above.
        root: absolute; "" when `path` is absolute.
        path: POSIX, relative to the root.
        body: ("weight", digest, bytes, kinds), ("copy", digest, bytes), ("inner", target), ("text", digest, digest of
            what was wanted [, digest of the person's file before we wrote into it]), ("adopt", index of the adoption),
            the two parts of a variant's key (hide, unhide), ("own", digest, bytes, original or None
            [, the path whose inode it had before]), or ().
        expect: what must lie there, or None for nothing.
        claims: who wants it.
        order: of the entry.
        was: the ledger's record before, or None.
        note: why, for people.
    """

    op: str
    root: str
    path: str
    body: tuple[Any, ...] = ()
    expect: Look | None = None
    claims: tuple[Claim, ...] = ()
    order: int = 0
    was: Record | None = None
    note: str = ""

    @property
    def absolute(self) -> str:
        """The absolute path."""
        return f"{self.root}/{self.path}" if self.root and self.path else self.root or self.path

    @property
    def bytes(self) -> int:
        """Size of the file that it makes or removes, in bytes, as far as it is known."""
        if self.body and self.body[0] in ("weight", "copy"):
            size: int = self.body[2]
            return size
        return self.was.bytes if self.was is not None else 0


class Deviation(NamedTuple):
    """How a variant stands with one provider in one root where it is not simply linked."""

    root: str
    provider: str
    key: Key | None
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Bytes by what happens to them, and how many files."""

    linked: int = 0
    copied: int = 0
    freed: int = 0
    files: int = 0
    removed: int = 0


@dataclass(frozen=True)
class Plan:
    """The actions in order, and what they rest on.

    Attributes:
        kind: "sync", "undo" or "leave".
        actions: in the order in which they are done.
        texts: digest -> bytes of every sidecar that is written, and of those that undo would need.
        bases: digests of the texts that later merges need as ancestors.
        adoptions: what `intake` and `swap` are about.
        originals: of the adopted files, in the same order.
        states: what is not simply linked, and why.
        issues: what a person should know.
        roots: every root that was looked at -> its identity (mount id, inode), or None where it is away or new.
        unchanged: entries that are right already.
        extra: records of the engine, `{"kind": ...}`, each handled by the callback of that kind.
        space: mount point -> bytes that are needed there.
        undoes: numbers of the operations that this plan undoes.
    """

    kind: str = "sync"
    actions: tuple[Action, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)
    bases: frozenset[str] = frozenset()
    adoptions: tuple[Adoption, ...] = ()
    originals: tuple[Original, ...] = ()
    states: tuple[Deviation, ...] = ()
    issues: tuple[Issue, ...] = ()
    roots: Mapping[str, tuple[str, int] | None] = field(default_factory=dict)
    unchanged: int = 0
    extra: tuple[Mapping[str, Any], ...] = ()
    space: Mapping[str, int] = field(default_factory=dict)
    undoes: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing would be done. Ledger entries that only follow a rename of claims do not count as work."""
        return not self.extra and not any(action.op not in _BOOKKEEPING for action in self.actions)

    @cached_property
    def by_provider(self) -> Mapping[str, Stats]:
        """Bytes and files for each provider; an entry that two providers share counts for both."""
        sums: dict[str, list[int]] = {}
        for action in self.actions:
            for provider in {claim.provider for claim in action.claims}:
                self._count(sums.setdefault(provider, [0] * 5), action)
        for adoption in self.adoptions:
            for provider in adoption.providers:
                row = sums.setdefault(provider, [0] * 5)
                row[2] += self.frees(adoption)
        return {provider: Stats(*row) for provider, row in sorted(sums.items())}

    def stats(self) -> Stats:
        """Bytes and files of the whole plan, each action counted once. `freed` is what swapping copies gives back."""
        row = [0] * 5
        for action in self.actions:
            self._count(row, action)
        row[2] = sum(self.frees(adoption) for adoption in self.adoptions)
        return Stats(*row)

    @staticmethod
    def _count(row: list[int], action: Action) -> None:
        if action.op in ("make", "replace") and action.body:
            row[3] += 1
            row[0 if action.body[0] == "weight" else 1] += action.bytes
        elif action.op == "remove":
            row[4] += 1

    @staticmethod
    def frees(adoption: Adoption) -> int:
        """Bytes that swapping this copy for a link gives back: none while it has another name elsewhere."""
        return adoption.expect.bytes if adoption.replace and adoption.expect.nlink == 1 else 0

    def describe(self, blind: Container[tuple[str, Key | None]] = ()) -> Iterator[dict[str, Any]]:
        """The actions as objects for people and programs.

        Args:
            blind: (provider, variant) where the provider cannot load it: a file that is adopted in a folder which
                several read is told as of those that can, if there are any.
        """
        for action in self.actions:
            if action.op in _BOOKKEEPING:
                continue
            claims = action.claims
            if action.op in ("intake", "swap"):
                claims = tuple(c for c in claims if (c.provider, c.key) not in blind) or claims
            yield {
                "op": action.op,
                "path": action.absolute,
                "providers": sorted({claim.provider for claim in claims}),
                "models": sorted({str(claim.key) for claim in action.claims if claim.key}),
                "what": action.body[0] if action.body else "",
                "blake3": action.body[1] if action.body[:1] == ("weight",) else "",
                "bytes": action.bytes,
                "note": action.note,
            }

    def encode(self) -> bytes:
        """JSON, schema 1: an object whose `actions` are rows, one line each, with `columns` as their names."""
        head = {
            "schema": SCHEMA, "kind": self.kind, "roots": self.roots, "unchanged": self.unchanged,
            "space": self.space, "undoes": self.undoes, "extra": self.extra, "states": self.states,
            "issues": [[i.kind, i.path, i.message, i.remedy] for i in self.issues],
            "adoptions": [_adoption_row(adoption) for adoption in self.adoptions], "originals": self.originals,
            "texts": {digest: _as_text(data) for digest, data in self.texts.items()},
            "bases": sorted(self.bases), "columns": Action._fields,
        }
        rows = ",\n".join([_line(action) for action in self.actions])
        return f'{_dump(head)[:-1]},"actions":[\n{rows}]}}\n'.encode()

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        """From what `encode` wrote.

        Raises:
            PlanOutdated: it is no plan, or one of a later schema.
        """
        try:
            head = json.loads(data)
            if head["schema"] != SCHEMA:
                raise PlanOutdated(f"the plan has schema {head['schema']}, this helixstore knows {SCHEMA}",
                                   "make a new plan: helixstore sync --plan FILE")
            return cls(
                head["kind"], tuple(_action(row) for row in head["actions"]),
                {digest: _as_bytes(text) for digest, text in head["texts"].items()},
                frozenset(head["bases"]), tuple(_adoption(row) for row in head["adoptions"]),
                tuple(Original.of(row) for row in head["originals"]),
                tuple(Deviation(r, p, Key(*k) if k else None, s, why) for r, p, k, s, why in head["states"]),
                tuple(Issue(*row) for row in head["issues"]),
                {root: (who[0], who[1]) if who else None for root, who in head["roots"].items()},
                head["unchanged"], tuple(head["extra"]), head["space"], tuple(head["undoes"]),
            )
        except (ValueError, KeyError, TypeError, IndexError, UnsafeName) as error:
            raise PlanOutdated(f"this is not a plan: {error}",
                               "make a new plan: helixstore sync --plan FILE") from error


def _line(action: Action) -> str:
    """One action as a JSON array; written out by hand since there may be very many."""
    op, root, path, body, expect, claims, order, was, note = action
    if body and body[0] == "weight":
        _, digest, size, kinds = body
        shape = f'["weight","{digest}",{size},{_kinds(kinds)}]'
    else:
        shape = _dump(body)
    return (f'["{op}",{_quoted(root)},{_quoted(path)},{shape},{_dump(expect) if expect else "null"},'
            f'{claims_line(claims)},{order},{was.line() if was is not None else "null"},{_quoted(note)}]')


@functools.cache
def _kinds(kinds: tuple[str, ...]) -> str:
    return _dump(kinds)


def digests_needed(plan: Plan) -> set[str]:
    """Blobs that the operation needs while it runs, or undo afterwards, and that no ref may name."""
    digests = {adoption.digest for adoption in plan.adoptions}
    for action in plan.actions:
        if action.was is not None and action.op in ("remove", "replace", "own") and action.was.kind in _LINKS:
            digests.add(action.was.digest)
        elif plan.kind == "undo" and action.op == "make" and action.body[0] in ("weight", "copy"):
            digests.add(action.body[1])
    return digests


def _action(row: list[Any]) -> Action:
    op, root, path, body, expect, claims, order, was, note = row
    shape = tuple(tuple(part) if isinstance(part, list) else part for part in body)
    if shape and shape[0] in ("weight", "copy", "own"):
        check_digest(str(shape[1]))
    return Action(op, root, path, shape, Look(*expect) if expect else None, unpack(claims), order,
                  Record.of(was) if was else None, note)


def _adoption_row(adoption: Adoption) -> list[Any]:
    return [adoption.path, adoption.digest, adoption.expect, adoption.replace, adoption.key, adoption.root,
            adoption.hashed_now, adoption.providers, adoption.sha256, adoption.gitsha1, adoption.copy,
            adoption.keep]


def _adoption(row: list[Any]) -> Adoption:
    """As written, but hashed in another run: it is read again before it is replaced."""
    return Adoption(row[0], row[1], Fingerprint(*row[2]), row[3], Key(*row[4]), row[5], False, tuple(row[7]), row[8],
                    row[9], row[10], row[11])


def _as_text(data: bytes) -> str | list[str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(data).decode()]


def _as_bytes(text: str | list[str]) -> bytes:
    return text.encode() if isinstance(text, str) else base64.b64decode(text[0], validate=True)
