"""One LMDB environment: opened when first used, grown when full, opened anew after a fork, thrown away when damaged.

All transactions of the process go through `Database.read` and `Database.write`, which take a function: it may be run
again from the start (the map had to grow, the file was damaged), so it must only compute and use its `Tables`. It must
not call `read` or `write` itself, and nothing that a person waits for happens inside it.

The rules of `lmdb.h` that this file keeps:
- never on a network file system; never opened twice in one process, so that `share` hands out one per folder;
- never used after fork: a fork waits until no transaction of the process is open, and the child opens its own;
- the map is resized only when no transaction of this process is open; a size that another process set is adopted;
- what a killed reader left is cleared when the file is opened;
- opening is one process at a time (a lock file beside it), so that a damaged file can be replaced under nobody's feet.

A file that is shorter than its own last page would end the process with SIGBUS when it is read: it is filled up with
zeros before, which LMDB then refuses as damaged, as it should.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import lmdb

from helixstore.errors import IndexUnusable, advice
from helixstore.fs import kernel, mounts
from helixstore.fs.locks import lock_file

__all__ = ["Damaged", "Database", "Tables", "release", "share"]

T = TypeVar("T")

#: Address space on Linux, where only written pages use the disk; elsewhere the map may be allocated.
MAP_BYTES = 1 << 30 if sys.platform.startswith("linux") and sys.maxsize > 1 << 32 else 1 << 26
_READERS = 512
_SPACE = 1 << 20                                        # bytes: the lock file, and what one small change may need
_DAMAGES = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError,
            lmdb.IncompatibleError, lmdb.NotFoundError, lmdb.BadTxnError)
_FILLED = 1 << 26           # bytes; pages at the end that were never written are few
_META = struct.Struct("=II8xQ")                         # of a meta page after its header: magic, version, map size
_MAGIC = 0xBEEF_C0DE                                    # [LMDB `mdb.c`, MDB_MAGIC]


class Damaged(Exception):
    """The file is not what this version wrote; what it held is derived, so it is thrown away."""


class Tables:
    """The tables within one transaction. Keys and values are bytes."""

    __slots__ = ("_handles", "_transaction")

    def __init__(self, transaction: Any, handles: dict[str, Any]) -> None:
        self._transaction = transaction
        self._handles = handles

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value, or None."""
        value: bytes | None = self._transaction.get(key, db=self._handles[table])
        return value

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set the value."""
        self._transaction.put(key, value, db=self._handles[table])

    def delete(self, table: str, key: bytes) -> bool:
        """Take the key out; whether it was there."""
        return bool(self._transaction.delete(key, db=self._handles[table]))

    def items(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order of the keys, of those that begin with `prefix`."""
        with self._transaction.cursor(self._handles[table]) as cursor:
            if not prefix:
                yield from cursor
            elif cursor.set_range(prefix):
                for key, value in cursor:
                    if not key.startswith(prefix):
                        return
                    yield key, value

    def count(self, table: str) -> int:
        """How many keys."""
        return int(self._transaction.stat(self._handles[table])["entries"])

    def clear(self, table: str) -> None:
        """Take everything out."""
        self._transaction.drop(self._handles[table], delete=False)


