from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helixstore.fs import kernel, locks
from helixstore.fs.locks import Lease
from helixstore.fs.probe import probe
from helixstore.values import LinkKind
from support.disks import SOMEBODY, Disks, apart, as_root


def inode(path: Path) -> int:
    return path.lstat().st_ino


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_hard_link_to_a_symlink_is_a_link_to_what_it_leads_to(disk: Path) -> None:
    (disk / "real").write_bytes(b"bytes")
    (disk / "way").symlink_to("real")
    kernel.hard_link(disk / "way", disk / "name")
    assert inode(disk / "name") == inode(disk / "real")
    with pytest.raises(FileExistsError):
        kernel.hard_link(disk / "real", disk / "name")
    with pytest.raises(FileNotFoundError):
        kernel.hard_link(disk / "nothing", disk / "other")


def test_publish_never_replaces(disk: Path) -> None:
    (disk / "mine").write_bytes(b"mine")
    (disk / "theirs").write_bytes(b"theirs")
    assert not kernel.publish(disk / "mine", disk / "theirs")
    assert (disk / "theirs").read_bytes() == b"theirs"
    assert (disk / "mine").read_bytes() == b"mine"
    assert kernel.publish(disk / "mine", disk / "new")
    assert names(disk) == ["new", "theirs"]
    (disk / "dangling").symlink_to("nowhere")
    assert not kernel.publish(disk / "new", disk / "dangling")


def test_publish_sees_that_its_link_was_made_although_an_error_came_back(disk: Path) -> None:
    """As after a lost reply of an NFS server: both names are there already."""
    (disk / "mine").write_bytes(b"mine")
    os.link(disk / "mine", disk / "name")
    assert kernel.publish(disk / "mine", disk / "name")
    assert names(disk) == ["name"]


def test_rename_new_never_replaces(disk: Path) -> None:
    (disk / "a").write_bytes(b"a")
    (disk / "b").write_bytes(b"b")
    assert not kernel.rename_new(disk / "a", disk / "b")
    assert (disk / "b").read_bytes() == b"b"
    assert kernel.rename_new(disk / "a", disk / "c")
    assert names(disk) == ["b", "c"]
    with pytest.raises(FileNotFoundError):
        kernel.rename_new(disk / "a", disk / "d")


def test_replace_leaves_no_second_name(disk: Path) -> None:
    (disk / "a").write_bytes(b"a")
    os.link(disk / "a", disk / "b")
    kernel.replace(disk / "a", disk / "b")
    assert names(disk) == ["b"]
    (disk / "way").symlink_to("b")
    (disk / "new").write_bytes(b"new")
    kernel.replace(disk / "new", disk / "way")
    assert (disk / "way").read_bytes() == b"new"
    assert (disk / "b").read_bytes() == b"a", "a symbolic link was followed"


def test_a_reflink_has_its_own_inode_or_nothing_is_there(disk: Path) -> None:
    (disk / "source").write_bytes(os.urandom(1 << 20))
    (disk / "source").chmod(0o444)
    try:
        kernel.reflink(disk / "source", disk / "clone", 0o640)
    except OSError as error:
        assert kernel.cannot_here(error)  # noqa: PT017
        assert names(disk) == ["source"]
        assert LinkKind.REFLINK not in probe(disk, disk).works
        return
    assert (disk / "clone").stat().st_mode & 0o777 == 0o640
    before = (disk / "source").read_bytes()
    with (disk / "clone").open("r+b") as file:
        file.write(b"changed")
    assert (disk / "source").read_bytes() == before
    with pytest.raises(FileExistsError):
        kernel.reflink(disk / "source", disk / "clone")
    assert (disk / "clone").read_bytes()[:7] == b"changed"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_a_copy_has_the_bytes_and_the_mode_whatever_the_umask(disk: Path, size: int) -> None:
    (disk / "source").write_bytes(os.urandom(size))
    old = os.umask(0o077)
    try:
        kernel.copy(disk / "source", disk / "copy", 0o644, durable=True)
    finally:
        os.umask(old)
    assert (disk / "copy").read_bytes() == (disk / "source").read_bytes()
    assert (disk / "copy").stat().st_mode & 0o777 == 0o644
    with pytest.raises(FileExistsError):
        kernel.copy(disk / "source", disk / "copy", 0o644)


def test_copy_reads_files_that_claim_to_be_empty(tmp_path: Path) -> None:
    kernel.copy("/proc/self/status", tmp_path / "copy", 0o644)
    assert b"Name:" in (tmp_path / "copy").read_bytes()


@as_root
def test_a_full_disk_leaves_nothing_half(disks: Disks, tmp_path: Path) -> None:
    small = disks.mount("tmpfs", megabytes=2, name="small")
    (tmp_path / "big").write_bytes(os.urandom(4 << 20))
    (small / "old").write_bytes(b"old")
    for attempt in (lambda: kernel.copy(tmp_path / "big", small / "new", 0o644),
                    lambda: kernel.write_new(small / "new", bytes(4 << 20)),
                    lambda: kernel.replace_file(small / "old", bytes(4 << 20))):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.ENOSPC
        assert not kernel.cannot_here(caught.value)
        assert names(small) == ["old"]
    assert (small / "old").read_bytes() == b"old"


