from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from samples import here, manifest, model

from helixstore.errors import Corrupt
from helixstore.fs.kernel import Fingerprint
from helixstore.store.hashing import BLOCK, Hashes
from helixstore.store.store import Store
from helixstore.store.verify import quarantined, verify


def flip(store: Store, digest: str, at: int) -> None:
    """One bit of a blob, as a disk does it: the stat stays the same."""
    path = Path(store.blobs.path(digest))
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_flipped_bit_is_found_located_and_quarantined(store: Store, tmp_path: Path) -> None:
    data = os.urandom(2 * BLOCK + 100)
    (tmp_path / "model").write_bytes(data)
    digest = store.blobs.add(tmp_path / "model", link=False).digest
    good, _ = model(store, "good", b"good")
    seen: list[int] = []
    found: dict[str, tuple[Hashes, Fingerprint]] = {}
    report = verify(store, progress=seen.append, found=lambda *told: found.update({told[0]: told[1:]}))
    assert (report.checked, report.bytes, report.bad, report.issues) == (2, sum(seen), [], [])
    assert set(found) == {digest, good}
    assert len(store.blobs.meta(digest).blocks or ()) == 3
    flip(store, digest, BLOCK + 5)
    report = verify(store)
    assert [bad.digest for bad in report.bad] == [digest]
    assert quarantined(store) == {digest}
    marker = json.loads((store.path / "quarantine" / f"{digest}.json").read_text())
    assert marker["blocks"] == [1]
    assert Path(store.blobs.path(digest)).exists(), "quarantine is a marker: nothing moves"
    flip(store, digest, BLOCK + 5)
    assert verify(store, [digest]).repaired == [digest]
    assert quarantined(store) == set()


def test_every_single_bit_of_a_small_blob_matters(store: Store) -> None:
    digest = store.blobs.add_bytes(b"tiny").digest
    for at in range(4):
        flip(store, digest, at)
        with pytest.raises(Corrupt):
            store.blobs.check(digest)
        flip(store, digest, at)
    assert verify(store).repaired == [digest]


def test_what_refs_promise_and_is_not_there_is_told(store: Store) -> None:
    lost, _ = model(store, "lost", b"lost")
    short, _ = model(store, "short", b"short")
    _, headless = model(store, "headless", b"headless")
    old, ref = model(store, "old", b"old")
    store.refs.publish("old", "gguf:Q4_K_M", None, supersedes=[ref.uuid])
    for digest in (lost, old):
        os.unlink(store.blobs.path(digest))
    os.truncate(store.blobs.path(short), 2)
    assert headless.manifest is not None
    os.unlink(store.manifests.path(headless.manifest))
    report = verify(store)
    assert sorted((issue.kind, "lost" in issue.message or "short" in issue.message or "headless" in issue.message)
                  for issue in report.issues) == [("missing", True), ("suspicious", True), ("unreadable", True)]
    assert [bad.digest for bad in report.bad] == [short]
    assert [issue.kind for issue in verify(store, [lost]).issues] == ["missing"]


def test_a_blob_that_can_be_written_to_is_suspicious(store: Store) -> None:
    digest = store.blobs.add_bytes(b"weights").digest
    os.chmod(store.blobs.path(digest), 0o644)
    [issue] = verify(store).issues
    assert issue.kind == "suspicious"
    assert "chmod" in issue.remedy


def test_a_blob_that_is_no_file_is_bad(store: Store) -> None:
    digest = store.blobs.add_bytes(b"weights").digest
    os.unlink(store.blobs.path(digest))
    os.mkfifo(store.blobs.path(digest))
    assert [bad.digest for bad in verify(store).bad] == [digest]


def test_a_read_only_store_is_verified_without_writing(store: Store) -> None:
    digest = store.blobs.add_bytes(b"weights").digest
    flip(store, digest, 0)
    good = store.blobs.add_bytes(b"other").digest
    store.read_only_reason = "a test"
    report = verify(store)
    assert ([bad.digest for bad in report.bad], report.checked) == ([digest], 1)
    assert quarantined(store) == set()
    assert store.blobs.meta(good).blocks is None


def test_links_made_during_a_check_are_no_change(store: Store, tmp_path: Path) -> None:
    """A sync links a blob into a root while verify reads it: that moves ctime and nothing else."""
    digest = store.blobs.add_bytes(os.urandom(1 << 20)).digest
    numbers = iter(range(100))
    report = verify(store, progress=lambda _: os.link(store.blobs.path(digest), tmp_path / str(next(numbers))))
    assert (report.checked, report.bad) == (1, [])


def test_a_ref_of_a_manifest_with_lost_files_names_each(store: Store) -> None:
    written = store.manifests.write(manifest("1" * 64, "2" * 64))
    store.refs.publish("m", "gguf:Q4", written)
    Store.open(store.path, here(name="host2")).refs.publish("m", "gguf:Q4", written)
    messages = [issue.message for issue in verify(store).issues]
    assert {message.split()[0] for message in messages} == {"0.gguf", "1.gguf"}
