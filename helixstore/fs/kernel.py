"""The one file that asks the kernel to link, rename, clone or flush; everything else calls it.

What holds here: nothing is ever replaced except by `replace` and `replace_file`; a name appears complete or not at
all; a failed call leaves no file of its own behind. What does not: durability of a *name* needs `sync_folder` too,
and on file systems without hard links or RENAME_NOREPLACE (FAT, some NFS) `publish` looks before it renames, so that
two writers of one name may both believe they were first; they publish the same bytes wherever this project does so.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator

from helixstore.fs.fingerprint import Fingerprint, fingerprint, fingerprint_of
from helixstore.fs.mounts import mount_of

if sys.platform != "win32":
    import fcntl

__all__ = [
    "Fingerprint", "Name", "cannot_here", "copy", "copy_bytes", "create", "fingerprint", "fingerprint_of",
    "hard_link", "publish", "reflink", "remove_tree", "rename_by", "rename_exclusively", "rename_new", "replace",
    "replace_file", "symlink", "sync_all", "sync_file", "sync_folder", "temporary_name", "try_mode", "unlink",
    "write_new",
]

Name = str | os.PathLike[str]

#: Errors that mean "this kind of link cannot be made here, try the next"; any other error is a real one (ENOSPC, EIO).
_CANNOT = frozenset({
    errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EMLINK,
})
_FICLONE = 0x40049409                # ioctl_ficlonerange(2), the common architectures
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_BINARY = getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FEW = 8                             # so many files are flushed one by one rather than with all others
_CHUNK = 1 << 30                     # copy_file_range takes at most 2 GiB at once


def cannot_here(error: OSError) -> bool:
    """Whether a kind of link cannot be made at this place, so that the next kind may be tried.

    False for everything that the next kind would suffer from too, or that must be told: ENOSPC, EIO, EDQUOT, EROFS,
    ENOENT, EACCES, EEXIST.
    """
    return error.errno in _CANNOT


def temporary_name(path: Name) -> str:
    """A hidden, unused-by-chance name in the same folder as `path`; `names.unfinished` recognises it."""
    folder, name = os.path.split(os.fspath(path))
    short = os.fsencode(name)[:200].decode(errors="ignore")         # file systems count bytes
    return os.path.join(folder, f".{short}.{secrets.token_hex(6)}.tmp")


# ---- names -----------------------------------------------------------------------------------------------------


def hard_link(source: Name, target: Name, plain: bool = False) -> None:
    """Make `target` one more name of the file that `source` is or leads to; never replaces.

    A symbolic link as source is resolved first: link(2) on Linux would link the symbolic link itself.

    Args:
        source: absolute.
        target: absolute.
        plain: the source is known to be no symbolic link, so nobody looks.

    Raises:
        FileExistsError: `target` exists.
        OSError: ask `cannot_here` about it.
    """
    if not plain and stat.S_ISLNK(os.lstat(source).st_mode):
        source = os.path.realpath(source, strict=True)
    try:
        os.link(source, target)
    except OSError as error:                        # NFS: the reply may be an error although the link exists
        if isinstance(error, FileExistsError) or not _same_file(source, target):
            raise


def symlink(target_text: str, link: Name) -> None:
    """Make a symbolic link with exactly this text; never replaces.

    Raises:
        FileExistsError: `link` exists.
        OSError: ask `cannot_here` about it.
    """
    try:
        os.symlink(target_text, link)
    except OSError as error:
        if isinstance(error, FileExistsError) or not os.path.islink(link) or os.readlink(link) != target_text:
            raise


def unlink(path: Name) -> None:
    """Remove one name of a file; a read-only file too on Windows, where that needs a second step."""
    try:
        os.unlink(path)
    except PermissionError:
        if sys.platform != "win32":
            raise
        os.chmod(path, stat.S_IWRITE)
        os.unlink(path)


def replace(temporary: Name, target: Name) -> None:
    """Put `temporary` in the place of `target` in one step; `temporary` is gone afterwards.

    rename(2) does nothing when both names are one inode: the temporary name is then removed here. A network file
    system may report an error although the rename took place.
    """
    before = os.lstat(temporary)
    try:
        os.replace(temporary, target)
    except OSError:
        if not _arrived(temporary, target, before):
            raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)


def publish(temporary: Name, target: Name) -> bool:
    """Give the file its final name without replacing anything; the temporary name is then gone.

    Returns:
        False when `target` exists and cannot be told to be this file: it is complete, and `temporary` is kept.

    Raises:
        OSError: `target` is not there, as far as can be seen.
    """
    try:
        os.link(temporary, target)
    except OSError as error:
        if not _same_file(temporary, target):      # NFS: the reply may be an error although the link exists
            if cannot_here(error):
                return rename_new(temporary, target)
            if isinstance(error, FileExistsError) or os.path.lexists(target):   # sshfs: one inode has two numbers
                return False
            raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    return True


def rename_new(source: Name, target: Name) -> bool:
    """Rename without replacing; needs no right to link, so it also moves what another user owns.

    Returns:
        False when `target` existed and nothing was done.

    Raises:
        OSError: it was not done, as far as can be seen.
    """
    before = os.lstat(source)
    try:
        try:
            rename_exclusively(source, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _CANNOT - {errno.EXDEV, errno.EPERM}:
                raise
            if os.path.lexists(target):
                return False
            os.rename(source, target)
    except OSError:
        if not _arrived(source, target, before):    # NFS: the reply may be an error although it was done
            raise
    return True


def rename_exclusively(source: Name, target: Name) -> None:
    """Rename, by a call that itself refuses to replace: FileExistsError; EINVAL or ENOSYS where there is none."""
    rename_by(_RENAME_NOREPLACE, source, target)


def rename_by(flags: int, source: Name, target: Name) -> None:
    """Rename as the flags of renameat2(2) say, which only Linux has: ENOSYS elsewhere."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), os.fspath(source))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fspath(source), None, os.fspath(target))