def test_a_small_file_appears_whole_or_not_at_all(disk: Path) -> None:
    kernel.write_new(disk / "file", b"one", 0o444)
    with pytest.raises(FileExistsError):
        kernel.write_new(disk / "file", b"two")
    kernel.replace_file(disk / "file", b"three")
    assert (disk / "file").read_bytes() == b"three"
    (disk / "folder").mkdir()
    with pytest.raises(OSError):
        kernel.replace_file(disk / "folder", b"four")
    (disk / "staging").mkdir()
    kernel.replace_file(disk / "file", b"five", temporary_folder=disk / "staging")
    assert (disk / "file").read_bytes() == b"five"
    assert names(disk) == ["file", "folder", "staging"]
    assert not names(disk / "staging")


@pytest.mark.parametrize(("code", "here"), [
    (errno.EXDEV, True), (errno.EMLINK, True), (errno.EPERM, True), (errno.ENOTSUP, True), (errno.ENOSYS, True),
    (errno.ENOSPC, False), (errno.EIO, False), (errno.EROFS, False), (errno.ENOENT, False), (errno.EDQUOT, False),
    (errno.EEXIST, False), (errno.EACCES, False),
])
def test_only_cannot_here_lets_the_next_kind_be_tried(code: int, here: bool) -> None:
    assert kernel.cannot_here(OSError(code, "")) is here


def test_too_many_links_is_cannot_here(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for number in range(70_000):                        # ext4: 65,000; a file system without a limit ends the loop
        try:
            kernel.hard_link(tmp_path / "file", tmp_path / str(number))
        except OSError as error:
            assert error.errno == errno.EMLINK  # noqa: PT017
            assert kernel.cannot_here(error)  # noqa: PT017
            break
    subprocess.run(["find", str(tmp_path), "-type", "f", "-delete"], check=True)


def test_another_mount_of_the_same_file_system_refuses_hard_links(disks: Disks, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    bound = disks.bind(tmp_path / "two", "bound")
    (tmp_path / "one" / "file").write_bytes(b"bytes")
    assert (tmp_path / "one").stat().st_dev == bound.stat().st_dev
    with pytest.raises(OSError) as caught:
        kernel.hard_link(tmp_path / "one" / "file", bound / "name")
    assert kernel.cannot_here(caught.value)
    found = probe(tmp_path / "one", bound)
    assert LinkKind.HARD not in found.works
    assert "mount" in found.why_not[LinkKind.HARD]
    assert LinkKind.SYMBOLIC in found.works
    assert names(bound) == []


@as_root
def test_another_users_read_only_file_refuses_hard_links(disk: Path) -> None:
    if Path("/proc/sys/fs/protected_hardlinks").read_text().strip() != "1":
        pytest.skip("fs.protected_hardlinks is off")
    blob, target = disk / "blob", disk / "theirs"
    blob.write_bytes(b"weights")
    blob.chmod(0o444)
    target.mkdir()
    os.chown(target, SOMEBODY, SOMEBODY)
    found = apart(lambda: dict(probe(disk, target, sample=blob).why_not), SOMEBODY)
    assert LinkKind.HARD in found
    assert LinkKind.SYMBOLIC not in found
    assert names(target) == []
    assert blob.read_bytes() == b"weights"


def test_probe_leaves_nothing_and_reports_a_missing_folder(disk: Path) -> None:
    found = probe(disk, disk)
    assert {LinkKind.HARD, LinkKind.SYMBOLIC} <= found.works
    assert not set(found.why_not) & found.works
    with pytest.raises(FileNotFoundError):
        probe(disk, disk / "nothing")
    assert names(disk) == []


# ---- leases


def test_a_lease_tells_writers_from_readers(disk: Path) -> None:
    path = disk / "file"
    path.write_bytes(b"bytes")
    os.link(path, disk / "other")
    with path.open("rb") as reading, locks.read_lease(reading.fileno()) as watch:
        assert watch.state is Lease.GRANTED
        assert not watch.broken()
        assert locks.in_use(disk / "other") is True
    assert locks.in_use(path) is False
    with (disk / "other").open("r+b"), path.open("rb") as reading, locks.read_lease(reading.fileno()) as watch:
        assert watch.state is Lease.BUSY


@as_root
def test_of_anothers_file_a_lease_says_unknown(shared: Path) -> None:
    (shared / "file").write_bytes(b"bytes")

    def ask() -> Lease:
        with (shared / "file").open("rb") as reading, locks.read_lease(reading.fileno()) as watch:
            return watch.state

    assert apart(ask, SOMEBODY) is Lease.UNKNOWN
    assert apart(lambda: locks.in_use(shared / "file"), SOMEBODY) is None


def test_a_waiting_writer_is_noticed_and_no_signal_kills_us(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")

    def hold() -> str:
        assert signal.getsignal(signal.SIGIO) is signal.SIG_DFL
        with path.open("rb") as reading, locks.read_lease(reading.fileno()) as watch:
            assert not watch.broken()
            with contextlib.suppress(BlockingIOError):  # breaks the lease without waiting for it
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            assert watch.broken()
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return "alive"

    assert apart(hold) == "alive"


def test_kernel_imports_without_the_rest(tmp_path: Path) -> None:
    """The lowest layer stands alone: nothing above it is loaded."""
    code = "import sys, helixstore.fs.kernel; print([m for m in sys.modules if m.startswith('helixstore.store')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_temporary_name_fits_whatever_the_name_is(disk: Path) -> None:
    for name in ("漢" * 85, "x" * 255, "é" * 127):
        kernel.write_new(disk / name, b"bytes", durable=False)
        kernel.replace_file(disk / name, b"more", durable=False)
        assert (disk / name).read_bytes() == b"more"
