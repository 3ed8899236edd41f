"""What a process leaves that dies at the worst moment, and what others do to it meanwhile: the next one goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.download.partial import PIECE, Partial
from helixstore.download.storing import folders
from helixstore.errors import HelixError
from support.hub import Repository, Trouble
from support.person import Person, spoil

REPOSITORY, BIG = "hf:acme/small-GGUF", "small-F16.gguf"

_DIES = """
import os, sys
from helixstore import HelixStore
from helixstore.fs import kernel
from helixstore.store import blobs

def dies(owner, name, when):
    real = getattr(owner, name)
    def stand_in(*args, **kwargs):
        if when(*args, **kwargs):
            os._exit(9)
        return real(*args, **kwargs)
    setattr(owner, name, stand_in)

big = lambda path: "/downloads/" in str(path) and "/hosts/" in str(path)
{"flush": lambda: dies(kernel, "sync_file", big),
 "publish": lambda: dies(kernel, "publish", lambda one, other: big(one)),
 "unlink": lambda: dies(os, "unlink", lambda path, **kwargs: big(path)),
 "folder": lambda: dies(kernel, "sync_folder", lambda path: "/blobs/" in str(path)),
 "learn": lambda: dies(blobs.Blobs, "learn", lambda self, digest, bytes=0, **kwargs: bytes > 5 << 20),
}[sys.argv[2]]()
with HelixStore(environ=dict(os.environ)) as store:
    store.download(sys.argv[1])
