"""What kinds of link work from one folder to another, found out by making them: no other way is right everywhere.

`st_dev` may be equal where link fails (bind mounts) and differ where a clone works (btrfs subvolumes); who may link to
a file depends on its owner, its mode and a kernel setting. So: do it, once for each pair of folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from helixstore.fs import kernel
from helixstore.fs.fingerprint import same_inode
from helixstore.values import LinkKind

__all__ = ["NO_IDENTITY", "Capabilities", "explain_refusal", "probe"]

#: Why a hard link that can be made is none to us.
NO_IDENTITY = "the file system does not show which names are one file"
_PREFIX = ".helixstore-probe-"
_REFUSALS = {
    errno.EXDEV: "it lies on another file system, mount or subvolume",
    errno.EPERM: "the file system or the owner rule for links forbids it",
    errno.EACCES: "no permission to write there",
    errno.EMLINK: "the file has as many names as the file system allows",
    errno.ENOTSUP: "the file system has no such links",
    errno.EOPNOTSUPP: "the file system has no such links",
    errno.ENOTTY: "the file system has no such links",
    errno.ENOSYS: "the system has no such links",
    errno.EINVAL: "the file system has no such links",
    errno.EROFS: "the file system is read-only",
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What works from a source folder to a target folder.

    Attributes:
        works: those of HARD, SYMBOLIC and REFLINK that were made and read back.
        why_not: one clause for each that was not.
    """

    works: frozenset[LinkKind]
    why_not: Mapping[LinkKind, str]


def explain_refusal(error: OSError) -> str:
    """One clause for people: why the system refused a link."""
    return _REFUSALS.get(error.errno or 0) or (error.strerror or str(error)).lower()


def probe(source_folder: str | os.PathLike[str], target_folder: str | os.PathLike[str],
          sample: str | os.PathLike[str] | None = None) -> Capabilities:
    """Make each kind of link from the source to the target folder, read through it, and remove it again.

    Args:
        source_folder: absolute, where the blobs lie; a read-only file is made there, as a blob is.
        target_folder: absolute, must exist.
        sample: a file in the source folder to link to instead of a new one: another user's blob, to learn whether
            the kernel lets us link to it (`fs.protected_hardlinks`), or any, where we may not write there.

    Raises:
        OSError: the target folder is missing, or nothing can be created in either folder.
    """
    name = _PREFIX + secrets.token_hex(8)
    source = os.fspath(sample) if sample is not None else os.path.join(source_folder, name)
    target = os.path.join(target_folder, name + "-link")
    if sample is None:
        kernel.write_new(source, name.encode(), 0o444, durable=False)
    try:
        expected = _head(source)
        works: set[LinkKind] = set()
        why_not: dict[LinkKind, str] = {}
        makers: dict[LinkKind, Callable[[], None]] = {
            LinkKind.HARD: lambda: kernel.hard_link(source, target),
            LinkKind.SYMBOLIC: lambda: kernel.symlink(os.path.realpath(source), target),
            LinkKind.REFLINK: lambda: kernel.reflink(source, target, 0o600),
        }
        for kind, make in makers.items():
            why = _try(make, target, expected, source if kind is LinkKind.HARD else None)
            if why is None:
                works.add(kind)
            else:
                why_not[kind] = why
    finally:
        if sample is None:
            kernel.unlink(source)
    return Capabilities(frozenset(works), MappingProxyType(why_not))


def _try(make: Callable[[], None], target: str, expected: bytes, same: str | None) -> str | None:
    """None when the link was made and leads to the bytes, else why not. Errors that are not about links are raised.

    `same`: it must be seen to be one file with that one, or nobody could tell later whose it is.
    """
    try:
        make()
    except OSError as error:
        if kernel.cannot_here(error):
            return explain_refusal(error)
        raise
    try:
        if _head(target) != expected:
            return "reading through it gave other bytes"
        return None if same is None or same_inode(same, target) else NO_IDENTITY
    except OSError as error:
        return f"it cannot be read through: {explain_refusal(error)}"
    finally:
        with contextlib.suppress(FileNotFoundError):
            kernel.unlink(target)


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)