class _Gate:
    """Counts the transactions of the process, and lets one thread be alone."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Around a transaction."""
        with self._condition:
            while self._closed:
                self._condition.wait()
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def close(self) -> None:
        """Wait until no transaction is open, and let none begin."""
        with self._condition:
            while self._closed:
                self._condition.wait()
            self._closed = True
            while self._inside:
                self._condition.wait()

    def open(self) -> None:
        """Let transactions begin again."""
        with self._condition:
            self._closed = False
            self._condition.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Around what needs the process to have no transaction."""
        self.close()
        try:
            yield
        finally:
            self.open()


class Database:
    """One environment with named tables.

    Args:
        path: its folder, absolute; made (0700) when needed.
        tables: names.
        stamp: what the file must say of itself (format and store); another one means that it is thrown away.
        map_bytes: size of a new map.
    """

    def __init__(self, path: str, tables: tuple[str, ...], stamp: bytes, map_bytes: int = MAP_BYTES) -> None:
        self.path = path
        self.users = 0
        self._tables = tables
        self._stamp = stamp
        self._map_bytes = map_bytes
        self._environment: Any = None
        self._handles: dict[str, Any] = {}
        self._inode = 0
        self._gate = _Gate()
        _all.add(self)

    def read(self, work: Callable[[Tables], T]) -> T:
        """Run `work` on one state of the tables.

        Raises:
            Damaged: the file cannot be read; `discard` it.
            IndexUnusable: the folder cannot be used at all.
        """
        return self._run(work, write=False)

    def write(self, work: Callable[[Tables], T]) -> T:
        """Run `work`, and keep what it put: all of it, or nothing when it raises. Errors as `read`."""
        return self._run(work, write=True)

    def _run(self, work: Callable[[Tables], T], write: bool) -> T:
        panicked = False
        while True:
            if self._environment is None:
                self._open()
            try:
                with self._gate.inside():
                    if (environment := self._environment) is None:
                        continue                        # another thread closed it
                    with environment.begin(write=write) as transaction:
                        return work(Tables(transaction, self._handles))
            except lmdb.MapFullError:
                self._resize(environment, environment.info()["map_size"] * 2)
            except lmdb.MapResizedError:
                self._resize(environment, 0)
            except lmdb.ReadersFullError as error:
                if environment.reader_check() == 0:
                    raise IndexUnusable(f"more than {_READERS} processes read the index at once",
                                        "try again when some have ended", self.path) from error
            except lmdb.PanicError as error:            # a commit failed: the file is as it was before, this map is not
                self.close()
                if panicked:
                    raise self._unusable(error) from error
                panicked = True
            except _DAMAGES as error:
                raise Damaged(str(error)) from error
            except lmdb.Error as error:
                if not _interrupted(error):             # else nothing was kept: once more
                    raise self._unusable(error) from error

    def _resize(self, environment: Any, size: int) -> None:
        """Give the map another size; 0: the one that another process gave it."""
        with self._gate.alone():
            if environment is self._environment:
                environment.set_mapsize(size)
                self._handles = _adopting(environment, self._open_tables)

    def moved(self) -> bool:
        """Whether the file at the path is not the open one: somebody deleted or replaced it."""
        if self._environment is None:
            return False
        try:
            return os.stat(os.path.join(self.path, "data.mdb")).st_ino != self._inode
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Let go of the file; the next `read` or `write` opens it again."""
        with self._gate.alone():
            self._drop()

    def discard(self, reason: str) -> None:
        """Throw the file away, unless another process has done so meanwhile; the next use makes an empty one."""
        with self._gate.alone():
            replaced = self.moved()
            self._drop()
            if not replaced:
                with lock_file(os.path.join(self.path, "opening.lock")):
                    self._delete(reason)

    @property
    def discarded(self) -> tuple[int, str]:
        """How often the file was thrown away because it was damaged or foreign, and why the last time."""
        try:
            with open(os.path.join(self.path, "discarded.json"), "rb") as file:
                found = json.load(file)
                return int(found["count"]), str(found["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""

    def _drop(self) -> None:
        environment, self._environment = self._environment, None
        self._handles = {}
        if environment is not None:
            environment.close()

    def _open(self) -> None:
        """Open the file; make it when missing, and anew when damaged or foreign."""
        with self._gate.alone():
            if self._environment is not None:
                return                                  # another thread was first
            self._check_place()
            try:
                os.makedirs(self.path, mode=0o700, exist_ok=True)
                with lock_file(os.path.join(self.path, "opening.lock")):
                    try:
                        self._load()
                    except (Damaged, *_DAMAGES, lmdb.MemoryError) as error:
                        self._drop()
                        self._delete(str(error))
                        self._load()
            except lmdb.Error as error:
                self._drop()
                raise self._unusable(error) from error
            except OSError as error:
                self._drop()
                raise IndexUnusable(f"the index cannot be opened in {self.path}: {error.strerror or error}",
                                    advice(error, "set HELIXSTORE_INDEX to a folder of yours on a local disk"),
                                    self.path) from error

    def _check_place(self) -> None:
        """Refuse a network file system [LMDB `lmdb.h`, Caveats]."""
        mount = mounts.mount_of(self.path)
        if mount.network:
            raise IndexUnusable(
                f"the index cannot lie in {self.path}: {mount.point} is a network file system "
                f"({mount.kind or 'share'}), where LMDB's locks and memory map do not hold",
                "set HELIXSTORE_INDEX to a folder on a local disk", self.path)

    def _check_space(self) -> None:
        """Refuse a full disk: a page of the map that cannot be allocated ends the process with SIGBUS."""
        try:
            status = os.statvfs(self.path)
        except (AttributeError, OSError):               # Windows; and a folder that has just gone tells later
            return
        free = status.f_bavail * status.f_frsize
        if status.f_blocks and free < _SPACE:
            raise IndexUnusable(f"only {free:,} bytes are free where the index lies, in {self.path}",
                                "free some space there, or set HELIXSTORE_INDEX to a folder on another disk", self.path)

    def _load(self) -> None:
        """Open what is there, or make it."""
        data = os.path.join(self.path, "data.mdb")
        self._check_space()
        with contextlib.suppress(FileNotFoundError):
            if 0 < os.path.getsize(data) < 2 * mmap.PAGESIZE:      # two pages are written when it is made: not all were
                kernel.unlink(data)
        _fill_up(data)
        environment = self._opened()
        self._environment = environment
        if environment.info()["map_size"] < self._map_bytes:
            environment.set_mapsize(self._map_bytes)
        environment.reader_check()
        _adopting(environment, self._check_stamp)
        self._handles = _adopting(environment, self._open_tables)
        self._inode = os.stat(data).st_ino

    def _opened(self) -> Any:
        """The environment; opening fails while another process makes the map larger, and is tried again."""
        options: dict[str, Any] = {"lib_version": 0} if int(lmdb.__version__.split(".")[0]) >= 3 else {}
        while True:
            try:
                return lmdb.open(
                    self.path, map_size=self._map_bytes, max_dbs=len(self._tables), max_readers=_READERS,
                    max_spare_txns=0, metasync=False, mode=0o600, **options)
            except lmdb.MapResizedError:
                continue
            except lmdb.Error as error:
                if not _interrupted(error):
                    raise

    def _check_stamp(self, environment: Any) -> None:
        """See that the file is ours; put the stamp and the tables into a new one."""
        with environment.begin() as transaction:
            found = transaction.get(b"stamp")
        if found is None and environment.stat()["entries"] == 0:
            with environment.begin(write=True) as transaction:
                for name in self._tables:
                    environment.open_db(name.encode(), txn=transaction)
                transaction.put(b"stamp", self._stamp)
        elif found != self._stamp:
            raise Damaged("it was written by another version of helixstore or for another store")

    def _open_tables(self, environment: Any) -> dict[str, Any]:
        return {name: environment.open_db(name.encode(), create=False) for name in self._tables}

    def _delete(self, reason: str) -> None:
        """Remove both files, under the lock of opening, and count it."""
        count = self.discarded[0] + 1
        for name in ("data.mdb", "lock.mdb"):
            with contextlib.suppress(FileNotFoundError):
                kernel.unlink(os.path.join(self.path, name))
        text = json.dumps({"schema": 1, "count": count, "reason": reason}).encode()
        kernel.replace_file(os.path.join(self.path, "discarded.json"), text, 0o600, durable=False)

    def _unusable(self, error: lmdb.Error) -> IndexUnusable:
        remedy = "set HELIXSTORE_INDEX to a folder of yours on a local disk with free space"
        return IndexUnusable(f"the index in {self.path} cannot be used: {error}", remedy, self.path)


def _interrupted(error: lmdb.Error) -> bool:
    """Whether a signal came in between: liblmdb does not go on then."""
    return os.strerror(errno.EINTR) in str(error)


def _adopting(environment: Any, work: Callable[[Any], T]) -> T:
    """Run `work` on an environment that has no transaction open, as often as other processes resize its map."""
    while True:
        try:
            return work(environment)
        except lmdb.MapResizedError:
            environment.set_mapsize(0)


def _fill_up(path: str) -> None:
    """Append zeros up to the last page that the file says it has; nothing for a file that is no LMDB file.

    Called only when no environment of this process is open on the file, since closing it drops the process's locks.
    Appending overwrites nothing, so that another process may be writing meanwhile.
    """
    try:
        with open(path, "rb") as file:
            first = file.read(160)
            if len(first) < 160:
                return
            page_bytes = struct.unpack_from("=I", first, 40)[0]         # md_pad of the first table [LMDB `mdb.c`]
            if not 512 <= page_bytes <= 65536:
                return
            file.seek(page_bytes)
            metas = [meta for meta in (first, file.read(160)) if len(meta) == 160]
    except FileNotFoundError:
        return
    last = 0
    for meta in metas:
        magic, _, map_bytes = _META.unpack_from(meta, 16)
        page = struct.unpack_from("=Q", meta, 136)[0]
        if magic == _MAGIC and page * page_bytes <= map_bytes:
            last = max(last, page)
    missing = (last + 1) * page_bytes - os.stat(path).st_size
    if missing > _FILLED:
        raise Damaged(f"{missing:,} bytes of it are missing")
    if missing > 0:
        with open(path, "ab", buffering=0) as file:
            while missing > 0:
                missing -= file.write(bytes(min(missing, 1 << 20)))


_all: weakref.WeakSet[Database] = weakref.WeakSet()
_shared: dict[str, Database] = {}
_sharing = threading.Lock()


def share(path: str, tables: tuple[str, ...], stamp: bytes, map_bytes: int = MAP_BYTES) -> Database:
    """The process's one `Database` for this folder; give it back with `release`."""
    real = os.path.realpath(path)
    with _sharing:
        database = _shared.get(real)
        if database is None or database._stamp != stamp:
            if database is not None:
                database.close()
            database = _shared[real] = Database(real, tables, stamp, map_bytes)
        database.users += 1
        return database


def release(database: Database) -> None:
    """Its last user closes it."""
    with _sharing:
        database.users -= 1
        if database.users > 0:
            return
        if _shared.get(database.path) is database:
            del _shared[database.path]
    database.close()


_forking: list[Database] = []


def _before_fork() -> None:
    """Let no transaction be open while the process is copied."""
    _sharing.acquire()
    _forking[:] = list(_all)
    for database in _forking:
        database._gate.close()


def _after_fork_in_parent() -> None:
    for database in _forking:
        database._gate.open()
    _forking.clear()
    _sharing.release()


def _after_fork_in_child() -> None:
    """The child's copies are closed, which LMDB allows where no transaction is open, and opened anew when used."""
    for database in _forking:
        database._gate = _Gate()
        database._drop()
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent,
                        after_in_child=_after_fork_in_child)