def _arrived(source: Name, target: Name, before: os.stat_result) -> bool:
    """Whether what lay at `source` lies at `target` now and only there, whatever the call for it returned.

    By inode, or, since some network file systems number by name, by size and time.
    """
    try:
        after = os.lstat(target)
    except OSError:
        return False
    same = os.path.samestat(after, before) or (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    return same and not os.path.lexists(source)


def _same_file(one: Name, other: Name) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


# ---- bytes -----------------------------------------------------------------------------------------------------


def create(path: Name, mode: int = 0o600) -> int:
    """A descriptor of a new, empty file for reading and writing; the caller closes it.

    Raises:
        FileExistsError: the name is taken, by a dangling link too.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, mode)


def remove_tree(path: str) -> int:
    """Remove a folder with all that is in it; no symbolic link is followed, also when one is put in its place now.

    Returns:
        The bytes that were freed by that; 0 when there is no such folder.
    """
    freed = 0
    if not os.path.isdir(path) or os.path.islink(path):
        return freed
    if sys.platform == "win32":                     # no descriptors of folders there, nor other users' links
        for above, folders, files in os.walk(path, topdown=False):
            for name in files:
                freed += os.lstat(os.path.join(above, name)).st_size
                unlink(os.path.join(above, name))
            for name in folders:
                os.rmdir(os.path.join(above, name))
    else:
        for _, folders, files, descriptor in os.fwalk(path, topdown=False):
            for name in files:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                freed += status.st_size if status.st_nlink == 1 else 0
                os.unlink(name, dir_fd=descriptor)
            for name in folders:
                linked = stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
                (os.unlink if linked else os.rmdir)(name, dir_fd=descriptor)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)
    return freed


def try_mode(path: Name | int, mode: int) -> bool:
    """Set permission bits whatever the umask; False where the file system keeps none (FAT, some SMB and NFS)."""
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
        return False
    return True


def reflink(source: Name, target: Name, mode: int = 0o644, durable: bool = False) -> None:
    """Make `target` a new file that shares the blocks of `source` until either is written; never replaces.

    Args:
        source: followed when it is a symbolic link.
        target: created, removed again on failure.
        mode: permission bits of `target`; nothing is taken over from `source`.
        durable: flush that it has these blocks; the name needs `sync_folder`. Without that a power cut can leave it
            empty under a name that it was given later (seen on btrfs).

    Raises:
        OSError: ask `cannot_here` about it; ENOTSUP where the system or file system has no such thing.
    """
    if sys.platform == "darwin":
        _clonefile(source, target)
        try_mode(target, mode)
        if durable:
            sync_file(target)
        return
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), os.fspath(target))
    reading = os.open(source, os.O_RDONLY)
    try:
        with _new_file(target, mode) as writing:
            fcntl.ioctl(writing, _FICLONE, reading)
            if durable:
                sync_file(writing)
    finally:
        os.close(reading)


def copy(source: Name, target: Name, mode: int, durable: bool = False) -> None:
    """Make `target` a new file with the same bytes; never replaces, removed again on failure.

    Args:
        source: followed when it is a symbolic link.
        target: absolute path of a file that does not exist.
        mode: permission bits of `target`.
        durable: flush the bytes to the disk; the name needs `sync_folder`.
    """
    reading = os.open(source, os.O_RDONLY | _BINARY)
    try:
        with _new_file(target, mode) as writing:
            copy_bytes(reading, writing)
            if durable:
                sync_file(writing)
    finally:
        os.close(reading)


def copy_bytes(reading: int, writing: int) -> None:
    """Copy from one descriptor's position to the end of file into another; in the kernel where it can."""
    while hasattr(os, "copy_file_range"):
        try:
            if not os.copy_file_range(reading, writing, _CHUNK):
                break                               # the end, or a pseudo file of size 0: reading tells
        except OSError as error:
            if not cannot_here(error) and error.errno != errno.EBADF:
                raise
            break
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    while count := os.readv(reading, [buffer]) if hasattr(os, "readv") else _read_into(reading, buffer):
        part = view[:count]
        while part:
            part = part[os.write(writing, part):]


def _read_into(reading: int, buffer: bytearray) -> int:
    data = os.read(reading, len(buffer))
    buffer[: len(data)] = data
    return len(data)


@contextlib.contextmanager
def _new_file(target: Name, mode: int) -> Iterator[int]:
    """An exclusively created file with this mode at the end, or none at all."""
    writing = create(target)
    try:
        try:
            yield writing
            try_mode(writing if os.chmod in os.supports_fd else target, mode)
        finally:
            os.close(writing)
    except BaseException:
        unlink(target)
        raise


def _clonefile(source: Name, target: Name) -> None:
    """clonefile(2) of macOS, which creates `target` itself."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.clonefile(os.fsencode(os.path.realpath(source)), os.fsencode(target), 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fspath(target))


def write_new(path: Name, data: bytes, mode: int = 0o644, durable: bool = True) -> None:
    """Make a small file appear with all its bytes, or not at all; never replaces.

    Args:
        path: absolute; its folder must exist and be on a file system we may write to.
        data: the whole content.
        mode: permission bits.
        durable: flush the file and its folder before returning.

    Raises:
        FileExistsError: the name is taken.
    """
    temporary = _written(path, data, mode, durable)
    published = False
    try:
        published = publish(temporary, path)
    finally:
        if not published:
            unlink(temporary)
    if not published:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
    if durable:
        sync_folder(os.path.dirname(os.fspath(path)))


def replace_file(path: Name, data: bytes, mode: int = 0o644, durable: bool = True,
                 temporary_folder: Name | None = None) -> None:
    """Replace or make a small file in one step.

    Args:
        path: absolute.
        data: the whole content.
        mode: permission bits.
        durable: flush the file and its folder before returning.
        temporary_folder: on the same file system, where the temporary name may be seen; by default the same folder.
    """
    name = os.path.join(temporary_folder, os.path.basename(os.fspath(path))) if temporary_folder is not None else path
    temporary = _written(name, data, mode, durable)
    try:
        replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            unlink(temporary)
        raise
    if durable:
        sync_folder(os.path.dirname(os.fspath(path)))


def _written(path: Name, data: bytes, mode: int, durable: bool) -> str:
    """The temporary name of a finished file that shall become `path`."""
    temporary = temporary_name(path)
    with _new_file(temporary, mode) as writing:
        view = memoryview(data)
        while view:
            view = view[os.write(writing, view):]
        if durable:
            sync_file(writing)
    return temporary


def sync_file(file: Name | int) -> None:
    """Flush the bytes of a file to the disk, through the drive's own cache where the system can ask for that."""
    if not isinstance(file, int):
        descriptor = os.open(file, (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY) | _BINARY)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        return
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):          # ENOTTY and ENOTSUP where the volume cannot: fsync then
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def sync_all(paths: Iterable[Name]) -> None:
    """Flush several files and folders: one by one when they are few, else each file system that they are on, once.

    syncfs(2) also writes what other programs have not flushed yet, and since Linux 5.8 reports what could not be
    written; a thousand small files cost as much as one that way. A network's server is only asked by fsync, and FUSE
    passes no syncfs on: there it is one by one, however many.

    Args:
        paths: absolute; what has vanished meanwhile needs no flushing.

    Raises:
        OSError: something could not be written.
    """
    wanted = list(paths)
    whole: dict[int, bool] = {}                     # device -> whether it was flushed as a whole
    for path in wanted:
        with contextlib.suppress(FileNotFoundError):
            if len(wanted) > _FEW and sys.platform.startswith("linux"):
                device = os.lstat(path).st_dev
                if device not in whole:
                    mount = mount_of(path)
                    whole[device] = not (mount.network or mount.kind.startswith("fuse"))
                    if whole[device]:
                        _sync_file_system(path)
                if whole[device]:
                    continue
            (sync_folder if os.path.isdir(path) else sync_file)(path)


def _sync_file_system(path: Name) -> None:
    descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), os.fspath(path))
    finally:
        os.close(descriptor)


def sync_folder(path: Name) -> None:
    """Make the names in a folder durable; fsync of a file does not do that."""
    if sys.platform == "win32":                     # no such call, and none is needed on NTFS
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)
