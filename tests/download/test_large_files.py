"""Files above 50 GB: the hub sends them by ranges only, and its own client not at all without Xet."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from registries import machine
from repository import MIB

from helixstore import HelixStore
from helixstore.download import fetching, stream
from helixstore.errors import Passing
from helixstore.hub.repository import HubAddress, repository_at
from support.disks import Disks, as_root, run
from support.hub import Repository, Trouble, hub
from support.person import Person
from support.raw import gguf, number, tensor, text
from support.soak import many

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"
LIMIT = 50_000_000_000
NAME = "huge-F16.gguf"


def sparse(folder: Path, size: int, marked: int) -> Repository:
    """A GGUF of about that size, of which the disk has the beginning and a few bytes at `marked` only."""
    rows = size // 2048
    values = [text("general.architecture", "llama"), number("llama.context_length", 2048),
              number("llama.block_count", 1), number("general.file_type", 1)]
    head = gguf(values, [tensor("blk.0.attn_q.weight", (1024, rows), 1, 0)])
    folder.mkdir()
    with (folder / NAME).open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 2048 * rows)
        os.pwrite(file.fileno(), b"beyond", marked)
    return Repository.of("acme/huge-GGUF", COMMIT, folder)


@pytest.fixture
def huge(tmp_path: Path) -> Repository:
    """A file of 60 GB."""
    served = sparse(tmp_path / "huge", 60_000_000_000, 55_000_000_000)
    served.most, served.digests = LIMIT, {NAME: "ab" * 32}
    return served


def test_the_header_and_any_stretch_of_a_file_of_60_gigabytes_come(person: Person, huge: Repository) -> None:
    with hub(huge) as endpoint:
        environ = person.environ | {"HF_ENDPOINT": endpoint, "HELIXSTORE_MEMORY": "100GB", "HELIXSTORE_GPU": "none"}
        [verdict] = HelixStore.compat_of(f"hf:{huge.name}", "llamacpp", environ)
        assert verdict.answer == "yes"
        [file] = repository_at(huge.name, endpoint=endpoint).files
        assert file.bytes > LIMIT
        begin = 55_000_000_000 - MIB
        parts = [bytes(part) for _, part in stream.stream(file.address, begin, begin + 32 * MIB, threading.Event())]
        last = [bytes(part) for _, part in stream.stream(file.address, file.bytes - 5, file.bytes, threading.Event())]
    data = b"".join(parts)
    assert (len(data), data[MIB:MIB + 6], sum(map(len, last))) == (32 * MIB, b"beyond", 5)
    assert sum(huge.sent.values()) < 34 * MIB


_DIES = """
import os, signal, sys
from helixstore import HelixStore

def die(what, path, done, total):
    if what == "download" and done > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

with HelixStore(environ=dict(os.environ), progress=die) as store:
    store.download("hf:acme/huge-GGUF")
"""


@as_root
def test_a_file_of_60_gigabytes_comes_whole_though_its_process_is_killed_on_the_way(
    tmp_path: Path, disks: Disks,
) -> None:
    """Each day a smaller one. The disk packs it, since it has few bytes that are not zero."""
    size = min(many(200_000_000, 60_000_000_000), 60_000_000_000)
    disk = disks.mount("btrfs", megabytes=80_000, name="packing")
    run("mount", "-o", "remount,compress-force=zstd:1", str(disk))
    served = sparse(tmp_path / "huge", size, size * 11 // 12)
    with (tmp_path / "huge" / NAME).open("rb") as file:
        served.digests = {NAME: hashlib.file_digest(file, "sha256").hexdigest()}
    served.most = LIMIT
    person = machine(disk / "home")
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        for part in (1, 2):
            died = subprocess.run([sys.executable, "-c", _DIES, str(size * part // 4)], env=person.environ, check=False)
            assert died.returncode == -signal.SIGKILL
        with person.open() as store:
            report = store.download("hf:acme/huge-GGUF")
            assert report.fetched_bytes < size * 3 // 4
            assert served.sent[NAME] < size + 2 * 8 * 8 * MIB, "but for what was on its way on eight connections"
            [path] = [Path(one.paths[0]) for variant in store.show("huge-GGUF").variants
                      for name, one in variant.providers.items() if name == "lmstudio"]
            assert store.sync().nothing
    with path.open("rb") as file:
        assert os.pread(file.fileno(), 6, size * 11 // 12) == b"beyond"
        assert hashlib.file_digest(file, "sha256").hexdigest() == served.digests[NAME]


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_the_hubs_own_client_refuses_it_without_xet(
    huge: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why this download makes its own requests: the day that the client changes its mind, its limit can be forgotten.
    """
    from huggingface_hub import constants, hf_hub_download

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with hub(huge) as endpoint, pytest.raises(ValueError, match="too large"):
        hf_hub_download(huge.name, NAME, endpoint=endpoint, cache_dir=tmp_path / "cache")


