"""A model pushed as a whole: what is there is left, what is the same is sent once, the tag moves last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from wares import bytes_of, sha256

from helixstore.errors import Failed
from helixstore.oci import uploads
from helixstore.oci.artifacts import docker, modelpack
from helixstore.oci.contents import read_contents
from helixstore.oci.pushing import PushReport, missing, push_artifact
from helixstore.oci.registry import Registry
from helixstore.values import File, Format, Header, Key, Purpose, Role, Variant
from support.registry import Relay, StandIn

Opened = Callable[..., Registry]
WEIGHTS, SAME = bytes_of(3_000_000), b"the same twice"
DATA = {"a.gguf": WEIGHTS, "LICENSE": SAME, "NOTICE": SAME, "empty.txt": b""}
FILES = tuple(File(name, len(data), "0" * 64, Role.WEIGHTS if name == "a.gguf" else Role.OTHER, sha256(data))
              for name, data in sorted(DATA.items()))
MODEL = Variant(Key("a", "gguf"), "1" * 64, Format.GGUF, "Q8_0", Purpose.MODEL, Header(), FILES)


@pytest.fixture
def path(tmp_path: Path) -> Callable[[File], str]:
    def one(file: File) -> str:
        (tmp_path / file.path).write_bytes(DATA[file.path])
        return str(tmp_path / file.path)

    return one


def test_a_model_in_both_forms_lies_there_once(real: str, opened: Opened, path: Callable[[File], str]) -> None:
    relay = Relay(real)
    told: dict[str, int] = {}

    def progress(file: File, count: int) -> None:
        told[file.path] = told.get(file.path, 0) + count

    artifact = modelpack(MODEL)
    registry = opened(relay.host, "team/whole", "v1")
    assert {file.sha256 for file in missing(registry, artifact)} == set(map(sha256, DATA.values()))
    report = push_artifact(registry, artifact, path, progress=progress)
    assert report == PushReport(artifact.sha256, dict.fromkeys(map(sha256, DATA.values()), "sent"),
                                len(WEIGHTS) + len(SAME))
    assert told["a.gguf"] == len(WEIGHTS)
    assert missing(registry, artifact) == ()
    assert {file.path: file.sha256 for file in read_contents(registry.model(), "a").files} == {
        name: sha256(data) for name, data in DATA.items()}
    before = relay.up
    assert push_artifact(registry, artifact, path).sent == 0
    other = push_artifact(opened(relay.host, "team/whole", "v1-docker"), docker(MODEL), path)
    assert set(other.files.values()) == {"there"}
    beside = push_artifact(opened(relay.host, "team/beside", "v1"), artifact, path, mounts=["team/whole"])
    assert set(beside.files.values()) <= {"mounted", "there"}
    assert relay.up < before + 40_000
    relay.close()


def test_a_dry_run_tells_of_a_blob_that_is_cut_short(stand_in: StandIn, opened: Opened) -> None:
    stand_in.told[f"/v2/team/model/blobs/sha256:{sha256(WEIGHTS)}"] = WEIGHTS[:1000]
    with pytest.raises(Failed, match="has 1,000 bytes instead of 3,000,000"):
        missing(opened(stand_in.host), modelpack(MODEL))


def test_the_tag_moves_last(stand_in: StandIn, opened: Opened, path: Callable[[File], str],
                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PART", 1 << 20)
    registry, artifact = opened(stand_in.host, tag="v1"), modelpack(MODEL)
    before = stand_in.tag("v1", {"schemaVersion": 1, "what": "it was before"})
    sessions: dict[str, str] = {}
    stand_in.answers = [("PATCH", 403, {})]
    with pytest.raises(Failed, match="does not let one write"):
        push_artifact(registry, artifact, path, sessions=sessions)
    assert stand_in.tags["v1"] == before
    assert list(sessions) == [sha256(WEIGHTS)]
    received = stand_in.received
    push_artifact(registry, artifact, path, sessions=sessions)
    assert stand_in.tags["v1"] == artifact.sha256
    assert sessions == {}
    assert stand_in.received == len(WEIGHTS) + len(SAME) + len(artifact.config)
    assert received < len(WEIGHTS)
