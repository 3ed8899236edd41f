from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import pytest
import xxhash
from blake3 import blake3

from helixstore.errors import Busy, Unreadable
from helixstore.fs import locks
from helixstore.store import hashing
from helixstore.store.hashing import BLOCK, GIT_LIMIT, hash_bytes, hash_file
from support.disks import SOMEBODY, apart, as_root

MIB = 1 << 20
BUFFER = hashing._BUFFER


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 1023, BUFFER - 1, BUFFER, BUFFER + 1, 13 * MIB, 16 * MIB, 33 * MIB + 5])
def test_one_pass_gives_what_each_hash_gives_alone(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    seen: list[int] = []
    hashes, fingerprint = hash_file(tmp_path / "file", sha256=True, gitsha1=True, blocks=True, progress=seen.append)
    assert hashes.blake3 == blake3(data).hexdigest()
    assert hashes.bytes == fingerprint.bytes == sum(seen) == size
    assert hashes.sha256 == hashlib.sha256(data).hexdigest()
    assert hashes.gitsha1 == git_sha1(data)
    assert hashes.blocks == tuple(xxhash.xxh3_128_hexdigest(data[at:at + BLOCK]) for at in range(0, size, BLOCK))
    plain, _ = hash_file(tmp_path / "file")
    assert plain.blake3 == hashes.blake3
    assert (plain.sha256, plain.blocks) == (None, None)
    assert (plain.gitsha1 is None) == (size >= GIT_LIMIT)
    assert hash_bytes(data, sha256=True) == hashes._replace(blocks=None)


@pytest.mark.parametrize("size", [MIB, 40 * MIB])
def test_a_writer_that_comes_meanwhile_stops_the_hash(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))

    def write(_: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))

    with pytest.raises(Busy):
        hash_file(path, progress=write)
    assert hash_file(path)[0].bytes == size


@pytest.mark.parametrize("size", [MIB, 40 * MIB])
@pytest.mark.parametrize("change", ["grow", "cut", "same size", "replace"])
def test_without_a_lease_a_change_is_seen_all_the_same(tmp_path: Path, size: int, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))

    def write(_: int) -> None:
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "cut":
            os.truncate(path, size // 2)
        elif change == "same size":
            with path.open("r+b") as file:
                file.write(b"other")
        else:
            (tmp_path / "new").write_bytes(b"new")
            os.replace(tmp_path / "new", path)

    with pytest.raises(Unreadable):
        hash_file(path, progress=write, lease=False)


def test_a_file_that_somebody_writes_is_busy(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb"), pytest.raises(Busy):
        hash_file(path)
    os.symlink(path, tmp_path / "way")
    with path.open("r+b"), pytest.raises(Busy):
        hash_file(tmp_path / "way")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nothing", Path("/dev/zero")):
        with pytest.raises(Unreadable):
            hash_file(path)


@as_root
def test_a_file_that_may_not_be_read_is_refused(shared: Path) -> None:
    (shared / "file").write_bytes(b"secret")
    (shared / "file").chmod(0o600)

    def attempt() -> str:
        with pytest.raises(Unreadable) as caught:
            hash_file(shared / "file")
        return str(caught.value)

    assert "Permission denied" in apart(attempt, SOMEBODY)
    (shared / "file").chmod(0o444)
    assert apart(lambda: hash_file(shared / "file")[0].blake3, SOMEBODY) == blake3(b"secret").hexdigest()


def test_an_error_in_a_thread_beside_reaches_the_caller(tmp_path: Path) -> None:
    """The disk is full in the middle of a copy that is hashed in the same pass."""
    path = tmp_path / "file"
    path.write_bytes(bytes(20 * MIB))
    with hashing.open_steady(path) as file, open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError):
        hashing.hash_open(file, 20 * MIB, into=full.fileno())


def test_no_thread_and_no_descriptor_is_left(tmp_path: Path) -> None:
    import threading

    path = tmp_path / "file"
    path.write_bytes(bytes(20 * MIB))
    before, threads = len(os.listdir("/proc/self/fd")), set(threading.enumerate())

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            hash_file(path, sha256=True, progress=stop)
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) == before
    assert locks.in_use(path) is False
