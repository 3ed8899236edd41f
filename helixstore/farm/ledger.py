"""What helixstore made or found right in each root: one ledger per root, lines of JSON that are only appended to.

A ledger is the proof of ownership: nothing is replaced or removed that is not in it and still as it says. A line is
an array (the record of one path; a later line supersedes), an array of one path (no longer ours), or an object (the
root itself). A last line that was cut by a crash is dropped. Only the holder of the farm lock writes.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from helixstore.farm.desired import Claim
from helixstore.fs import kernel
from helixstore.fs.listing import listdir
from helixstore.values import Key

__all__ = ["FOLDER", "Ledger", "Ledgers", "Record", "claims_line", "pack", "unpack", "without_collector"]

FOLDER = "folder"
_SCHEMA = 1
_quoted = json.encoder.encode_basestring_ascii
_claims: dict[int, tuple[tuple[Claim, ...], str]] = {}
_CLAIMS = 1 << 16       # claims whose JSON is remembered
_SLACK = 1000           # superseded lines that are not worth a compaction


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Without the cyclic collector, which would walk again and again over many small values that hold no cycles."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Record(NamedTuple):
    """One path of a root.

    Attributes:
        path: POSIX, relative to the root.
        kind: "hard", "symlink", "reflink", "copy", "text", "inner" or "folder".
        digest: of the content as we left it; "" for folders and inner links.
        inode: of the file as we left it.
        bytes: its size.
        mtime_ns: its modification time; says only "look again" when it differs.
        target: the text of a symbolic link; of the root itself, the highest folder that was made on the way to it.
        base: of a text: digest of what was wanted when we wrote it, the common ancestor of a merge.
        claims: who wants it.
        why: why this kind of link and not a better one; "" for the best.
        origin: "made" by us; "adopted": lay there already, never removed by us; "merged": a file of the person that
            we wrote into.
        order: as of the entry.
        original: of a merged file: digest of what lay there before.
    """

    path: str
    kind: str
    digest: str
    inode: int
    bytes: int
    mtime_ns: int
    target: str
    base: str
    claims: tuple[Claim, ...]
    why: str
    origin: str
    order: int
    original: str = ""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The variants that it belongs to."""
        return tuple(claim.key for claim in self.claims if claim.key is not None)

    def line(self) -> str:
        """As it is written: one JSON array."""
        path, kind, digest, inode, size, mtime_ns, target, base, claims, why, origin, order, original = self
        return (f'[{_quoted(path)},"{kind}","{digest}",{inode},{size},{mtime_ns},{_quoted(target)},'
                f'"{base}",{claims_line(claims)},{_quoted(why)},"{origin}",{order},'
                f'{_quoted(original)}]')

    @classmethod
    def of(cls, row: list[Any]) -> Record:
        """From a row as `row` gives it."""
        row[8] = unpack(row[8])
        return cls._make(row)


def claims_line(claims: tuple[Claim, ...]) -> str:
    """Claims as JSON. Entries of one variant mostly share one tuple, so the last ones are remembered by identity."""
    known = _claims.get(id(claims))
    if known is not None and known[0] is claims:
        return known[1]
    if len(_claims) > _CLAIMS:
        _claims.clear()
    line = json.dumps(pack(claims), separators=(",", ":"))
    _claims[id(claims)] = claims, line
    return line


def pack(claims: Iterable[Claim]) -> list[list[Any]]:
    """Claims as JSON-ready rows."""
    return [[c.provider, *c.key, int(c.witness)] if c.key is not None else [c.provider, int(c.witness)] for c in claims]


def unpack(rows: Iterable[list[Any]]) -> tuple[Claim, ...]:
    """Claims from the rows of `pack`."""
    return tuple(
        Claim(row[0], Key(row[1], row[2]), row[3] == 1) if len(row) == 4 else Claim(row[0], None, row[1] == 1)
        for row in rows
    )


