"""What one process finds out of a file system by itself. Everything happens in an empty folder of its own."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator

from helixstore.fs import kernel, locks
from helixstore.fs.fingerprint import same_inode
from helixstore.fs.probe import NO_IDENTITY, explain_refusal
from helixstore.trial.report import Trial

__all__ = ["alone"]

_SPARSE, _LARGE = 64 << 20, 5 << 30
_ODD_NS = 1_600_000_000_123_456_789
#: user::rwx, user:1:r-x, group::r-x, mask::r-x, other::--- [acl(5), posix_acl_xattr.h]
_ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
    (1, 7, 0xFFFFFFFF), (2, 5, 1), (4, 5, 0xFFFFFFFF), (0x10, 5, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)))


def alone(folder: str) -> Iterator[Trial]:
    """Every trial; one that the system refuses is a trial that failed.

    Args:
        folder: absolute, empty, ours.
    """
    for number, (name, trial) in enumerate(_TRIALS.items()):
        place = os.path.join(folder, f"{number}")
        os.mkdir(place)
        try:
            yield from trial(place)
        except OSError as error:
            links = name.endswith("links")
            yield Trial(name, False, explain_refusal(error) if links else (error.strerror or str(error)).lower())


def _put(folder: str, name: str, data: bytes = b"one") -> str:
    path = os.path.join(folder, name)
    kernel.write_new(path, data, durable=False)
    return path


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _hard(folder: str) -> Iterator[Trial]:
    source, target = _put(folder, "a"), os.path.join(folder, "b")
    kernel.hard_link(source, target, plain=True)
    count = os.stat(source).st_nlink
    seen = same_inode(source, target)
    yield Trial("hard_links", seen, f"one inode, link count {count}" if seen else f"they are made, but {NO_IDENTITY}")


def _symbolic(folder: str) -> Iterator[Trial]:
    source = _put(folder, "a")
    for name, text in (("relative", "a"), ("absolute", source)):
        kernel.symlink(text, os.path.join(folder, name))
        if _read(os.path.join(folder, name)) != b"one":
            yield Trial("symbolic_links", False, f"{name} ones lead elsewhere")
            return
    yield Trial("symbolic_links", True)


def _reflink(folder: str) -> Iterator[Trial]:
    kernel.reflink(_put(folder, "a"), os.path.join(folder, "b"))
    yield Trial("reflinks", True)


def _exclusive(folder: str) -> Iterator[Trial]:
    try:
        os.close(kernel.create(_put(folder, "a")))
    except FileExistsError:
        yield Trial("exclusive_create", True)
    else:
        yield Trial("exclusive_create", False, "a name that was taken was given again")


def _no_replace(folder: str) -> Iterator[Trial]:
    one, two = _put(folder, "a", b"one"), _put(folder, "b", b"two")
    try:
        kernel.rename_exclusively(one, two)
    except FileExistsError:
        kernel.rename_exclusively(one, os.path.join(folder, "c"))
        yield Trial("rename_no_replace", _read(two) == b"two")
    else:
        yield Trial("rename_no_replace", False, "it replaced a file")


def _over(folder: str) -> Iterator[Trial]:
    one, two = _put(folder, "a", b"one"), _put(folder, "b", b"two")
    with open(two, "rb") as reader:
        kernel.replace(one, two)
        held = reader.read() == b"two"
    yield Trial("rename_over", _read(two) == b"one", "an open file keeps its bytes" if held else
                "a file that is being read loses its bytes")


def _unlinked(folder: str) -> Iterator[Trial]:
    path = _put(folder, "a")
    with open(path, "rb") as reader:
        kernel.unlink(path)
        left = os.listdir(folder)
        held = reader.read() == b"one"
    yield Trial("unlink_open", held, f"it stays as {left[0]} until it is closed" if left else "")


def _leases(folder: str) -> Iterator[Trial]:
    descriptor = os.open(_put(folder, "a"), os.O_RDONLY)
    try:
        with locks.read_lease(descriptor) as lease:
            known = lease.state is not locks.Lease.UNKNOWN
    finally:
        os.close(descriptor)
    yield Trial("leases", known, "" if known else "nobody can tell whether a file is being written")


def _modes(folder: str) -> Iterator[Trial]:
    path = _put(folder, "a")
    os.chmod(path, 0o440)
    shown = stat.S_IMODE(os.stat(path).st_mode)
    yield Trial("modes", shown == 0o440, "" if shown == 0o440 else f"0440 was asked for, {shown:04o} is shown")
    uid = os.stat(path).st_uid
    if hasattr(os, "geteuid"):
        ours = uid == os.geteuid()
        yield Trial("owner", ours, "" if ours else f"what user {os.geteuid()} makes belongs to user {uid}")
    common = os.path.join(folder, "common")
    os.mkdir(common)
    os.chmod(common, 0o3770)                           # noqa: S103 # as a group's store has it
    shown = stat.S_IMODE(os.stat(common).st_mode)
    inner = os.path.join(common, "inner")
    os.mkdir(inner)
    passed = bool(os.stat(inner).st_mode & stat.S_ISGID)
    yield Trial("set_gid", shown == 0o3770 and passed,
                f"3770 was asked for, {shown:04o} is shown" if shown != 0o3770 else
                "" if passed else "new folders do not inherit it")


def _acl(folder: str) -> Iterator[Trial]:
    if not hasattr(os, "setxattr"):
        yield Trial("acl_inheritance", None, "not tried on this system")
        return
    os.setxattr(folder, "system.posix_acl_default", _ACL)
    inner = os.path.join(folder, "inner")
    os.mkdir(inner)
    yield Trial("acl_inheritance", "system.posix_acl_default" in os.listxattr(inner))


def _names(folder: str) -> Iterator[Trial]:
    _put(folder, "Case")
    folds = os.path.lexists(os.path.join(folder, "cASE"))
    yield Trial("case_sensitive", not folds, "names that differ in case are one" if folds else "")
    composed = unicodedata.normalize("NFC", "\u00c9t\u00e9")
    os.close(kernel.create(os.path.join(folder, composed)))
    same = os.path.lexists(os.path.join(folder, unicodedata.normalize("NFD", composed)))
    kept = composed in os.listdir(folder)
    yield Trial("names_kept", kept and not same, "" if kept and not same else
                "names are normalised" if not kept else "composed and decomposed letters are one")
    os.close(kernel.create(os.path.join(folder, "n" * 255)))
    yield Trial("long_names", True, "255 bytes")


def _large(folder: str) -> Iterator[Trial]:
    path = os.path.join(folder, "a")
    descriptor = kernel.create(path)
    try:
        os.pwrite(descriptor, b"x", _SPARSE)
        kernel.sync_file(descriptor)
        holes = os.fstat(descriptor).st_blocks * 512 < _SPARSE if hasattr(os.fstat(descriptor), "st_blocks") else False
        yield Trial("holes", holes, "" if holes else "an empty stretch of a file takes its whole space")
        if not holes:
            yield Trial("large_files", None, "not tried: it would write 5 GB")
            return
        os.pwrite(descriptor, b"y", _LARGE)
        good = os.fstat(descriptor).st_size == _LARGE + 1 and os.pread(descriptor, 1, _LARGE) == b"y"
        yield Trial("large_files", good, "5 GB")
    except OSError as error:
        too_large = error.errno in (errno.EFBIG, errno.EINVAL)
        yield Trial("large_files", False if too_large else None,
                    "no file may have 5 GB" if too_large else f"not found out: {explain_refusal(error)}")
    finally:
        os.close(descriptor)


def _flush(folder: str) -> Iterator[Trial]:
    path = _put(folder, "a")
    began = time.monotonic()
    kernel.sync_file(path)
    kernel.sync_folder(folder)
    took = (time.monotonic() - began) * 1000
    yield Trial("fsync", True, f"a file and its folder: {took:.1f} ms", round(took, 3))


def _times(folder: str) -> Iterator[Trial]:
    path = _put(folder, "a")
    before, shown, after = time.time(), os.stat(_put(folder, "clock")).st_mtime, time.time()
    skew = 0.0 if before - 2 <= shown <= after + 2 else shown - after
    yield Trial("same_clock", not skew, "" if not skew else
                f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours", round(skew, 3))
    os.utime(path, ns=(_ODD_NS, _ODD_NS))
    lost = abs(_ODD_NS - os.stat(path).st_mtime_ns)
    unit = next(text for limit, text in ((1, "nanoseconds"), (1000, "microseconds"), (10**6, "milliseconds"),
                                         (10**9, "seconds"), (1 << 62, "more than a second")) if lost < limit)
    yield Trial("fine_times", lost < 10**6, f"kept to {unit}", lost / 1e9)


def _map(folder: str) -> Iterator[Trial]:
    import mmap

    path = _put(folder, "a", b"." * 4096)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped:
        mapped[:3] = b"new"
        mapped.flush()
    yield Trial("shared_maps", _read(path)[:3] == b"new")


_TRIALS: dict[str, Callable[[str], Iterator[Trial]]] = {
    "hard_links": _hard, "symbolic_links": _symbolic, "reflinks": _reflink, "exclusive_create": _exclusive,
    "rename_no_replace": _no_replace, "rename_over": _over, "unlink_open": _unlinked, "leases": _leases,
    "modes": _modes, "acl_inheritance": _acl, "case_sensitive": _names, "large_files": _large, "fsync": _flush,
    "fine_times": _times, "shared_maps": _map,
}
if sys.platform == "win32":
    del _TRIALS["acl_inheritance"]
