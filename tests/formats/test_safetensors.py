"""The safetensors reader and the JSON stream below it, against the reference and against arbitrary bytes."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from helixstore.errors import HelixError, Incomplete, Unreadable
from helixstore.formats.jsonstream import read_members, weight_map
from helixstore.formats.opened import Opened, Window
from helixstore.formats.safetensors import Safetensors, read_safetensors
from support import raw
from support.soak import many


def read(path: Path) -> Safetensors:
    with Opened(path) as file:
        return read_safetensors(file)


@settings(max_examples=60, deadline=None)
@given(shapes=st.dictionaries(
    st.text(min_size=1, max_size=20),
    st.tuples(st.sampled_from(["f4", "f2", "i8", "u1", "?"]), st.lists(st.integers(0, 5), max_size=3)), max_size=8),
    metadata=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=4))
def test_facts_agree_with_the_reference(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "m.safetensors"
    shapes.pop("__metadata__", None)
    try:
        save_file({name: np.zeros(shape, kind) for name, (kind, shape) in shapes.items()}, path, metadata or None)
    except (SafetensorError, UnicodeEncodeError):
        return
    facts = read(path)
    with safe_open(path, "numpy") as theirs:
        tensors = [theirs.get_slice(name) for name in theirs.keys()]        # noqa: SIM118 - not a dict
        assert facts.counts == Counter(tensor.get_dtype() for tensor in tensors)
        assert sum(facts.elements.values()) == sum(int(np.prod(tensor.get_shape())) for tensor in tensors)
        assert facts.metadata.items() >= (metadata or {}).items() if len(metadata or {}) < 64 else True


def test_cut_anywhere_is_never_whole(tmp_path: Path) -> None:
    data = raw.safetensors({"a": ("F32", [2, 2], 0, 16), "b": ("BF16", [3], 16, 22)}, 22, metadata={"format": "pt"})
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    assert read(path).tensors == 2
    for size in range(9, len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(Incomplete):
            read(path)
    path.write_bytes(data[:-4])
    with pytest.raises(Incomplete, match=f"{len(data) - 4} of {len(data)} bytes"):
        read(path)


def try_to_read(path: Path, data: bytes) -> Safetensors | None:
    path.write_bytes(data)
    tracemalloc.start()
    started = time.perf_counter()
    facts, said = None, ""
    try:
        facts = read(path)
    except HelixError as error:
        said = error.message
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert said.isprintable()
    assert peak < 4 << 20
    assert time.perf_counter() - started < 2
    return facts


WHOLE = raw.safetensors({"a.weight": ("F32", [2, 2], 0, 16), "b": ("BF16", [3], 16, 22)}, 22, metadata={"format": "pt"})


@settings(max_examples=many(66, 2000), deadline=None)
@given(header=st.binary(max_size=200), length=st.none() | st.integers(0, (1 << 64) - 1))
def test_arbitrary_headers(tmp_path_factory: pytest.TempPathFactory, header: bytes, length: int | None) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.safetensors"
    try_to_read(path, raw.safetensors({}, 8, header=b"{" + header, length=length))
    try_to_read(path, header)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 65) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8)
ENTRY = st.fixed_dictionaries({}, optional={
    "dtype": st.sampled_from(["F32", "U8", "BF16", "F4", "X9"]) | JUNK,
    "shape": st.lists(st.integers(0, 4), max_size=3) | JUNK,
    "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2) | JUNK, "more": JUNK})


@settings(max_examples=many(83, 2500), deadline=None)
@given(entries=st.dictionaries(st.text(max_size=4), ENTRY | JUNK, max_size=4), data=st.integers(0, 64),
       indent=st.none() | st.just(1))
def test_headers_that_are_json(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Any], data: int, indent: int | None
) -> None:
    """Whatever we take for whole, the reference takes too."""
    path = tmp_path_factory.getbasetemp() / "json.safetensors"
    content = raw.safetensors({}, data, header=json.dumps(entries, indent=indent).encode())
    facts = try_to_read(path, content)
    known = "X9" not in json.dumps(entries)
    if facts is not None and known:
        with safe_open(path, "numpy") as theirs:
            assert len(list(theirs.keys())) == facts.tensors


@settings(max_examples=many(66, 2000), deadline=None)
@given(offset=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(WHOLE)))
def test_mutated_files(tmp_path_factory: pytest.TempPathFactory, offset: int, byte: int, cut: int) -> None:
    data = bytearray(WHOLE)
    data[offset] = byte
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    facts = try_to_read(path, bytes(data))
    if facts is not None and all(dtype in ("F32", "BF16", "F16", "I32", "U8") for dtype in facts.counts):
        with safe_open(path, "numpy") as theirs:
            assert len(list(theirs.keys())) == facts.tensors
    try_to_read(path, bytes(data[:cut]))


def test_large_headers_cost_little_memory(tmp_path: Path) -> None:
    """14 MB of metadata, and 10,000 tensors."""
    tensors = {f"model.layers.{n}.weight": ("U8", [1], n, n + 1) for n in range(10_000)}
    data = raw.safetensors(tensors, 10_000, metadata={"workflow": '{"\\"' * 2_000_000})
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    del data
    tracemalloc.start()
    facts = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts.tensors == 10_000
    assert peak < 6 << 20


# ---- the stream

def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@settings(max_examples=many(66, 2000), deadline=None)
@given(document=st.dictionaries(st.text(max_size=6), JUNK, max_size=5), wanted=st.sets(st.text(max_size=6), max_size=3),
       indent=st.none() | st.just(2), ascii_=st.booleans())
def test_members_are_those_of_json(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any], wanted: set[str], indent: int | None,
    ascii_: bool,
) -> None:
    wanted |= set(list(document)[:1])
    data = json.dumps(document, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    with Opened(write(tmp_path_factory.getbasetemp() / "m.json", data)) as file:
        assert read_members(file, wanted.__contains__) == {k: v for k, v in document.items() if k in wanted}


@settings(max_examples=many(66, 2000), deadline=None)
@given(data=st.binary(max_size=60).map(lambda data: b"{" + data) | st.text(
    alphabet='{}[]",:\\ ntrue01', max_size=40).map(lambda text: ("{" + text).encode()))
def test_arbitrary_json(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """What we read to the end with every member wanted is JSON."""
    path = write(tmp_path_factory.getbasetemp() / "m.json", data)
    for read_it in (lambda file: read_members(file, lambda key: True), weight_map):
        try:
            with Opened(path) as file:
                found = read_it(file)
        except HelixError:
            continue
        assert isinstance(json.loads(data), dict)
        assert found is not None


@pytest.mark.parametrize("length", [Window.FIRST - 9, Window.FIRST - 8, Window.FIRST - 7, Window.FIRST, 3 << 20])
def test_strings_across_the_edges_of_the_window(tmp_path: Path, length: int) -> None:
    """An escape or a quote may fall on any edge."""
    for tail in ("\\\\", '\\"', "\\u00e9", "é"):
        text = '{"a":"' + "x" * length + tail + '","b":[{"c":"' + tail + '"}],"d":7}'
        with Opened(write(tmp_path / "m.json", text.encode())) as file:
            assert read_members(file, "d".__eq__) == {"d": 7}


def test_index(tmp_path: Path) -> None:
    names = {f"t{n}": f"model-{n % 3:05}.safetensors" for n in range(1000)}
    with Opened(write(tmp_path / "i.json", json.dumps({"metadata": {"a": [1]}, "weight_map": names}).encode())) as file:
        assert weight_map(file) == (
            ("model-00000.safetensors", "model-00001.safetensors", "model-00002.safetensors"), 1000)
    many = json.dumps({"weight_map": {f"t{n}": f"f{n}" for n in range(10_001)}})
    for wrong in ("{}", '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": {"a": 1}}', many):
        with Opened(write(tmp_path / "i.json", wrong.encode())) as file, pytest.raises(Unreadable):
            weight_map(file)


def test_documents_without_end_take_no_time(tmp_path: Path) -> None:
    for data in (b'{"a":[' + b"[],[]," * 1_000_000, b'{"weight_map":{' + b'"":"",' * 1_100_000,
                 b'{"a":' + b"9" * 20_000_000):
        path = write(tmp_path / "m.json", data)
        started = time.perf_counter()
        with Opened(path) as file, pytest.raises(Unreadable):
            weight_map(file)
        assert time.perf_counter() - started < 8


def test_head_is_eight_bytes(tmp_path: Path) -> None:
    for data in (b"", b"{", struct.pack("<Q", 2), struct.pack("<Q", 2) + b"[]"):
        with Opened(write(tmp_path / "m", data)) as file, pytest.raises(Unreadable):
            read_safetensors(file)
    assert read(write(tmp_path / "m", struct.pack("<Q", 8) + b"{}      ")).tensors == 0
