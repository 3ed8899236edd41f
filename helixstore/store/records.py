"""The small JSON files of a store: canonical bytes out, and nothing believed that comes in."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from helixstore.errors import Failed, HelixError, StoreTooNew, Unreadable, UnsafeName, advice
from helixstore.fs import kernel

__all__ = [
    "SCHEMA", "canonical", "check_digest", "failed", "is_digest", "parse", "publish_all", "read_record", "read_small",
]

#: of every record this version writes; a higher number is refused, which for gc means "keep everything"
SCHEMA = 1
#: bytes; a manifest of 10,000 files has about 2 MB
_LIMIT = 64 << 20
#: values in one record: each may cost a hundred bytes of memory, however few it has in the file
_VALUES = 1_000_000
#: lists and objects in one record, which cost more
_NESTS = 400_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether it is a BLAKE3 digest as it is written everywhere: 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> str:
    """The digest itself; nothing else ever becomes a part of a path.

    Raises:
        UnsafeName: it is not 64 lower-case hex digits.
    """
    if _DIGEST.fullmatch(text) is None:
        raise UnsafeName(f"{text[:80]!r} is not a digest")
    return text


def canonical(record: Mapping[str, Any]) -> bytes:
    """The one way to write a record: sorted keys, UTF-8, no spaces.

    Raises:
        UnsafeName: a text in it is not UTF-8.
    """
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UnsafeName("a name that is not UTF-8 cannot be recorded", "rename the file, then try again") from None


def parse(data: bytes, path: str) -> dict[str, Any]:
    """The record in these bytes.

    Raises:
        Unreadable: not JSON, or not an object.
        StoreTooNew: of a schema that this version does not know.
    """
    if data.count(b",") > _VALUES or data.count(b"[") + data.count(b"{") > _NESTS:
        raise Unreadable(f"{path} is no record: it holds more values than any has", "find out who put it there", path)
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path} is damaged: {type(error).__name__}", "restore it from a backup", path) from None
    if not isinstance(record, dict):
        raise Unreadable(f"{path} is damaged: not an object", "restore it from a backup", path)
    if record.get("schema", SCHEMA) != SCHEMA:
        raise StoreTooNew(f"{path} has schema {record['schema']!r}, this version knows {SCHEMA}",
                          "upgrade helixstore", path)
    return record


def read_record(path: str) -> tuple[dict[str, Any], os.stat_result]:
    """A record and its stat; in shared folders somebody may have put a link or a pipe there, which is refused.

    Raises:
        FileNotFoundError: there is none.
        Unreadable, StoreTooNew: as `parse`; also no regular file, or too large.
    """
    data, status = read_small(path)
    return parse(data, path), status


def read_small(path: str) -> tuple[bytes, os.stat_result]:
    """The bytes of a small regular file that is no link, and its stat.

    Raises:
        FileNotFoundError: there is none.
        Unreadable: no regular file, no permission, a read error, or too large.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
                raise Unreadable(f"{path} is not a record of a store", "find out who put it there", path)
            data = bytearray()
            while part := os.read(descriptor, status.st_size + 1 - len(data)) if len(data) <= status.st_size else b"":
                data += part
            return bytes(data), status
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}", advice(error), path) from error


def publish_all(staging: str, items: Iterable[tuple[str, bytes]], mode: int = 0o444) -> list[bool]:
    """Make many small files durable: one pass of writing, one of flushing, one of naming, then the folders.

    Args:
        staging: a folder of ours on the same file system.
        items: (absolute target, bytes); the targets' folders exist.
        mode: permission bits.

    Returns:
        For each item whether it is new; False when its name was taken already, which is then left as it was.

    Raises:
        Failed: no space, no permission; some of the items may be there.
    """
    staged: list[tuple[str, str]] = []
    batch = secrets.token_hex(6)
    try:
        for number, (target, data) in enumerate(items):
            temporary = os.path.join(staging, f"{batch}-{number}")
            staged.append((temporary, target))
            descriptor = kernel.create(temporary)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view):]
            finally:
                os.close(descriptor)
            kernel.try_mode(temporary, mode)
        kernel.sync_all(temporary for temporary, _ in staged)
        fresh = [kernel.publish(temporary, target) for temporary, target in staged]
        kernel.sync_all({os.path.dirname(target) for (_, target), new in zip(staged, fresh, strict=True) if new})
    except OSError as error:
        raise failed(staged[-1][1] if staged else staging, error) from error
    else:
        return fresh
    finally:
        for temporary, _ in staged:
            if os.path.lexists(temporary):
                kernel.unlink(temporary)


def failed(path: str, error: OSError) -> HelixError:
    """What to tell when something could not be brought into the store; nothing has half a name then."""
    if isinstance(error, HelixError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(f"no space is left in the store for {path}", advice(error), path)
    return Failed(f"{path} cannot be brought into the store: {error.strerror or error}", advice(error), path)
