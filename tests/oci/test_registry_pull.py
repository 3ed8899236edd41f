"""Pulling: manifests and blobs proven, resumed where they were cut, and no login that goes astray."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wares import QUICK, bytes_of, sha256

from helixstore.errors import Failed, HelixError, NotFound
from helixstore.oci.access import Access, Patience
from helixstore.oci.manifest import LARGEST_MANIFEST, Manifest
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry
from support.registry import StandIn, serve

Opened = Callable[..., Registry]
DATA = bytes_of(3_000_000)


def fetched(registry: Registry, data: bytes, offset: int = 0) -> bytes:
    with registry.blob(sha256(data), len(data), offset) as stream:
        got = data[:offset] + b"".join(stream)
        stream.check(sha256(got))
    return got


def test_a_manifest_by_tag_and_by_digest(stand_in: StandIn, opened: Opened) -> None:
    digest = stand_in.tag("v1", {"schemaVersion": 2, "layers": [
        {"mediaType": "a/b", "digest": f"sha256:{sha256(DATA)}", "size": len(DATA), "annotations": {"x": "y"}}]})
    by_tag, by_digest = opened(stand_in.host).manifest(), opened(stand_in.host, digest=digest).manifest()
    assert isinstance(by_tag, Manifest)
    assert by_tag == by_digest
    assert by_tag.sha256 == digest
    assert by_tag.layers[0].annotations == {"x": "y"}
    with pytest.raises(NotFound, match="team/model:nothing is not there"):
        opened(stand_in.host, tag="nothing").manifest()


def test_a_manifest_that_is_not_what_its_digest_says(stand_in: StandIn, opened: Opened) -> None:
    digest = stand_in.tag("v1", {"schemaVersion": 2, "layers": []})
    stand_in.manifests[digest] = b'{"schemaVersion":2,"layers":[ ]}', "a/b"
    with pytest.raises(Failed, match="is not what its digest says"):
        opened(stand_in.host, digest=digest).manifest()


def test_a_manifest_without_an_end_costs_no_memory(stand_in: StandIn, opened: Opened) -> None:
    stand_in.tag("v1", b" " * (LARGEST_MANIFEST + 1))
    with pytest.raises(Failed, match="sends more than"):
        opened(stand_in.host).manifest()


def test_the_model_in_an_index(stand_in: StandIn, opened: Opened) -> None:
    model = stand_in.tag("model", {"schemaVersion": 2, "layers": []})
    other = stand_in.tag("other", {"schemaVersion": 2, "layers": [], "annotations": {"a": "b"}})
    described = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1}
    both = [{**described, "digest": f"sha256:{other}"},
            {**described, "digest": f"sha256:{model}", "artifactType": "application/vnd.cncf.model.manifest.v1+json"}]
    stand_in.tag("v1", {"schemaVersion": 2, "manifests": both}, "application/vnd.oci.image.index.v1+json")
    assert opened(stand_in.host).model().sha256 == model
    del both[1]["artifactType"]
    stand_in.tag("v1", {"schemaVersion": 2, "manifests": both}, "application/vnd.oci.image.index.v1+json")
    with pytest.raises(Failed, match="holds 2 artifacts") as caught:
        opened(stand_in.host).model()
    assert "@sha256:" in caught.value.remedy


@pytest.mark.parametrize("offset", [0, 1, 1_234_567, len(DATA)])
def test_only_the_rest_of_a_blob_comes(stand_in: StandIn, opened: Opened, offset: int) -> None:
    stand_in.put(DATA)
    registry = opened(stand_in.host)
    assert registry.size(sha256(DATA)) == len(DATA)
    assert registry.size("0" * 64) is None
    assert fetched(registry, DATA, offset) == DATA
    assert stand_in.sent[sha256(DATA)] == len(DATA) - offset


def test_a_blob_that_is_cut_many_times_is_gone_on_with(stand_in: StandIn, opened: Opened) -> None:
    stand_in.put(DATA)
    stand_in.cut_after = [100_000] * 20
    assert fetched(opened(stand_in.host), DATA) == DATA
    assert stand_in.sent[sha256(DATA)] == len(DATA), "nothing came twice"


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (1000, 70_000), (len(DATA) - 5, 5)])
def test_a_part_of_a_blob_and_no_more(stand_in: StandIn, opened: Opened, offset: int, length: int) -> None:
    stand_in.put(DATA)
    assert opened(stand_in.host).range(sha256(DATA), offset, length) == DATA[offset:offset + length]
    assert stand_in.sent[sha256(DATA)] == length
    stand_in.ranges = False
    if length:
        with pytest.raises(Failed, match="does not send ranges"):
            opened(stand_in.host).range(sha256(DATA), offset, length)


def test_a_registry_without_head(stand_in: StandIn, opened: Opened) -> None:
    stand_in.put(DATA)
    stand_in.answers = [("HEAD", 405, {})]
    assert opened(stand_in.host).size(sha256(DATA)) == len(DATA)


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_a_killed_download_goes_on_where_its_file_ends(
        stand_in: StandIn, tmp_path: Path, environ: dict[str, str], blocks: int) -> None:
    data = bytes_of(20_000_000)
    stand_in.put(data)
    path = tmp_path / "file"
    command = [sys.executable, str(Path(__file__).with_name("downloader.py")), stand_in.host, sha256(data),
               str(len(data)), str(path)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        for _ in range(blocks):
            first.stdout.readline()
        first.kill()
    here = path.stat().st_size
    assert here
    stand_in.sent.clear()
    subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60)
    assert path.read_bytes() == data
    if here < len(data):
        assert stand_in.seen[-1][2]["Range"] == f"bytes={here}-"
        assert stand_in.sent[sha256(data)] == len(data) - here


def test_a_blob_that_never_gets_on_ends(stand_in: StandIn, opened: Opened) -> None:
    stand_in.put(DATA)
    stand_in.cut_after = [0] * 50
    with pytest.raises(Failed, match=r"broke off after 0 of|ended after 0 of") as caught:
        fetched(opened(stand_in.host), DATA)
    assert "goes on from there" in caught.value.remedy
    assert len(stand_in.cut_after) == 50 - QUICK.tries


def test_a_registry_that_ignores_ranges_is_noticed(stand_in: StandIn, opened: Opened) -> None:
    stand_in.put(DATA)
    stand_in.ranges = False
    with opened(stand_in.host).blob(sha256(DATA), len(DATA), 1_000_000) as stream:
        assert DATA[:1_000_000] + b"".join(stream) == DATA
        assert not stream.ranges
        assert stream.received == len(DATA)
    stand_in.cut_after = [500_000, 2_000_000]
    assert fetched(opened(stand_in.host), DATA) == DATA


def test_wrong_bytes_are_told_when_they_are_hashed(stand_in: StandIn, opened: Opened) -> None:
    stand_in.rotten.add(stand_in.put(DATA))
    with pytest.raises(Failed, match="is not what its digest says"):
        fetched(opened(stand_in.host), DATA)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
@pytest.mark.parametrize("offset", [0, 5])
def test_a_blob_of_another_size_is_refused(stand_in: StandIn, opened: Opened, size: int, offset: int) -> None:
    stand_in.put(DATA)
    with opened(stand_in.host).blob(sha256(DATA), size, offset) as stream, pytest.raises(Failed, match="instead of"):
        b"".join(stream)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_it_is_tried_again_as_the_registry_asks(stand_in: StandIn, environ: dict[str, str], status: int) -> None:
    stand_in.put(DATA)
    stand_in.answers = [("/blobs/", status, {"Retry-After": "7"}), ("/blobs/", status, {})]
    waited: list[float] = []
    access = Access.of(environ, patience=Patience(first=0.01, wait=waited.append))
    assert fetched(Registry(Reference(stand_in.host, "team/model"), access), DATA) == DATA
    assert waited[:7] == [1.0] * 7, "told each second"
    assert waited[7] < 1


def test_a_registry_that_asks_for_an_hour_is_not_waited_for(stand_in: StandIn, opened: Opened) -> None:
    stand_in.put(DATA)
    stand_in.answers = [("/blobs/", 429, {"Retry-After": "3600"})]
    with pytest.raises(Failed, match="429"):
        fetched(opened(stand_in.host), DATA)


def test_a_refusal_is_final(stand_in: StandIn, opened: Opened) -> None:
    stand_in.answers = [("/blobs/", 403, {})] * 2
    with pytest.raises(Failed, match="does not let one read"):
        fetched(opened(stand_in.host), DATA)
    assert len(stand_in.answers) == 1


# ---- logins ----------------------------------------------------------------------------------------------------------

def logged_in(environ: dict[str, str], host: str, user: str = "ana", password: str = "pa:ss/word") -> Access:
    folder = Path(environ["HOME"], ".docker")
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return Access.of(environ, patience=QUICK)


def test_a_token_is_fetched_with_the_login_and_stays_with_the_registry(
        stand_in: StandIn, environ: dict[str, str]) -> None:
    with serve(StandIn()) as storage:
        stand_in.put(DATA)
        storage.put(DATA)
        stand_in.realm, stand_in.user = f"http://{stand_in.host}/token", "ana:pa:ss/word"
        stand_in.redirect = f"http://{storage.host}"
        registry = Registry(Reference(stand_in.host, "team/model"), logged_in(environ, stand_in.host))
        assert fetched(registry, DATA, 1000) == DATA
        assert storage.sent[sha256(DATA)] == len(DATA) - 1000
        assert all("Authorization" not in headers for _, _, headers in storage.seen), "a login went to another host"
        assert storage.seen[0][2]["Range"] == "bytes=1000-"
        [asked] = [path for _, path, _ in stand_in.seen if path.startswith("/token")]
        assert "scope=repository%3Ateam%2Fmodel%3Apull" in asked
        assert "service=here" in asked


def test_a_token_that_ends_is_fetched_anew(stand_in: StandIn, opened: Opened) -> None:
    stand_in.put(DATA)
    stand_in.realm = f"http://{stand_in.host}/token"
    registry = opened(stand_in.host)
    assert registry.size(sha256(DATA)) == len(DATA)
    stand_in.token = "second-token"
    assert registry.size(sha256(DATA)) == len(DATA)
    assert len([1 for _, path, _ in stand_in.seen if path.startswith("/token")]) == 2


def test_a_token_that_is_never_accepted_ends_it(stand_in: StandIn, opened: Opened) -> None:
    stand_in.realm, stand_in.given = f"http://{stand_in.host}/token", "of-no-use"
    with pytest.raises(Failed, match="does not let one read"):
        opened(stand_in.host).manifest()
    assert len(stand_in.seen) < 10


@pytest.mark.parametrize("given", ["", "x\r\nInjected: yes", "x" * 100_000, None, 7, {}])
def test_tokens_that_are_none(stand_in: StandIn, opened: Opened, given: object) -> None:
    stand_in.realm = f"http://{stand_in.host}/token"
    body = json.dumps({"token": given}).encode()
    stand_in.told["/token"] = body
    with pytest.raises(Failed, match="no token that can be used"):
        opened(stand_in.host).manifest()


@pytest.mark.parametrize("challenge", [
    "", "Bearer", "Bearer realm", 'Bearer realm="', "Negotiate", "Basic", 'Basic realm="x"', "," * 5000,
    'Bearer realm="' + "a" * 20_000, "Bearer " + 'a="b",' * 5000, 'Bearer a="' + "\\" * 9000])
def test_challenges_that_are_none(stand_in: StandIn, opened: Opened, challenge: str) -> None:
    stand_in.answers = [("/manifests/", 401, {"WWW-Authenticate": challenge})] * 5
    with pytest.raises(Failed):
        opened(stand_in.host).manifest()


@pytest.mark.parametrize("known", [True, False])
def test_a_login_that_is_not_accepted(stand_in: StandIn, environ: dict[str, str], known: bool) -> None:
    stand_in.realm, stand_in.user = f"http://{stand_in.host}/token", "ana:other"
    access = logged_in(environ, stand_in.host) if known else Access.of(environ, patience=QUICK)
    with pytest.raises(Failed, match="login that is kept" if known else "only known people") as caught:
        Registry(Reference(stand_in.host, "team/model"), access).manifest()
    assert caught.value.remedy == f"docker login {stand_in.host}"


@pytest.mark.parametrize("realm", ["http://198.51.100.7/token", "ftp://127.0.0.1/token", "//x", "https://"])
def test_no_login_goes_where_it_could_be_read(stand_in: StandIn, environ: dict[str, str], realm: str) -> None:
    stand_in.realm = realm
    with pytest.raises(Failed, match="which no login is sent to"):
        Registry(Reference(stand_in.host, "team/model"), logged_in(environ, stand_in.host)).manifest()


@pytest.mark.parametrize("location", ["http://198.51.100.7/x", "file:///etc/passwd", "gopher://127.0.0.1/"])
def test_no_redirect_leads_to_anything_but_encrypted(stand_in: StandIn, opened: Opened, location: str) -> None:
    stand_in.answers = [("/manifests/", 302, {"Location": location})]
    with pytest.raises(Failed, match="which is not followed"):
        opened(stand_in.host).manifest()


def test_a_circle_of_redirects_ends(stand_in: StandIn, opened: Opened) -> None:
    stand_in.answers = [("/manifests/", 307, {"Location": "/v2/team/model/manifests/v1"})] * 20
    with pytest.raises(Failed, match="in circles"):
        opened(stand_in.host).manifest()


def test_nothing_secret_is_in_an_error(stand_in: StandIn, environ: dict[str, str]) -> None:
    stand_in.put(DATA)
    stand_in.realm, stand_in.user = f"http://{stand_in.host}/token", "ana:pa:ss/word"
    stand_in.redirect = f"http://{stand_in.host}"
    registry = Registry(Reference(stand_in.host, "team/model"), logged_in(environ, stand_in.host))
    problems: list[dict[str, Any]] = [
        {"answers": [("/store/", 500, {})] * 9}, {"answers": [("/store/", 403, {})]}, {"cut_after": [0] * 9},
        {"blobs": {}}]
    for problem in problems:
        for name, value in problem.items():
            setattr(stand_in, name, value)
        with pytest.raises(HelixError) as caught:
            fetched(registry, DATA)
        stand_in.answers, stand_in.cut_after = [], []
        for text in (str(caught.value), caught.value.remedy, repr(caught.value), repr(registry.__dict__)):
            for secret in ("pa:ss", "very-secret", "first-token", base64.b64encode(b"ana:pa:ss/word").decode()):
                assert secret not in text


def test_all_tags_are_listed_page_by_page(stand_in: StandIn, opened: Opened) -> None:
    assert opened(stand_in.host).tags() == []
    for tag in ("v1", "v2", "v3", "v4", "v5"):
        stand_in.tag(tag, {"schemaVersion": 2, "layers": []})
    assert opened(stand_in.host).tags() == ["v1", "v2", "v3", "v4", "v5"]
    asked = [path for _, path, _ in stand_in.seen if "tags" in path]
    assert [path.partition("list")[2] for path in asked] == ["", "", "?last=v2", "?last=v4"]


@pytest.mark.parametrize("listing", [b"[]", b"{}", b'{"tags": 3}', b"no json", b'{"tags": [1, "../v1", "a b"]}'])
def test_a_list_of_tags_that_is_none(stand_in: StandIn, opened: Opened, listing: bytes) -> None:
    stand_in.told["/v2/team/model/tags/list"] = listing
    if b'"../' in listing:
        assert opened(stand_in.host).tags() == []
    else:
        with pytest.raises(Failed, match="no list"):
            opened(stand_in.host).tags()


def test_where_nobody_has_ever_answered_it_does_not_wait_long(opened: Opened) -> None:
    waits: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(HelixError, match=f"{nobody} refuses the connection"):
        opened(nobody, patience=Patience(wait=waits.append)).manifest()
    assert len(waits) == 1
