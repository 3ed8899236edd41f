"""Pushing: what is there is not sent, what was interrupted goes on, and the registry proves what arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wares import bytes_of, sha256

from helixstore.errors import Failed
from helixstore.oci import uploads
from helixstore.oci.registry import Registry
from helixstore.oci.uploads import Pushed
from support.registry import Relay, StandIn, docker_registry

Opened = Callable[..., Registry]
PART = 1 << 20
DATA = bytes_of(5 * PART + 123)
UPLOADER = Path(__file__).with_name("uploader.py")


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "blob").write_bytes(DATA)
    return str(tmp_path / "blob")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PART", PART)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[str]:
    """A real registry with nothing in it."""
    with docker_registry(tmp_path / "registry") as host:
        yield host


@pytest.fixture
def relay(fresh: str) -> Iterator[Relay]:
    relay = Relay(fresh)
    yield relay
    relay.close()


def pushed(registry: Registry, file: str, **more: object) -> Pushed:
    return registry.push_blob(file, sha256(DATA), len(DATA), **more)  # type: ignore[arg-type]


def pulled(registry: Registry) -> bytes:
    with registry.blob(sha256(DATA), len(DATA)) as stream:
        return b"".join(stream)


def test_a_blob_goes_to_the_real_registry_once(relay: Relay, opened: Opened, file: str) -> None:
    seen: list[int] = []
    registry = opened(relay.host)
    assert pushed(registry, file, progress=seen.append) == Pushed("sent", len(DATA))
    assert sum(seen) == len(DATA)
    assert len(DATA) <= relay.up < len(DATA) + 20_000
    assert pulled(registry) == DATA
    before = relay.up
    assert pushed(registry, file) == Pushed("there", 0)
    assert relay.up < before + 2000


def test_what_another_repository_has_is_taken_from_there(relay: Relay, opened: Opened, file: str) -> None:
    pushed(opened(relay.host, "team/first"), file)
    before = relay.up
    second = opened(relay.host, "team/second")
    assert pushed(second, file, mounts=["team/none", "team/first"]) == Pushed("mounted", 0)
    assert relay.up < before + 5000
    assert pulled(second) == DATA


@pytest.mark.parametrize("data", [b"", b"x"])
def test_small_blobs(real: str, opened: Opened, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "small").write_bytes(data)
    registry = opened(real, f"team/small{len(data)}")
    assert registry.push_blob(str(tmp_path / "small"), sha256(data), len(data)).how in ("sent", "there")
    assert registry.push_small(data, sha256(data)).how == "there"
    other = opened(real, f"team/other{len(data)}")
    assert other.push_small(data, sha256(data)) == Pushed("sent", len(data))
    with other.blob(sha256(data), len(data)) as stream:
        assert b"".join(stream) == data


@pytest.mark.parametrize("lost", [["POST"], ["PATCH"], ["PUT"], ["HEAD", "POST", "PATCH", "GET", "PATCH", "PUT"]])
def test_an_answer_that_is_lost_costs_nothing(stand_in: StandIn, opened: Opened, file: str, lost: list[str]) -> None:
    """What had arrived is asked for, and not sent again."""
    registry = opened(stand_in.host)
    registry.size("0" * 64)
    stand_in.lost = lost
    assert pushed(registry, file).how in ("sent", "there")
    assert stand_in.blobs[sha256(DATA)] == DATA
    assert stand_in.lost == []
    assert stand_in.received == len(DATA)


@pytest.mark.parametrize("after", [1, 150, 400, 700, 1000])
def test_an_answer_that_is_cut_anywhere(stand_in: StandIn, opened: Opened, file: str, after: int) -> None:
    """Python's HTTP takes half a header for a whole one; then a blob may begin anew."""
    relay = Relay(stand_in.host)
    relay.cuts = [("", 0), ("down", after), ("down", after + 300)]      # the first connection asks what is spoken
    assert pushed(opened(relay.host), file).how == "sent"
    relay.close()
    assert relay.reached.is_set()
    assert stand_in.blobs[sha256(DATA)] == DATA
    assert stand_in.received <= 2 * len(DATA)


