from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import manifest

from helixstore.errors import Corrupt, HelixError, NotFound, StoreTooNew, UnsafeName
from helixstore.fs.names import check_relative, folded
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.store import Store
from helixstore.values import Format, Purpose, Role


def safe(name: str) -> bool:
    try:
        return bool(check_relative(name))
    except UnsafeName:
        return False


digests = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
paths = st.text(min_size=1, max_size=20).filter(safe)
files = st.lists(st.builds(ManifestFile, paths, st.integers(0, 2**50), digests, st.sampled_from(Role)), max_size=6,
                 unique_by=lambda file: folded(file.path)).map(tuple)
manifests = st.builds(Manifest, st.sampled_from(Format), st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
                      st.sampled_from(Purpose), files)


@given(manifests, st.randoms())
def test_what_is_written_is_read_and_order_does_not_matter(one: Manifest, random: object) -> None:
    assert Manifest.decode(one.encode()) == one
    shuffled = list(one.files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = Manifest(one.format, one.quantization, one.purpose, tuple(shuffled))
    assert other.encode() == one.encode()
    assert other.digest == one.digest
    text = one.encode().decode()
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text


@given(manifests, manifests)
def test_content_key_sees_content_only(one: Manifest, other: Manifest) -> None:
    renamed = Manifest(one.format, "other", one.purpose, tuple(
        ManifestFile(f"{number}.x", file.bytes, file.blake3, file.role) for number, file in enumerate(one.files)))
    assert renamed.content_key == one.content_key
    same = {(f.role, f.blake3) for f in one.files} == {(f.role, f.blake3) for f in other.files}
    assert (one.content_key == other.content_key) == same


@given(st.binary(max_size=60) | manifests.map(Manifest.encode).flatmap(
    lambda data: st.integers(0, len(data)).map(lambda at: data[:at] + b"\xff" + data[at + 1:])))
def test_damaged_bytes_cost_an_error_only(data: bytes) -> None:
    try:
        Manifest.decode(data)
    except HelixError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["[" * 100_000, '{"files":' * 50_000, "null", "[]", '{"schema":2}', '{"schema":1}',
                                  '{"format":"gguf","quantization":"","purpose":"model","files":[{"path":"a"}]}',
                                  '{"format":"gguf","quantization":"","purpose":"model","files":7}',
                                  '{"format":"new","quantization":"","purpose":"model","files":[]}'])
def test_hostile_records_cost_an_error_only(text: str) -> None:
    with pytest.raises(HelixError):
        Manifest.decode(text.encode())


def test_two_names_that_are_one_elsewhere_are_refused() -> None:
    for pair in (("a", "A"), ("x", "x"), ("é", "e\u0301"), ("ß", "SS")):
        with pytest.raises(UnsafeName):
            Manifest(Format.HF, "", Purpose.MODEL, tuple(ManifestFile(name, 1, "0" * 64, Role.OTHER) for name in pair))
    with pytest.raises(UnsafeName):
        Manifest(Format.HF, "", Purpose.MODEL, (ManifestFile("../a", 1, "0" * 64, Role.OTHER),))
    with pytest.raises(UnsafeName):
        Manifest(Format.HF, "", Purpose.MODEL, (ManifestFile("a", 1, "../../x", Role.OTHER),))


def test_a_manifest_is_found_by_its_digest_and_damage_is_seen(store: Store) -> None:
    one, other = manifest("1" * 64), manifest("2" * 64, "3" * 64)
    assert store.manifests.write_many([one, other, one]) == [one.digest, other.digest, one.digest]
    assert store.manifests.write(one) == one.digest
    assert set(store.manifests.all()) == {one.digest, other.digest}
    assert store.manifests.read(one.digest) == one
    assert store.manifests.blobs(other.digest) == {"2" * 64, "3" * 64}
    path = Path(store.manifests.path(one.digest))
    path.chmod(0o644)
    path.write_bytes(other.encode())
    for read in (store.manifests.read, store.manifests.blobs):
        with pytest.raises(Corrupt):
            read(one.digest)
    with pytest.raises(NotFound):
        store.manifests.read("0" * 64)


def test_blobs_of_a_later_versions_manifest_are_known_for_gc(store: Store) -> None:
    data = manifest("1" * 64).encode().replace(b'"gguf"', b'"later"')
    from blake3 import blake3

    digest = blake3(data).hexdigest()
    Path(store.manifests.path(digest)).write_bytes(data)
    assert store.manifests.blobs(digest) == {"1" * 64}
    with pytest.raises(StoreTooNew):
        store.manifests.read(digest)