def test_no_request_asks_for_more_than_a_stretch(
    online: Person, served: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same limit at 4 MiB, for a download from beginning to end, cut on the way."""
    monkeypatch.setattr(fetching, "_STRETCH", 4)
    served.most = 4 * MIB
    served.trouble = lambda path, number: Trouble(cut=MIB + 7) if number == 2 else None
    with online.open() as store:
        store.download("hf:acme/small-GGUF:F16")
        [variant] = store.show("small-GGUF").variants
        assert store.verify().bad == []
    assert variant.bytes == served.files["small-F16.gguf"].stat().st_size


@contextmanager
def at_a_storage(served: Repository) -> Iterator[Repository]:
    """The hub sends whoever wants a large file on to another server, as it does."""
    storage = Repository(served.name, served.commit, dict(served.files))
    with hub(storage) as elsewhere:
        served.trouble = lambda path, number: Trouble(302, {
            "Location": f"{elsewhere}/{served.name}/resolve/{served.commit}/{path}?signed={number}",
        }) if path.endswith("gguf") else None
        yield storage


def test_the_hub_is_asked_once_for_each_connection_where_a_file_lies(
    online: Person, served: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "_STRETCH", 1)
    monkeypatch.setenv("HF_TOKEN", "hf_of_mine")
    with at_a_storage(served) as storage, online.open() as store:
        store.download("hf:acme/small-GGUF:F16")
    asked = [line for line in served.asked if "small-F16" in line]
    assert len(asked) <= 8
    assert len([line for line in storage.asked if "small-F16" in line]) >= 20
    assert set(storage.tokens) == {""}, "no login for the storage"


@pytest.mark.parametrize("status", [400, 403, 410])
def test_an_address_whose_time_is_over_is_asked_for_again(online: Person, served: Repository, status: int) -> None:
    address = HubAddress(served.name, served.commit, "small-F16.gguf", online.environ["HF_ENDPOINT"])

    def some(offset: int) -> bytes:
        with address.open(offset, 100) as (begins, chunks):
            assert begins == offset
            return b"".join(chunks)

    data = served.files["small-F16.gguf"].read_bytes()
    with at_a_storage(served) as storage:
        assert some(1000) == data[1000:1100]
        assert some(2000) == data[2000:2100]
        assert len(served.asked) == 1
        storage.trouble = lambda path, number: Trouble(status) if number == 2 else None
        assert some(3000) == data[3000:3100]
        assert len(served.asked) == 2


def test_the_hubs_word_on_its_limits_is_kept_to(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: Trouble(429, {"RateLimit": '"resolvers";r=0;t=54'})
    address = HubAddress(served.name, served.commit, "small-F16.gguf", online.environ["HF_ENDPOINT"])
    with pytest.raises(Passing) as busy, address.open(0, 100):
        pass
    assert busy.value.seconds == 55
    assert busy.value.remedy == "try again in 55 seconds"