def test_an_upload_that_is_cut_in_its_parts_ends_well_in_the_real_registry(
        relay: Relay, opened: Opened, file: str) -> None:
    relay.cuts = [("", 0), ("up", 2 * PART + 5000), ("up", PART // 2)]
    assert pushed(opened(relay.host), file).how == "sent"
    assert relay.reached.is_set()
    assert pulled(opened(relay.host)) == DATA


def test_a_stopped_upload_goes_on_in_the_real_registry(
        relay: Relay, opened: Opened, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two parts, as Ctrl-C is: what the registry has is not sent again by another run."""
    kept: list[str] = []

    class Stopped(Exception):
        pass

    def stop(accepted: int) -> None:
        if len(kept) == 4:
            raise Stopped

    with pytest.raises(Stopped):
        pushed(opened(relay.host), file, remember=kept.append, progress=stop)
    before = relay.up
    assert before >= 2 * PART
    assert pushed(opened(relay.host), file, session=kept[-1], remember=kept.append).how == "sent"
    assert kept[-1] == ""
    assert relay.up < len(DATA) + 20_000, "no part was sent twice"
    assert pulled(opened(relay.host)) == DATA


@pytest.mark.parametrize("point", [0, 1, PART - 1, 2 * PART + 77_777, 5 * PART])
def test_a_killed_upload_goes_on_to_the_byte_where_the_registry_can(
        stand_in: StandIn, tmp_path: Path, file: str, environ: dict[str, str], point: int) -> None:
    stand_in.hung = point
    command = [sys.executable, str(UPLOADER), stand_in.host, file, str(tmp_path / "session")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as first:
        came = stand_in.waiting.wait(30)
        first.kill()
    stand_in.dead.set()
    assert came
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("sent")
    assert stand_in.blobs[sha256(DATA)] == DATA
    assert stand_in.received == len(DATA), "every byte was taken once"


@pytest.mark.parametrize("point", [10, 300_000, 3 * PART + 5])
def test_a_killed_upload_ends_well_in_the_real_registry(
        relay: Relay, opened: Opened, tmp_path: Path, file: str, environ: dict[str, str], point: int) -> None:
    relay.cuts = [("", 0), ("up", point)]
    command = [sys.executable, str(UPLOADER), relay.host, file, str(tmp_path / "session"), str(PART)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as first:
        reached = relay.reached.wait(30)
        first.kill()
    assert reached
    subprocess.run(command, env=environ, capture_output=True, timeout=60, check=True)
    assert pulled(opened(relay.host)) == DATA
    assert (tmp_path / "session").read_text() == ""


def test_an_upload_that_the_registry_has_forgotten_begins_anew(stand_in: StandIn, opened: Opened, file: str) -> None:
    registry = opened(stand_in.host)
    gone = f"http://{stand_in.host}/v2/team/model/blobs/uploads/0123"
    assert pushed(registry, file, session=gone) == Pushed("sent", len(DATA))
    assert pushed(opened(stand_in.host, "team/x"), file, session="http://elsewhere.example/v2/upload").how == "there"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("request_", ["PATCH", "POST", "PUT", "HEAD"])
def test_a_busy_registry_is_waited_for(
        stand_in: StandIn, opened: Opened, file: str, status: int, request_: str) -> None:
    stand_in.answers = [(request_, status, {"Retry-After": "0"})] * 2
    assert pushed(opened(stand_in.host), file).how == "sent"
    assert stand_in.blobs[sha256(DATA)] == DATA


def test_a_registry_that_takes_only_small_parts(stand_in: StandIn, opened: Opened, file: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PART", 64 << 20)
    stand_in.part = 2 << 20
    assert pushed(opened(stand_in.host), file).how == "sent"
    stand_in.blobs.clear()
    stand_in.part = 1000
    with pytest.raises(Failed, match="413"):
        pushed(opened(stand_in.host), file)


def test_a_registry_that_takes_no_parts(stand_in: StandIn, opened: Opened, file: str) -> None:
    stand_in.whole_only = True
    assert pushed(opened(stand_in.host), file) == Pushed("sent", len(DATA))
    assert stand_in.blobs[sha256(DATA)] == DATA


def test_a_blob_that_the_real_registry_has_cut_short_is_no_blob_that_is_there(
        tmp_path: Path, opened: Opened, file: str) -> None:
    """It keeps what it has under a digest, whatever is sent: that is said, also of another repository's."""
    with docker_registry(tmp_path / "registry") as host:
        registry = opened(host)
        pushed(registry, file)
        [kept] = (tmp_path / "registry").rglob(f"{sha256(DATA)}/data")
        for size in (len(DATA) - 1, 0):
            os.truncate(kept, size)
            with pytest.raises(Failed, match=f"has {size:,} bytes instead of {len(DATA):,}") as caught:
                pushed(registry, file)
            assert "remove" in caught.value.remedy
        for mounts in ([], ["team/model"]):
            with pytest.raises(Failed, match="has 0 bytes instead of"):
                pushed(opened(host, f"team/beside{len(mounts)}"), file, mounts=mounts)
        kept.unlink()
        assert pushed(registry, file) == Pushed("sent", len(DATA))
        assert pulled(registry) == DATA


def test_a_head_that_tells_another_size_is_not_the_last_word(stand_in: StandIn, opened: Opened, file: str) -> None:
    """What stands before a registry may say so; the first byte with the whole's size costs less than sending it."""
    stand_in.put(DATA)
    for ranges in (True, False):
        stand_in.ranges = ranges
        stand_in.answers = [("HEAD", 200, {})]
        assert pushed(opened(stand_in.host), file) == Pushed("there", 0)
        assert stand_in.answers == []
    assert stand_in.received == 0


def test_bytes_that_changed_are_refused(real: str, opened: Opened, file: str) -> None:
    registry = opened(real, "team/changed")
    with pytest.raises(Failed, match="has other bytes than its digest says") as caught:
        registry.push_blob(file, "0" * 64, len(DATA))
    assert caught.value.path == file
    with pytest.raises(Failed, match="is shorter than it was"):
        registry.push_blob(file, sha256(DATA + b"x"), len(DATA) + 1)


def test_a_token_that_ends_in_the_middle_of_an_upload(stand_in: StandIn, opened: Opened, file: str) -> None:
    stand_in.realm = f"http://{stand_in.host}/token"

    def end(accepted: int) -> None:
        stand_in.token = f"token-{accepted}-{len(stand_in.seen)}"

    assert pushed(opened(stand_in.host), file, progress=end).how == "sent"
    assert stand_in.blobs[sha256(DATA)] == DATA


def test_the_manifest_gets_its_tag(real: str, opened: Opened) -> None:
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b",' \
        b'"digest":"sha256:' + sha256(b"{}").encode() + b'","size":2},"layers":[]}'
    registry = opened(real, "team/tagged")
    with pytest.raises(Failed):
        registry.push_manifest(raw, "application/vnd.oci.image.manifest.v1+json")       # its blob is not there
    registry.push_small(b"{}", sha256(b"{}"))
    assert registry.push_manifest(raw, "application/vnd.oci.image.manifest.v1+json") == sha256(raw)
    assert registry.manifest().raw == raw
