"""What keeps blobs alive besides refs: small files under `hosts/<host>/<uid>/`.

`keeps/<operation>.json` names digests that a running operation or an undo entry still needs. Every collector, of any
host and person, reads all of them; one that cannot be read keeps everything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, suppress

from helixstore.errors import HelixError, Unreadable, UnsafeName
from helixstore.fs import kernel
from helixstore.fs.listing import listdir, scandir
from helixstore.store import records
from helixstore.store.host import Host
from helixstore.store.sharing import Sharing
from helixstore.values import Issue

__all__ = ["Keeps"]

_OPERATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Keeps:
    """The keeps of one store; this person's on this host can be written, everybody's are read."""

    def __init__(self, root: str, host: Host, working: Callable[[], AbstractContextManager[str]],
                 sharing: Sharing) -> None:
        self._sharing = sharing
        self._hosts = os.path.join(root, "hosts")
        self._own = os.path.join(self._hosts, host.id, str(host.uid), "keeps")
        self._working = working

    def put(self, operation: str, digests: Collection[str]) -> None:
        """Keep these blobs until `drop`; what was put under that name before is replaced.

        Args:
            operation: letters, digits, dot, hyphen, underscore; unique for this person on this host.
            digests: of blobs, whether they exist yet or not.
        """
        record = records.canonical({"schema": records.SCHEMA, "operation": operation,
                                    "digests": sorted({records.check_digest(digest) for digest in digests})})
        with self._working() as staging:
            self._sharing.own(self._own, self._hosts)
            kernel.replace_file(self._path(operation), record, 0o444, temporary_folder=staging)

    def drop(self, operation: str) -> None:
        """Keep them no longer; nothing happens when there is no such keep."""
        with suppress(FileNotFoundError):
            kernel.unlink(self._path(operation))
            kernel.sync_folder(self._own)

    def digests(self, operation: str) -> set[str]:
        """What this person keeps under that name; nothing when there is no such keep, or it cannot be read."""
        with suppress(FileNotFoundError, HelixError):
            return _digests(self._path(operation))[0]
        return set()

    def all(self, over: Callable[[str, int, int], bool] = lambda host, uid, since_ns: False,
            without: Collection[str] = ()) -> tuple[set[str], list[Issue]]:
        """Every digest that anybody keeps, and what could not be read: then nothing may be deleted.

        Args:
            over: host, uid, nanoseconds on the store's clock -> whether what they kept then counts no more; then it
                need not even be readable.
            without: operations of this person's on this host that are left out.
        """
        digests: set[str] = set()
        issues: list[Issue] = []
        for host, uid, folder in _folders(self._hosts, "keeps", issues):
            try:
                if over(host, uid, os.stat(folder).st_mtime_ns):
                    continue
                names = listdir(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                issues.append(_issue(folder, error, host))
                continue
            for name in names:
                if without and folder == self._own and name.removesuffix(".json") in without:
                    continue
                path = os.path.join(folder, name)
                try:
                    found, since_ns = _digests(path)
                except FileNotFoundError:
                    continue                            # dropped meanwhile
                except (HelixError, OSError) as error:
                    if not _over(path, over, host, uid):
                        issues.append(_issue(path, error, host))
                    continue
                if not over(host, uid, since_ns):
                    digests |= found
        return digests, issues

    def mine(self) -> dict[str, int]:
        """The operations for which this person keeps anything -> since when, in nanoseconds on the store's clock."""
        found = {}
        with suppress(FileNotFoundError), scandir(self._own) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    found[entry.name[:-5]] = entry.stat(follow_symlinks=False).st_mtime_ns
        return found

    def _path(self, operation: str) -> str:
        if not _OPERATION.fullmatch(operation):
            raise UnsafeName(f"{operation[:80]!r} is not a name for an operation")
        return os.path.join(self._own, f"{operation}.json")


def _folders(hosts: str, kind: str, issues: list[Issue]) -> Iterator[tuple[str, int, str]]:
    """(host, uid, `hosts/<host>/<uid>/<kind>`) of everybody who has one."""
    for host in _listed(hosts, issues, ""):
        for uid in _listed(os.path.join(hosts, host), issues, host):
            if uid.isdecimal() and os.path.lexists(folder := os.path.join(hosts, host, uid, kind)):
                yield host, int(uid), folder


def _listed(folder: str, issues: list[Issue], host: str) -> list[str]:
    try:
        return listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        issues.append(_issue(folder, error, host))
        return []


def _digests(path: str) -> tuple[set[str], int]:
    record, status = records.read_record(path)
    try:
        return {records.check_digest(digest) for digest in record["digests"]}, status.st_mtime_ns
    except (KeyError, TypeError, UnsafeName) as error:
        raise Unreadable(f"{path} is damaged: {error!r}", "restore it from a backup", path) from None


def _over(path: str, over: Callable[[str, int, int], bool], host: str, uid: int) -> bool:
    """Whether what cannot be read is over anyway, by its own time."""
    try:
        return over(host, uid, os.lstat(path).st_mtime_ns)
    except OSError:
        return False


def _issue(path: str, error: Exception, host: str) -> Issue:
    remedy = getattr(error, "remedy", "") or "make it readable, or restore it from a backup"
    if host:
        remedy += f"; if that computer is gone for good: helixstore host forget {host}"
    return Issue("unreadable", path, f"what it keeps cannot be read, so nothing is deleted: {error}", remedy)
