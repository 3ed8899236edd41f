"""What came from the hub is mended from there: by its own client, over HTTP, and not a byte more than was bad."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from rot import BIG, DIGEST, big, flip

from helixstore import HelixStore
from helixstore.store.hashing import BLOCK
from support.hub import Repository, cached, hub
from support.sandbox import Sandbox

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"
NAME, FILE, LAST = "acme/Big-GGUF", "big-F16.gguf", len(BIG) - BLOCK


@pytest.fixture
def served(tmp_path: Path) -> Repository:
    (tmp_path / FILE).write_bytes(BIG)
    return Repository(NAME, COMMIT, {FILE: tmp_path / FILE})


@pytest.fixture
def laptop(tmp_path: Path, served: Repository) -> Iterator[Sandbox]:
    """The repository lies in the hub cache as a client left it, is shared, and was read once."""
    sandbox = Sandbox.make(tmp_path / "home")
    cached(sandbox.home / ".cache/huggingface/hub", NAME, [served.files[FILE]], COMMIT)
    HelixStore.init(every=True, environ=sandbox.environ)
    with HelixStore(environ=sandbox.environ) as store:
        store.sync()
        assert store.verify().checked == 1
    with hub(served) as endpoint:
        sandbox.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        yield sandbox


def blob(sandbox: Sandbox) -> Path:
    return sandbox.home / ".local/share/helixstore/store/blobs" / DIGEST[:2] / DIGEST


def test_only_the_bad_range_comes_from_the_hub(laptop: Sandbox, served: Repository) -> None:
    flip(blob(laptop), BLOCK + 3)
    said = laptop.helix("verify", "--repair", "--dry-run")
    assert "would be mended" in said
    assert NAME in said
    assert served.sent == {}, "a dry run fetches nothing"
    assert blob(laptop).read_bytes() != BIG
    document = laptop.document("verify", "--repair")
    [mended] = document["mended"]
    assert [(one["bytes"], one["remote"]) for one in mended["taken"]] == [(LAST, True)]
    assert served.sent == {FILE: LAST}
    assert document["bad"] == []
    assert blob(laptop).read_bytes() == BIG
    snapshot = laptop.home / ".cache/huggingface/hub" / "models--acme--Big-GGUF" / "snapshots" / COMMIT / FILE
    assert snapshot.read_bytes() == BIG
    with HelixStore(environ=laptop.environ) as store:
        assert store.verify().bad == []
        assert store.show("big").variants[0].providers["llamacpp"].state == "linked"
        assert store.sync().nothing


def test_ranges_are_shared_between_a_copy_and_the_hub(laptop: Sandbox, served: Repository) -> None:
    (laptop.home / "half.bin").write_bytes(BIG[:BLOCK] + bytes(LAST))
    flip(blob(laptop), 0, BLOCK)
    with HelixStore(environ=laptop.environ) as store:
        [mended] = store.verify("big", repair=True, source=[laptop.home]).mended
    assert [(one.bytes, one.remote) for one in mended.taken] == [(BLOCK, False), (LAST, True)]
    assert served.sent == {FILE: LAST}
    assert blob(laptop).read_bytes() == BIG


def test_with_no_block_list_all_of_it_is_fetched_from_where_it_is_called_now(
    laptop: Sandbox, served: Repository,
) -> None:
    meta = blob(laptop).parents[2] / "meta" / DIGEST[:2] / f"{DIGEST}.json"
    record = json.loads(meta.read_text())
    meta.chmod(0o644)
    meta.write_text(json.dumps({key: value for key, value in record.items() if key != "blocks"}))
    served.files = {"new/name.gguf": served.files[FILE]}
    flip(blob(laptop), 4)
    with HelixStore(environ=laptop.environ) as store:
        [mended] = store.verify(repair=True).mended
    assert "new/name.gguf" in mended.taken[0].source, "found by its digest"
    assert served.sent == {"new/name.gguf": len(BIG)}
    assert blob(laptop).read_bytes() == BIG


def test_what_the_hub_cannot_give_is_said_and_changes_nothing(
    laptop: Sandbox, served: Repository, tmp_path: Path,
) -> None:
    file = served.files[FILE]
    flip(blob(laptop), 4)
    before = blob(laptop).read_bytes()
    (tmp_path / "other").write_bytes(big(2))
    (tmp_path / "longer").write_bytes(BIG + b"more")
    for trouble, files in {"other bytes": {FILE: tmp_path / "other"}, "other size": {FILE: tmp_path / "longer"},
                           "gone": {}, "no ranges": {FILE: file}}.items():
        served.files, served.ranges = files, trouble != "no ranges"
        with HelixStore(environ=laptop.environ) as store:
            [mended] = store.verify("big", repair=True).mended
        assert NAME in mended.why, trouble
        assert trouble != "no ranges" or "ranges" in mended.why
        assert trouble == "no ranges" or served.sent == {}, "as the listing says it is another file"
        served.sent.clear()
        assert blob(laptop).read_bytes() == before
        assert not list((blob(laptop).parents[2] / "staging").iterdir())


def test_a_hub_that_cannot_be_asked_is_told_with_what_to_do_then(laptop: Sandbox) -> None:
    flip(blob(laptop), 4)
    before, place = blob(laptop).read_bytes(), f"{NAME}@{COMMIT[:12]}: {FILE}"
    network = "see whether the network and HF_ENDPOINT are right, then try again"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))                   # and does not listen
        away = f"127.0.0.1:{nobody.getsockname()[1]}"
        for setting, why, remedy in (
                ({"HF_ENDPOINT": f"http://{away}"}, f"({place}: {away} refuses the connection)", network),
                ({"HF_ENDPOINT": "http://nobody.invalid"}, f"({place}: nobody.invalid has no address:", network),
                ({"HF_HUB_OFFLINE": "1"}, f"({place} cannot be asked for: HF_HUB_OFFLINE is set)",
                 "unset HF_HUB_OFFLINE")):
            laptop.environ |= setting
            [told] = laptop.document("verify", "big", "--repair", expect=(3,))["mended"]
            assert why in told["why"]
            assert told["remedy"].startswith(f"{remedy}; or name a folder")
            assert told["remedy"].endswith("helixstore verify --repair --from DIR")
    assert blob(laptop).read_bytes() == before
