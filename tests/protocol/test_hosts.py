"""Hosts that are forgotten, come back, hold a lease, or left something half made: on real files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from helixstore.errors import Busy
from helixstore.store.gc import collect, finish_rounds
from helixstore.store.host import Host
from helixstore.store.hosts import SETTLE
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.refs import Ref
from helixstore.store.returning import come_back
from helixstore.store.store import Store
from helixstore.values import Format, Purpose, Role

UID = os.geteuid()
DAY = 86_400


def at(folder: Path, name: str = "a", **facts: object) -> Store:
    return Store.open(folder, Host(name, UID, "boot", **facts))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Store.create(tmp_path / "store", Host("a", UID, "boot")).path


def model(store: Store, name: str, data: bytes) -> tuple[str, Ref]:
    digest = store.blobs.add_bytes(data).digest
    file = ManifestFile("m.gguf", len(data), digest, Role.WEIGHTS)
    written = store.manifests.write(Manifest(Format.GGUF, "Q4_K_M", Purpose.MODEL, (file,)))
    return digest, store.refs.publish(name, "gguf:Q4_K_M", written)


def older(folder: Path, seconds: float, *places: str) -> None:
    """What lies there becomes older on the store's clock, which is its files' times."""
    for place in places:
        for path in [folder / place, *(folder / place).rglob("*")]:
            then = path.lstat().st_mtime_ns - int(seconds * 10**9)
            os.utime(path, ns=(then, then), follow_symlinks=False)


def goes(folder: Path) -> set[str]:
    """What a collection would condemn, move or delete, if nothing had to wait."""
    report = collect(at(folder, "collector"), dry_run=True, grace=0, undo_window=0)
    assert report.issues == ()
    return {*report.condemned, *report.waiting, *report.trashed, *report.unlinked}


def test_claims_of_a_host_that_is_off_never_end_by_age(folder: Path) -> None:
    model(at(folder, "off"), "m", b"weights")
    at(folder, "off").keeps.put("op-1", ["1" * 64])
    older(folder, 10 * 365 * DAY, "refs/off", "hosts/off")
    assert goes(folder) == set()


def test_forgotten_its_claims_are_over_and_what_it_claims_afterwards_counts(folder: Path) -> None:
    off = at(folder, "off")
    digest, _ = model(off, "m", b"weights")
    kept = off.blobs.add_bytes(b"for undo").digest
    off.keeps.put("op-1", [kept])
    other, _ = model(at(folder, "b"), "n", b"other")
    older(folder, 10, "refs", "hosts")
    at(folder).hosts.forget("off")
    assert goes(folder) == {digest, kept}
    _, again = model(off, "m", b"weights")
    assert goes(folder) == {kept}
    assert other not in goes(folder)
    assert again.mtime_ns


def test_only_its_own_person_and_the_steward_are_believed_when_they_end_claims(folder: Path) -> None:
    digest, _ = model(at(folder, "off"), "m", b"weights")
    older(folder, 10, "refs", "hosts")
    record = at(folder).hosts.forget("off", UID)
    assert goes(folder) == {digest}
    if UID == 0:
        path = folder / "forgotten" / record.name
        os.chown(path, 12345, 12345)
        assert goes(folder) == set(), "anybody may end anybody's claims"


def test_it_comes_back_and_claims_anew_before_anything_else(folder: Path) -> None:
    off = at(folder, "off")
    digest, ref = model(off, "m", b"weights")
    kept = off.blobs.add_bytes(b"for undo").digest
    lost, _ = model(off, "n", b"lost")
    off.keeps.put("op-1", [kept])
    older(folder, 10, "refs", "hosts")
    at(folder).hosts.forget("off")
    collect(at(folder))
    older(folder, 2 * DAY, "condemned", "forgotten", "refs", "hosts/off")
    moved = collect(at(folder))
    assert set(moved.trashed) == {digest, kept, lost}
    os.unlink(next((folder / "trash").glob(f"*/{lost}")))
    assert come_back(at(folder, "b")) is None
    back = come_back(at(folder, "off"))
    assert back is not None
    assert (back.forgotten, back.models, back.lost) == (True, ("m", "n"), ("n",))
    assert "forgotten" in back.describe()
    assert off.blobs.exists(digest)
    assert off.blobs.exists(kept)
    assert goes(folder) == set()
    assert come_back(at(folder, "off")) is None, "answered once"
    [now] = [one for one in off.refs.of("off", UID)[0] if ref.uuid in one.supersedes]
    assert now.manifest == ref.manifest


def test_it_comes_back_to_an_empty_place_and_claims_what_it_remembers(folder: Path) -> None:
    off = at(folder, "off")
    digest, ref = model(off, "m", b"weights")
    older(folder, 100 * DAY, "refs", "hosts")
    at(folder).hosts.forget("off")
    older(folder, 50 * DAY, "forgotten")
    older(folder, 100 * DAY, "refs/off", "hosts/off")
    collect(at(folder))
    assert not (folder / "refs/off" / str(UID)).exists(), "what is left of it is swept"
    assert off.blobs.exists(digest)
    back = come_back(at(folder, "off"), lambda: [ref])
    assert back is not None
    assert back.lost == ()
    assert goes(folder) == set()


def test_a_lease_ends_late_and_is_renewed_by_a_claim(folder: Path) -> None:
    run = at(folder, "ci", ephemeral=True, lease=3600)
    digest, _ = model(run, "m", b"weights")
    older(folder, 3600 + SETTLE - 60, "refs/ci", "hosts/ci")
    assert goes(folder) == set(), "a settle time is added: another host may not have seen it renewed yet"
    older(folder, 120, "refs/ci", "hosts/ci")
    assert goes(folder) == {digest}
    model(run, "m2", b"weights")
    assert goes(folder) == set()


def test_a_run_whose_lease_is_over_renews_it_and_looks_whether_all_is_there(folder: Path) -> None:
    run = at(folder, "ci", ephemeral=True, lease=3600)
    digest, _ = model(run, "m", b"weights")
    older(folder, 2 * DAY, "refs/ci", "hosts/ci")
    collect(at(folder))
    older(folder, 2 * DAY, "condemned")
    assert collect(at(folder)).trashed == (digest,)
    seen = folder / "hosts/ci" / str(UID) / "seen.json"
    text = seen.read_text()
    old = seen.stat().st_mtime_ns
    seen.chmod(0o644)
    seen.write_text(text.replace(text[text.index('"at":'):].partition(",")[0], f'"at":{time.time() - 2 * DAY}'))
    os.utime(seen, ns=(old, old))
    back = come_back(at(folder, "ci", ephemeral=True, lease=3600))
    assert back is not None
    assert (back.forgotten, back.models, back.lost) == (False, ("m",), ())
    assert run.blobs.exists(digest)
    assert goes(folder) == set()


def test_being_here_is_written_once_an_hour(folder: Path) -> None:
    seen = folder / "hosts/a" / str(UID) / "seen.json"
    first = seen.stat()
    for _ in range(3):
        store = at(folder)
        with store.working():
            assert not store.hosts.renew()
    assert seen.stat().st_ino == first.st_ino
    now = time.time()
    assert at(folder).hosts.renew(now + 3700)
    assert at(folder).hosts.renew(now - DAY), "the clock went backwards"


def test_now_is_refused_while_another_host_is_at_work_until_it_is_forgotten(folder: Path) -> None:
    digest = at(folder).blobs.add_bytes(b"loose").digest
    left = folder / "staging/off-boot-77-aa"
    left.mkdir()
    (left / "half").write_bytes(b"12345")
    with pytest.raises(Busy, match=r"user \d+ on off, who last began something at 20\d\d-") as refused:
        collect(at(folder), now=True)
    assert "host forget off" in refused.value.remedy
    older(folder, 10, "staging")
    at(folder).hosts.forget("off")
    (left / "half").write_bytes(b"it lives")
    with pytest.raises(Busy):
        collect(at(folder), now=True)
    older(folder, 10, "staging")
    report = collect(at(folder), now=True)
    assert (report.unlinked, report.cleaned_bytes) == ((digest,), 8)
    assert not left.exists()


@pytest.mark.parametrize("sick", ["ref", "keep", "keeps folder"])
def test_nothing_of_a_forgotten_host_need_be_readable(folder: Path, sick: str) -> None:
    off = at(folder, "off")
    digest, ref = model(off, "m", b"weights")
    off.keeps.put("op-1", [digest])
    own = f"off/{UID}"
    path = {"ref": folder / ref.path, "keep": folder / f"hosts/{own}/keeps/op-1.json",
            "keeps folder": folder / f"hosts/{own}/keeps"}[sick]
    if path.is_dir():
        path.rename(path.with_name("aside"))
        path.write_text("not a folder")
    else:
        path.chmod(0o644)
        path.write_text("{")
    report = collect(at(folder), now=True)
    assert [issue for issue in report.issues if "host forget off" in issue.remedy], report.issues
    assert report.unlinked == ()
    older(folder, 10, "refs", "hosts")
    at(folder).hosts.forget("off")
    report = collect(at(folder), grace=0, undo_window=0)
    assert report.issues == ()
    assert {*report.condemned, *report.trashed, *report.waiting} == {digest}


def test_farms_of_a_forgotten_host_keep_no_bytes_and_lose_no_file_of_its_person(folder: Path) -> None:
    off = at(folder, "off")
    digest, _ = model(off, "m", b"weights")
    farm = folder / f"farms/off/{UID}/llamacpp"
    farm.mkdir(parents=True)
    os.link(off.blobs.path(digest), farm / "m.gguf")
    os.symlink(off.blobs.path(digest), farm / "again.gguf")
    (farm / "downloaded.gguf").write_bytes(b"the person's own")
    older(folder, 100 * DAY, "refs", "hosts")
    at(folder).hosts.forget("off")
    collect(at(folder))
    assert (farm / "m.gguf").exists()
    older(folder, 50 * DAY, "forgotten", "condemned")
    older(folder, 100 * DAY, "refs/off", "hosts/off")
    collect(at(folder))
    assert sorted(path.name for path in farm.iterdir()) == ["downloaded.gguf"]
    assert (farm / "downloaded.gguf").read_bytes() == b"the person's own"


def test_what_a_forgotten_host_has_half_downloaded_goes_when_it_can_be_undone_no_more(folder: Path) -> None:
    model(at(folder, "off"), "m", b"weights")
    half = folder / f"hosts/off/{UID}/downloads/{'1' * 64}-9"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half of it")
    older(folder, 100 * DAY, "refs", "hosts")
    collect(at(folder))
    assert half.exists(), "nobody has said that it is gone"
    at(folder).hosts.forget("off")
    collect(at(folder))
    assert half.exists()
    older(folder, 50 * DAY, "forgotten", "condemned")
    older(folder, 100 * DAY, "refs/off", "hosts/off")
    collect(at(folder))
    assert not half.parent.exists()


def test_with_another_computer_nothing_is_deleted_before_the_settle_time(folder: Path) -> None:
    model(at(folder, "far", machine="elsewhere"), "n", b"theirs")
    other = Store.open(folder, Host("far", UID, "another boot", machine="elsewhere"))
    other.hosts.say([])
    digest = at(folder).blobs.add_bytes(b"loose").digest
    report = collect(at(folder), now=True)
    assert (report.trashed, report.unlinked, report.settle) == ((digest,), (), SETTLE)
    older(folder, SETTLE + 1, "condemned")
    assert collect(at(folder), now=True).unlinked == (), "settled only now"
    older(folder, SETTLE + 1, "condemned")
    assert collect(at(folder), now=True).unlinked == (digest,)


def test_the_next_command_of_anybody_does_the_reading_that_is_due(folder: Path) -> None:
    """A claim made through a stale cache, which the collector could not see: found after the settle time."""
    far = Store.open(folder, Host("far", UID, "another boot", machine="elsewhere"))
    digest, ref = model(far, "m", b"weights")
    far.refs.publish("m", "gguf:Q4_K_M", None, supersedes=[ref.uuid])
    assert collect(at(folder)).condemned == (digest,)
    older(folder, 2 * DAY, "condemned")
    assert collect(at(folder)).trashed == (digest,)
    assert ref.manifest is not None
    far.refs.publish("m", "gguf:Q4_K_M", ref.manifest)
    assert finish_rounds(at(folder, "b")) == set(), "not due yet"
    older(folder, SETTLE + 1, "condemned")
    assert finish_rounds(at(folder, "b")) == {digest}
    assert far.blobs.exists(digest)
    assert finish_rounds(at(folder, "b")) == set()


def test_what_was_given_up_again_has_its_whole_grace(folder: Path) -> None:
    """Condemned once, claimed, given up: the old note counts no more, whatever else it names."""
    store = at(folder)
    digest, ref = model(store, "m", b"weights")
    loose = store.blobs.add_bytes(b"held by a program").digest
    store.refs.publish("m", "gguf:Q4_K_M", None, supersedes=[ref.uuid])
    assert set(collect(store).condemned) == {digest, loose}
    older(folder, 2 * DAY, "condemned", "refs")
    assert ref.manifest is not None
    again = store.refs.publish("m", "gguf:Q4_K_M", ref.manifest)
    with open(store.blobs.path(loose), "rb"):
        collect(store)
        store.refs.publish("m", "gguf:Q4_K_M", None, supersedes=[again.uuid])
        report = collect(store)
    assert report.condemned == (digest,)
    assert report.trashed == ()
    assert collect(store).trashed == (loose,)


def test_links_through_stand_ins_lead_to_the_bytes_until_they_are_deleted(folder: Path, tmp_path: Path) -> None:
    store = at(folder)
    digest = store.blobs.add_bytes(b"weights").digest
    stand_in = store.blobs.stand_ins.make(str(folder), digest, store.blobs.path(digest))
    (tmp_path / "link").symlink_to(stand_in)
    collect(store)
    older(folder, 2 * DAY, "condemned")
    assert collect(store).trashed == (digest,)
    assert (tmp_path / "link").read_bytes() == b"weights"
    older(folder, 10 * DAY, "condemned")
    report = collect(store)
    assert (report.unlinked, report.freed_bytes) == ((digest,), 7)
    assert not (tmp_path / "link").exists()