"""


def partials(person: Person) -> list[Path]:
    with person.open() as store:
        return sorted(store.folder.glob("hosts/*/*/downloads/*"))


@pytest.mark.parametrize("where", ["flush", "publish", "unlink", "folder", "learn"])
def test_killed_while_it_becomes_a_blob_it_is_not_fetched_again(
    online: Person, served: Repository, where: str,
) -> None:
    """Read-only already, the blob's name beside its own, the blob without what is known of it: all is gone on with."""
    done = subprocess.run([sys.executable, "-c", _DIES, f"{REPOSITORY}:{BIG}", where], env=online.environ, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    size = served.files[BIG].stat().st_size
    assert served.sent[BIG] == size
    with online.open() as store:
        store.download(f"{REPOSITORY}:{BIG}")
        assert served.sent[BIG] == size, "what was whole came a second time"
        assert store.verify().bad == []
        blob = max(store.folder.glob("blobs/*/*"), key=lambda path: path.stat().st_size)
        assert blob.read_bytes() == served.files[BIG].read_bytes()
        assert blob.stat().st_mode & 0o222 == 0
        assert store.sync().nothing
    assert partials(online) == []


def test_a_partial_that_is_read_only_is_gone_on_with(tmp_path: Path) -> None:
    """As the person's own process sees it, who is not root: they may not write to it as it is."""
    first = Partial(str(tmp_path / "data"), str(tmp_path / "record"), 2 * PIECE)
    first.close()
    (tmp_path / "data").chmod(0o444)
    Partial(str(tmp_path / "data"), str(tmp_path / "record"), 2 * PIECE).close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o600


def test_a_partial_that_is_a_blob_already_is_not_written_to(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"b" * PIECE)
    os.link(blob, tmp_path / "data")
    with_lines = tmp_path / "record"
    with_lines.write_text(f"0 {'0' * 32}\n")
    partial = Partial(str(tmp_path / "data"), str(with_lines), PIECE)
    assert partial.missing() == [0]
    assert partial.put(0, memoryview(b"x" * PIECE))
    partial.close()
    assert blob.read_bytes() == b"b" * PIECE


def test_lines_of_a_file_that_is_gone_count_for_nothing(online: Person, served: Repository) -> None:
    """A person has removed it to make room: it is asked for as a whole, and not piece by piece."""
    served.trouble = lambda path, number: Trouble(404) if path == BIG and number else (
        Trouble(cut=12_000_000) if path == BIG else None)
    with online.open() as store, pytest.raises(HelixError):
        store.download(f"{REPOSITORY}:{BIG}")
    [partial] = partials(online)
    partial.unlink()
    served.trouble = lambda path, number: None
    served.asked.clear()
    with online.open() as store:
        store.download(f"{REPOSITORY}:{BIG}")
    assert len([line for line in served.asked if BIG in line]) == 1


def test_many_pieces_that_a_power_cut_took_are_asked_for_together(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: Trouble(404) if path == BIG and number else (
        Trouble(cut=18_000_000) if path == BIG else None)
    with online.open() as store, pytest.raises(HelixError):
        store.download(f"{REPOSITORY}:{BIG}")
    [partial] = partials(online)
    with partial.open("r+b") as file:
        file.seek(2 << 20)
        file.write(bytes(9 << 20))
    served.trouble = lambda path, number: None
    served.asked.clear()
    with online.open() as store:
        store.download(f"{REPOSITORY}:{BIG}")
        assert store.verify().bad == []
    assert len([line for line in served.asked if BIG in line]) <= 3


def test_what_was_noted_is_not_written_again_by_what_comes_late(tmp_path: Path) -> None:
    """Connections bring one piece at once: what was noted first stays what it is, whatever the others bring."""
    partial = Partial(str(tmp_path / "data"), str(tmp_path / "record"), PIECE)
    brought, go, noted = [bytes([number]) * PIECE for number in range(8)], threading.Barrier(8), []

    def bring(data: bytes) -> None:
        go.wait()
        if partial.put(0, memoryview(data)):
            noted.append(data)

    threads = [threading.Thread(target=bring, args=(data,), daemon=True) for data in brought]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [partial.read(0)] == noted
    partial.close()
    again = Partial(str(tmp_path / "data"), str(tmp_path / "record"), PIECE)
    assert [again.read(0)] == noted
    again.close()


def test_wrong_bytes_leave_nothing_on_the_disk(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: Trouble(wrong=True) if path == BIG else None
    with online.open() as store, pytest.raises(HelixError, match="not what its listing names"):
        store.download(f"{REPOSITORY}:{BIG}")
    assert partials(online) == []


def test_a_disk_that_loses_everything_is_given_up(
    online: Person, served: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from helixstore.download import partial

    real = partial._pread
    monkeypatch.setattr(partial, "_pread", lambda *args: bytes(len(real(*args))))
    with online.open() as store, pytest.raises(HelixError, match="not what can be read there"):
        store.download(f"{REPOSITORY}:{BIG}")


def test_a_damaged_blob_of_the_same_size_stops_no_download(
    tmp_path: Path, served: Repository, online: Person,
) -> None:
    """It may be the file, as far as anybody knows, so it is read; what it is instead is no business of the download."""
    home = tmp_path / "other"
    home.mkdir()
    person = Person(home, {**online.environ, "HOME": str(home)})
    HelixStore.init(providers=["llamacpp"], environ=person.environ)
    person.put("models/other.gguf", served.files[BIG].read_bytes()[:-4] + b"else")
    with person.open() as store:
        store.add(home / "models/other.gguf")
        [variant] = store.show("other").variants
        assert variant.files[0].sha256 is None
        [blob] = store.folder.glob("blobs/*/*")
        spoil(blob, served.files[BIG].stat().st_size // 2)
        store.download(f"{REPOSITORY}:{BIG}")
    assert served.sent[BIG] == served.files[BIG].stat().st_size


def test_what_another_download_brings_meanwhile_is_kept_for_this_one_too(online: Person, served: Repository) -> None:
    """It waits for the other, and finds the file in the store when its turn comes: from then on both keep it."""
    waits, go = threading.Event(), threading.Event()

    def trouble(path: str, number: int) -> None:
        if path == "small-Q8_0.gguf":
            waits.set()
            go.wait(30)

    served.trouble = trouble  # type: ignore[assignment]
    with online.open() as store:
        records = Path(folders(store._session)[1])
        name = f"{served.etag(BIG)}-{served.files[BIG].stat().st_size}"
        records.mkdir(mode=0o700, parents=True)
        other = Partial(str(online.home / "elsewhere"), str(records / name), PIECE)
        loading = threading.Thread(target=store.download, args=(REPOSITORY,), kwargs={"quantization": "all"})
        loading.start()
        assert waits.wait(20)
        with online.open() as beside:
            beside.add(served.files[BIG])
            blob = max(beside.folder.glob("blobs/*/*"), key=lambda path: path.stat().st_size).name
        other.close()
        found = False
        for _ in range(400):
            found = any(blob in keep.read_text() for keep in store.folder.glob("hosts/*/*/keeps/download-*"))
            if found:
                break
            go.wait(0.02)
        go.set()
        loading.join(60)
    assert found
    assert BIG not in served.sent


def test_who_goes_on_with_it_keeps_what_came_first_as_long_again(online: Person, served: Repository) -> None:
    """A slow line: gc, which lets go of what nobody has gone on with for a month, counts from the last try."""
    served.trouble = lambda path, number: Trouble(404) if path == BIG else None
    with online.open() as store:
        for _ in range(2):
            with pytest.raises(HelixError):
                store.download(REPOSITORY, quantization="all")
            [keep] = store.folder.glob("hosts/*/*/keeps/download-*")
            assert keep.stat().st_mtime > 1_000_000
            os.utime(keep, (1, 1))
        store.download(f"{REPOSITORY}:Q8_0")


def test_nobody_goes_on_with_a_file_while_it_becomes_the_blob(tmp_path: Path) -> None:
    """Flushing 40 GB takes its time, and a program that was interrupted meanwhile may ask again at once."""
    data, record = str(tmp_path / "data"), str(tmp_path / "record")
    first = Partial(data, record, PIECE)
    with first.becoming():
        first.close()
        with pytest.raises(BlockingIOError):
            Partial(data, record, PIECE)
    Partial(data, record, PIECE).close()
    first.close()