class Ledger:
    """The ledger of one root, in memory and on disk.

    Args:
        file: absolute path of the ledger file; need not exist.
        root: the root, absolute; "" for files that were adopted outside every root.
    """

    def __init__(self, file: str, root: str) -> None:
        self.file, self.root = file, root
        self.identity: tuple[str, int] | None = None
        self.records: dict[str, Record] = {}
        self._lines = 0
        self._pending: list[str] = []
        self._stamp: tuple[int, int, int] | None = None
        self._size = 0                      # bytes up to the end of the last whole line
        self.reload()

    def reload(self) -> None:
        """Read the file again if another process has changed it."""
        if self._pending:
            return
        try:
            status = os.stat(self.file)
        except FileNotFoundError:
            self.records, self.identity, self._lines, self._stamp, self._size = {}, None, 0, None, 0
            return
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if stamp == self._stamp:
            return
        with open(self.file, "rb") as file:
            data = file.read()
        self._stamp = stamp
        self._size = data.rfind(b"\n") + 1
        lines = data[: self._size].split(b"\n")[:-1]
        self._lines = len(lines)
        with without_collector():
            try:
                rows = json.loads(b"[" + b",".join(lines) + b"]")
            except ValueError:
                rows = self._readable(lines)
            self._replay(rows)

    def _readable(self, lines: list[bytes]) -> list[Any]:
        """The rows before the first line that a crash spoilt; what comes after it is cut off by the next `flush`."""
        rows: list[Any] = []
        self._size = 0
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
            self._size += len(line) + 1
        return rows

    def _replay(self, rows: Iterable[Any]) -> None:
        records: dict[str, Record] = {}
        before: Any = None                  # neighbours mostly have the same claims: share the tuples
        claims: tuple[Claim, ...] = ()
        for row in rows:
            if type(row) is dict:
                identity = row.get("identity")
                self.identity = (identity[0], identity[1]) if identity else None
            elif len(row) == 1:
                records.pop(row[0], None)
            else:
                if row[8] != before:
                    before = row[8]
                    claims = unpack(before)
                row[8] = claims
                records[row[0]] = Record._make(row)
        self.records = records

    def put(self, record: Record) -> None:
        """Record a path; on disk after `flush`."""
        self.records[record.path] = record
        self._pending.append(record.line())

    def drop(self, path: str) -> None:
        """Forget a path; on disk after `flush`."""
        if self.records.pop(path, None) is not None:
            self._pending.append(json.dumps([path]))

    def identify(self, identity: tuple[str, int] | None) -> None:
        """Remember which folder the root is (mount id, inode)."""
        if identity != self.identity:
            self.identity = identity
            self._pending.append(self._header())

    def _header(self) -> str:
        return json.dumps({"schema": _SCHEMA, "root": self.root, "identity": self.identity})

    def flush(self, durable: bool = False) -> None:
        """Append what was put and dropped.

        Args:
            durable: flush the file to the disk too.
        """
        if self._pending:
            fresh = self._stamp is None
            lines = ([self._header()] if self._size == 0 else []) + self._pending
            with open(self.file, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                if file.tell() != self._size:
                    file.truncate(self._size)
                file.write(("\n".join(lines) + "\n").encode())
            self._lines += len(lines)
            self._pending = []
            self._restamp()
            if fresh:
                kernel.sync_folder(os.path.dirname(self.file))
        if durable and self._stamp is not None:
            kernel.sync_file(self.file)

    def discard(self) -> None:
        """Never write what was put and dropped since the last `flush`."""
        self._pending = []

    def compact(self) -> None:
        """Rewrite the file without superseded lines when they are the greater part; remove it when nothing is left."""
        self.flush()
        if self._stamp is None:
            return
        if not self.records:
            kernel.unlink(self.file)
            kernel.sync_folder(os.path.dirname(self.file))      # come back, its lines would read like deletions
            self.identity, self._lines, self._stamp, self._size = None, 0, None, 0
        elif self._lines > 2 * len(self.records) + _SLACK:
            lines = [self._header(), *(r.line() for r in self.records.values())]
            kernel.replace_file(self.file, ("\n".join(lines) + "\n").encode(), 0o600)
            self._lines = len(lines)
            self._restamp()

    def _restamp(self) -> None:
        status = os.stat(self.file)
        self._stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        self._size = status.st_size


class Ledgers:
    """All ledgers of one person for one store.

    Args:
        folder: `<state>/ledger`, absolute; made when missing.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._open: dict[str, Ledger] = {}
        self._pretended: set[str] = set()

    def of(self, root: str) -> Ledger:
        """The ledger of a root, as it is on disk now."""
        ledger = self._open.get(root)
        if ledger is None:
            name = hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()
            ledger = self._open[root] = Ledger(os.path.join(self.folder, name + ".jsonl"), root)
        elif root not in self._pretended:
            ledger.reload()
        return ledger

    def pretend(self, roots: Iterable[str]) -> None:
        """What was put and dropped in the ledgers of these roots is never written, and true until `reread`."""
        self._pretended.update(roots)
        for root in roots:
            self._open[root].discard()

    def reread(self) -> None:
        """What was only pretended is so no more."""
        for root in self._pretended:
            self._open.pop(root, None)
        self._pretended.clear()

    def has(self, path: str) -> bool:
        """Whether an absolute path is in any ledger."""
        return any(path[len(root) + bool(root):] in self.of(root).records for root in self.roots()
                   if not root or path.startswith(f"{root}/"))

    def roots(self) -> Iterator[str]:
        """Every root that has a ledger; "" when files outside all roots were adopted."""
        yield from sorted(self._pretended)
        for name in sorted(listdir(self.folder)):
            if name.endswith(".jsonl"):
                with open(os.path.join(self.folder, name), "rb") as file:
                    line = file.readline()
                if line.endswith(b"\n") and (root := json.loads(line)["root"]) not in self._pretended:
                    yield root
