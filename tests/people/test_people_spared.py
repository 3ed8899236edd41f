"""What one has downloaded is spared the other: told in his report, and added up for all."""

from __future__ import annotations

from pathlib import Path

from support.hub import Repository, hub
from support.models import tiny_hf
from support.people import People, founded

NAME, COMMIT = "acme/comet", "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


def test_what_a_colleague_has_downloaded_is_counted_once(lab: People, tmp_path: Path) -> None:
    served = Repository.of(NAME, COMMIT, tiny_hf(tmp_path / "comet"))
    size = sum(file.stat().st_size for file in served.files.values())
    founded(lab, lab.carol)
    before = {who: dict(user.environ) for who, user in lab.members.items()}
    with hub(served) as endpoint:
        for user in lab.members.values():
            user.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        first = lab.alice.document("models", "download", f"hf:{NAME}")
        second = lab.bob.document("models", "download", f"hf:{NAME}")
        third = lab.bob.document("models", "download", f"hf:{NAME}")
    for who, user in lab.members.items():
        user.environ = before[who]
    assert (first["fetched_bytes"], first["not_fetched_bytes"]) == (size, 0)
    assert (second["fetched_bytes"], second["not_fetched_bytes"]) == (0, size), "before his first sync, too"
    assert (third["fetched_bytes"], third["not_fetched_bytes"]) == (0, 0)
    for user in (lab.alice, lab.bob, lab.carol):
        assert user.document("status")["store"]["not_fetched_bytes"] == second["not_fetched_bytes"]


def test_a_colleagues_small_files_are_believed_once_they_are_read(lab: People, tmp_path: Path) -> None:
    """One of them is not what its name says: that alone is fetched, and whose it is, is said."""
    served = Repository.of(NAME, COMMIT, tiny_hf(tmp_path / "comet"))
    founded(lab, lab.carol)
    before = {who: dict(user.environ) for who, user in lab.members.items()}
    config = served.files["config.json"].read_bytes()
    with hub(served) as endpoint:
        for user in lab.members.values():
            user.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        lab.alice.document("models", "download", f"hf:{NAME}")
        [blob] = [path for path in lab.store.glob("blobs/*/*") if path.read_bytes() == config]
        mode = blob.stat().st_mode
        blob.chmod(0o644)
        blob.write_bytes(bytes([config[0] ^ 1]) + config[1:])
        blob.chmod(mode)
        served.sent.clear()
        said = lab.bob.fails("models", "download", f"hf:{NAME}")
    for who, user in lab.members.items():
        user.environ = before[who]
    assert set(served.sent) == {"config.json"}
    assert "is not what its name says" in said
